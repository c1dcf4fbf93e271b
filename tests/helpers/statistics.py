"""Comparison of Monte Carlo estimates with exact answers."""

import torch
from scipy.stats import chisquare
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
    value, expected, spread = torch.broadcast_tensors(*map(_numbers, (estimate, exact, error)))
    distance = (value - expected).abs()
    holds = (distance <= sigmas * spread) & spread.isfinite() & (spread >= 0)
    if holds.all():
        return
    off = torch.where(holds, 0.0, (distance / spread).nan_to_num(torch.inf, torch.inf, torch.inf))
    worst = tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape))
    place = f"{what}{list(worst)}" if worst else what
    raise AssertionError(
        f"{place} is {value[worst]:.6g}, exactly {expected[worst]:.6g}: {distance[worst]:.3g} apart, which is "
        f"{off[worst]:.2f} standard errors of {spread[worst]:.3g}, and {sigmas} are allowed "
        f"({int((~holds).sum())} of {holds.numel()} outside)"
    )


def assert_frequencies(counts: object, probabilities: object, false_alarm: float = 2e-5) -> None:
    """Assert that counts of independent draws are those of the probabilities: Pearson's chi-square.

    Outcomes of fewer than 5 expected draws are taken together.
    """
    counted, chances = _numbers(counts), _numbers(probabilities)
    assert abs(float(chances.sum()) - 1) < 1e-4, f"probabilities sum to {float(chances.sum())}"
    expected = counted.sum() * chances / chances.sum()
    rare = expected < 5
    if rare.any():
        counted = torch.cat([counted[~rare], counted[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    p_value = float(chisquare(counted.numpy(), expected.numpy()).pvalue)
    assert p_value > false_alarm, f"chi-square: p = {p_value:.2g}, and {false_alarm} is allowed"


def _numbers(value: object) -> Tensor:
    return torch.as_tensor(value).detach().to("cpu", torch.float64)
