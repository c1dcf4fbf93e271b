"""A pytest plugin: `pyro.infer.SVI` is pyrogen's drop-in, wherever a test takes it from, its steps traced at once.

python -m pytest -p stock_replaced tests/infer/test_inference.py      # with this folder on PYTHONPATH
"""

from __future__ import annotations

import pyro.infer
import pyro.infer.svi

import pyrogen.inference
from pyrogen.inference.svi import pyro_svi

__all__: list[str] = []

pyro_svi.EAGER_STEPS = 1  # steps are traced from the second one on
pyro.infer.SVI = pyro.infer.svi.SVI = pyrogen.inference.SVI
