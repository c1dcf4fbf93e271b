"""A whole job in NumPyro, in a process of its own: prints one JSON line with its seconds, compiling included.

    python numpyro_job.py PROGRAM JOB.npz '{"steps": ..., "batch_size": ..., "target": ..., "rate": ..., ...}'

As a script it sees only its own folder, so that it runs under another interpreter.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np
from numpyro_process import free_cores, limit_threads

__all__: list[str] = []


def columns_of(held: Any, prefix: str) -> dict[str, Any]:
    """The arrays whose names begin with a prefix."""
    return {name.removeprefix(f"{prefix} "): held[name] for name in held if name.startswith(f"{prefix} ")}


def train(program: str, held: Any, job: dict[str, Any]) -> bool:
    """Take the job's steps; whether it reached what it was to reach."""
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro_programs import program as make

    columns = {name: jnp.asarray(value) for name, value in columns_of(held, "train").items()}
    validation = {name: jnp.asarray(value) for name, value in columns_of(held, "validation").items()}
    model, guide, objective = make(program, {n: jnp.asarray(v) for n, v in columns_of(held, "start").items()})
    svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(job["rate"]), objective)
    rows, size = len(next(iter(columns.values()))), job["batch_size"]
    first = columns if size is None else {name: value[:size] for name, value in columns.items()}
    state = svi.init(jax.random.PRNGKey(job["seed"]), **first)

    @functools.partial(jax.jit, static_argnums=2)
    def whole(state: Any, columns: Any, steps: int) -> Any:
        return jax.lax.scan(lambda s, _: svi.update(s, **columns), state, None, length=steps)[0]

    @jax.jit
    def epoch(state: Any, columns: Any, order: Any) -> Any:
        def step(s: Any, index: Any) -> Any:
            return svi.update(s, **{name: value[index] for name, value in columns.items()})

        return jax.lax.scan(step, state, order)[0]

    @jax.jit
    def elbo(state: Any, columns: Any) -> Any:
        count = len(next(iter(columns.values())))
        parts = {name: value.reshape(-1, 200, *value.shape[1:]) for name, value in columns.items()}
        return -jax.lax.map(lambda part: svi.evaluate(state, **part), parts).sum() / count

    if size is None:
        jax.block_until_ready(whole(state, columns, job["steps"]))
        return True
    order, taken = np.random.default_rng(job["seed"]), 0
    while taken < job["steps"]:
        count = min(job["steps"] - taken, rows // size)
        index = order.permutation(rows)[: count * size].reshape(count, size)
        state = jax.block_until_ready(epoch(state, columns, jnp.asarray(index)))
        taken += count
        if job["target"] is not None and float(elbo(state, validation)) >= job["target"]:
            return True
    return job["target"] is None


def main() -> None:
    """Read the job, take its steps, print."""
    program, path, told = sys.argv[1:]
    job = json.loads(told)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    limit_threads(job["threads"])
    import jax
    import numpyro
    import numpyro_programs  # noqa: F401 - imports are not part of the job

    jax.devices()
    free_cores(cores)
    with np.load(path) as opened:
        held = {name: opened[name] for name in opened}
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    met = train(program, held, job)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    used = {"cpu_seconds": round(cpu, 3), "peak_mib": round(after.ru_maxrss / 1024, 1)}
    versions = {"numpyro": numpyro.__version__, "jax": jax.__version__}
    print(json.dumps({"mode": "scanned", "seconds": round(seconds, 3) if met else None, **used, "versions": versions}))


if __name__ == "__main__":
    main()
