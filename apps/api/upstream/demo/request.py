"""What a client asked: a chat request as typed values, or the error that vLLM would answer.

Reading is validating; messages of errors are vLLM 0.32's own, word for word, except for the few
that name what only the demo model lacks. What is answered is in rules.py.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from .tokens import split

MODEL: Final = "demo"

Json = dict[str, Any]
ToolChoice = Literal["none", "auto", "required", "named"]

_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MEDIA: Final = ("image_url", "input_audio", "audio_url", "video_url", "image_pil", "image_embeds")
_USAGE: Final = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'


class RefusedError(Exception):
    """Answered as an HTTP error with vLLM's error body."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int = 400,
        kind: str = "BadRequestError",
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.kind = message, param, status, kind

    def body(self) -> Json:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.status,
            }
        }


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool, with its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    text: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request; the second half says how the reply is delivered, and the rules ignore it."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    named: str = ""
    parallel: bool = True
    thinking: bool | None = None
    schema: Mapping[str, Any] | None = None
    json_object: bool = False
    choices: tuple[str, ...] = ()

    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    include_reasoning: bool = True
    max_tokens: int | None = None
    max_tokens_field: str = "max_tokens"
    stop: tuple[str, ...] = ()
    include_stop: bool = False

    def prompt(self) -> Iterator[str]:
        """The tokens that a template would make of it: the texts, and four around each message."""
        for tool in self.tools:
            yield from split(f"{tool.name} {json.dumps(tool.parameters)}")
        for message in self.messages:
            calls = "".join(f" {call.name} {call.arguments}" for call in message.calls)
            yield from ("<|im_start|>", message.role, "\n")
            yield from (*split(message.text + calls), "<|im_end|>")

    def prompt_tokens(self) -> int:
        return sum(1 for _ in self.prompt())

    def allowance(self, context: int) -> int:
        """How many tokens the reply may have."""
        wanted = context if self.max_tokens is None else self.max_tokens
        if wanted > context:
            field = self.max_tokens_field
            raise refused(
                f"{field}={wanted} cannot be greater than max_model_len={context}."
                " Please request fewer output tokens.",
                field,
                wanted,
            )
        prompt = self.prompt_tokens()
        if prompt >= context:
            raise refused(
                f"This model's maximum context length is {context} tokens. However, your prompt"
                f" contains at least {context + 1} input tokens, which exceeds this limit even"
                " without any output tokens. Please reduce the length of the input prompt.",
                "input_tokens",
                context + 1,
            )
        return min(wanted, context - prompt)


def refused(message: str, param: str | None = None, value: object = None) -> RefusedError:
    """A 400 in the words of vLLM's own checks, which name parameter and value at the end."""
    if param is None:
        return RefusedError(message)
    shown = "" if value is None else f", value={value}"
    return RefusedError(f"{message} (parameter={param}{shown})", param=param)


def invalid(kind: str, loc: str, message: str, value: object, **context: object) -> RefusedError:
    """A 400 in the words of vLLM's request validation."""
    if isinstance(value, dict | list):
        value = f"<{type(value).__name__} of {len(value)} items>"
    detail: Json = {"type": kind, "loc": loc, "msg": message, "input": value}
    if context:
        detail["ctx"] = context
    return RefusedError(f"1 validation error:\n  {detail}", param=loc, kind="Bad Request")


def read_json(raw: bytes, content_type: str) -> Json:
    if content_type != "application/json":
        reason = "Unsupported Media Type: Only 'application/json' is allowed"
        raise RefusedError(f"1 validation error:\n  {reason}", kind="Bad Request")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        where = f"body.{exc.pos}"
        raise invalid("json_invalid", where, "JSON decode error", {}, error=exc.msg) from exc
    return _dict(body, "body")


def check_model(body: Json) -> None:
    model = body.get("model")
    if model not in (None, "", MODEL):
        raise RefusedError(
            f"The model `{model}` does not exist. Valid aliases: {MODEL}.",
            param="model",
            status=404,
            kind="NotFoundError",
        )


def read_chat(body: Json) -> ChatRequest:
    _check_options(body)
    tools = _tools(body)
    choice, named = _tool_choice(body, tools)
    if "messages" not in body:
        raise invalid("missing", "body.messages", "Field required", body)
    raw_messages = _list(body["messages"], "body.messages")
    check_model(body)
    if not raw_messages:
        raise refused(
            "Cannot apply chat template to an empty conversation. Provide at least one message."
        )
    schema, json_object, choices = _answer_format(body)
    stream_options = body.get("stream_options") or {}
    include_usage = bool(stream_options.get("include_usage"))
    field = "max_completion_tokens"
    if body.get(field) is None:
        field = "max_tokens"
    return ChatRequest(
        messages=tuple(_message(raw, f"body.messages.{i}") for i, raw in enumerate(raw_messages)),
        tools=tools,
        tool_choice=choice,
        named=named,
        parallel=body.get("parallel_tool_calls") is not False,
        thinking=_thinking(body),
        schema=schema,
        json_object=json_object,
        choices=choices,
        stream=bool(body.get("stream")),
        include_usage=include_usage,
        continuous_usage=include_usage and bool(stream_options.get("continuous_usage_stats")),
        include_reasoning=body.get("include_reasoning") is not False,
        max_tokens=max_tokens(body, field),
        max_tokens_field=field,
        stop=stops(body),
        include_stop=bool(body.get("include_stop_str_in_output")),
    )


def max_tokens(body: Json, field: str = "max_tokens") -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, int):
        raise invalid("int_type", f"body.{field}", "Input should be a valid integer", value)
    if value < 1:
        # vLLM names max_tokens here whichever of the two fields it came from.
        raise refused(f"max_tokens must be at least 1, got {value}.", "max_tokens", value)
    return value


def stops(body: Json) -> tuple[str, ...]:
    raw = body.get("stop") or []
    found = [raw] if isinstance(raw, str) else _list(raw, "body.stop")
    if not all(isinstance(stop, str) for stop in found):
        raise invalid("string_type", "body.stop", "Input should be a valid string", raw)
    if len(found) > 4:
        problem = f"List should have at most 4 items after validation, not {len(found)}"
        raise invalid("too_long", "body.stop", problem, raw)
    return tuple(stop for stop in found if stop)


def check_sampling(body: Json) -> None:
    temperature, top_p, n = (_number(body, name) for name in ("temperature", "top_p", "n"))
    if temperature is not None and temperature < 0:
        problem = f"temperature must be non-negative, got {temperature}."
        raise refused(problem, "temperature", temperature)
    if temperature is not None and temperature > 2:
        problem = f"temperature must be in [0, 2], got {temperature}."
        raise refused(problem, "temperature", temperature)
    if top_p is not None and not 0 < top_p <= 1:
        raise refused(f"top_p must be in (0, 1], got {top_p}.", "top_p", top_p)
    if n is not None and n < 1:
        raise refused(f"n must be at least 1, got {int(n)}.")
    if n is not None and n > 1:
        raise refused("The demo model always gives one choice: n must be 1.", "n", int(n))


def _check_options(body: Json) -> None:
    if body.get("stream_options") and not body.get("stream"):
        raise refused("Stream options can only be defined when `stream=True`.", "stream_options")
    _dict(body.get("stream_options") or {}, "body.stream_options")
    if body.get("chat_template"):
        raise refused(
            "Chat template is passed with request, but --trust-request-chat-template is not set."
            " Refused request with untrusted chat template."
        )
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        expected = ", ".join(map(repr, _EFFORTS[:-1])) + f" or {_EFFORTS[-1]!r}"
        raise invalid(
            "literal_error",
            "body.reasoning_effort",
            f"Input should be {expected}",
            effort,
            expected=expected,
        )
    check_sampling(body)
    _check_logprobs(body)


def _check_logprobs(body: Json) -> None:
    top, wanted = _number(body, "top_logprobs"), body.get("logprobs")
    if top and not wanted:
        raise refused("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    if top is not None and top > 20:
        asked = f"Requested sample logprobs of {int(top)}, which is greater than max allowed: 20"
        raise refused(asked, "logprobs", int(top))
    if wanted or body.get("prompt_logprobs") is not None:
        raise refused("The demo model has no log probabilities.", "logprobs")


def _tools(body: Json) -> tuple[Tool, ...]:
    raw_tools = body.get("tools")
    if raw_tools is None:
        return ()
    if raw_tools == []:
        raise refused(
            "`tools` must not be an empty array. Either provide at least one tool or omit the"
            " field entirely.",
            "tools",
        )
    return tuple(
        _tool(raw, f"body.tools.{i}") for i, raw in enumerate(_list(raw_tools, "body.tools"))
    )


def _tool(raw: object, loc: str) -> Tool:
    tool = _dict(raw, loc)
    if tool.get("type", "function") != "function":
        expected = "'function'"
        raise invalid(
            "literal_error",
            f"{loc}.type",
            f"Input should be {expected}",
            tool["type"],
            expected=expected,
        )
    if "function" not in tool:
        raise invalid("missing", f"{loc}.function", "Field required", tool)
    function = _dict(tool["function"], f"{loc}.function")
    if not isinstance(function.get("name"), str):
        raise invalid("missing", f"{loc}.function.name", "Field required", function)
    parameters = _dict(function.get("parameters") or {}, f"{loc}.function.parameters")
    return Tool(function["name"], parameters)


def _tool_choice(body: Json, tools: Sequence[Tool]) -> tuple[ToolChoice, str]:
    match body.get("tool_choice", "auto" if tools else None):
        case None | "none":
            return "none", ""
        case _ if not tools:
            raise refused("When using `tool_choice`, `tools` must be set.", "tool_choice")
        case "auto":
            return "auto", ""
        case "required":
            return "required", ""
        case {"function": {"name": str(name)}} if name:
            if all(tool.name != name for tool in tools):
                raise refused(
                    "The tool specified in `tool_choice` does not match any of the specified"
                    " `tools`",
                    "tool_choice",
                )
            return "named", name
        case {**choice}:
            raise refused(
                f"Invalid value for `function`: `{choice.get('function')}` in `tool_choice`!"
                f" {_USAGE}",
                "tool_choice.function",
            )
        case other:
            raise refused(
                f'Invalid value for `tool_choice`: {other}! Only named tools, "none", "auto" or'
                ' "required" are supported.',
                "tool_choice",
            )


def _answer_format(body: Json) -> tuple[Mapping[str, Any] | None, bool, tuple[str, ...]]:
    """The JSON schema, whether any JSON object will do, and the answers to choose from."""
    structured = _dict(body.get("structured_outputs") or {}, "body.structured_outputs")
    for kind in ("regex", "grammar", "structural_tag"):
        if structured.get(kind) is not None:
            problem = f"The demo model cannot follow structured_outputs.{kind}."
            raise refused(problem, "structured_outputs")
    if (choices := structured.get("choice")) is not None:
        return None, False, tuple(map(str, _list(choices, "body.structured_outputs.choice")))
    if (schema := structured.get("json")) is not None:
        schema = json.loads(schema) if isinstance(schema, str) else schema
        return _dict(schema, "body.structured_outputs.json"), False, ()
    wanted = _dict(body.get("response_format") or {}, "body.response_format")
    match wanted.get("type", "text"):
        case "text":
            return None, bool(structured.get("json_object")), ()
        case "json_object":
            return None, True, ()
        case "json_schema" if wanted.get("json_schema") is not None:
            form = _dict(wanted["json_schema"], "body.response_format.json_schema")
            return _dict(form.get("schema") or {}, "body.response_format.schema"), False, ()
        case "json_schema":
            raise refused(
                "When response_format type is 'json_schema', the 'json_schema' field must be"
                " provided.",
                "response_format",
            )
        case other:
            problem = f"The demo model cannot follow a response_format of type {other!r}."
            raise refused(problem, "response_format")


def _thinking(body: Json) -> bool | None:
    """True or False when the client says so, None when it leaves it open."""
    template = _dict(body.get("chat_template_kwargs") or {}, "body.chat_template_kwargs")
    if isinstance(said := template.get("enable_thinking"), bool):
        return said
    effort = body.get("reasoning_effort")
    return None if effort is None else effort != "none"


def _message(raw: object, loc: str) -> Message:
    message = _dict(raw, loc)
    role = message.get("role")
    if not isinstance(role, str):
        raise invalid("missing", f"{loc}.role", "Field required", message)
    calls = _list(message.get("tool_calls") or [], f"{loc}.tool_calls")
    return Message(
        role,
        _text(message.get("content"), f"{loc}.content"),
        tuple(_call(call, f"{loc}.tool_calls.{i}") for i, call in enumerate(calls)),
    )


def _call(raw: object, loc: str) -> Call:
    function = _dict(_dict(raw, loc).get("function"), f"{loc}.function")
    return Call(str(function.get("name") or ""), str(function.get("arguments") or ""))


def _text(content: object, loc: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(_part(part, f"{loc}.{i}") for i, part in enumerate(_list(content, loc)))


def _part(raw: object, loc: str) -> str:
    if isinstance(raw, str):
        return raw
    part = _dict(raw, loc)
    kind = part.get("type", "text")
    if kind in ("text", "refusal"):
        return str(part.get(kind) or "")
    if kind in _MEDIA:
        raise refused(f"{MODEL} is not a multimodal model")
    raise refused(
        f"Unsupported chat content part type: {kind!r}. Supported types: refusal, text.",
        "type",
        kind,
    )


def _number(body: Json, name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float):
        problem = "Input should be a valid number, unable to parse string as a number"
        raise invalid("float_parsing", f"body.{name}", problem, value)
    return float(value)


def _dict(value: object, loc: str) -> Json:
    if not isinstance(value, dict):
        raise invalid("dict_type", loc, "Input should be a valid dictionary", value)
    return value


def _list(value: object, loc: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid("list_type", loc, "Input should be a valid list", value)
    return value
