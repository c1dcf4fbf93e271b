"""Dense networks by hand."""

import torch
from torch import nn

from pyrogen.nn import Dense


def test_dense_applies_silu_between_linear_layers() -> None:
    network = Dense((2, 2), 3, hidden=(5,))
    x = torch.randn(4, 2, 2)
    first, last = network.layers[0], network.layers[2]
    h = x.flatten(1) @ first.weight.T + first.bias
    torch.testing.assert_close(network(x), h * torch.sigmoid(h) @ last.weight.T + last.bias)


def test_dense_without_hidden_layers_is_linear() -> None:
    assert [type(layer) for layer in Dense(4, 3, hidden=()).layers] == [nn.Linear]
