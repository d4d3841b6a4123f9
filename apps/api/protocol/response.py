"""The Response resource and the table of its states.

Its ``output`` is not a field of it: items are rendered once and spliced in last, so that what was
streamed, stored and read later is the same text. Dataclasses, since the gateway validates nothing that it
has made itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import orjson

from apps.api.protocol.params import Param
from apps.api.protocol.requests import PLAIN_TEXT, CreateResponse
from apps.api.protocol.types import JSONObject


class Status(StrEnum):
    """State of a Response."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.IN_PROGRESS, Status.FAILED, Status.CANCELLED}),
    Status.IN_PROGRESS: frozenset(
        {Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED}
    ),
}
"""Every status not listed is terminal."""


class TransitionError(AssertionError):
    """The code asked for a move that the table does not have."""


@dataclass(frozen=True)
class ResponseError:
    """Why a response failed."""

    code: str
    message: str


@dataclass(frozen=True)
class IncompleteDetails:
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens", "content_filter"]


@dataclass
class InputTokensDetails:
    cached_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass
class OutputTokensDetails:
    reasoning_tokens: int = 0


@dataclass
class Usage:
    """Tokens over all turns of a response."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


@dataclass(kw_only=True)
class Response:
    """The resource that a create request makes, but for its output.

    Every key is always sent (openai-surface (b)); ``access_programs`` and the penalties are there
    because typed clients of both dialects expect them.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status = Status.IN_PROGRESS
    background: bool = False
    completed_at: int | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning: JSONObject = field(default_factory=lambda: {"effort": None, "summary": None})
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool = True
    temperature: float = 1.0
    text: JSONObject = field(default_factory=dict)
    tool_choice: str | JSONObject = "auto"
    tools: list[JSONObject] = field(default_factory=list)
    top_logprobs: int = 0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    truncation: str = "disabled"
    access_programs: None = None
    usage: Usage | None = None
    user: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def move(self, status: Status) -> None:
        """Change the status. Raises TransitionError, changing nothing."""
        if status not in TRANSITIONS.get(self.status, frozenset()):
            raise TransitionError(f"{self.status} -> {status}")
        self.status = status

    def to_body(self) -> bytes:
        """The JSON text of the resource without its output."""
        return orjson.dumps(self)


def splice(body: bytes, output: Sequence[bytes]) -> bytes:
    """The JSON text of the whole resource: ``body`` with the items as its last member."""
    return b'%b,"output":[%b]}' % (body[:-1], b",".join(output))


def new_response(body: CreateResponse, *, id: str, model: str, created_at: int) -> Response:  # noqa: A002
    """The resource as a request begins it: every field of the request, as it was understood."""
    choice = body.tool_choice
    return Response(
        id=id,
        created_at=created_at,
        model=model,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        prompt_cache_retention=body.prompt_cache_retention,
        reasoning={
            "effort": body.reasoning.effort if body.reasoning else None,
            "summary": None,
        },
        max_tool_calls=body.max_tool_calls,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        safety_identifier=body.safety_identifier,
        store=body.keeps,
        temperature=1.0 if body.temperature is None else body.temperature,
        text=(body.text or PLAIN_TEXT).echo(),
        tool_choice=(
            choice.model_dump(exclude_none=True)
            if isinstance(choice, Param)
            else str(choice or "auto")
        ),
        tools=[tool.echo() for tool in body.declared],
        top_logprobs=body.top_logprobs or 0,
        top_p=1.0 if body.top_p is None else body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
        metadata=body.metadata or {},
    )
