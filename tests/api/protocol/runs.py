"""Responses for tests of the composer, begun and ended in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.deltas import Delta, Finish, TurnEnd, TurnUsage
from apps.api.protocol.events import ErrorDetail, Event
from apps.api.protocol.ids import IdSource
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.response import IncompleteDetails, Status, new_response
from apps.api.protocol.types import JSONObject

STOP = TurnEnd(Finish.STOP, TurnUsage(5, 1, 3, 2))
LENGTH = TurnEnd(Finish.LENGTH, TurnUsage(5, 1, 3, 2))

ERROR = ErrorDetail(type="server_error", code="upstream_timeout", message="Silence.", param=None)

COMPLETED = Outcome(status=Status.COMPLETED, at=20)
CANCELLED = Outcome(status=Status.CANCELLED, at=20)
FAILED = Outcome(status=Status.FAILED, at=20, error=ERROR)
TOO_LONG, FILTERED = (
    Outcome(status=Status.INCOMPLETE, at=20, reason=IncompleteDetails(reason=reason))
    for reason in ("max_output_tokens", "content_filter")
)


def counting_ids() -> IdSource:
    """``msg_1``, ``msg_2``, ``fc_1``, ..."""
    counts: Counter[str] = Counter()

    def make(prefix: str) -> str:
        counts[prefix] += 1
        return f"{prefix}_{counts[prefix]}"

    return make


def new_composer(*, told: bool = True, **request: object) -> ResponseComposer:
    """The composer of a response to this request."""
    body = CreateResponse.model_validate({"input": "Hi", **request})
    response = new_response(body, id="resp_1", model="tiny", created_at=10)
    return ResponseComposer(response, ids=counting_ids(), told=told)


def run(
    composer: ResponseComposer, batches: Sequence[Sequence[Delta]], outcome: Outcome
) -> list[Event]:
    """All events of one response. Cancelled ones have no end."""
    events = composer.start()
    for batch in batches:
        events += composer.feed(batch)
    events += composer.finish(outcome)
    return events if outcome.status is Status.CANCELLED else events + composer.announce()


def message(*parts: JSONObject, number: int = 1, status: str = "completed") -> JSONObject:
    return {
        "id": f"msg_{number}",
        "status": status,
        "type": "message",
        "role": "assistant",
        "content": list(parts),
    }


def output_text(text: str) -> JSONObject:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def refusal(text: str) -> JSONObject:
    return {"type": "refusal", "refusal": text}


def reasoning(text: str, *, number: int = 1, status: str = "completed") -> JSONObject:
    return {
        "id": f"rs_{number}",
        "status": status,
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
    }


def function_call(
    name: str, arguments: str, *, number: int = 1, status: str = "completed"
) -> JSONObject:
    return {
        "id": f"fc_{number}",
        "status": status,
        "type": "function_call",
        "arguments": arguments,
        "call_id": f"call_{number}",
        "name": name,
    }
