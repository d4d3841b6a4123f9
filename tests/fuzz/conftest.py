"""A gateway to be tormented, and how much: GATEWAY_TEST_FUZZ is the number of requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.scripted_vllm import ScriptedVLLM


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that fetches nothing, with an upstream of its own. It must not be the worse for it."""
    folder = tmp_path_factory.mktemp("fuzz")
    with ScriptedVLLM() as vllm:
        settings = {"MEDIA_URLS": "refuse", "LOG_LEVEL": "WARNING"}
        running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
        yield running
        try:
            assert running.http.get("/health").status_code == 200
            assert "Traceback" not in running.program.output
            assert "request failed" not in running.program.output
        finally:
            running.close()
