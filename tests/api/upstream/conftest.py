"""The scripted upstream as these tests' own model server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from tests.scripted_vllm import ScriptedVLLM


@pytest.fixture
def server(settings: Settings) -> Iterator[ScriptedVLLM]:
    """Listens, is configured as the upstream, and counts from nothing."""
    with ScriptedVLLM() as running:
        settings.GATEWAY_UPSTREAM_URL = running.url
        settings.GATEWAY_UPSTREAM_API_KEY = ""
        yield running
