"""The backend of compiled steps in tests."""

import pytest

from pyrogen.inference.compile import compiled_step


@pytest.fixture(autouse=True)
def cheap(monkeypatch, request):
    """Compile without generating code, unless a test is marked `inductor`."""
    if "inductor" not in request.keywords:
        monkeypatch.setattr(compiled_step, "COMPILER", lambda graph, inputs, *_: graph)
