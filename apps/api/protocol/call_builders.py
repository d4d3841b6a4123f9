"""Which item a call of the model becomes: the tool that it names decides."""

from __future__ import annotations

from apps.api.protocol.ids import IdSource
from apps.api.protocol.items.base import ItemBuilder, Place
from apps.api.protocol.items.client_calls import PREFIXES, ClientCallBuilder
from apps.api.protocol.items.code_interpreter_call import CodeInterpreterCallBuilder
from apps.api.protocol.items.custom_tool_call import CustomToolCallBuilder
from apps.api.protocol.items.function_call import FunctionCallBuilder
from apps.api.protocol.items.mcp import GuardedCallBuilder, McpCallBuilder
from apps.api.protocol.offers import Offer


def call_builder(
    offer: Offer | None, name: str, *, ids: IdSource, index: int, code_outputs: bool
) -> ItemBuilder:
    """The builder of a call's item, which stands at ``index`` in the output. A name that was never
    offered is passed on: the client will know what to say."""
    if offer is None:
        return FunctionCallBuilder(Place(ids("fc"), index), call_id=ids("call"), name=name)
    match offer.kind:
        case "function":
            return FunctionCallBuilder(
                Place(ids("fc"), index),
                call_id=ids("call"),
                name=offer.tool,
                namespace=offer.namespace,
            )
        case "custom":
            return CustomToolCallBuilder(
                Place(ids("ctc"), index),
                call_id=ids("call"),
                name=offer.tool,
                namespace=offer.namespace,
            )
        case "local_shell" | "shell" | "apply_patch" | "tool_search":
            place = Place(ids(PREFIXES[offer.kind]), index)
            return ClientCallBuilder(place, offer.kind, call_id=ids("call"))
        case "code_interpreter":
            return CodeInterpreterCallBuilder(
                Place(ids("ci"), index), container_id=offer.label or "", with_outputs=code_outputs
            )
        case "mcp":
            return _mcp_builder(offer, Place(ids("mcp"), index))


def _mcp_builder(offer: Offer, place: Place) -> ItemBuilder:
    label = offer.label or ""
    if offer.approval is None:
        return McpCallBuilder(place, server_label=label, name=offer.tool)
    return GuardedCallBuilder(place, server_label=label, name=offer.tool, request_id=offer.approval)
