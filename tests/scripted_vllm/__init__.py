"""The scripted upstream: a real HTTP server that says in vLLM's bytes what a test told it to say.

It checks nothing and computes nothing. Replies are made by the functions of `replies`, rendered
by `frames` and sent by `server`; `requests` holds what the client sent.

    with ScriptedVLLM() as vllm:
        vllm.script(reasoning("Hm.") + tool_call("roll", '{"dice": ', '"2d6"}'), text("Hello", "!"))
        ...  # two requests to vllm.url + "/v1/chat/completions"
        assert vllm.requests[0].body["model"] == "tiny"
"""

from .replies import (
    Options,
    Reply,
    Usage,
    body,
    calls,
    error,
    failure,
    garbage,
    pause,
    raw,
    reasoning,
    recorded,
    text,
    tool_call,
)
from .server import Request, ScriptedVLLM

__all__ = [
    "Options",
    "Reply",
    "Request",
    "ScriptedVLLM",
    "Usage",
    "body",
    "calls",
    "error",
    "failure",
    "garbage",
    "pause",
    "raw",
    "reasoning",
    "recorded",
    "text",
    "tool_call",
]
