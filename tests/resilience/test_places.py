"""One client cannot hold more answers under way than its share, nor all clients more than all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from apps.api.engine.places import Places
from apps.api.errors import TooMany, Unavailable
from tests.gateway import Gateway, sqlite_database
from tests.programs import eventually
from tests.resilience.streams import Request, Stream
from tests.scripted_vllm import ScriptedVLLM, failure, garbage, pause, text

SHARE, ALL = 2, 3


@pytest.fixture(scope="module")
def gateway(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("places")
    settings = {"MAX_STREAMS": ALL, "MAX_STREAMS_PER_KEY": SHARE}
    running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
    yield running
    running.close()


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> list[str]:
    return [gateway.manage("createapikey", name).splitlines()[0] for name in ("one", "two")]


class Guests:
    """Requests that stay until they are sent away."""

    def __init__(self, gateway: Gateway, vllm: ScriptedVLLM, keys: list[str]) -> None:
        self.gateway, self.vllm, self.keys = gateway, vllm, keys
        self.go_on = threading.Event()

    def stay(self, number: int) -> Stream:
        """A stream of a key that has begun."""
        self.vllm.script(text("A") + pause(self.go_on))
        stream = Stream(self.gateway, key=self.keys[number])
        stream.until("response.output_text.delta")
        return stream

    def turned_away(self, number: int, **fields: Any) -> Request | None:
        """The answer, if it is a refusal; what gets in leaves again."""
        request = Request(self.gateway, key=self.keys[number], **fields)
        if request.answer.status in (429, 503):
            return request
        request.leave()
        return None

    def gets_in(self, number: int, *, times: int) -> bool:
        """Whether a key can hold so many."""
        streams = [self.stay(number) for _ in range(times)]
        for stream in streams:
            stream.leave()
        return True


@pytest.fixture
def guests(gateway: Gateway, vllm: ScriptedVLLM, keys: list[str]) -> Iterator[Guests]:
    made = Guests(gateway, vllm, keys)
    yield made
    made.go_on.set()
    eventually(lambda: "gateway_http_requests_open 1.0" in open_requests(gateway))


def open_requests(gateway: Gateway) -> str:
    """The metrics; asking for them is one request."""
    return gateway.http.get("/metrics").text


@pytest.mark.parametrize("streamed", [True, False])
def test_more_than_a_share_is_429_and_others_are_served(guests: Guests, streamed: bool) -> None:
    streams = [guests.stay(0) for _ in range(SHARE)]
    refusal = guests.turned_away(0, stream=streamed)
    assert refusal is not None
    assert (refusal.answer.status, refusal.answer.headers["Retry-After"]) == (429, "2")
    error = refusal.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert guests.turned_away(1) is None
    for stream in streams:
        stream.leave()


def test_more_than_all_places_is_503(guests: Guests) -> None:
    streams = [guests.stay(0), guests.stay(0), guests.stay(1)]
    refusal = guests.turned_away(1)
    assert refusal is not None
    assert (refusal.answer.status, refusal.answer.headers["Retry-After"]) == (503, "2")
    assert refusal.json()["error"]["code"] == "service_unavailable"
    for stream in streams:
        stream.leave()


def test_what_passes_through_takes_a_place_too(guests: Guests) -> None:
    streams = [guests.stay(0) for _ in range(SHARE)]
    headers = {"authorization": f"Bearer {guests.keys[0]}"}
    body = {"model": "tiny", "messages": []}
    answer = guests.gateway.http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 429
    for stream in streams:
        stream.leave()


def test_who_leaves_in_whatever_moment_gives_the_place_back(guests: Guests) -> None:
    vllm, gateway, key = guests.vllm, guests.gateway, guests.keys[0]
    for _ in range(2 * SHARE):
        vllm.script(text("A", hang_before_headers=guests.go_on))
        number = len(vllm.requests)
        early = Request(gateway, key=key)
        vllm.wait_for_requests(number + 1)
        early.leave()
        assert vllm.chats[-1].aborted.wait(5)
        stream = guests.stay(0)
        stream.leave()
        assert vllm.chats[-1].aborted.wait(5)
    eventually(lambda: "gateway_http_requests_open 1.0" in open_requests(gateway))
    assert guests.gets_in(0, times=SHARE)


def test_what_ends_by_itself_gives_the_place_back(guests: Guests) -> None:
    vllm, gateway, key = guests.vllm, guests.gateway, guests.keys[0]
    for reply in (text("A"), failure(400, "No."), garbage(), text("A", cut_after=1)):
        for _ in range(SHARE):
            for fields in ({"stream": True}, {}, {"temperature": "hot"}):
                if "temperature" not in fields:
                    vllm.script(reply)
                request = Request(gateway, key=key, **fields)
                assert request.answer.status not in (429, 503)
                request.answer.read()
                request.leave()
    eventually(lambda: "gateway_http_requests_open 1.0" in open_requests(gateway))
    assert guests.gets_in(0, times=SHARE)


# --- The rule itself ------------------------------------------------------------------------------


def test_a_place_that_is_given_back_is_for_the_next(settings: Any) -> None:
    settings.GATEWAY_MAX_STREAMS, settings.GATEWAY_MAX_STREAMS_PER_KEY = 2, 1
    places = Places()
    places.take("10.0.0.1")
    with pytest.raises(TooMany):
        places.take("10.0.0.1")
    places.take("10.0.0.2")
    with pytest.raises(Unavailable):
        places.take("10.0.0.3")
    places.give_back("10.0.0.2")
    places.take("10.0.0.3")
    places.give_back("10.0.0.1")
    places.give_back("10.0.0.3")
    assert not places._held


def test_nothing_is_limited_by_nought(settings: Any) -> None:
    settings.GATEWAY_MAX_STREAMS = settings.GATEWAY_MAX_STREAMS_PER_KEY = 0
    places = Places()
    for _ in range(3):
        places.take(1)
