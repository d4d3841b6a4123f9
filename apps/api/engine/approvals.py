"""The client's decisions about calls that needed its approval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apps.api.engine.toolbox import ToolBox
from apps.api.errors import InvalidRequest
from apps.api.protocol.deltas import CallResumed
from apps.api.protocol.ids import unmarked
from apps.api.protocol.offers import Offers
from apps.api.protocol.types import Item
from apps.tools.base import Decision, Verdict


@dataclass(slots=True)
class Decided:
    """What comes of the decisions: calls to run first, and calls to ask for once more, since
    their function has changed meanwhile."""

    approved: list[CallResumed] = field(default_factory=list)
    stale: list[CallResumed] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.approved or self.stale)


async def decide(
    own: Sequence[Item], context: Sequence[Item], tools: ToolBox, offers: Offers
) -> Decided:
    """Check and record the decisions that a request brings in its ``own`` items. Those of calls
    that were carried out before are history. Raises InvalidRequest."""
    requests = {item["id"]: item for item in context if item["type"] == "mcp_approval_request"}
    history = {item["approval_request_id"] for item in context if item["type"] == "mcp_call"}
    decided = Decided()
    for position, item in enumerate(own):
        if item["type"] == "mcp_approval_response" and item["approval_request_id"] not in history:
            history.add(item["approval_request_id"])
            request = _request_of(item, requests, position)
            await _decide(item, request, tools, offers, decided, position)
    return decided


def _request_of(item: Item, requests: Mapping[str, Item], position: int) -> Item:
    request_id = item["approval_request_id"]
    if request_id not in requests:
        raise InvalidRequest(
            f"No approval request with id '{request_id}' was found.",
            code="invalid_value",
            param=f"input[{position}].approval_request_id",
        )
    return requests[request_id]


async def _decide(
    item: Item,
    request: Item,
    tools: ToolBox,
    offers: Offers,
    decided: Decided,
    position: int,
) -> None:
    label, tool = request["server_label"], request["name"]
    session = tools.server(label)
    if session is None:
        if item["approve"]:
            raise InvalidRequest(
                f"The approved call needs the MCP server '{label}' in 'tools'.",
                code="invalid_value",
                param="tools",
            )
        return
    verdict = await session.decide(
        Decision(
            request_id=unmarked(request["id"]),
            name=tool,
            arguments=request["arguments"],
            approve=item["approve"],
            reason=item["reason"],
        )
    )
    if verdict is Verdict.FORGED:
        raise InvalidRequest(
            "The approval request was not made by this gateway, or it was changed.",
            code="invalid_value",
            param=f"input[{position}].approval_request_id",
        )
    offer = offers.get(offers.gateway_name_of("mcp", label, tool))
    if offer is None or not item["approve"]:
        return
    call = CallResumed(offer.name, request["arguments"], request["id"])
    (decided.approved if verdict is Verdict.VALID else decided.stale).append(call)
