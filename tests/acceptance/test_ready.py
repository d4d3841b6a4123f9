"""``/ready``: what is configured and does not answer is named, in the API's own words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.scripted_vllm import ScriptedVLLM


@pytest.fixture
def without_redis(vllm: ScriptedVLLM, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that was told of a Redis which is not there."""
    running = Gateway(
        sqlite_database(tmp_path),
        tmp_path,
        upstream=vllm.url,
        environment={"REDIS_URL": "redis://127.0.0.1:1/0"},
    )
    yield running
    running.close()


def test_redis_that_does_not_answer_makes_it_unready(without_redis: Gateway) -> None:
    answer = without_redis.http.get("/ready")
    assert answer.status_code == 503
    told = answer.json()
    assert told["down"] == ["redis", "broker"]
    assert "refused" in told["checks"]["redis"]
    assert told["checks"]["database"] == told["checks"]["upstream"] == "ok"


def test_all_that_is_configured_answers(gateway: Gateway) -> None:
    answer = gateway.http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert set(answer.json()["checks"]) >= {"database", "upstream"}
