"""A pytest plugin: `pyro.infer.SVI` is pyrogen's drop-in, wherever a test takes it from.

python -m pytest -p stock_replaced tests/infer/test_inference.py      # with this folder on PYTHONPATH
"""

from __future__ import annotations

import pyro.infer
import pyro.infer.svi

import pyrogen.inference

__all__: list[str] = []

pyro.infer.SVI = pyro.infer.svi.SVI = pyrogen.inference.SVI
