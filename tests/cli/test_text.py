"""Text from a file, through training, to lines again; and codes, of which the training tells the use."""


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


def test_no_lines_of_what_is_no_text(call, tmp_path):
    out = tmp_path / "run"
    assert call("train", "ppca", "--data", "ring", "--set", "latent=1", "--steps", 1, "--out", out).status == 0
    called = call("sample", out, "--out", tmp_path / "x.txt")
    assert called.status == 1
    assert "the run was not trained on text (a .txt file): write .npz or .safetensors instead" in called.line


def test_codes_in_use_are_told(call, tmp_path):
    options = ("--epochs", 1, "--set", "hidden=[8]", "--out", tmp_path / "run")
    called = call("train", "vq_vae", "--data", "digits", *options)
    assert called.status == 0
    assert "of 16 codes used, perplexity" in called.out
