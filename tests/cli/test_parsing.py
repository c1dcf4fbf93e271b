import pytest
import typer
from pyro.infer import TraceMeanField_ELBO

from pyrogen.cli.parsing import parse_objective, parse_pairs
from pyrogen.inference import ImportanceWeightedELBO, TemperedELBO


def test_objectives():
    assert parse_objective("elbo") is None
    assert type(parse_objective("meanfield")) is TraceMeanField_ELBO
    weighted = parse_objective("iwae=50")
    assert (type(weighted), weighted.num_particles) == (ImportanceWeightedELBO, 50)
    tempered = parse_objective("beta=4, warmup=10,freebits=0.1,meanfield")
    assert type(tempered) is TemperedELBO
    assert (tempered.beta, tempered.warmup, tempered.free_bits) == (4, 10, 0.1)
    assert type(tempered.base) is TraceMeanField_ELBO
    assert parse_objective("elbo,beta=0.5").beta == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no objective is called ''"),
        ("wamup=3", "did you mean 'warmup'"),
        ("beta", "'beta' takes a number"),
        ("beta=four", "got 'four'"),
        ("beta=-1", "beta must be a number of at least 0"),
        ("beta=nan", "beta must be a number of at least 0"),
        ("beta=1,beta=2", "'beta' is given twice"),
        ("elbo=1", "'elbo' takes no value"),
        ("iwae=0", "num_particles must be at least 1"),
        ("iwae=2.5", "whole number of draws"),
        ("iwae=inf", "whole number of draws"),
        ("iwae=5,warmup=2", "'iwae' and 'warmup' exclude each other"),
        ("meanfield,iwae=5", "'iwae' and 'meanfield' exclude each other"),
    ],
)
def test_what_is_no_objective(text, message):
    with pytest.raises(typer.BadParameter, match=message):
        parse_objective(text)


def test_values_are_json_else_strings():
    texts = ["latent=3", "hidden=[4, 5]", "guide=full", "a=b=c", "none=null", "empty=", 'quoted="3"']
    expected = {"latent": 3, "hidden": [4, 5], "guide": "full", "a": "b=c", "none": None, "empty": "", "quoted": "3"}
    assert parse_pairs("--set", texts) == expected


def test_a_key_that_is_given_twice_is_refused():
    with pytest.raises(typer.BadParameter, match="'latent' is given twice"):
        parse_pairs("--set", ["latent=3", "latent =4"])


@pytest.mark.parametrize("text", ["latent", "=3", ""])
def test_what_is_no_pair(text):
    with pytest.raises(typer.BadParameter, match=f"expected key=value, got '{text}'"):
        parse_pairs("--set", [text])
