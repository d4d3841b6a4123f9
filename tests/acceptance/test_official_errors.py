"""What the official client makes of the upstream's errors: classes, and whether it tries again."""

from __future__ import annotations

import openai
import pytest

from tests.acceptance.test_upstream_errors import CASES
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("a value", openai.BadRequestError),
        ("context overflow", openai.BadRequestError),
        ("credentials", openai.PermissionDeniedError),
        ("model", openai.NotFoundError),
        ("rate limit", openai.RateLimitError),
        ("queue full", openai.InternalServerError),
        ("crash", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_client_raises_its_class(
    client: openai.OpenAI,
    vllm: ScriptedVLLM,
    case: str,
    kind: type[openai.APIStatusError],
    streamed: bool,
) -> None:
    reply, told = CASES[case]
    vllm.script(reply)
    with pytest.raises(kind) as caught:
        client.responses.create(model="tiny", input="Hi", stream=streamed)
    raised = caught.value
    assert (raised.code, raised.param, raised.type) == (told.code, told.param, told.kind)
    assert told.message in raised.message
    assert raised.request_id == vllm.requests[-1].headers["x-request-id"]


def test_the_client_raises_for_a_stream_that_fails_later(
    impatient_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(CASES["context overflow"][0])
    with impatient_gateway.client() as client:
        events = iter(client.responses.create(model="tiny", input="Hi", stream=True))
        assert next(events).type == "response.created"
        assert next(events).type == "response.in_progress"
        with pytest.raises(openai.APIError, match="maximum context length") as caught:
            next(events)
    assert caught.value.code == "context_length_exceeded"


def test_the_client_tries_again_what_may_pass(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(CASES["queue full"][0], CASES["rate limit without a time"][0], text("At last"))
    with gateway.client(max_retries=2) as client:
        assert client.responses.create(model="tiny", input="Hi").output_text == "At last"
    assert len(vllm.chats) == 3


@pytest.mark.parametrize("case", ["a value", "credentials", "model"])
def test_the_client_does_not_try_again_what_cannot(
    gateway: Gateway, vllm: ScriptedVLLM, case: str
) -> None:
    vllm.script(CASES[case][0])
    with gateway.client(max_retries=2) as client, pytest.raises(openai.APIStatusError):
        client.responses.create(model="tiny", input="Hi")
    assert len(vllm.chats) == 1
