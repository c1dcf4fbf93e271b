"""Inception features, in which the Frechet distance is the FID."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from pyrogen.diagnostics.samples.features import apply_in_batches
from pyrogen.inference.program.input_checks import resolve_device


class Inception:
    """The 2048 pooled features of torchvision's Inception v3, from a file of weights; nothing is downloaded.

    Images are resized to 299 by 299 pixels and normalized as these weights expect. They are not the weights of the
    original FID (TensorFlow's, of 2015), whose values do not compare.

    Args:
        weights: file of the state dict, `.safetensors` or what `torch.save` wrote (read without running code in it).
        device: "auto", the default, "cpu", "cuda", ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not contain such weights.

    References:
        Szegedy et al. 2015, arXiv:1512.00567.
    """

    def __init__(self, weights: str | Path, device: str = "auto") -> None:
        from torchvision.models import inception_v3

        path = Path(weights).expanduser()
        state = {name: w for name, w in _state(path).items() if not name.startswith("AuxLogits.")}
        network = inception_v3(weights=None, aux_logits=False, init_weights=False)
        try:
            network.load_state_dict(state)
        except RuntimeError:
            raise ValueError(f"{path} does not contain the weights of torchvision.models.inception_v3") from None
        network.fc = nn.Identity()
        self._network = network.eval().to(resolve_device(device))
        with path.open("rb") as file:
            self.name = f"Inception v3 {hashlib.file_digest(file, 'sha256').hexdigest()[:8]} (torchvision)"

    def __call__(self, x: Tensor) -> Tensor:
        """The features of images.

        Args:
            x: images (n, 1 or 3, height, width) in [0, 1].

        Returns:
            (n, 2048).

        Raises:
            ValueError: x are no such images.
        """
        if x.dim() != 4 or x.shape[1] not in (1, 3) or x.min() < 0 or x.max() > 1:
            raise ValueError(f"Inception takes images (n, 1 or 3, height, width) in [0, 1], got {tuple(x.shape)}")
        return apply_in_batches(self._network, lambda part: self._network(_resize_and_normalize(part)), x)


def _resize_and_normalize(x: Tensor) -> Tensor:
    x = nn.functional.interpolate(x.expand(-1, 3, -1, -1), (299, 299), mode="bilinear", antialias=True)
    mean, scale = x.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]  # of ImageNet
    return (x - mean) / scale


def _state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: Inception needs a file of torchvision's inception_v3 weights")
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"{path} contains no state dict")
    return state
