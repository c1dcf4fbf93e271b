"""Image data sets: what is read, from which files, and what is refused."""

import numpy as np
import pytest
import torch

from pyrogen.data import images, load
from tests.helpers.statistics import assert_within


def test_digits_are_split_by_classes():
    digits = load("digits")
    assert [part.rows for part in (digits.train, digits.validation, digits.test)] == [1257, 180, 360]
    assert (digits.classes, digits.levels, digits.event_shape) == (10, 17, (1, 8, 8))
    counts = [part["y"].bincount(minlength=10) for part in (digits.train, digits.validation, digits.test)]
    total = sum(counts)
    for count, margin in zip(counts, (2, 1, 1), strict=True):
        assert ((count - total * count.sum() / 1797).abs() < margin).all()
    x = torch.cat([digits.train["x"], digits.validation["x"], digits.test["x"]])
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (0, 1)
    assert torch.equal((x * 16).round() / 16, x)


def test_digits_hold_every_image_of_scikit_learn_once():
    from sklearn.datasets import load_digits

    digits = load("digits", seed=7)
    ours = torch.cat(
        [
            torch.cat([p["x"].flatten(1) * 16, p["y"][:, None]], 1)
            for p in (digits.train, digits.validation, digits.test)
        ]
    )
    theirs = np.column_stack(load_digits(return_X_y=True))
    assert np.array_equal(np.unique(ours.numpy(), axis=0), np.unique(theirs, axis=0))
    assert torch.equal(digits.test["x"], load("digits").test["x"])


def test_mnist_is_torchvisions(data_root):
    from torchvision.datasets import MNIST

    mnist = load("mnist", data_root)
    assert [part.rows for part in (mnist.train, mnist.validation, mnist.test)] == [50_000, 10_000, 10_000]
    assert (mnist.classes, mnist.levels, mnist.event_shape) == (10, 256, (1, 28, 28))
    assert mnist.train["x"].dtype == torch.float32
    train, test = MNIST(data_root, train=True), MNIST(data_root, train=False)
    assert torch.equal((mnist.train["x"][:500, 0] * 255).round().byte(), train.data[:500])
    assert torch.equal((mnist.validation["x"][:, 0] * 255).round().byte(), train.data[50_000:])
    assert torch.equal(mnist.validation["y"], train.targets[50_000:])
    assert torch.equal(mnist.test["y"], test.targets)
    assert torch.equal(mnist.test["x"][:, 0], test.data / 255)


def test_mnist_static_draw_keeps_its_mean(data_root):
    grey, static = load("mnist", data_root).test["x"], load("mnist", data_root, "static").test["x"]
    error = (grey * (1 - grey)).sum().sqrt() / grey.numel()
    assert_within(static.mean(), grey.mean(), error)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_missing_files_are_refused_with_the_folder_and_the_remedy(tmp_path, name):
    with pytest.raises(FileNotFoundError) as caught:
        load(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert all(remedy in message for remedy in ("--data-dir", "PYROGEN_DATA", "download=True"))
    assert "\n" not in message


def test_truncated_mnist_is_refused(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0" * 100)
    with pytest.raises(
        ValueError, match=r"mnist: .*train-images-idx3-ubyte is truncated: expected 47,040,016 bytes, got 100"
    ):
        load("mnist", tmp_path)


def test_a_wrong_idx_header_is_refused(tmp_path):
    file = tmp_path / "labels"
    file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6]))
    assert images.read_idx("mnist", file, (2,)).tolist() == [5, 6]
    file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 6]))
    with pytest.raises(ValueError, match=r"header \[2049, 3\], expected \[2049, 2\]: delete"):
        images.read_idx("mnist", file, (2,))


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "CIFAR_ROWS", 20)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.random.default_rng(0).integers(0, 256, (120, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(120) % 10
    names = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]
    for name, part in zip(names, np.split(records, 6), strict=True):
        part.tofile(folder / name)
    return records


def test_cifar10_is_read_without_pickle(tmp_path, small_cifar):
    cifar = load("cifar10", tmp_path)
    assert [part.rows for part in (cifar.train, cifar.validation, cifar.test)] == [90, 10, 20]
    assert (cifar.classes, cifar.levels, cifar.event_shape) == (10, 256, (3, 32, 32))
    x = torch.cat([cifar.train["x"], cifar.validation["x"], cifar.test["x"]])
    assert np.array_equal((x * 255).round().byte().numpy().reshape(120, -1), small_cifar[:, 1:])
    assert cifar.test["y"].tolist() == [k % 10 for k in range(20)]


def test_truncated_or_mislabelled_cifar10_is_refused(tmp_path, small_cifar):
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"data_batch_3.bin is truncated: expected 61,460 bytes, got 61,459: delete"):
        load("cifar10", tmp_path)
    file.write_bytes(b"\xff" + content[1:])
    with pytest.raises(ValueError, match=r"cifar10: labels up to 255 .*expected 0 to 9"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_failed_download_is_one_line(tmp_path, monkeypatch, name):
    import torchvision.datasets
    import torchvision.datasets.utils

    def fail(*args, **kwargs):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", fail)
    with pytest.raises(
        ConnectionError, match=rf"{name}: could not be downloaded to .* \(no route to host\): download it by hand"
    ):
        load(name, tmp_path, download=True)


def test_nothing_is_downloaded_unless_asked_for(tmp_path, monkeypatch):
    import torchvision.datasets

    asked = []
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", lambda root, download: asked.append(download))
    with pytest.raises(FileNotFoundError):
        load("fashion-mnist", tmp_path)
    assert asked == []
    with pytest.raises(FileNotFoundError):
        load("fashion-mnist", tmp_path, download=True)
    assert asked == [True]


def test_photographs_are_cut_into_patches_that_hold_every_pixel_once():
    from sklearn.datasets import load_sample_images

    photographs = load("photographs")
    parts = (photographs.train, photographs.validation, photographs.test)
    assert sum(part.rows for part in parts) == 2 * 53 * 80
    ours = torch.cat([(part["x"] * 255).round().long() for part in parts])
    counts = torch.stack([torch.bincount(ours[:, channel].flatten(), minlength=256) for channel in range(3)])
    theirs = np.stack(load_sample_images().images)[:, : 53 * 8]
    for channel in range(3):
        assert np.array_equal(counts[channel].numpy(), np.bincount(theirs[..., channel].ravel(), minlength=256))
    corner = torch.from_numpy(theirs[0, :8, :8]).permute(2, 0, 1)
    assert bool((ours == corner).flatten(1).all(1).any())
    assert (photographs.levels, photographs.classes) == (256, None)
