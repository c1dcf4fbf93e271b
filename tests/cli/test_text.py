"""Text from a file, through training, to lines again; and codes, of which the training tells the use."""

import numpy as np

from pyrogen.data import load


def test_a_text_is_trained_on_and_sampled(call, tmp_path):
    text, folder, out = tmp_path / "lines.txt", tmp_path / "run", tmp_path / "drawn.txt"
    text.write_text("\n".join(["ab", "abc", "b", "cab"] * 10), encoding="utf-8")
    options = ("--epochs", 2, "--set", "width=8")
    assert call("train", "sequence_vae", "--data", text, "--out", folder, *options).status == 0
    assert call("sample", folder, "-n", 6, "--out", out).status == 0
    lines = out.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    assert set("".join(lines)) <= set("abc")
    assert {len(line) for line in lines} <= {1, 2, 3}
    assert call("sample", folder, "-n", 2, "--given", "length=2", "--out", out).status == 0
    assert [len(line) for line in out.read_text(encoding="utf-8").splitlines()] == [2, 2]
    called = call("sample", folder, "-n", 2, "--given", "length=99", "--out", out)
    assert called.status == 1
    assert "'length' of whole numbers from 0 to 3" in called.line


def test_no_lines_of_what_is_no_text(call, tmp_path):
    out = tmp_path / "run"
    assert call("train", "ppca", "--data", "ring", "--set", "latent=1", "--steps", 1, "--out", out).status == 0
    called = call("sample", out, "--out", tmp_path / "x.txt")
    assert called.status == 1
    assert "the run was not trained on text (a .txt file): write .npz or .safetensors instead" in called.line


def test_codes_in_use_are_printed(call, tmp_path):
    options = ("--epochs", 1, "--set", "hidden=[8]", "--out", tmp_path / "run")
    called = call("train", "vq_vae", "--data", "digits", *options)
    assert called.status == 0
    assert "of 16 codes used, perplexity" in called.out


def test_a_language_model_completes_a_beginning(call, tmp_path):
    text, folder, out = tmp_path / "lines.txt", tmp_path / "run", tmp_path / "drawn.txt"
    text.write_text("\n".join(["abab", "abca", "bcab", "cabc"] * 10), encoding="utf-8")
    options = ("--epochs", 1, "--set", "width=8", "--set", "layers=1")
    assert call("train", "language_model", "--data", text, "--out", folder, *options).status == 0
    assert call("sample", folder, "-n", 3, "--begin", "ca", "--out", out).status == 0
    assert [(line[:2], len(line)) for line in out.read_text(encoding="utf-8").splitlines()] == [("ca", 4)] * 3
    called = call("sample", folder, "--begin", "xa", "--out", out)
    assert called.status == 1
    assert "the text has 'x', which is not in the alphabet 'abc'" in called.line


def test_an_image_is_completed_from_the_upper_part_of_test_data(call, tmp_path):
    folder, out = tmp_path / "run", tmp_path / "drawn.npz"
    options = ("--epochs", 1, "--set", "width=4", "--set", "blocks=1", "--set", "conditional=true")
    assert call("train", "pixelcnn", "--data", "digits", "--out", folder, *options).status == 0
    assert call("sample", folder, "-n", 5, "--begin", "0.5", "--out", out).status == 0
    test = load("digits", binarize="static", seed=0).test
    drawn = np.load(out)
    assert np.array_equal(drawn["x"][:, :, :4], test["x"][:5, :, :4].numpy())
    assert np.array_equal(drawn["y"], test["y"][:5].numpy())
    assert "between 0 and 1" in call("sample", folder, "--begin", "2", "--out", out).line
    assert "was not trained on text" in call("sample", folder, "--begin", "ab", "--out", out).line


def test_a_story_that_draws_all_at_once_completes_nothing(call, vae, tmp_path):
    called = call("sample", vae, "--begin", "0.5", "--out", tmp_path / "x.png")
    assert called.status == 1
    assert "VAE cannot complete data: only autoregressive stories" in called.line
