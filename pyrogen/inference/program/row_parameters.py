"""Parameters that belong to a place in the batch: every row that comes to stand there would share them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrogen.inference.program.isolation import isolated_run
from pyrogen.inference.program.program import Program, Recording
from pyrogen.inference.program.rng import seeded
from pyrogen.story import inside, is_subsample


class _AlikeRows(Messenger):
    """Gives every row the latents of the first one, and collects each row's log densities.

    Args:
        plate: the data plate's frame.
    """

    def __init__(self, plate: Any) -> None:
        super().__init__()
        self.plate = plate
        self.log_densities: dict[tuple[str, bool], Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if is_subsample(msg) or not inside(msg, self.plate.name) or not isinstance(msg["value"], Tensor):
            return
        if not msg["is_observed"]:
            dim = self.plate.dim - msg["fn"].event_dim
            if -dim <= msg["value"].dim():
                msg["value"] = msg["value"].narrow(dim, 0, 1).expand(msg["value"].shape)
        log_prob = msg["fn"].log_prob(msg["value"])
        if log_prob.dim() >= -self.plate.dim:
            rows = log_prob.movedim(self.plate.dim, 0)
            key = (
                msg["name"],
                msg["name"] in {name for name, _ in self.log_densities},
            )  # of the guide, then of the model
            self.log_densities[key] = rows.reshape(len(rows), -1).sum(-1)


def check_row_parameters(program: Program, recording: Recording, rows: int | None) -> None:
    """Refuse parameters by place in a batch that is smaller than the data set.

    Guide and model run on copies of one row. Where a parameter with as many elements along a dimension as the batch or
    the training set has rows is varied along it, the densities of these equal rows must stay equal: `loc` of a value
    for each place in the batch is refused, and so is `loc[:n]` of one for each row; `loc[index]` passes.

    Args:
        program: the story's.
        recording: of guide and model on the batch.
        rows: rows in the training set; None: not known, and not checked.

    Raises:
        ValueError: there is such a parameter.
    """
    n, plate, story = recording.batch.n, recording.plate, program.story
    if rows is None or rows == n or n < 2 or plate is None or plate.dim is None:
        return
    used = {**recording.model.parameters, **recording.guide.parameters}
    parameters = {name: p for name, p in story.trainable().items() if id(p) in used and {n, rows} & {*p.shape}}
    try:
        if not parameters or _alike(recording, program, plate, rows, list(parameters.values())):
            return
        name, parameter = next(
            (name, p) for name, p in parameters.items() if not _alike(recording, program, plate, rows, [p])
        )
    except Exception:  # the program does not run on copies of a row, which it need not
        return
    raise ValueError(
        f"{story.name}: parameter '{name}' of shape {tuple(parameter.shape)} has a value for each place in the batch, "
        f"and batches hold {n} of {rows} rows, so that rows would share it by chance. Make one for each row, such as "
        f"pyro.param('{name}', torch.zeros(total))[index] within pyro.plate('{plate.name}', total, subsample=index); "
        "or compute it from the data; or pass batch_size=None for the whole data set in each step"
    )


def _alike(recording: Recording, program: Program, plate: Any, total: int, moved: list[Tensor]) -> bool:
    """Whether equal rows have equal densities with some parameters varied by place, if they have without."""
    for seed in (0, 1):  # what is refused is seen twice
        constant, varied = (
            _log_densities(recording, program, plate, total, moved, vary, seed) for vary in (False, True)
        )
        noisy = any(not _equal(rows) for rows in constant.values())  # rows have noise of their own
        if noisy or all(_equal(rows) for rows in varied.values()):
            return True
    return False


def _equal(rows: Tensor) -> bool:
    return torch.allclose(rows, rows[0].expand_as(rows), rtol=1e-3, atol=1e-3, equal_nan=True)


def _log_densities(
    recording: Recording, program: Program, plate: Any, total: int, moved: list[Tensor], vary: bool, seed: int
) -> dict[tuple[str, bool], Tensor]:
    """The log density of each site for copies of the first row, with parameters constant over places, or varied."""
    batch = recording.batch.take(torch.zeros(recording.batch.n, dtype=torch.int64, device=program.story.device))
    rows = _AlikeRows(plate)
    with ExitStack() as stack:
        stack.enter_context(isolated_run(program.story))
        for module in program.story.all_modules():
            stack.callback(setattr, module, "training", module.training)
            module.training = False
        stack.enter_context(seeded(seed))
        for tensor in moved:
            stack.callback(tensor.data.copy_, tensor.detach().clone())
            places = [dim for dim, size in enumerate(tensor.shape) if size in (recording.batch.n, total)]
            common = tensor.mean(places, keepdim=True)
            tensor.data.copy_((common + torch.randn_like(common)).expand_as(tensor))
            if vary:
                tensor.data.add_(torch.randn_like(tensor).mul_(0.5))
        stack.enter_context(rows)
        Recording(batch).run(program)
    return rows.log_densities
