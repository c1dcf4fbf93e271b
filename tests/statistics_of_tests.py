"""Comparison of Monte Carlo estimates with exact answers."""

import torch
from torch import Tensor

FALSE_ALARM_IN_50_000 = 4.27


def assert_within(
    estimate: object, exact: object, error: object, sigmas: float = FALSE_ALARM_IN_50_000, what: str = "estimate"
) -> None:
    """Assert that an estimate is within `sigmas` of its own standard errors of the exact answer.

    Takes numbers, arrays and tensors, which are broadcast; every element must hold, and the worst is shown. Each of
    them can raise a false alarm: compare a few numbers, not thousands. A standard error that is not finite proves
    nothing and fails.
    """
    found, wanted, spread = torch.broadcast_tensors(*map(_numbers, (estimate, exact, error)))
    distance = (found - wanted).abs()
    holds = (distance <= sigmas * spread) & spread.isfinite() & (spread >= 0)
    if holds.all():
        return
    off = torch.where(holds, 0.0, (distance / spread).nan_to_num(torch.inf, torch.inf, torch.inf))
    worst = tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape))
    place = f"{what}{list(worst)}" if worst else what
    raise AssertionError(
        f"{place} is {found[worst]:.6g}, exactly {wanted[worst]:.6g}: {distance[worst]:.3g} apart, which is "
        f"{off[worst]:.2f} standard errors of {spread[worst]:.3g}, and {sigmas} are allowed "
        f"({int((~holds).sum())} of {holds.numel()} outside)"
    )


def _numbers(value: object) -> Tensor:
    return torch.as_tensor(value).detach().to("cpu", torch.float64)
