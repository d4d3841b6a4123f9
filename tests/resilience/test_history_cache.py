"""The history cache changes nothing but speed, and what was deleted never comes back from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from apps.store.keys import mint
from apps.store.models import ApiKey
from tests.gateway import Database, Gateway
from tests.programs import eventually
from tests.resilience.conftest import GatewayMaker
from tests.resilience.streams import ROLL, Json, create, question
from tests.scripted_vllm import ScriptedVLLM, reasoning, text, tool_call
from tests.tcp_proxy import TcpProxy

NOW = "2026-01-01 00:00:00+00:00"


@pytest.fixture(scope="module")
def network(redis_url: str) -> Iterator[TcpProxy]:
    with TcpProxy(redis_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gateway(gateways: GatewayMaker, shared_database: Database, network: TcpProxy) -> Gateway:
    return gateways(shared_database, environment={"REDIS_URL": network.url}, HISTORY_CACHE=1)


@pytest.fixture
def cache(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def cached(cache: redis.Redis, response_id: str) -> tuple[str, Any]:
    """The key and the value under which a chain is cached, as soon as it is."""

    def look() -> bytes | None:
        return next(iter(cache.scan_iter(f"*{response_id}*")), None)

    key = eventually(look)
    value = cache.get(key)
    assert isinstance(value, bytes)
    return key.decode(), json.loads(value)


def conversation(gateway: Gateway, vllm: ScriptedVLLM, cache: redis.Redis) -> list[str]:
    """Four responses in a row, each of them cached."""
    vllm.script(
        text("Hello."),
        reasoning("Hm.") + tool_call("roll", '{"dice": "2d6"}'),
        text("You rolled 7."),
        text("Bye."),
    )
    ids = [create(gateway)["id"]]
    call = go_on(gateway, cache, ids, "Roll!")["output"][-1]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "7"}
    go_on(gateway, cache, ids, [output])
    go_on(gateway, cache, ids, "Thanks.")
    cached(cache, ids[-1])
    return ids


def go_on(gateway: Gateway, cache: redis.Redis, ids: list[str], given: Any) -> Json:
    cached(cache, ids[-1])
    response = create(gateway, previous_response_id=ids[-1], input=given, tools=[ROLL])
    ids.append(response["id"])
    return response


def told(gateway: Gateway, vllm: ScriptedVLLM, previous: str) -> list[Json]:
    """What the upstream is told when the client goes on."""
    create(gateway, previous_response_id=previous, input="And now?")
    messages: list[Json] = vllm.chats[-1].body["messages"]
    return messages


def refused(gateway: Gateway, previous: str) -> bool:
    answer = gateway.http.post("/v1/responses", json=question(previous_response_id=previous))
    return answer.status_code == 400 and (
        answer.json()["error"]["code"] == "previous_response_not_found"
    )


def rewrite(database: Database, response_id: str) -> None:
    """Change what the database remembers, behind the gateway's back."""
    database.query(
        "UPDATE store_storeditem SET payload = REPLACE(payload, %s, %s) WHERE response_id = %s",
        "You rolled 7.",
        "You rolled 12.",
        response_id,
    )


def test_the_model_is_told_the_same_with_and_without_cache(
    gateway: Gateway, vllm: ScriptedVLLM, cache: redis.Redis, network: TcpProxy
) -> None:
    *_, last = conversation(gateway, vllm, cache)
    with_cache = told(gateway, vllm, last)
    assert [message["role"] for message in with_cache] == [
        *("user", "assistant"),
        *("user", "assistant", "tool", "assistant"),
        *("user", "assistant", "user"),
    ]
    network.cut()
    try:
        assert told(gateway, vllm, last) == with_cache
    finally:
        network.mend()
    cache.delete(cached(cache, last)[0])
    assert told(gateway, vllm, last) == with_cache
    assert cached(cache, last)[1]  # reading it from the database has put it back


def test_a_cached_chain_is_not_read_again(
    gateway: Gateway, vllm: ScriptedVLLM, cache: redis.Redis
) -> None:
    *_, rolled, last = conversation(gateway, vllm, cache)
    rewrite(gateway.database, rolled)
    assert "You rolled 7." in str(told(gateway, vllm, last))
    cache.delete(cached(cache, last)[0])
    assert "You rolled 12." in str(told(gateway, vllm, last))


@pytest.mark.parametrize("reachable", [True, False])
def test_a_deleted_ancestor_is_refused_although_it_is_cached(
    gateway: Gateway, vllm: ScriptedVLLM, cache: redis.Redis, network: TcpProxy, reachable: bool
) -> None:
    first, _, rolled, last = conversation(gateway, vllm, cache)
    branch = create(gateway, previous_response_id=first)["id"]
    assert not refused(gateway, last)
    if not reachable:
        network.cut()
    try:
        assert gateway.http.delete(f"/v1/responses/{rolled}").status_code == 200
    finally:
        if not reachable:
            network.mend()
    assert refused(gateway, rolled)
    assert refused(gateway, last)
    assert not refused(gateway, branch)


def test_responses_are_made_and_continued_while_the_cache_is_away(
    gateway: Gateway, vllm: ScriptedVLLM, network: TcpProxy
) -> None:
    network.cut()
    try:
        vllm.script(text("One."))
        first = create(gateway)["id"]
        assert [m["content"] for m in told(gateway, vllm, first)] == ["Hi", "One.", "And now?"]
    finally:
        network.mend()
    assert [m["content"] for m in told(gateway, vllm, first)] == ["Hi", "One.", "And now?"]


def test_what_is_cached_is_json_under_the_project(
    gateway: Gateway, vllm: ScriptedVLLM, cache: redis.Redis
) -> None:
    first, *_ = conversation(gateway, vllm, cache)
    key, value = cached(cache, first)
    [(project_id,)] = gateway.database.query(
        "SELECT project_id FROM store_response WHERE id = %s", first
    )
    assert key.endswith(f"history:{project_id}:{first}:0")
    [[completed, items]] = value
    assert completed is True
    assert [item["type"] for item in items] == ["message", "message"]
    assert 0 < cache.ttl(key) <= 3600


def test_nothing_unstored_is_cached(
    gateway: Gateway, vllm: ScriptedVLLM, cache: redis.Redis
) -> None:
    first, *_ = conversation(gateway, vllm, cache)
    unstored = create(gateway, previous_response_id=first, store=False)
    stored = create(gateway, previous_response_id=first)
    cached(cache, stored["id"])
    assert not list(cache.scan_iter(f"*{unstored['id']}*"))


def test_another_project_gets_nothing_from_the_cache(
    gateway: Gateway, vllm: ScriptedVLLM, cache: redis.Redis
) -> None:
    *_, last = conversation(gateway, vllm, cache)
    token = key_of_another_project(gateway.database)
    try:
        answer = httpx.post(
            f"{gateway.url}/v1/responses",
            json=question(previous_response_id=last),
            headers={"authorization": f"Bearer {token}"},
        )
        assert answer.json()["error"]["code"] == "previous_response_not_found"
    finally:
        gateway.database.query("DELETE FROM store_apikey")


def key_of_another_project(database: Database) -> str:
    token = mint(key := ApiKey())
    database.query(
        "INSERT INTO store_project (slug, name, created_at) VALUES ('other', 'Other', %s)", NOW
    )
    database.query(
        "INSERT INTO store_apikey (project_id, name, prefix, digest, created_at)"
        " SELECT id, 'key', %s, %s, %s FROM store_project WHERE slug = 'other'",
        key.prefix,
        key.digest,
        NOW,
    )
    return token
