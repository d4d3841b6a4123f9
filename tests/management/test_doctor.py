"""``manage.py doctor``: a line for everything, its exit status, and what it remembers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import AccessRefused
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import Settings
from redis import Redis

from apps.api.management import diagnosis, vllm
from apps.api.management.code_diagnosis import code_interpreter
from apps.api.management.diagnosis import State, of_model
from apps.api.management.running import upstream_of_running, upstream_told
from apps.api.upstream.capabilities import Capability as Kind
from apps.api.upstream.capabilities import Finding
from apps.store.models import Capability
from apps.tools.code_interpreter import ledger
from tests.programs import Program, eventually
from tests.scripted_vllm import ScriptedVLLM, body, calls, reasoning, recorded, text

pytestmark = pytest.mark.django_db

NOWHERE = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def healthy(settings: Settings) -> None:
    """Nothing is wrong but what a test makes wrong."""
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = False
    settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    settings.REDIS_URL = settings.CELERY_BROKER_URL = ""
    settings.GATEWAY_SANDBOX = "off"
    settings.GATEWAY_UPSTREAM_API_KEY = settings.GATEWAY_DEFAULT_MODEL = ""


@pytest.fixture
def upstream(settings: Settings) -> Iterator[ScriptedVLLM]:
    with ScriptedVLLM() as server:
        settings.GATEWAY_UPSTREAM_URL = server.url
        server.script(
            calls(("get_weather", {"city": "Paris"})),
            reasoning("Hm.") + text("42"),
            text('{"answer": true}'),
        )
        yield server


def doctor(*arguments: str) -> tuple[str, int]:
    """What it prints and its exit status."""
    out = StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as exc:
        return out.getvalue(), int(exc.code or 0)
    return out.getvalue(), 0


def lines(output: str) -> dict[str, tuple[str, str]]:
    """State and text by name."""
    found = {}
    for line in output.splitlines():
        state, rest = line[:5].strip(), line[7:]
        name, _, told = rest.partition("  ")
        found[name] = state, told.strip()
    return found


def test_all_is_well(upstream: ScriptedVLLM) -> None:
    output, status = doctor()
    assert status == 0, output
    told = lines(output)
    assert told["database"][1].endswith("schema up to date")
    assert told["upstream"] == ("ok", f"{upstream.url}/v1, vLLM 0.32.0")
    assert told["models"] == ("ok", "tiny")
    assert {name: state for name, (state, _) in told.items()} == {
        "database": "ok",
        "keys": "ok",
        "settings": "ok",
        "redis": "-",
        "broker": "-",
        "code": "-",
        "upstream": "ok",
        "models": "ok",
        "tiny: tools": "ok",
        "tiny: reasoning": "ok",
        "tiny: schema": "ok",
        "tiny: tokenize": "ok",
        "tiny: images": "ok",
    }


def test_what_the_models_can_do_is_remembered(upstream: ScriptedVLLM) -> None:
    doctor()
    rows = Capability.objects.values_list("model", "capability", "works", "upstream_version")
    assert set(rows) == {
        ("tiny", name, True, "0.32.0")
        for name in ("tools", "reasoning", "schema", "tokenize", "images")
    }


def test_json_says_the_same(upstream: ScriptedVLLM) -> None:
    output, status = doctor("--json")
    told: dict[str, Any] = json.loads(output)
    assert (told["ok"], status, told["upstream_version"]) == (True, 0, "0.32.0")
    assert {"name": "models", "state": "ok", "text": "tiny"} in told["checks"]
    tools = {"model": "tiny", "capability": "tools", "works": True, "detail": ""}
    assert tools in told["models"]


def test_an_upstream_can_be_named(upstream: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_UPSTREAM_URL = ""
    output, status = doctor("--upstream", upstream.url)
    assert (lines(output)["upstream"][0], status) == ("ok", 0)


def test_a_serve_that_runs_tells_its_own(
    upstream: ScriptedVLLM, settings: Settings, tmp_path: Path
) -> None:
    settings.GATEWAY_UPSTREAM_URL, settings.DATA_DIR = "", tmp_path
    with upstream_told(tmp_path, f"{upstream.url}/v1"):
        assert lines(doctor()[0])["upstream"] == ("ok", f"{upstream.url}/v1, vLLM 0.32.0")
        with upstream_told(tmp_path, "http://another.example.org/v1"):
            assert upstream_of_running(tmp_path) == f"{upstream.url}/v1"
    settings.GATEWAY_UPSTREAM_URL = ""
    assert lines(doctor()[0])["upstream"][0] == "fault"


# --- What can be wrong ----------------------------------------------------------------------------


def fault(name: str) -> str:
    """What is said of the one thing that is wrong."""
    output, status = doctor()
    told = lines(output)
    assert [name for name, (state, _) in told.items() if state == "fault"] == [name]
    assert status == 1
    return told[name][1]


def test_a_missing_migration(upstream: ScriptedVLLM) -> None:
    ((app, last),) = MigrationLoader(connection).graph.leaf_nodes("store")
    MigrationRecorder(connection).record_unapplied(app, last)
    assert "1 migration is not applied. Run `manage.py migrate`." in fault("database")
    assert not Capability.objects.exists()


def test_a_database_of_a_newer_version(upstream: ScriptedVLLM) -> None:
    MigrationRecorder(connection).record_applied("store", "9999_future")
    assert "newer version of the gateway" in fault("database")


def test_a_database_that_does_not_answer(
    upstream: ScriptedVLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ping() -> None:
        raise DatabaseError("connection refused\nIs it running?\n")

    monkeypatch.setattr(diagnosis, "ping_database", ping)
    assert "connection refused Is it running?" in fault("database")


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    postgresql = SimpleNamespace(
        vendor="postgresql",
        display_name="PostgreSQL",
        settings_dict={"NAME": "gateway", "HOST": "db", "PASSWORD": "hunter2"},
    )
    monkeypatch.setattr(diagnosis, "connection", postgresql)
    assert diagnosis.database().text == "PostgreSQL gateway at db, schema up to date"


def test_no_secret_key(upstream: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = True
    assert "set GATEWAY_SECRET_KEY." in fault("keys")


def test_no_encryption_key(upstream: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = []
    assert "set GATEWAY_ENCRYPTION_KEYS." in fault("keys")


def test_an_encryption_key_that_is_none(upstream: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = ["secret"]
    told = fault("keys")
    assert "not a Fernet key" in told
    assert "secret" not in told


def test_settings_that_contradict_each_other(upstream: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_RUN_TIMEOUT = 1.0
    assert "GATEWAY_RUN_TIMEOUT has to be at least" in fault("settings")


def test_redis_that_does_not_answer(
    upstream: ScriptedVLLM, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = f"redis://{NOWHERE}/0"
    assert "Check REDIS_URL" in fault("redis")


def test_workers_without_redis_are_no_place_for_code(
    upstream: ScriptedVLLM, settings: Settings
) -> None:
    settings.GATEWAY_SANDBOX = "pyodide"
    settings.CELERY_BROKER_URL = f"amqp://{NOWHERE}//"
    output, _ = doctor()
    assert "Set REDIS_URL" in lines(output)["code"][1]


def test_a_broker_that_does_not_answer(
    upstream: ScriptedVLLM, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery import current_app

    settings.CELERY_BROKER_URL = f"redis://{NOWHERE}/0"
    monkeypatch.setattr(current_app.conf, "broker_url", settings.CELERY_BROKER_URL)
    assert "Check CELERY_BROKER_URL" in fault("broker")


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://broker",
        "amqp://guest:pass/word@127.0.0.1//",
        f"redis://{NOWHERE}/none",
    ],
)
def test_a_url_that_is_no_brokers(
    upstream: ScriptedVLLM, settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    from celery import current_app

    settings.CELERY_BROKER_URL = url
    monkeypatch.setattr(current_app.conf, "broker_url", url)
    told = fault("broker")
    assert "not the URL of a broker" in told
    assert "pass" not in told


def test_a_broker_that_refuses_the_password(
    upstream: ScriptedVLLM, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery import current_app

    def refuse(*args: object, **options: object) -> None:
        raise AccessRefused("Login was refused.")

    settings.CELERY_BROKER_URL = f"amqp://guest:wrong@{NOWHERE}//"
    monkeypatch.setattr(current_app, "connection_for_read", refuse)
    assert "Login was refused." in fault("broker")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "no `serve` runs here whose own could be asked. Start it, set GATEWAY_UPSTREAM_URL"),
        (f"http://{NOWHERE}", "Check that vLLM runs, and GATEWAY_UPSTREAM_URL."),
    ],
)
def test_no_upstream(settings: Settings, url: str, advice: str) -> None:
    settings.GATEWAY_UPSTREAM_URL = url
    assert advice in fault("upstream")


def test_an_upstream_that_wants_another_key(upstream: ScriptedVLLM) -> None:
    upstream.routes["/v1/models"] = body({"error": "Unauthorized"}, status=401)
    assert "Set GATEWAY_UPSTREAM_API_KEY" in fault("upstream")


def test_a_default_model_that_is_not_served(upstream: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_DEFAULT_MODEL = "large"
    assert "'large' is not served; it has tiny." in fault("models")


def test_a_server_without_models(upstream: ScriptedVLLM) -> None:
    upstream.routes["/v1/models"] = body({"data": []})
    assert fault("models") == "The upstream serves none."


@pytest.mark.parametrize(
    ("version", "told"),
    [("0.32.0+cpu", "vLLM 0.32.0+cpu"), ("0.40.1", "vLLM 0.40.1 (tested with 0.32.0)")],
)
def test_versions_that_were_not_tested_are_told(
    upstream: ScriptedVLLM, version: str, told: str
) -> None:
    upstream.routes["/version"] = body({"version": version})
    assert lines(doctor()[0])["upstream"][1].endswith(f", {told}")
    assert vllm.TESTED == ("0.32.0",)


def test_a_missing_tool_parser(settings: Settings) -> None:
    with ScriptedVLLM("Qwen/Qwen3-8B") as server:
        settings.GATEWAY_UPSTREAM_URL = server.url
        server.script(recorded("bare/tools_auto"), reasoning("Hm."), text('{"answer": true}'))
        told = fault("Qwen/Qwen3-8B: tools")
    assert "--enable-auto-tool-choice --tool-call-parser NAME" in told
    assert told.endswith(
        "Going by its name: --enable-auto-tool-choice --tool-call-parser hermes "
        "--reasoning-parser qwen3."
    )
    assert Capability.objects.get(capability="tools").works is False


def test_what_could_not_be_told_is_no_fault() -> None:
    unsure = of_model("tiny", Finding(Kind.REASONING, None, "It answered without a thought."))
    assert unsure == ("tiny: reasoning", State.UNKNOWN, "It answered without a thought.")


def test_workers_that_cannot_be_heard_of_are_a_fault_of_the_settings(settings: Settings) -> None:
    settings.GATEWAY_SANDBOX, settings.CELERY_BROKER_URL = "pyodide", f"amqp://{NOWHERE}"
    output, status = doctor()
    state, told = lines(output)["settings"]
    assert (state, status) == ("fault", 1)
    assert "GATEWAY_SANDBOX_REDIS_URL" in told


# --- Code on workers ----------------------------------------------------------------------------------


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis whose settings a test may change."""
    if not (program := shutil.which("redis-server")):
        pytest.skip("needs redis-server")
    socket = tmp_path / "redis.sock"
    server = Program([program, "--port", "0", "--unixsocket", str(socket), "--save", ""])
    eventually(socket.exists)
    yield f"unix://{socket}"
    server.close()


def test_each_worker_is_called_by_its_name(own_redis: str, settings: Settings) -> None:
    settings.GATEWAY_SANDBOX = "pyodide"
    settings.CELERY_BROKER_URL = settings.GATEWAY_SANDBOX_REDIS_URL = own_redis
    said = {
        "backend": "pyodide",
        "usable": True,
        "layers": ["seccomp"],
        "missing": [],
        "warm": 1,
        "busy": 0,
        "capacity": 8,
        "queued": 0,
        "queue_age": 0.0,
    }
    with Redis.from_url(own_redis) as redis:
        for place, draining in (("vm-1", False), ("vm-2", True)):
            redis.zadd(ledger.NODES, {place: 0})
            status = json.dumps(said | {"node": place, "draining": draining})
            redis.hset(ledger.node_key(place), "status", status)
    texts = [check.text for check in code_interpreter()]
    assert [text.partition(" behind ")[0] for text in texts] == [
        "worker vm-1: pyodide",
        "worker vm-2, which is stopping: pyodide",
    ]


def test_a_redis_that_evicts_is_a_fault_of_workers_where_it_says_so(
    own_redis: str, settings: Settings
) -> None:
    settings.GATEWAY_SANDBOX = "pyodide"
    settings.CELERY_BROKER_URL = settings.GATEWAY_SANDBOX_REDIS_URL = own_redis

    def said() -> str:
        return " ".join(check.text for check in code_interpreter() if check.state is State.FAULT)

    with Redis.from_url(own_redis) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        assert said() == "", "memory without a limit"
        redis.config_set("maxmemory", "100mb")
        assert "allkeys-lru" in said()
        assert "noeviction" in said()
        redis.acl_setuser(
            "default",
            enabled=True,
            nopass=True,
            keys="*",
            channels="*",
            commands=["+@all", "-config"],
        )
    assert said() == "", "services that manage Redis do not tell"
