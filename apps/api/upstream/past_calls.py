"""Past calls and their outputs as chat completions tell them: functions, JSON, text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from apps.api.protocol.offers import Offers, flat_name
from apps.api.protocol.results import told_of_code, told_of_mcp
from apps.api.protocol.types import Item, JSONObject


def written(item: Item, offers: Offers) -> tuple[str, str]:
    """The name that the model called and the arguments that it wrote, always a JSON object."""
    match item["type"]:
        case "function_call":
            tool, arguments = item["name"], _object(item["arguments"])
        case "code_interpreter_call":
            label = item["container_id"]
            name = offers.gateway_name_of("code_interpreter", label, "")
            return name, _dump({"code": item["code"]})
        case "mcp_call" | "mcp_approval_request":
            name = offers.gateway_name_of("mcp", item["server_label"], item["name"])
            return name, _object(item["arguments"])
        case "custom_tool_call":
            tool, arguments = item["name"], _dump({"input": item["input"]})
        case "local_shell_call":
            action = {name: value for name, value in item["action"].items() if name != "type"}
            tool, arguments = "local_shell", _dump(_said(action))
        case "shell_call":
            tool, arguments = "shell", _dump(_said(item["action"]))
        case "apply_patch_call":
            tool, arguments = "apply_patch", _dump(item["operation"])
        case _:
            tool, arguments = "tool_search", _dump(item["arguments"] or {})
    return offers.name_of(tool, item.get("namespace")), arguments


def answered(item: Item) -> str | Sequence[JSONObject]:
    """What the model is told of a call's output: text or content parts."""
    match item["type"]:
        case "code_interpreter_call":
            return told_of_code(item)
        case "mcp_call":
            return told_of_mcp(item)
        case "mcp_approval_request":
            return "The user has not answered the request to approve this call."
        case "mcp_approval_response":
            return _refusal(item)
        case "apply_patch_call_output":
            return str(item["output"] or item["status"])
        case "shell_call_output":
            return _dump(item["output"])
        case "tool_search_output":
            return _dump({"tools": [_summary(tool) for tool in item["tools"]]})
        case _:
            output: str | Sequence[JSONObject] = item["output"]
            return output


def _refusal(item: Item) -> str:
    if item["approve"]:
        return "The user approved this call, but it was not carried out."
    reason = item.get("reason")
    return "The user refused this call." + (f" Their reason: {reason}" if reason else "")


def _summary(tool: JSONObject, namespace: str | None = None) -> JSONObject:
    """The tools are offered whole; their purposes, and the names to call them by, tell that they
    were found."""
    name = tool.get("name") or tool["type"]
    inner = tool.get("tools")
    shown = {"name": name if inner else flat_name(name, namespace)}
    if description := tool.get("description"):
        shown["description"] = description
    return shown | ({"tools": [_summary(entry, name) for entry in inner]} if inner else {})


def _object(text: str) -> str:
    """Templates parse the arguments of past calls: what is not a JSON object becomes one."""
    if not text.strip():
        return "{}"
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    return text if isinstance(parsed, dict) else _dump({"input": text})


def _said(members: JSONObject) -> JSONObject:
    return {name: value for name, value in members.items() if value not in (None, {})}


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()
