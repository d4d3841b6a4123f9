"""Pairs calls with their outputs. Nothing reaches the upstream in which they do not match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apps.api.protocol.types import Item, JSONObject

CALL_OF_OUTPUT = {
    "function_call_output": "function_call",
    "custom_tool_call_output": "custom_tool_call",
    "local_shell_call_output": "local_shell_call",
    "shell_call_output": "shell_call",
    "apply_patch_call_output": "apply_patch_call",
    "tool_search_output": "tool_search_call",
}
"""Which call an output belongs to, by their types."""

CALLS = frozenset(CALL_OF_OUTPUT.values())

OURS = frozenset({"code_interpreter_call", "mcp_call"})
"""Calls that the gateway ran: they carry their output."""

CUSTOM_OUTPUT = "custom_tool_call_output"
"""The output that may come more than once: custom tools report while they run, and afterwards."""


PAIRED = CALLS | CALL_OF_OUTPUT.keys() | OURS


class PairingError(Exception):
    """An output without its call or a call without its output; ``position`` counts the items."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


def call_key(item: Item) -> str:
    """What a call and its output have in common."""
    key: str = item["call_id"]
    return key


def has_calls(items: Iterable[Item]) -> bool:
    """Whether there is anything to pair, which most conversations have not."""
    return not PAIRED.isdisjoint([item["type"] for item in items])


def check_pairs(items: Sequence[Item]) -> None:
    """Raise PairingError unless every call has one output, after it; custom calls may have more.

    The same call id may come again once the first call was answered: some model families count
    anew in each turn.
    """
    waiting: dict[str, tuple[str, int]] = {}
    reported: set[str] = set()
    for position, item in enumerate(items):
        kind = item["type"]
        if kind in CALLS:
            if call_key(item) in waiting:
                raise PairingError(f"Two calls have the call_id {call_key(item)!r}.", position)
            waiting[call_key(item)] = kind, position
        elif kind in CALL_OF_OUTPUT:
            call, _ = waiting.pop(call_key(item), (None, 0))
            further = kind == CUSTOM_OUTPUT and call is None and call_key(item) in reported
            if call != CALL_OF_OUTPUT[kind] and not further:
                raise PairingError(
                    f"No tool call found for {_words(kind)} with call_id {call_key(item)}.",
                    position,
                )
            if kind == CUSTOM_OUTPUT:
                reported.add(call_key(item))
    for call_id, (kind, position) in waiting.items():
        raise PairingError(f"No tool output found for {_words(kind)} {call_id}.", position)


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def answered_calls(items: Sequence[Item]) -> frozenset[str]:
    """The call ids that have an output."""
    return frozenset(call_key(item) for item in items if item["type"] in CALL_OF_OUTPUT)


def without_dead_calls(
    items: Sequence[Item], answered: frozenset[str], *, completed: bool
) -> list[Item]:
    """Leave out calls that will never be answered: half-written ones and, when the response they
    come from did not complete (nobody was told to answer), all that have no output. Calls of ours
    that never began are left out too; of those that were interrupted, the model is told."""
    return [item for item in items if _lives(item, answered, completed=completed)]


def _lives(item: Item, answered: frozenset[str], *, completed: bool) -> bool:
    if item["type"] in OURS:
        ended = item["status"] in ("completed", "failed")
        return ended or bool(item.get("error") or item.get("outputs"))
    if item["type"] not in CALLS or call_key(item) in answered:
        return True
    return completed and item["status"] != "incomplete"


def with_one_output_each(items: Sequence[Item]) -> list[Item]:
    """The items as chat completions can tell them: one output for each call.

    A further output that comes at once belongs to the first; a late one is news, which the user
    brings. The items must be paired (``check_pairs``).
    """
    told: list[Item] = []
    names: dict[str, str] = {}  # of the tools, by call id
    firsts: dict[str, int] = {}  # where the first outputs of custom calls are
    news_since = 0  # outputs before are history
    for item in items:
        kind = item["type"]
        if kind in CALLS:
            firsts.pop(call_key(item), None)
            names[call_key(item)] = str(item.get("name"))
        if kind != CUSTOM_OUTPUT:
            told.append(item)
        elif (first := firsts.get(call_key(item))) is None:
            firsts[call_key(item)] = len(told)
            told.append(item)
        elif first >= news_since:
            told[first] = _longer(told[first], item)
        else:
            told.append(_news(item, names[call_key(item)]))
        if told[-1]["type"] not in CALL_OF_OUTPUT:
            news_since = len(told)
    return told


def _longer(output: Item, further: Item) -> Item:
    return output | {"output": _parts(output) + _parts(further)}


def _news(further: Item, name: str) -> Item:
    about = {"type": "input_text", "text": f"More output of {name}:\n"}
    content = [about, *_parts(further)]
    return {"type": "message", "id": further["id"], "role": "user", "content": content}


def _parts(output: Item) -> list[JSONObject]:
    content = output["output"]
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content
