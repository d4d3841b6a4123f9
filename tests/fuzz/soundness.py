"""What holds for every answer, whatever was asked."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote

import httpx
from hypothesis import HealthCheck, Phase, settings

from tests.acceptance.exchanges import events_of
from tests.event_streams import TERMINAL, check_stream
from tests.spec_tables import check_response

REQUESTS = int(os.environ.get("GATEWAY_TEST_FUZZ", "150"))

MANY = settings(
    max_examples=REQUESTS,
    deadline=None,
    phases=[Phase.generate],  # a failure is told as it was found: shrinking one takes minutes
    suppress_health_check=list(HealthCheck),
    derandomize="GATEWAY_TEST_FUZZ" not in os.environ,
)
"""The same requests each time, unless many were asked for."""

NO_HOST = "manage.py toolhost"
"""What is said with a 503 where code is to be run: the gateway of these tests has no host for it."""

INSIDES = (
    "Traceback", 'File \\"', "site-packages", "pydantic", "apps/api", "Exception", "Bearer ",
    "chat/completions", "object at 0x", "sqlite3", "psycopg", "django",
)  # fmt: skip
"""What is behind the gateway, and nobody's business."""


def check_error(answer: httpx.Response) -> None:
    """Raise AssertionError unless it is an error in its envelope that tells nothing else."""
    text = answer.text
    error = answer.json()["error"]
    assert answer.json().keys() == {"error"}
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert isinstance(error["message"], str)
    assert len(text) < 10_000, "an error is no echo"
    asked = unquote(str(answer.request.url))  # ids are quoted to those who sent them
    found = [sign for sign in INSIDES if sign in text and sign not in asked]
    assert not found, f"{found} in {text}"


def check(answer: httpx.Response) -> Any:
    """Raise AssertionError unless the answer is a response, whole, or an error in its envelope.
    Gives the response, or None."""
    if NO_HOST not in answer.text:
        assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        check_error(answer)
        return None
    if answer.headers["content-type"].startswith("text/event-stream"):
        events = events_of(answer.content)
        check_stream(events)
        assert events[-1]["type"] in TERMINAL
        response = events[-1]["response"]
    else:
        response = answer.json()
        check_response(response)
    assert response["status"] in ("completed", "incomplete"), response["error"]
    return response
