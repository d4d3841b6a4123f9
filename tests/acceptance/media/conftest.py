"""A web server, and a gateway that may fetch from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.scripted_vllm import ScriptedVLLM
from tests.web import Web


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    with Web() as running:
        yield running


@pytest.fixture(scope="session")
def open_gateway(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that may fetch from this machine, with limits that are soon reached."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = {
        "MEDIA_ALLOW_PRIVATE_NETWORKS": True,
        "MEDIA_TIMEOUT": 5,
        "MEDIA_MAX_URLS": 3,
        "MEDIA_IMAGE_BYTES": 20_000,
        "MEDIA_FILE_BYTES": 20_000,
        "MEDIA_TOTAL_BYTES": 50_000,
    }
    running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
    yield running
    running.close()
