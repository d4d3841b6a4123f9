"""Streams of a gateway as their bytes come, and what the official client makes of them."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

from tests.event_streams import TERMINAL, check_stream
from tests.gateway import Gateway

Json = dict[str, Any]

TIMEOUT = 30

ROLL = {
    "type": "function",
    "name": "roll",
    "parameters": {"type": "object", "properties": {"dice": {"type": "string"}}},
}
"""A function for models to call."""


def question(**fields: Any) -> Json:
    """A create request."""
    return {"model": "tiny", "input": "Hi", **fields}


class Request:
    """One create request under way, on a connection of its own."""

    def __init__(self, gateway: Gateway, *, key: str = "", **fields: Any) -> None:
        parts = urlsplit(gateway.url)
        self.connection = HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
        body = json.dumps(question(**fields)).encode()
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        self.connection.request("POST", "/v1/responses", body, headers)
        self._answer: HTTPResponse | None = None

    @property
    def answer(self) -> HTTPResponse:
        """Status and headers; waits for them."""
        if self._answer is None:
            self._answer = self.connection.getresponse()
        return self._answer

    def json(self) -> Json:
        """The whole answer; the connection ends."""
        body: Json = json.loads(self.answer.read())
        self.leave()
        return body

    def leave(self) -> None:
        """Close the connection, whatever may still come."""
        if self._answer is not None:
            self._answer.close()
        self.connection.close()


class Stream(Request):
    """One streamed response under way."""

    def __init__(self, gateway: Gateway, *, key: str = "", **fields: Any) -> None:
        super().__init__(gateway, key=key, stream=True, **fields)
        self.raw = b""
        self.events: list[Json] = []

    def until(self, kind: str) -> Json:
        """The next event of a kind; waits for it."""
        while True:
            event = self._next()
            assert event is not None, f"no {kind}: {[e['type'] for e in self.events]}"
            if event["type"] == kind:
                return event

    def next(self) -> Json:
        """The next event; waits for it."""
        event = self._next()
        assert event is not None, "the stream has ended"
        return event

    def begun(self) -> str:
        """The id of the response, as soon as it has one."""
        response_id: str = self.until("response.created")["response"]["id"]
        return response_id

    def end(self) -> Json:
        """The response as its one terminal event tells it; the official client agrees."""
        assert self.answer.status == 200, self.answer.read()
        while self._next() is not None:
            pass
        self.leave()
        return judged(self.raw, self.events)

    def _next(self) -> Json | None:
        """One event; None at the end. Every frame is an event line and a data line."""
        kind = ""
        while line := self.answer.readline():
            self.raw += line
            if line.startswith(b"event: "):
                kind = line[7:].decode().rstrip("\n")
            elif line.startswith(b"data: ") and line != b"data: [DONE]\n":
                event: Json = json.loads(line[6:])
                assert event["type"] == kind
                self.events.append(event)
                return event
        return None


def judged(raw: bytes, events: list[Json]) -> Json:
    """The response at the end of a whole stream, after every check that there is."""
    assert raw.endswith(b"\n\ndata: [DONE]\n\n")
    check_stream(events)
    ends = [event for event in events if event["type"] in TERMINAL]
    assert len(ends) == 1, [event["type"] for event in events]
    response: Json = ends[0]["response"]
    for read in (_raw_loop, _helper):
        if response["status"] == "failed":
            with pytest.raises(openai.APIError) as caught:
                read(_official(raw))
            told = {"code": caught.value.code, "message": caught.value.message}
            assert told == response["error"]
        else:
            last = read(_official(raw))
            assert (last.type, last.response.id) == (ends[0]["type"], response["id"])
    return response


def _official(raw: bytes) -> openai.OpenAI:
    """The official client, to whom a server says just these bytes."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=raw)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    return openai.OpenAI(api_key="any", base_url="http://test/v1", http_client=http)


def _raw_loop(client: openai.OpenAI) -> Any:
    with client, client.responses.create(model="tiny", input="Hi", stream=True) as stream:
        return list(stream)[-1]


def _helper(client: openai.OpenAI) -> Any:
    with client, client.responses.stream(model="tiny", input="Hi") as stream:
        return list(stream)[-1]


def create(gateway: Gateway, **fields: Any) -> Json:
    """A response that is not streamed, which must succeed."""
    answer = gateway.http.post("/v1/responses", json=question(**fields))
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    return response


def retrieve(gateway: Gateway, response_id: str) -> Json:
    """A stored response."""
    answer = gateway.http.get(f"/v1/responses/{response_id}")
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    return response
