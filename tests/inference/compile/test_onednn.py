"""Large matrix products by oneDNN: the same numbers, and only where it is faster."""

import pytest
import torch

from pyrogen.inference.compile import onednn
from pyrogen.inference.compile.tracing import trace

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def layers(x, w, v, b):
    hidden = torch.relu(torch.addmm(b, x, w.t()))
    return [hidden @ v, (hidden @ v).sum() + (x[:2] @ w.t()).sum()]


def inputs():
    return [torch.randn(128, 200), torch.randn(100, 200), torch.randn(100, 150), torch.randn(100)]


def test_products_by_onednn_are_equal():
    tensors = inputs()
    graph = trace(layers, tensors)
    expected = layers(*tensors)
    onednn.use_onednn(graph.graph)
    actual = graph(*tensors)
    for one, other in zip(actual, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)
    targets = [str(node.target) for node in graph.graph.nodes]
    assert targets.count("pyrogen.linear.default") == 3
    assert targets.count("aten.mm.default") == 1  # two rows are too few to matter


def test_products_of_other_types_are_not_replaced():
    tensors = [tensor.double() for tensor in inputs()]
    graph = trace(layers, tensors)
    onednn.use_onednn(graph.graph)
    assert "pyrogen.linear.default" not in {str(node.target) for node in graph.graph.nodes}


@pytest.mark.parametrize(("vendor", "faster"), [("GenuineIntel", False), ("AuthenticAMD", True), (None, False)])
def test_it_is_used_on_processors_that_are_not_intels(vendor, faster, monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    if vendor is not None:
        cpuinfo.write_text(f"processor : 0\nvendor_id : {vendor}\n")
    monkeypatch.setattr(onednn, "CPUINFO", cpuinfo)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert onednn.onednn_is_faster.__wrapped__() is faster
