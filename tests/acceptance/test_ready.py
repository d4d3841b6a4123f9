"""``/ready``: what is configured and does not answer is named, in the API's own words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.scripted_vllm import ScriptedVLLM

DOWN = "unavailable"
ELSEWHERE = {"X-Forwarded-For": "203.0.113.1"}


@pytest.fixture
def without_redis(vllm: ScriptedVLLM, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that was told of a Redis which is not there."""
    running = Gateway(
        sqlite_database(tmp_path),
        tmp_path,
        upstream=vllm.url,
        settings={"METRICS_TOKEN": "a word"},
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


def test_who_is_elsewhere_learns_what_is_down_but_not_why(without_redis: Gateway) -> None:
    answer = without_redis.http.get("/ready", headers=ELSEWHERE)
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "down": ["redis", "broker"],
        "checks": {"database": "ok", "upstream": "ok", "redis": DOWN, "broker": DOWN},
        "code_interpreter": DOWN,
    }
    wrong = {"Authorization": "Bearer another"}
    assert without_redis.http.get("/ready", headers=ELSEWHERE | wrong).json() == answer.json()
    right = {"Authorization": "Bearer a word"}
    told = without_redis.http.get("/ready", headers=ELSEWHERE | right).json()
    assert "127.0.0.1:1" in told["checks"]["redis"]
    assert told["code_interpreter"] != DOWN


def test_the_log_has_the_reasons_once(without_redis: Gateway) -> None:
    for _ in range(3):
        without_redis.http.get("/ready", headers=ELSEWHERE)
    assert "127.0.0.1:1" in without_redis.program.line("not ready")
    assert without_redis.program.output.count("not ready") == 1


def test_all_that_is_configured_answers(gateway: Gateway) -> None:
    answer = gateway.http.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert set(answer.json()["checks"]) >= {"database", "upstream"}
