"""A conditional VAE as a classifier of MNIST that may say "none of them", beside a classifier that may not.

    python benchmarks/mnist_bayes_rule.py        # after `mnist_likelihood.py conditional`, or it is trained now

p(y | x) follows by Bayes' rule from p(x | y), and p(x) = sum_y p(x | y) p(y) tells data that are no digits. Rejected
is what is as unusual, in either direction, as one validation digit in a hundred; test digits, which should be kept,
show the rate of mistakes. The outliers are inverted test digits, and letters of the fonts that come with matplotlib,
drawn as MNIST's digits are: 20 pixels high or wide, their centre of mass in the middle; O, o, I and l are left out. The
classifier is one dense network p(y | x), which answers whatever it is given.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.image import imsave
from mnist.runs import EVENT, RUNS
from mnist_likelihood import SEED, train
from PIL import Image, ImageDraw, ImageFont
from recording import RESULTS, Row, environment, record, table
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import make_grid

from pyrogen import data, fit
from pyrogen.inference import Classification, Fit, classify
from pyrogen.models import Classifier

NAME, KEY = "mnist_bayes_rule", ("device", "inputs")
FONTS = [
    FontProperties(family=f"DejaVu {family}", weight=weight, style=style)
    for family in ("Sans", "Serif", "Sans Mono")
    for weight in ("normal", "bold")
    for style in ("normal", "italic")
]
LETTERS = [letter for letter in string.ascii_letters if letter not in "OoIl"]
FALSE_ALARM, DRAWS = 0.01, 100


def letters() -> Tensor:
    """Every letter in every font as zeros and ones (N, 1, 28, 28), drawn from grey values as the digits are."""
    grey = torch.stack([_drawn(letter, findfont(font)) for font in FONTS for letter in LETTERS])
    return torch.bernoulli(grey, generator=torch.Generator().manual_seed(SEED))


def _drawn(letter: str, font: str) -> Tensor:
    """A letter's grey values (1, 28, 28) in [0, 1]: drawn four times as large, averaged, its mass centred."""
    large = ImageFont.truetype(font, 100)
    left, top, right, bottom = large.getbbox(letter)
    size = 100 * 80 / max(right - left, bottom - top)
    canvas = Image.new("L", (112, 112))
    ImageDraw.Draw(canvas).text((56, 56), letter, fill=255, font=ImageFont.truetype(font, size), anchor="mm")
    image = torch.nn.functional.avg_pool2d(pil_to_tensor(canvas) / 255, 4)[0]
    mass, places = image / image.sum(), torch.arange(28.0)
    middle = [round(13.5 - float((mass.sum(1 - axis) * places).sum())) for axis in (0, 1)]
    return image.roll(middle, (0, 1))[None]


def trained_classifier(splits: data.Splits, device: str) -> Fit:
    """p(y | x) by one hidden layer of 400, its weights chosen on the validation split."""
    torch.manual_seed(SEED)
    told = {"validation": splits.validation, "epochs": 20, "patience": 3, "seed": SEED, "device": device}
    return fit(Classifier(EVENT, 10, hidden=(400,)), splits.train, **told)


def figures(inputs: str, said: Classification, forced: Tensor, digits: Classification, y: Tensor | None) -> Row:
    """What the two say of some inputs.

    Args:
        inputs: their name.
        said: by Bayes' rule.
        forced: (N, 10) the classifier's p(y | x).
        digits: what Bayes' rule says of the test digits.
        y: (N,) true labels, where there are some.
    """
    rejected = (said.label == -1).double().mean()
    row: Row = {
        "inputs": inputs,
        "n": len(forced),
        "rejected": float(rejected),
        "rejected_error": float((rejected * (1 - rejected) / len(forced)).sqrt()),
        "classifier_confidence": float(forced.max(1).values.mean()),
        "classifier_sure": float((forced.max(1).values > 0.9).double().mean()),
    }
    if y is not None:
        kept = said.label >= 0
        row["accuracy"] = float((said.log_prob.argmax(1) == y).double().mean())
        row["accuracy_kept"] = float((said.label == y)[kept].double().mean())
        row["classifier_accuracy"] = float((forced.argmax(1) == y).double().mean())
        return row
    assert said.p_value is not None
    assert digits.p_value is not None
    truth = torch.cat([torch.ones(len(said.p_value)), torch.zeros(len(digits.p_value))])
    row["auroc"] = float(roc_auc_score(truth, -torch.cat([said.p_value, digits.p_value])))
    row["auroc_likelihood"] = float(roc_auc_score(truth, -torch.cat([said.log_evidence, digits.log_evidence])))
    return row


def render(rows: list[Row]) -> str:
    """The results as a page."""

    def share(name: str) -> Callable[[Row], str]:
        return lambda row: f"{100 * row[name]:.2f} %" if name in row else ""

    columns: dict[str, Callable[[Row], str]] = {
        "inputs": lambda r: r["inputs"],
        "n": lambda r: str(r["n"]),
        "Bayes' rule: accuracy": share("accuracy"),
        "of those kept": share("accuracy_kept"),
        "rejected": lambda r: f"{100 * r['rejected']:.2f} ± {100 * r['rejected_error']:.2f} %",
        "AUROC": lambda r: f"{r['auroc']:.4f}" if "auroc" in r else "",
        "classifier: accuracy": share("classifier_accuracy"),
        "mean confidence": share("classifier_confidence"),
        "more than 90 % sure": share("classifier_sure"),
        "device": lambda r: r["device"],
        "date": lambda r: r["date"],
    }
    return (
        '# MNIST: Bayes\' rule, which may say "none of them", and a classifier, which may not\n\n'
        "Written by `benchmarks/mnist_bayes_rule.py` from `mnist_bayes_rule.json`, which holds the rest.\n"
        "p(y | x) from the conditional VAE of `mnist_likelihood.py`, each p(x | y) by 100 weighted draws. Rejected\n"
        "is what is as unusual, in either direction, as one validation digit in a hundred: by chance an input is\n"
        "rejected as often as a test digit. AUROC is of the p-value, outliers against test digits; 0.5 is chance.\n"
        "Some of the letters are in `mnist_bayes_rule.png`.\n\n" + table(rows, columns)
    )


def main() -> None:
    """Parse the command line, train what is not trained yet, judge, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", help="folder of the data sets (else PYROGEN_DATA)")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="of the run folders (runs)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = RUNS["conditional"]
    splits = data.load("mnist", options.data_dir, settings.binarize, seed=SEED)
    run = train(settings, splits, options.folder / "mnist-conditional", options.device)
    classifier = trained_classifier(splits, options.device).story
    x, y = splits.test["x"], splits.test["y"]
    reference = classify(run, {"x": splits.validation["x"]}, num_samples=DRAWS, seed=SEED)
    drawn = letters()
    imsave(RESULTS / f"{NAME}.png", make_grid(drawn[:: len(drawn) // 60], nrow=12).permute(1, 2, 0).numpy())
    shown = {"test digits": x, "inverted test digits": 1 - x, "letters": drawn}
    said = {
        name: classify(run, {"x": each}, reference=reference, false_alarm=FALSE_ALARM, num_samples=DRAWS, seed=SEED)
        for name, each in shown.items()
    }
    for name, each in shown.items():
        with torch.no_grad():
            forced = classifier.probabilities(each).cpu()
        row = figures(name, said[name], forced, said["test digits"], y if name == "test digits" else None)
        record(NAME, {**row, **environment(run.story.device), "false_alarm": FALSE_ALARM, "k": DRAWS}, KEY, render)
        print(row)


if __name__ == "__main__":
    main()
