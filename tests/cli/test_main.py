"""The command as a whole: help, versions, errors in one line, exit statuses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import pyrogen
from pyrogen.catalog import CATALOG
from pyrogen.catalog.listing import listing
from pyrogen.cli.app import LISTING, app
from pyrogen.data import describe

ROOT = Path(pyrogen.__file__).parents[1]
TRAIN = "train vae --data digits --out OUT"

USAGE = {
    "--vrsion": "no such option --vrsion; did you mean '--version'?",
    "trian": "no such command 'trian'. Did you mean 'train'?",
    "diagnos run": "no such command 'diagnos'",
    "train": "missing argument 'NAME'",
    "train vae --data digits": "missing option '--out'",
    f"{TRAIN} --epoch 3": "no such option --epoch; did you mean '--epochs'?",
    f"{TRAIN} --epochs 0": "'--epochs'",
    f"{TRAIN} --epochs three": "'--epochs'",
    f"{TRAIN} --epochs 3 --steps 4": "pass --epochs or --steps, not both",
    f"{TRAIN} --seed -1": "'--seed'",
    f"{TRAIN} --binarize statik": "'statik' is not one of 'static', 'dynamic', 'threshold', 'none'",
    f"{TRAIN} --precision float16": "'float16' is not one of 'float32'",
    f"{TRAIN} --set latent": "expected key=value, got 'latent'",
    f"{TRAIN} --set latent=3 --set latent=4": "'latent' is given twice",
    f"{TRAIN} --lr nan": "'--lr'",
    f"{TRAIN} --clip-norm inf": "'--clip-norm'",
    f"{TRAIN} --clip-norm -1": "'--clip-norm'",
    f"{TRAIN} --ema 2": "'--ema'",
    f"{TRAIN} --ema 1": "'--ema': it must lie between 0 and 1, such as 0.999, got 1",
    f"{TRAIN} --ema 0": "'--ema': it must lie between 0 and 1",
    f"{TRAIN} --clip-norm 0": "'--clip-norm': expected a number above 0, got 0",
    "train vae --data digits --out ~nobody-here/run": "'--out': it is '~nobody-here/run', and ~nobody-here is nobody's",
    f"{TRAIN} --data-dir ~nobody-here": "'--data-dir': it is '~nobody-here', and ~nobody-here is nobody's home",
    "evaluate ~nobody-here": "'DIR': it is '~nobody-here', and ~nobody-here is nobody's home: write ./~nobody-here",
    "sample VAE --out ~nobody-here/x.png": "'--out': it is '~nobody-here/x.png'",
    "diagnose VAE --out ~nobody-here": "'--out': it is '~nobody-here'",
    f"{TRAIN} --seed 99999999999999999999": "'--seed'",
    "train gaussian --data ring --steps 5 --out OUT": "'--steps': it has no effect, as Multivariate",
    "train gaussian --data ring --epochs 5 --out OUT": "'--epochs': it has no effect",
    "train pca --data digits --lr 0.1 --out OUT": "'--lr': it has no effect, as PCA takes no steps",
    "train kde --data ring --batch-size 5 --out OUT": "'--batch-size': it has no effect, as KDE takes no steps",
    "train kmeans --data digits --objective iwae=5 --out OUT": "'--objective': it has no effect",
    "train kmeans --data digits --strip --out OUT": "'--strip': it has no effect",
    "train pca --data digits --ema 0.9 --out OUT": "'--ema': it has no effect",
    "train pca --data digits --patience 3 --out OUT": "'--patience': it has no effect",
    "train pca --data digits --clip-norm 3 --out OUT": "'--clip-norm': it has no effect",
    f"{TRAIN} --objective bta=4": "no objective is called 'bta'; did you mean 'beta'?",
    f"{TRAIN} surplus": "unexpected extra argument",
    "evaluate": "missing argument 'DIR'",
    "evaluate VAE --jsn": "no such option --jsn; did you mean '--json'?",
    "evaluate VAE --split tst": "'tst' is not one of 'train', 'validation', 'test'",
    "evaluate VAE -k 0": "'-k'",
    "evaluate VAE --story vae": "expected path/to/file.py:Class, got 'vae'",
    "sample VAE": "missing option '--out'",
    "sample VAE --out OUT.gif": "expected a file .png, .npz, .safetensors, .txt, got 'OUT.gif'",
    "sample VAE --out OUT.png -n 0": "'-n'",
    "sample VAE --out OUT.png --given y": "expected key=value, got 'y'",
    "list surplus": "unexpected extra argument",
}

UNKNOWN = {
    "train vea --data digits --out OUT": "no story is called 'vea'; did you mean 'vae'?",
    "train vae --data digts --out OUT": "unknown data 'digts'",
    "train OWN:Clases --data digits --out OUT": "has no Story called 'Clases'",
    "evaluate VAE --story OWN:Clases": "has no Story called 'Clases'",
    "evaluate VAE --data digts": "unknown data 'digts'",
    f"{TRAIN} --set latnt=3": "vae has no setting 'latnt'; did you mean 'latent'?",
    f"{TRAIN} --set likelihood=poisson": "likelihood takes one of bernoulli, gaussian, gaussian-pixel",
    f"{TRAIN} --set components=7": "components has no effect with prior=normal; it is used with prior=mixture or vamp",
    f"{TRAIN} --set latent=NaN": "latent takes a whole number from 1 to 16,384, got NaN",
    f"{TRAIN} --set latent={'[' * 100_000}": 'latent takes a whole number from 1 to 16,384, got "[[[[',
    "train gaussian --data ring --set floor=vamp --epochs 1 --out OUT": "floor takes a number above 0",
    "train gan --data ring --set channels=[8] --out OUT": "channels has no effect with network=dense",
    "train OWN:Classes --data BARS --set spread=wide --out OUT": "Classes cannot be built with spread=wide: TypeError",
    "train OWN:Composed --data BARS --set prt=1 --out OUT": "Composed has no setting 'prt'; did you mean 'part'?",
    f"{TRAIN} --device gpu": "device is 'gpu': expected auto, cpu, cuda or cuda:1",
    "evaluate VAE --device nonsense": "device is 'nonsense': expected auto, cpu, cuda or cuda:1",
    "sample VAE --out OUT.png --given y=3": "--given y: VAE has no column 'y' (it has: x)",
    "sample VAE --out OUT.png --draw steps=5": "--draw: VAE has no settings of its sampler",
}

FAILURES = {
    "train vae --data no/such.npz --out OUT": "no/such.npz: no such file or folder",
    "train vae --data mnist --data-dir OUT --out OUT": "is missing in OUT/MNIST/raw",
    "train none.py:Own --data digits --out OUT": "story file 'none.py' does not exist",
    "train OWN:Classes --data linear_gaussian --out OUT": "Classes needs 'classes', which the data do not determine",
    "train OWN:Broken --data BARS --out OUT": "name 'undefined' is not defined",
    f"{TRAIN} --binarize none": "Bernoulli has support {0, 1}, but 'x' has",
    f"{TRAIN} --device cuda:77": "device 'cuda:77' is not there",
    "train vae --data linear_gaussian --out OUT": "Bernoulli has support {0, 1}, but 'x' has",
    "train vae --data linear_gaussian --binarize static --out OUT": "needs x within [0, 1]",
    "train vae --data digits --out OWN": "is a file, expected a folder",
    "train vae --data digits --out VAE": "already holds a run: pass resume=True (--resume)",
    "evaluate OUT": "OUT does not exist",
    "evaluate .": "holds no config.json",
    "evaluate VAE --data ring": "needs x within [0, 1]",
    "evaluate VAE --story OWN:Classes": "is a run of pyrogen.models.VAE, and the class given is Classes",
    "evaluate VAE --device cuda:77": "device 'cuda:77' is not there",
}


@pytest.fixture
def filled(tmp_path, monkeypatch, vae, own, bars):
    """Fills in paths; files of no name are in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda text: text.replace("VAE", str(vae)).replace("OWN", str(own)).replace("BARS", str(bars)).split()


@pytest.mark.parametrize("arguments", USAGE)
def test_wrong_usage_is_one_line_and_2(call, filled, arguments):
    called = call(*filled(arguments))
    assert called.status == 2
    assert USAGE[arguments] in called.line
    assert called.line.endswith("--help)")
    assert not called.out
    assert not Path("OUT").exists()


@pytest.mark.parametrize("arguments", UNKNOWN, ids=lambda text: text[:80])
def test_an_unknown_name_or_a_wrong_setting_is_one_line_and_2(call, filled, arguments):
    called = call(*filled(arguments))
    assert called.status == 2
    assert UNKNOWN[arguments] in called.line
    assert not called.out.replace("a file that speaks when it is read\n", "")
    assert not Path("OUT").exists()


@pytest.mark.parametrize("arguments", FAILURES)
def test_a_failure_is_one_line_and_1(call, filled, arguments):
    called = call(*filled(arguments))
    assert called.status == 1
    assert FAILURES[arguments] in called.line
    assert not Path("OUT", "resume.safetensors").exists()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_adds_the_traceback_wherever_it_stands(call, place):
    arguments = ["evaluate", "nowhere", "--json"]
    arguments.insert(place, "--debug")
    called = call(*arguments)
    assert called.status == 1
    assert called.err.startswith("Traceback (most recent call last)")
    assert called.err.splitlines()[-1].startswith("pyrogen: nowhere does not exist")


def test_version(call):
    assert call("--version") == (0, f"pyrogen {pyrogen.__version__}\n", "")


def test_help_names_every_command_and_explains_every_option(call):
    bare, asked = call(), call("--help")
    assert bare.out.split() == asked.out.split()
    assert bare.status == asked.status == 0
    group = typer.main.get_command(app)
    assert group.list_commands(None) == ["train", "evaluate", "sample", "diagnose", "list"]
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        assert command.help.splitlines()[0] == group.commands[name].help
        assert re.search(rf"^  {name} +\w", asked.out, flags=re.MULTILINE)
        shown = call(name, "--help")
        assert (shown.status, shown.err) == (0, "")
        text = "".join(shown.out.split())
        assert "".join(command.help.split()) in text
        for parameter in command.params:
            assert len(parameter.help.split()) >= 2, (name, parameter.name)
            names = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
            explained = re.escape(names[0]) + ".{0,60}?" + re.escape("".join(parameter.help.split()))
            assert re.search(explained, text), (name, parameter.name)


def test_list_has_every_story_with_its_settings_and_every_data_set(call):
    listed = call("list")
    assert (listed.status, listed.err) == (0, "")
    for entry in CATALOG.values():
        assert entry.name in listed.out
        assert entry.summary in listed.out
        for setting in entry.settings:
            assert f"    --set {setting}=" in listed.out
    lines = [line.split(maxsplit=2) for line in listed.out.splitlines()]
    for setting, values in (
        ("latent=16", "a whole number from 1 to 16,384"),
        (
            "channels=[32,64]",
            "a whole number from 1 to 16,384 or a list of 1 to 64 of them; with network=conv or resnet",
        ),
        ("prior=normal", "one of normal, mixture, vamp, flow"),
        ("components=50", "a whole number from 1 to 16,384; with prior=mixture or vamp"),
        ("network=null", "one of dense, conv, resnet or null"),
    ):
        assert ["--set", setting, values] in lines
    for name, summary in describe():
        assert name in listed.out
        assert summary in listed.out


def test_the_listing_is_of_the_catalog_as_it_is():
    assert LISTING.read_text(encoding="utf-8") == listing(), "write it anew: python -m pyrogen.catalog.listing"


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["trian"], ["--version"]], ids=" ".join)
def test_what_needs_no_torch_does_not_import_it(arguments):
    code = f"import sys, pyrogen.cli; pyrogen.cli.main({arguments}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_as_a_process():
    def process(*arguments, **options):
        command = [sys.executable, "-m", "pyrogen", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)

    listed = process("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "vae" in listed.stdout
    wrong = process("lst")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "pyrogen: no such command 'lst'. Did you mean 'list'? (see pyrogen --help)\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_reader_who_leaves_early_is_no_matter():
    command = f"{sys.executable} -m pyrogen list | true"
    ended = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("option", ["--epochs", "--seed", "--device", "--data", "--out"])
@pytest.mark.parametrize("values", [("1", "2"), ("1", "1")])
def test_an_option_that_is_given_twice_is_wrong_usage(call, tmp_path, option, values):
    given = [part for value in values for part in (option, value)]
    others = {"--data": "digits", "--out": tmp_path / "run"}
    line = [part for name, value in others.items() if name != option for part in (name, value)]
    called = call("train", "ppca", *line, *given)
    assert called.status == 2
    assert option in called.line
    assert "twice" in called.line
    assert not (tmp_path / "run").exists()


def test_flags_and_settings_may_be_repeated(call, tmp_path):
    settings = ["--set", "latent=2", "--set", "guide=meanfield", "--no-progress", "--no-progress"]
    assert call("train", "ppca", "--data", "ring", "--out", tmp_path / "run", "--steps", 1, *settings).status == 0


@pytest.mark.parametrize("data", ["digits", "ring", "linear-gaussian", "file"])
def test_a_directory_of_data_sets_that_is_not_looked_in_is_refused(call, tmp_path, data):
    if data == "file":
        data = tmp_path / "own.csv"
        data.write_text("1.5,2.5\n" * 10)
    line = ["train", "gaussian", "--data", data, "--out", tmp_path / "run"]
    called = call(*line, "--data-dir", tmp_path)
    assert called.status == 2
    assert "'--data-dir': it has no effect" in called.line
    assert call(*line, "--set", "floor=0.1").status == 0
    for command in (["evaluate"], ["diagnose", "--budget", "quick"]):
        called = call(command[0], tmp_path / "run", *command[1:], "--data-dir", tmp_path)
        assert called.status == 2
        assert "--data-dir" in called.line


@pytest.mark.parametrize("large", [2**32, 2**40 + 5, 2**63 - 1])
def test_large_seeds_are_seeds(call, tmp_path, large):
    run, draws = tmp_path / "run", tmp_path / "x.npz"
    options = ("--out", run, "--set", "latent=1", "--steps", 2, "--seed", large)
    assert call("train", "ppca", "--data", "ring", *options).status == 0
    drawn = []
    for number in (large, large, large - 1):
        assert call("sample", run, "-n", 3, "--out", draws, "--seed", number).status == 0
        drawn.append(np.load(draws)["x"].tolist())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("command", ["train", "sample", "evaluate"])
def test_the_device_without_values_is_wrong_usage(call, tmp_path, command):
    run, out = tmp_path / "run", tmp_path / "out.npz"
    call("train", "gaussian", "--data", "ring", "--out", run)
    rest = {"train": ["gaussian", "--data", "ring", "--out", out], "sample": [run, "--out", out], "evaluate": [run]}
    assert call(command, *rest[command], "--device", "meta").status == 2
