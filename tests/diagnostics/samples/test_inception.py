import pytest
import safetensors.torch
import torch
from torchvision.models import inception_v3

from pyrogen.diagnostics import Inception
from pyrogen.diagnostics.samples.inception import _resize_and_normalize


def test_inception_gives_what_torchvision_pools(tmp_path):
    """Of a network that was never trained."""
    network, pooled = inception_v3(weights=None, init_weights=False).eval(), []
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    network.avgpool.register_forward_hook(lambda module, inputs, output: pooled.append(output.flatten(1)))
    features, images = Inception(tmp_path / "weights.pth", device="cpu"), torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        network(_resize_and_normalize(images))
    assert torch.allclose(features(images), pooled[0], atol=1e-5)
    assert features.name.startswith("Inception v3 ")
    with pytest.raises(ValueError, match="Inception takes images"):
        features(2 * images)


def test_images_are_resized_and_normalized_as_the_weights_of_inception_expect():
    wanted = _resize_and_normalize(torch.full((2, 3, 8, 8), 0.485))
    assert wanted.shape == (2, 3, 299, 299)
    assert torch.allclose(wanted[:, 0], torch.zeros(()), atol=1e-6)
    assert torch.allclose(wanted[:, 2], torch.tensor((0.485 - 0.406) / 0.225), atol=1e-6)


def test_a_file_without_weights_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: Inception needs a file"):
        Inception(tmp_path / "none.safetensors")
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="does not contain the weights"):
        Inception(tmp_path / "a.safetensors")
