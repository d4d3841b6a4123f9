"""The demo upstream: what it answers, and that it says so exactly as a real vLLM would."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from aiohttp import ClientError, ClientSession
from aiohttp.test_utils import TestClient, TestServer

from apps.api.upstream.demo import wire
from apps.api.upstream.demo.generation import generate
from apps.api.upstream.demo.request import Call, ChatRequest, RefusedError, read_chat
from apps.api.upstream.demo.rules import Reply, respond
from apps.api.upstream.demo.server import DemoServer
from apps.api.upstream.demo.tokens import split

ROOT = Path(__file__).parents[3]
RECORDINGS = ROOT / "tests" / "recordings" / "vllm" / "chat"

Json = dict[str, Any]


def tool(_name: str, /, required: tuple[str, ...] | None = None, **properties: object) -> Json:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
    }
    return {"type": "function", "function": {"name": _name, "parameters": parameters}}


STRING = {"type": "string"}
CODE = tool("code_interpreter", code=STRING)
WEATHER = tool("get_weather", city=STRING)
TOOLS = [CODE, WEATHER]


def asked(text: str, *history: Json, results: tuple[str, ...] = (), **options: Any) -> ChatRequest:
    messages = [*history, {"role": "user", "content": text}]
    for number, result in enumerate(results):
        function = {"name": "f", "arguments": "{}"}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"call_{number}", "content": result})
    return read_chat({"model": "demo", "messages": messages, **options})


def said(text: str, *history: Json, **options: Any) -> str:
    reply = respond(asked(text, *history, **options))
    assert reply.calls == ()
    return reply.text


def called(text: str, **options: Any) -> list[tuple[str, Json]]:
    reply = respond(asked(text, **{"tools": TOOLS, **options}))
    assert reply.text == ""
    return [(call.name, json.loads(call.arguments)) for call in reply.calls]


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def assistant(text: str) -> Json:
    return {"role": "assistant", "content": text}


# What it says


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("say hello", "Hello! I am the demo model of the Responses Gateway."),
        ("Hi", "Hello! I am the demo model of the Responses Gateway."),
        ("hello!", "Hello! I am the demo model of the Responses Gateway."),
        ("Say: café 😀 你好\n안녕", "café 😀 你好\n안녕"),
        ("repeat: What is 2+2?", "What is 2+2?"),
        ("ECHO: my name is X", "my name is X"),
        ("My name is Ada.", "Nice to meet you, Ada."),
        ("What is my name?", "I do not know your name."),
        ("What is the secret word?", "I do not know the secret word."),
        ("What number did you just compute?", "I have not computed a number yet."),
        ("Count to 5.", "1 2 3 4 5"),
        ("Count to 99999999", "I can count to 10000 at most."),
        ("2+2", "4"),
        ("What is 2+2?", "4"),
        ("Compute 12*(3+4)", "84"),
        ("How much is 7 / 2, please?", "3.5"),
        ("what's -2**3 + 10 % 4 // 1?", "-6"),
        ("0.1+0.2=", "0.3"),
        ("1/0", "I cannot compute 1/0: division by zero."),
        ("9**9**9", "I cannot compute 9**9**9: the result is too large."),
        ("JSON: name Ada, age 36", '{"name": "Ada", "age": 36}'),
        ("Execute: 2+2", "I have no such tool."),
        ("Use get_weather with Paris", "I have no such tool."),
        ("What is the weather in Paris?", "I have no such tool."),
        ("Wait 3 seconds", "I waited 3 seconds."),
        ("Wait 3 seconds, then say hello", "Hello! I am the demo model of the Responses Gateway."),
    ],
)
def test_plain_messages_have_plain_answers(text: str, answer: str) -> None:
    assert said(text) == answer


@pytest.mark.parametrize("text", ["", "42", "What is love?", "2024-01-15 was a Monday", "x" * 500])
def test_anything_else_is_answered_as_the_demo_and_quoted_in_short(text: str) -> None:
    answer = said(text)
    assert answer.startswith("I am the demo model of the Responses Gateway, not a language model")
    assert 'Try "Say: TEXT"' in answer
    assert "x" * 61 not in answer


def test_names_and_secrets_come_from_the_history() -> None:
    history = [
        {"role": "system", "content": "Be brief. The secret word is xyzzy."},
        user("My name is Bob."),
        assistant("Nice to meet you, Bob."),
        user([{"type": "text", "text": "My name is Ada Lovelace, by the way."}]),  # type: ignore[arg-type]
    ]
    assert said("What's my name?", *history) == "Your name is Ada Lovelace."
    assert said("What is the secret word?", *history) == "The secret word is xyzzy."


def test_a_computed_number_is_found_in_answers_and_in_tool_results() -> None:
    question = "What number did you just compute?"
    assert said(question, user("2+2"), assistant("4")) == "The number was 4."
    result = {"role": "tool", "tool_call_id": "c", "content": "-1.5"}
    assert said(question, user("x"), result, assistant("Done.")) == "The number was -1.5."


def test_singing_has_no_end_but_the_limit() -> None:
    generation = generate(respond(asked("Sing")), limit=4)
    assert generation.text == "la la la la"
    assert generation.finish == "length"
    endless = generate(respond(asked("Sing")), limit=10**9)
    assert len(endless.pieces) == 100_000


@pytest.mark.parametrize(
    ("text", "options", "reasoning"),
    [
        ("2+2", {}, ""),
        ("2+2", {"reasoning_effort": "none"}, ""),
        ("2+2", {"reasoning_effort": "low"}, 'The user says "2+2". I can answer that at once.'),
        ("Think: 2+2", {}, 'The user says "2+2". I can answer that at once.'),
        ("Think: 2+2", {"reasoning_effort": "none"}, ""),
        ("Think: 2+2", {"chat_template_kwargs": {"enable_thinking": False}}, ""),
    ],
)
def test_it_reasons_when_told_to(text: str, options: Json, reasoning: str) -> None:
    reply = respond(asked(text, **options))
    assert (reply.reasoning, reply.text) == (reasoning, "4")


def test_it_reasons_about_tools_too() -> None:
    before = respond(asked("Execute: 1", tools=TOOLS, reasoning_effort="high"))
    after = respond(asked("Execute: 1", tools=TOOLS, reasoning_effort="high", results=("1",)))
    assert before.reasoning == 'The user says "Execute: 1". I will call code_interpreter.'
    assert after.reasoning == 'The user says "Execute: 1". I know what the tool answered.'


def test_waits_are_bounded_and_happen_once() -> None:
    assert respond(asked("Wait 5 seconds")).wait == 5.0
    assert respond(asked("wait 1000 s and say hello")).wait == 60.0
    assert respond(asked("wait 5 seconds, execute: 1", results=("1",), tools=TOOLS)).wait == 0.0


# Which tools it calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("What is 2+2?", [("code_interpreter", {"code": "2+2"})]),
        ("Compute 12*(3+4) with Python", [("code_interpreter", {"code": "12*(3+4)"})]),
        ("Execute: print('é')\nprint(2)", [("code_interpreter", {"code": "print('é')\nprint(2)"})]),
        ("Execute: a and then: b", [("code_interpreter", {"code": "a"})]),
        ("Loop: 1+1", [("code_interpreter", {"code": "1+1"})]),
        ("Loop: use get_weather with Oslo", [("get_weather", {"city": "Oslo"})]),
        ("Use get_weather with Paris.", [("get_weather", {"city": "Paris"})]),
        ('Use GET_WEATHER with {"city": "Paris"}', [("get_weather", {"city": "Paris"})]),
        (
            "Use get_weather with Paris and also code_interpreter with 1",
            [("get_weather", {"city": "Paris"}), ("code_interpreter", {"code": "1"})],
        ),
        ("What is the weather in Paris?", [("get_weather", {"city": "Paris"})]),
        (
            "How's the weather like in New York, Paris and Rome today?",
            [
                ("get_weather", {"city": "New York"}),
                ("get_weather", {"city": "Paris"}),
                ("get_weather", {"city": "Rome"}),
            ],
        ),
    ],
)
def test_messages_that_ask_for_tools_get_calls(text: str, calls: list[tuple[str, Json]]) -> None:
    assert called(text) == calls


@pytest.mark.parametrize(
    ("text", "results", "answer"),
    [
        ("What is 2+2?", ("4",), "The result is 4"),
        ("Execute: a and then: b", ("1", "2"), "The results are 1 and 2"),
        (
            "Use get_weather with X and also get_weather with Y",
            ("1", "2"),
            "The results are 1 and 2",
        ),
        ("What is the weather in Paris?", ("sunny",), "The weather in Paris: sunny"),
        (
            "What is the weather in Paris and Rome?",
            ("sunny", "rain"),
            "The weather in Paris: sunny\nThe weather in Rome: rain",
        ),
        ("Do something", ("done",), "The result is done"),
    ],
)
@pytest.mark.parametrize("tools", [{"tools": TOOLS}, {}])
def test_results_are_stated_with_and_without_the_tool_still_there(
    text: str, results: tuple[str, ...], answer: str, tools: Json
) -> None:
    assert said(text, results=results, **tools) == answer


def test_calls_that_depend_on_each_other_come_one_after_the_other() -> None:
    assert called("Execute: a and then: b", results=("1",)) == [("code_interpreter", {"code": "b"})]
    paris_then_rome = "What is the weather in Paris and Rome?"
    assert called(paris_then_rome, parallel_tool_calls=False) == [
        ("get_weather", {"city": "Paris"})
    ]
    assert called(paris_then_rome, parallel_tool_calls=False, results=("sunny",)) == [
        ("get_weather", {"city": "Rome"})
    ]


def test_a_loop_never_ends() -> None:
    looping = called("Loop: 1", results=("1",) * 50)
    assert looping == [("code_interpreter", {"code": "1"})]
    assert said("Loop: 1", results=("1", "1"), tools=TOOLS, tool_choice="none") == (
        "The results are 1 and 1"
    )


def test_results_of_an_earlier_message_do_not_count() -> None:
    earlier = [user("2+2"), {"role": "tool", "tool_call_id": "c", "content": "4"}, assistant("4")]
    assert [c.name for c in respond(asked("3+3", *earlier, tools=TOOLS)).calls] == [
        "code_interpreter"
    ]


def test_the_code_tool_is_known_by_its_parameter() -> None:
    mixed = tool("run", ("code",), language=STRING, code=STRING)
    other = tool("search", query=STRING, code=STRING)
    assert called("2+2", tools=[other, mixed]) == [("run", {"code": "2+2"})]
    assert said("2+2", tools=[other]) == "4"


def test_a_tool_is_found_by_the_end_of_its_name() -> None:
    tools = [tool("dice__roll", dice=STRING), tool("dice__unroll", dice=STRING)]
    assert called("Use roll with 2d6", tools=tools) == [("dice__roll", {"dice": "2d6"})]


def test_tool_choice_none_calls_nothing() -> None:
    assert said("2+2", tools=TOOLS, tool_choice="none") == "4"
    assert said("Execute: 2+2", tools=TOOLS, tool_choice="none") == "I have no such tool."


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("2+2", ("code_interpreter", {"code": "2+2"})),
        ("weather in Rome?", ("get_weather", {"city": "Rome"})),
        ("say hello", ("code_interpreter", {"code": "say hello"})),
        ("call get_weather", ("get_weather", {"city": "call get_weather"})),
    ],
)
def test_required_calls_the_fitting_tool_or_the_first(text: str, call: tuple[str, Json]) -> None:
    assert called(text, tool_choice="required") == [call]
    assert called(text, tool_choice="required", results=("1", "2")) == [call]


def test_named_calls_that_tool_and_finishes_with_stop() -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    assert called("2+2 in Rome", tool_choice=choice) == [("get_weather", {"city": "Rome"})]
    assert respond(asked("x", tools=TOOLS, tool_choice=choice)).finish == "stop"
    assert respond(asked("x", tools=TOOLS, tool_choice="required")).finish == "tool_calls"


def test_arguments_are_made_up_from_schema_and_text() -> None:
    book = tool(
        "book",
        ("title", "seats", "price", "vip", "row", "tags", "who", "note"),
        title=STRING,
        seats={"type": "integer", "maximum": 8},
        price={"type": "number"},
        vip={"type": "boolean"},
        row={"type": "string", "enum": ["front", "back"]},
        tags={"type": "array", "items": STRING},
        who={"type": "object", "properties": {"name": STRING}, "required": ["name"]},
        note={"type": ["string", "null"]},
        left_out=STRING,
    )
    (made_up,) = called("Book 12 seats in Hamlet, name Ada", tools=[book], tool_choice="required")
    assert made_up == (
        "book",
        {
            "title": "Hamlet, name Ada",
            "seats": 8,
            "price": 12,
            "vip": True,
            "row": "front",
            "tags": ["Hamlet, name Ada"],
            "who": {"name": "Ada"},
            "note": None,
        },
    )


def test_a_tool_without_parameters_is_called_without_arguments() -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    assert called("Use now", tools=[bare]) == [("now", {})]
    assert called("x", tools=[bare], tool_choice="required") == [("now", {})]


# Structured answers


def formatted(text: str, schema: Json, **options: Any) -> Any:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return json.loads(said(text, response_format=form, **options))


PERSON = {
    "type": "object",
    "properties": {"name": STRING, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "label": STRING,
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["label", "next", "children"],
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS: list[Json] = [
    {},
    PERSON,
    TREE,
    {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 4},
    {"type": "array", "prefixItems": [STRING, {"type": "boolean"}], "items": False},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"type": "string", "format": "uuid"},
    {"type": "string", "pattern": "JSON"},
    {"type": "integer", "multipleOf": 5, "minimum": 41, "maximum": 99},
    {"type": "integer", "exclusiveMinimum": 100},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": ["null", "boolean"]},
    {"type": "object", "properties": {"optional": STRING, "kind": {"const": 3}}},
    {"oneOf": [{"type": "null"}, PERSON]},
    {"enum": ["red", "green", None]},
    {"allOf": [{"properties": {"job": STRING}, "required": ["job"]}, {"type": "object"}]},
    {"type": "object", "required": ["undescribed"]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("text", ["JSON: name Ada, age 36", "", "Tell me about Rome."])
def test_json_answers_are_valid_for_their_schema(schema: Json, text: str) -> None:
    if "pattern" in schema and "JSON" not in text:
        with pytest.raises(RefusedError, match="pattern"):
            formatted(text, schema)
        return
    if "pattern" in schema:
        text = "in JSON"
    jsonschema.Draft202012Validator(schema).validate(formatted(text, schema))


def test_json_answers_say_what_the_text_says() -> None:
    assert formatted("JSON: name Ada, age 36", PERSON) == {"name": "Ada", "age": 36}
    assert formatted("Her age is 36 and her name is Ada.", PERSON) == {"name": "Ada", "age": 36}
    assert formatted("I like green", {"enum": ["red", "green"]}) == "green"


def test_json_answers_come_after_the_tools() -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert called("2+2", response_format=form) == [("code_interpreter", {"code": "2+2"})]
    assert formatted("2+2", schema, tools=TOOLS, results=("4",)) == {"sum": 4}


def test_json_objects_take_pairs_from_the_text() -> None:
    form = {"type": "json_object"}
    said_pairs = said("JSON: name Ada, age 36, ok true", response_format=form)
    assert json.loads(said_pairs) == {"name": "Ada", "age": 36, "ok": True}
    assert json.loads(said("Tell me.", response_format=form)) == {"text": "Tell me."}


def test_structured_outputs_choose_the_first_or_are_refused() -> None:
    assert said("x", structured_outputs={"choice": ["yes", "no"]}) == "yes"
    assert json.loads(said("name Ada, age 3", structured_outputs={"json": PERSON}))["age"] == 3
    with pytest.raises(RefusedError, match=r"cannot follow structured_outputs\.regex"):
        said("x", structured_outputs={"regex": "[0-9]+"})


# How it says so


def normalised(data: bytes) -> bytes:
    data = re.sub(rb'"id":"(chatcmpl-(?:tool-)?)\w+"', rb'"id":"\1"', data)
    data = re.sub(rb'"(created|\w+_tokens)":\d+', rb'"\1":0', data)
    return data.replace(b"vllm-0.32.0-0d805203", wire.FINGERPRINT.encode()).replace(
        b'"model":"tiny"', b'"model":"demo"'
    )


RECORDED_TOOL = Reply(calls=(Call("code_interpreter", '{"code": "2+2"}'),), finish="tool_calls")


@pytest.mark.parametrize(
    ("case", "reply", "limit"),
    [
        ("text", Reply(text="Hello!"), 100),
        ("stream", Reply(text="Hello!"), 100),
        ("stream_usage", Reply(text="Hello!"), 100),
        ("stream_usage_continuous", Reply(text="Hello!"), 100),
        ("stop_string", Reply(text="la", endless=True), 50),
        ("stream_stop_string", Reply(text="la", endless=True), 50),
        ("length_in_reasoning", Reply(reasoning="\nI will", text="x"), 1),
        ("tool_auto", RECORDED_TOOL, 100),
        ("tool_required", RECORDED_TOOL, 100),
        ("stream_tool_auto", RECORDED_TOOL, 100),
        ("stream_tool_required", RECORDED_TOOL, 100),
        ("stream_tool_cut_by_length", RECORDED_TOOL, 15),
        ("stream_tool_required_cut_by_length", RECORDED_TOOL, 6),
    ],
)
def test_bytes_are_those_of_a_real_vllm(case: str, reply: Reply, limit: int) -> None:
    body = json.loads((RECORDINGS / f"{case}.request.json").read_text())["body"]
    request = read_chat({**body, "model": "demo"})
    generation = generate(reply, limit=limit, stop=request.stop)
    if request.stream:
        stream = wire.ChatStream(
            identity=wire.Identity(),
            generation=generation,
            prompt=1,
            include_usage=request.include_usage,
            continuous_usage=request.continuous_usage,
        )
        sent = b"".join(stream.frames())
    else:
        sent = wire.encode(
            wire.chat_body(
                wire.Identity(),
                generation,
                prompt=1,
                include_reasoning=True,
                forced=request.tool_choice in ("required", "named"),
            )
        )
    (recording,) = RECORDINGS.glob(f"{case}.response.*")
    assert normalised(sent) == normalised(recording.read_bytes())


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", "a b  c\n\n d", "Hello, world!", "café 😀 你好", "x" * 99, "\t{'a': [1,2]}  "],
)
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(split(text)) == text


def test_usage_counts_every_token_and_the_end() -> None:
    generation = generate(Reply(reasoning="I think.", text="One two three."), limit=100)
    assert len(generation.pieces) == 3 + 4 + 1
    assert generation.reasoning_tokens == 3
    cut = generate(Reply(text="One two three."), limit=4)
    assert (cut.text, cut.finish) == ("One two three.", "length")


def test_a_call_that_is_cut_is_text_without_a_stream() -> None:
    cut = generate(RECORDED_TOOL, limit=14)
    assert cut.finish == "length"
    assert cut.whole_calls == ()
    assert cut.text.startswith('<tool_call>\n{"name": "code')


# Over HTTP


@asynccontextmanager
async def demo(context: int = 2048) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(DemoServer(context=context).application())) as client:
        yield client


def over_http(use: Callable[[TestClient[Any, Any]], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with demo() as client:
            return await use(client)

    return asyncio.run(run())


DIFFERENT_ON_PURPOSE = {
    "error_file",  # names the part types that only the demo has
    "error_unknown_part",  # pydantic's addresses are not imitated
    "error_not_json",  # another JSON parser's words
    "error_tool_type",  # one problem at a time
    "error_stop_too_many",
    "error_logit_bias",  # the demo has no vocabulary
}


@pytest.mark.parametrize(
    "case",
    [
        path.name.removesuffix(".response.json")
        for path in sorted(RECORDINGS.glob("error_*.response.json"))
        if b'{"error":' in path.read_bytes()[:9]
    ],
)
def test_refusals_are_those_of_a_real_vllm(case: str) -> None:
    recorded = json.loads((RECORDINGS / f"{case}.request.json").read_text())
    content = json.dumps(recorded["body"]) if "body" in recorded else recorded["raw_body"]
    content = content.replace("tiny", "demo").replace("word ... (", "word " * 6000)
    headers = {"content-type": "application/json", **recorded.get("headers", {})}

    async def ask(client: TestClient[Any, Any]) -> tuple[int, Json]:
        async with client.post(recorded["path"], data=content, headers=headers) as response:
            return response.status, await response.json()

    status, body = over_http(ask)
    expected = (RECORDINGS / f"{case}.response.json").read_text().replace("tiny", "demo")
    if case == "error_logit_bias":
        assert status == 200
    elif case in DIFFERENT_ON_PURPOSE:
        assert (status, body["error"]["code"]) == (400, 400)
    else:
        assert body == json.loads(expected)
        assert status == body["error"]["code"]


def test_a_schema_that_cannot_be_met_is_an_error_inside_a_stream() -> None:
    case = "stream_json_schema_bad_schema"
    body = json.loads((RECORDINGS / f"{case}.request.json").read_text())["body"]

    async def ask(client: TestClient[Any, Any]) -> tuple[int, bytes]:
        async with client.post("/v1/chat/completions", json={**body, "model": "demo"}) as response:
            return response.status, await response.read()

    assert over_http(ask) == (200, (RECORDINGS / f"{case}.response.sse").read_bytes())


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/health", 200, None),
        ("GET", "/version", 200, {"version": "0.32.0+responses-gateway-demo"}),
        ("GET", "/v1/nothing", 404, {"detail": "Not Found"}),
        ("GET", "/v1/chat/completions", 405, {"detail": "Method Not Allowed"}),
    ],
)
def test_other_paths_answer_like_vllm(method: str, path: str, status: int, body: object) -> None:
    async def ask(client: TestClient[Any, Any]) -> tuple[int, bytes]:
        async with client.request(method, path) as response:
            return response.status, await response.read()

    answered, content = over_http(ask)
    assert answered == status
    assert (json.loads(content) if content else None) == body


def test_the_model_list_says_what_it_is() -> None:
    async def ask(client: TestClient[Any, Any]) -> Json:
        async with client.get("/v1/models") as response:
            body: Json = await response.json()
            return body

    (model,) = over_http(ask)["data"]
    assert (model["id"], model["owned_by"]) == ("demo", "responses-gateway")
    assert model["max_model_len"] == 2048


def test_failures_can_be_asked_for() -> None:
    async def ask(client: TestClient[Any, Any]) -> None:
        async def post(text: str, **options: object) -> tuple[int, bytes]:
            content = {"model": "demo", "messages": [user(text)], **options}
            async with client.post("/v1/chat/completions", json=content) as response:
                return response.status, await response.read()

        for stream in (False, True):
            status, body = await post("Fail with 503", stream=stream)
            assert (status, json.loads(body)["error"]["type"]) == (503, "Service Unavailable")
            with pytest.raises(ClientError):
                await post("Fail in the middle", stream=stream)

    over_http(ask)


def test_the_request_id_names_the_completion() -> None:
    async def ask(client: TestClient[Any, Any]) -> Json:
        content = {"messages": [user("hi")]}
        headers = {"X-Request-Id": "mine"}
        async with client.post("/v1/chat/completions", json=content, headers=headers) as response:
            body: Json = await response.json()
            return body

    assert over_http(ask)["id"] == "chatcmpl-mine"


def test_the_tokens_of_a_chat_are_counted_as_its_usage_says() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    chat = {
        "model": "demo",
        "messages": [{"role": "system", "content": "Be nice."}, {"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
    }

    async def ask(client: TestClient[Any, Any]) -> list[Json]:
        bodies = []
        for path in ("/tokenize", "/v1/chat/completions"):
            async with client.post(path, json=chat) as response:
                bodies.append(await response.json())
        return bodies

    tokenized, answer = over_http(ask)
    assert tokenized["count"] == len(tokenized["tokens"]) == answer["usage"]["prompt_tokens"]


def test_smaller_endpoints_are_deterministic() -> None:
    async def ask(client: TestClient[Any, Any]) -> list[Json]:
        bodies = []
        for path, content in [
            ("/tokenize", {"prompt": "say hello", "return_token_strs": True}),
            ("/v1/completions", {"prompt": "Count to 3"}),
            ("/v1/embeddings", {"input": ["a", "b", "a"], "dimensions": 3}),
        ]:
            async with client.post(path, json=content) as response:
                bodies.append(await response.json())
        return bodies

    tokenized, completion, embeddings = over_http(ask)
    assert (tokenized["count"], tokenized["max_model_len"]) == (2, 2048)
    assert tokenized["token_strs"] == ["say", " hello"]
    assert completion["choices"][0]["text"] == "1 2 3"
    first, second, third = (one["embedding"] for one in embeddings["data"])
    assert first == third != second
    assert sum(value**2 for value in first) == pytest.approx(1)


# As a process, with the official client


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    command = [sys.executable, "-m", "apps.api.upstream.demo", "--port", "0", "--token-delay", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("demo upstream (rule-based, not a language model)")
        yield line.split()[-1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as made:
        yield made


def test_the_official_client_gets_text(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "Say: ça va? 😀"}]
    )
    assert made.choices[0].message.content == "ça va? 😀"
    assert made.system_fingerprint == "responses-gateway-demo"


def test_the_official_client_gets_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Count to 20"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == " ".join(map(str, range(1, 21)))
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 21


def test_the_official_client_runs_a_tool(client: openai.OpenAI) -> None:
    messages: list[Any] = [user("What is the weather in Paris and Rome?")]
    with client.chat.completions.stream(
        model="demo",
        messages=messages,
        tools=TOOLS,  # type: ignore[arg-type]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    messages.append(message)
    for call, result in zip(message.tool_calls, ("sunny", "rain"), strict=True):
        assert re.fullmatch("chatcmpl-tool-[0-9a-f]{16}", call.id)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    final = client.chat.completions.create(model="demo", messages=messages)
    assert final.choices[0].message.content == (
        "The weather in Paris: sunny\nThe weather in Rome: rain"
    )


def test_the_official_client_gets_errors_embeddings_and_models(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Valid aliases: demo"):
        client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "x"}])
    vectors = client.embeddings.create(model="demo", input=["a", "b"])
    assert len(vectors.data[0].embedding) == 64
    assert [model.id for model in client.models.list()] == ["demo"]


def test_a_client_that_leaves_does_not_stop_the_server(base_url: str) -> None:
    async def leave_and_return() -> int:
        content = {"messages": [user("Sing")], "stream": True}
        async with (
            ClientSession() as session,
            session.post(f"{base_url}/chat/completions", json=content) as response,
        ):
            await response.content.readuntil(b'" la"')
        async with ClientSession() as session, session.get(f"{base_url}/models") as response:
            return response.status

    assert asyncio.run(leave_and_return()) == 200


def test_a_taken_port_is_said_in_one_line(base_url: str) -> None:
    port = base_url.split(":")[-1].removesuffix("/v1")
    command = [sys.executable, "-m", "apps.api.upstream.demo", "--port", port]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"demo upstream: cannot listen on port {port}")
    assert "Traceback" not in done.stderr


def test_it_starts_without_django() -> None:
    program = "import sys, apps.api.upstream.demo.server; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_a_stop_ends_open_streams_at_once() -> None:
    command = [sys.executable, "-m", "apps.api.upstream.demo", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]

        async def stop_while_singing() -> None:
            content = {"messages": [user("Sing")], "stream": True}
            async with (
                ClientSession() as session,
                session.post(f"{url}/chat/completions", json=content) as response,
            ):
                await response.content.readline()
                process.send_signal(signal.SIGINT)
                with pytest.raises(ClientError):
                    await response.read()

        asyncio.run(stop_while_singing())
        assert process.wait(5) == 0
