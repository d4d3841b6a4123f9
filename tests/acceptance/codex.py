"""Speaks to the gateway as Codex 0.169 does: no state on the server, the whole history each time.

Of the answers it reads what Codex reads: items that are done, and the terminal event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.gateway import Gateway

Json = dict[str, Any]

COMMON: Json = {
    "model": "tiny",
    "stream": True,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a20aa4-f58c-7a02-b2be-cb41c9d8d2b5",
    "client_metadata": {"thread_id": "01a20aa4", "x-codex-turn-metadata": '{"window": 0}'},
}
HEADERS = {
    "accept": "text/event-stream",
    "authorization": "Bearer any",
    "originator": "codex_exec",
    "session-id": "01a20aa4-f58c-7a02-b2be-cb41c9d8d2b5",
    "x-codex-beta-features": "remote_compaction_v2",
    "x-codex-turn-metadata": '{"window": 0}',
}

PARAMETERS: Json = {"type": "object", "properties": {}, "additionalProperties": False}
EXEC_COMMAND: Json = {
    "type": "function",
    "name": "exec_command",
    "description": "Runs a command.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"cmd": {"type": "string"}},
        "required": ["cmd"],
        "additionalProperties": False,
    },
}
AGENTS: Json = {
    "type": "namespace",
    "name": "multi_agent_v1",
    "description": "Tools for sub-agents.",
    "tools": [
        {"type": "function", "name": "spawn_agent", "strict": False, "parameters": PARAMETERS}
    ],
}
APPLY_PATCH: Json = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files. This is a FREEFORM tool, so do not wrap the patch in JSON.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/s\n"},
}
TOOL_SEARCH: Json = {
    "type": "tool_search",
    "execution": "client",
    "description": "Searches over deferred tools.",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "number"}},
        "required": ["query"],
        "additionalProperties": False,
    },
}
WEB_SEARCH: Json = {
    "type": "web_search",
    "external_web_access": True,
    "search_content_types": ["text", "image"],
}
EXEC: Json = {
    "type": "additional_tools",
    "id": "at_01a20aa6-c52a-7792-8049-9544468f8b14",
    "role": "developer",
    "tools": [
        {
            "type": "namespace",
            "name": "functions",
            "description": "",
            "tools": [
                {
                    "type": "custom",
                    "name": "exec",
                    "description": "Runs JavaScript.",
                    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/s"},
                },
                {"type": "function", "name": "wait", "strict": False, "parameters": PARAMETERS},
            ],
        }
    ],
}


def message(role: str, *texts: str) -> Json:
    return {
        "type": "message",
        "id": "msg_0927d7e2-7b97-503e-94e7-0ad5f8a92d96",
        "role": role,
        "content": [{"type": "input_text", "text": text} for text in texts],
    }


class Codex:
    """One session; ``shape`` are the fields in which the requests for a model differ."""

    def __init__(self, gateway: Gateway, *first: Json, **shape: Any) -> None:
        self.gateway, self.shape = gateway, COMMON | shape
        self.history = [
            *first,
            message("developer", "You are a coding agent."),
            message("developer", "<skills>", "None."),
            message("user", "<environment_context>"),
            message("user", "Do it."),
        ]
        self.headers: dict[str, str] = {}
        self.end: Json = {}

    def turn(self, *inputs: Json) -> list[Json]:
        """Send all, and what is new; the items that the answer brought, which are kept."""
        self.history += inputs
        body = self.shape | {"input": self.history}
        events = list(self._events(body))
        done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
        self.history += done
        self.end = events[-1]["response"]
        return done

    def _events(self, body: Json) -> Iterator[Json]:
        url = "/v1/responses"
        with self.gateway.http.stream("POST", url, json=body, headers=HEADERS) as answer:
            text = answer.read().decode()
        assert answer.status_code == 200, text
        self.headers = dict(answer.headers)
        for line in text.splitlines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))
