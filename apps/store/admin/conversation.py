"""Turns stored items into what a template can lay out for people: titles and plain text.

Pure: no query, no markup. Whatever a client or model wrote is text here and gets escaped by the
template. A kind without a function of its own is shown as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TEXT_LIMIT = 20_000  # characters: a page with a whole book or an inline picture helps nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A run of text; ``is_code`` when its line breaks and columns mean something."""

    text: str
    label: str = ""
    is_code: bool = False
    omitted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item, ready to be laid out. ``look`` is a class of ``store/admin.css``, ``container`` the
    id of the one in which code ran."""

    look: str
    title: str
    blocks: list[Block]
    note: str = ""
    container: str = ""
    is_folded: bool = False


def entry(kind: str, payload: str) -> Entry:
    """The entry of an item's JSON text. Never fails: what it does not understand it shows raw."""
    try:
        item = printable(json.loads(payload))
    except (ValueError, RecursionError):
        return Entry(look="other", title=kind, blocks=[block(printable(payload), is_code=True)])
    if not isinstance(item, dict):
        return Entry(look="other", title=kind, blocks=[json_block(item)])
    return KINDS.get(kind, unknown)(item)


def too_large(kind: str, length: int) -> Entry:
    """Stands for an item that would make the page too heavy."""
    return Entry(look="other", title=kind, blocks=[block(f"{length:,} characters, not shown here")])


def instructions(value: Any) -> Entry:
    """The instructions of a request, which are not an item."""
    return Entry(look="system", title="Instructions", blocks=content_blocks(printable(value)))


def printable(value: Any, limit: int | None = None) -> Any:
    """JSON whose strings can all be encoded and, with a limit, are at most that long."""
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode()  # half surrogate pairs
        if limit is None or len(text) <= limit:
            return text
        return f"{text[:limit]}… ({len(text) - limit:,} more characters)"
    if isinstance(value, dict):
        return {printable(key): printable(member, limit) for key, member in value.items()}
    if isinstance(value, list):
        return [printable(member, limit) for member in value]
    return value


def raw_json(value: Any) -> str:
    """Indented JSON with long strings cut."""
    try:
        return json.dumps(printable(value, TEXT_LIMIT), indent=2, ensure_ascii=False)
    except RecursionError:
        return "(nested too deeply to be shown)"


def block(text: Any, *, label: str = "", is_code: bool = False, limit: int = TEXT_LIMIT) -> Block:
    text = text if isinstance(text, str) else raw_json(text)
    omitted = max(0, len(text) - limit)
    return Block(text=text[:limit], label=label, is_code=is_code, omitted=omitted)


def json_block(value: Any, *, label: str = "") -> Block:
    """A block of indented JSON; text that holds an object or array is indented, too."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        value = parsed if isinstance(parsed, dict | list) else value
    return block(value, label=label, is_code=True)


# --- One function per kind ------------------------------------------------------------------------

Item = Mapping[str, Any]


def message(item: Item) -> Entry:
    role = str(item.get("role", "message"))
    look = {"user": "user", "assistant": "assistant"}.get(role, "system")
    blocks = content_blocks(item.get("content"))
    return Entry(look=look, title=role.capitalize(), blocks=blocks, note=_state(item))


def reasoning(item: Item) -> Entry:
    blocks = [
        *content_blocks(item.get("content") or []),
        *content_blocks(item.get("summary") or [], label="summary"),
    ]
    if item.get("encrypted_content"):
        blocks.append(block("(encrypted for the client, not shown)"))
    note = _state(item) if blocks else "empty"
    return Entry(look="reasoning", title="Reasoning", blocks=blocks, note=note, is_folded=True)


def function_call(item: Item) -> Entry:
    return Entry(
        look="call",
        title=f"Calls {_name(item)}",
        blocks=[json_block(item.get("arguments", ""))],
        note=_call_note(item),
    )


def custom_tool_call(item: Item) -> Entry:
    return Entry(
        look="call",
        title=f"Calls {_name(item)}",
        blocks=[block(item.get("input", ""), is_code=True)],
        note=_call_note(item),
    )


def tool_output(item: Item) -> Entry:
    output = item.get("output", "")
    blocks = [json_block(output)] if isinstance(output, str) else content_blocks(output)
    return Entry(look="output", title="Tool output", blocks=blocks, note=_call_note(item))


def code_interpreter_call(item: Item) -> Entry:
    outputs = item.get("outputs") or []
    return Entry(
        look="call",
        title="Runs code",
        blocks=[block(item.get("code") or "", is_code=True), *map(_code_output, outputs)],
        note=_state(item),
        container=str(item.get("container_id") or ""),
    )


def _code_output(output: Any) -> Block:
    match output:
        case {"type": "logs", "logs": str(text)}:
            return block(text, label="output", is_code=True)
        case {"type": "image", "url": str(url)}:
            return block(f"{url[:60]}… {len(url):,} characters", label="image")
        case _:
            return json_block(output)


def mcp_call(item: Item) -> Entry:
    blocks = [json_block(item.get("arguments", ""))]
    if item.get("error") is not None:
        blocks.append(json_block(item["error"], label="error"))
    elif item.get("output") is not None:
        blocks.append(json_block(item["output"], label="output"))
    return Entry(
        look="call",
        title=f"Calls {item.get('name')}",
        blocks=blocks,
        note=_hosted_note(item, item.get("server_label")),
    )


def mcp_list_tools(item: Item) -> Entry:
    tools = item.get("tools")
    names = [str(tool.get("name")) for tool in tools or () if isinstance(tool, dict)]
    return Entry(
        look="other",
        title=f"Tools of {item.get('server_label')}",
        blocks=[block("\n".join(names) or "(none)")],
        is_folded=True,
    )


def mcp_approval_request(item: Item) -> Entry:
    return Entry(
        look="call",
        title=f"Asks to call {item.get('name')}",
        blocks=[json_block(item.get("arguments", ""))],
        note=_hosted_note(item, item.get("server_label")),
    )


def mcp_approval_response(item: Item) -> Entry:
    reason = item.get("reason")
    return Entry(
        look="user",
        title="Approves the call" if item.get("approve") else "Refuses the call",
        blocks=[block(reason)] if reason else [],
        note=str(item.get("approval_request_id") or ""),
    )


def _hosted_note(item: Item, place: Any) -> str:
    return ", ".join(word for word in (str(place or ""), _state(item)) if word)


def unknown(item: Item) -> Entry:
    title = str(item.get("type", "Item"))
    return Entry(look="other", title=title, blocks=[json_block(item)], note=_state(item))


KINDS: dict[str, Callable[[Item], Entry]] = {
    "message": message,
    "reasoning": reasoning,
    "function_call": function_call,
    "function_call_output": tool_output,
    "custom_tool_call": custom_tool_call,
    "custom_tool_call_output": tool_output,
    "code_interpreter_call": code_interpreter_call,
    "mcp_call": mcp_call,
    "mcp_list_tools": mcp_list_tools,
    "mcp_approval_request": mcp_approval_request,
    "mcp_approval_response": mcp_approval_response,
}


# --- Content parts --------------------------------------------------------------------------------


def content_blocks(content: Any, *, label: str = "") -> list[Block]:
    """The blocks of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return [block(content, label=label)]
    if not isinstance(content, list):
        return [json_block(content, label=label)]
    return [_part(part, label) for part in content]


def _part(part: Any, label: str) -> Block:
    match part:
        case {"type": "refusal", "refusal": str(text)}:
            return block(text, label="refusal")
        case {"text": str(text)}:
            return block(text, label=label)
        case {"type": "input_image"}:
            return block(_source(part), label="image")
        case {"type": "input_file"}:
            return block(_source(part), label="file")
        case _:
            return json_block(part)


def _source(part: Item) -> str:
    """Where a picture or file comes from, in words: nothing is loaded."""
    source = part.get("file_data") or part.get("image_url") or part.get("file_url")
    if isinstance(source, str) and source.startswith("gateway-media:"):
        source = f"stored, SHA-256 {source.partition(':')[2][:16]}…"
    elif isinstance(source, str) and ("file_data" in part or source.startswith("data:")):
        form = source.partition(",")[0][:100] if source.startswith("data:") else "data"
        source = f"{form}, {len(source):,} characters inline"
    words = (part.get("filename"), source or part.get("file_id"))
    return " ".join(str(word) for word in words if word)


def _name(item: Item) -> str:
    names = (item.get("namespace"), item.get("name"))
    return ".".join(str(name) for name in names if name)


def _call_note(item: Item) -> str:
    return ", ".join(word for word in (str(item.get("call_id") or ""), _state(item)) if word)


def _state(item: Item) -> str:
    """An item's status, when it is worth a word."""
    status = item.get("status")
    return "" if status in (None, "completed") else str(status)
