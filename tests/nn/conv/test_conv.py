"""Convolutional encoders and decoders: sizes, receptive fields, residual blocks."""

import pytest
import torch

from pyrogen.nn import ConvDecoder, ConvEncoder, ConvNetwork, GridDecoder, GridEncoder


@pytest.mark.parametrize("width", [1, 3, 7, 8, 28, 32])
@pytest.mark.parametrize("height", [1, 5, 7, 8, 28, 32])
@pytest.mark.parametrize("channels", [(4,), (4, 6), (2, 3, 4, 5)])
def test_images_of_any_size_are_encoded_and_decoded(height: int, width: int, channels: tuple[int, ...]) -> None:
    image = (3, height, width)
    assert ConvEncoder(image, (2, 5), channels)(torch.zeros(2, *image)).shape == (2, 2, 5)
    assert ConvDecoder(5, image, channels[::-1])(torch.zeros(2, 5)).shape == (2, *image)


@pytest.mark.parametrize("size", [7, 8, 28, 32])
def test_every_pixel_has_an_effect_on_the_encoder_and_an_input_in_the_decoder(size: int) -> None:
    image = torch.randn(1, size, size, requires_grad=True)
    ConvEncoder((1, size, size), 1, (4, 4))(image).backward()
    assert image.grad is not None
    assert (image.grad != 0).all()
    decoder = ConvDecoder(1, (1, size, size), (4, 4))
    assert (decoder(torch.ones(1)) != decoder(-torch.ones(1))).all()


def test_event_shapes_that_are_not_those_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ConvEncoder is for images .*got \(64,\): use Dense"):
        ConvEncoder(64, 2)
    with pytest.raises(ValueError, match=r"ConvDecoder is for images .*got \(8, 8\)"):
        ConvDecoder(2, (8, 8))
    with pytest.raises(ValueError, match=r"GridEncoder is for images .*got \(8, 8\)"):
        GridEncoder((8, 8), 2)
    with pytest.raises(ValueError, match=r"ConvNetwork is for images of one size, got \(1, 8, 8\) and \(1, 8, 4\)"):
        ConvNetwork((1, 8, 8), (1, 8, 4))
    for network in (ConvEncoder, GridEncoder):
        with pytest.raises(ValueError, match=r"channels= needs .* at least one convolution"):
            network((1, 8, 8), 2, channels=())
    for network in (ConvDecoder, GridDecoder):
        with pytest.raises(ValueError, match=r"channels= needs .* at least one convolution"):
            network(2, (1, 8, 8), channels=())


def test_a_residual_block_is_the_identity_plus_its_convolutions() -> None:
    network = ConvEncoder((1, 8, 8), 2, (3,), blocks=1)
    plain = ConvEncoder((1, 8, 8), 2, (3,))
    plain.layers[0].load_state_dict(network.layers[0].state_dict())
    plain.layers[-1].load_state_dict(network.layers[-1].state_dict())
    x = torch.randn(4, 1, 8, 8)
    assert not torch.allclose(network(x), plain(x))
    with torch.no_grad():
        for parameter in network.layers[1].layers[-1].parameters():
            parameter.zero_()
    torch.testing.assert_close(network(x), plain(x))


def test_a_vector_of_the_grid_depends_on_the_pixels_near_it() -> None:
    encoder, x = GridEncoder((1, 16, 16), 3, channels=(4, 4), blocks=0), torch.randn(1, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x)[0, 0].sum(), x)
    near = gradient[0] != 0
    assert encoder.grid == (4, 4)
    assert near[:4, :4].all()  # two kernels of 3 with stride 2, padded by 1
    assert not near[4:].any()
    assert not near[:, 4:].any()
