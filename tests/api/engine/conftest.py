"""Fixtures of the engine's tests: runs without a database."""

from __future__ import annotations

import pytest

from apps.api.engine import process as process_module
from apps.api.engine import recorder as recorder_module
from apps.api.engine import runs as runs_module
from apps.api.engine.process import Process
from tests.api.engine.twins import ScriptedStore


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ScriptedStore:
    """What runs write to."""
    twin = ScriptedStore()
    monkeypatch.setattr(recorder_module, "in_writer", twin)
    monkeypatch.setattr(recorder_module, "in_writer_together", twin)
    return twin


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process of the test's own."""
    made = Process()
    for module in (process_module, recorder_module, runs_module):
        monkeypatch.setattr(module, "process", made)
    return made
