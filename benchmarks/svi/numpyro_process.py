"""NumPyro's steps in a process of their own: answers one JSON line to each line on its standard input.

    python numpyro_process.py CASE START.npz RATE THREADS

START.npz holds the columns and the parameters to start from. As a script it sees only its own folder, so that it runs
under another interpreter.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from typing import Any

import numpy as np

__all__: list[str] = []

SCAN_SECONDS, LONGEST = 0.01, 500
"""How long one call of the `lax.scan` form should take, and its most steps."""


def limit_threads(threads: int) -> None:
    """XLA makes as many threads as it may use cores; it is shown so many while it starts."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("true" if threads > 1 else "false")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def free_cores(cores: set[int]) -> None:
    """Let the threads that there are now run on any core again."""
    if hasattr(os, "sched_setaffinity"):
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), cores)


class Steps:
    """SVI in NumPyro, one jitted step at a time or many in one `lax.scan`."""

    def __init__(self, case: str, path: str, rate: float) -> None:
        import jax
        import jax.numpy as jnp
        import numpyro
        from numpyro_programs import program

        self.jax, self.numpyro = jax, numpyro
        with np.load(path) as held:
            self.columns = {n.removeprefix("column "): jnp.asarray(held[n]) for n in held if n.startswith("column ")}
            start = {n.removeprefix("start "): jnp.asarray(held[n]) for n in held if n.startswith("start ")}
        model, guide, objective = program(case, start)
        self.svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(rate), objective)
        self.start = self.state = self.svi.init(jax.random.PRNGKey(0), **self.columns)
        self.one = jax.jit(lambda state, columns: self.svi.update(state, **columns))

        @functools.partial(jax.jit, static_argnums=2)
        def many(state: Any, columns: Any, steps: int) -> Any:
            return jax.lax.scan(lambda s, _: self.svi.update(s, **columns), state, None, length=steps)

        self.many = many
        self.seconds("jitted", 1)
        self.chunk = min(LONGEST, max(2, int(SCAN_SECONDS * 20 / self.seconds("jitted", 20))))
        self.seconds("scanned", 1)

    def about(self) -> dict[str, Any]:
        """Versions, and how many numbers are trained."""
        params = self.jax.tree.leaves(self.svi.get_params(self.start))
        found = {"numpyro": self.numpyro.__version__, "jax": self.jax.__version__}
        return {"versions": found, "count": sum(int(p.size) for p in params), "chunk": self.chunk}

    def seconds(self, form: str, times: int) -> float:
        """How long so many steps take, or so many scans of `chunk` steps; one goes before, untimed."""
        state = self.state
        call: Any = self.one if form == "jitted" else lambda s, columns: self.many(s, columns, self.chunk)
        state, _ = call(state, self.columns)
        self.jax.block_until_ready(state)
        began = time.perf_counter()
        for _ in range(times):
            state, loss = call(state, self.columns)
        self.jax.block_until_ready((state, loss))
        took = time.perf_counter() - began
        self.state = state
        return took

    def losses(self, draws: int) -> tuple[float, float]:
        """The mean over many steps' losses, each taken from the start, and its Monte Carlo error."""
        keys = self.jax.random.split(self.jax.random.PRNGKey(1), draws)
        found = np.array([float(self.one(self.start._replace(rng_key=k), self.columns)[1]) for k in keys])
        return float(found.mean()), float(found.std(ddof=1) / draws**0.5)

    def unmoved(self) -> list[str]:
        """The parameters that three steps leave where they were, or that are no numbers then."""
        state = self.start
        for _ in range(3):
            state, _ = self.one(state, self.columns)
        before, after = (self.svi.get_params(s) for s in (self.start, state))
        fine = {n for n, p in after.items() if np.isfinite(p).all() and not np.array_equal(p, before[n])}
        return sorted(set(before) - fine)


def main() -> None:
    """Answer until the input ends."""
    case, path, rate, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    limit_threads(int(threads))
    steps = Steps(case, path, float(rate))
    free_cores(cores)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        answers.write(json.dumps(getattr(steps, name)(*arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
