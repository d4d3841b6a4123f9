"""Fixtures of the acceptance tests: gateways whose settings or keys differ from the shared one."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.acceptance.calculator import calculating
from tests.acceptance.guarded import MODELS, Guarded, guarded
from tests.acceptance.tool_hosts import gateway_with_tool_host, install_pyodide
from tests.gateway import Gateway, sqlite_database
from tests.scripted_vllm import ScriptedVLLM
from tests.tools.mcp.servers import OnHttp


@pytest.fixture(autouse=True)
def fresh_upstream(vllm: ScriptedVLLM) -> Iterator[None]:
    """Each test scripts its own upstream, and uses all that it scripted."""
    vllm.reset()
    yield
    unused = vllm.unused
    vllm.reset()
    assert not unused, f"{unused} scripted replies were not asked for"


@pytest.fixture(scope="session")
def impatient_gateway(
    vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One that decides the status of a stream at once, keeps alive often and takes little."""
    folder = tmp_path_factory.mktemp("impatient")
    settings = {
        "STATUS_WINDOW": 0,
        "KEEPALIVE_FIRST": 0.1,
        "KEEPALIVE_EVERY": 0.1,
        "MAX_BODY_BYTES": 4096,
        "SANDBOX_FILES_COUNT": 2,
        "SANDBOX_FILES_BYTES": 2048,
        "DEFAULT_MODEL": "the-usual",
        "UPSTREAM_API_KEY": "known-to-vllm",
    }
    running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
    yield running
    running.close()


@pytest.fixture(scope="session")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with ScriptedVLLM(*MODELS) as vllm:
        running = Gateway(sqlite_database(folder), folder, upstream=vllm.url)
        yield guarded(running, vllm)
        running.close()


@pytest.fixture(name="guarded")
def guarded_gateway(_guarded: Guarded) -> Guarded:
    """One that has keys, with a fresh upstream of its own."""
    _guarded.vllm.reset()
    return _guarded


@pytest.fixture(scope="session")
def calculator() -> Iterator[OnHttp]:
    """An MCP server that requests may bring."""
    with OnHttp(calculating().streamable_http_app()) as running:
        yield running


@pytest.fixture(scope="session")
def mcp_gateway(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One whose requests may bring MCP servers of this machine."""
    folder = tmp_path_factory.mktemp("mcp")
    settings = {"MCP_ALLOW_PRIVATE_NETWORKS": 1}
    running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
    yield running
    running.close()


@pytest.fixture(scope="module")
def sandboxed(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One with a tool host beside it."""
    install_pyodide()
    with gateway_with_tool_host(tmp_path_factory.mktemp("code"), vllm.url) as running:
        yield running


@pytest.fixture
def mcp_client(mcp_gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The official client in front of ``mcp_gateway``."""
    with mcp_gateway.client() as made:
        yield made
