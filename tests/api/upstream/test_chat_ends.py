"""How turns of chat completions end: finish reasons, usage, errors, and what is no answer at all."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.api.protocol.deltas import Finish, TurnUsage
from apps.api.upstream.chat import ChatNormalizer
from apps.api.upstream.errors import UpstreamBroke, UpstreamError, UpstreamRefused
from tests.api.upstream.chunks import STOP, Json, broken, calls, chunk, piece, said
from tests.api.upstream.replays import call, cut, replay, replay_whole, text

# --- Ends and usage -------------------------------------------------------------------------------


def test_an_answer_of_nothing_is_an_empty_message() -> None:
    assert said(STOP) == [text("")]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", Finish.STOP),
        ("tool_calls", Finish.STOP),
        ("length", Finish.LENGTH),
        ("content_filter", Finish.CONTENT_FILTER),
    ],
)
def test_why_a_turn_ended(reason: str, finish: Finish) -> None:
    assert replay([chunk(content="a"), chunk(reason)]).finish is finish


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, TurnUsage(5, 0, 3, 0)),
        (
            USAGE | {"prompt_tokens_details": None, "completion_tokens_details": None},
            TurnUsage(5, 0, 3, 0),
        ),
        (
            USAGE
            | {
                "prompt_tokens_details": {"cached_tokens": 4, "created_cache_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            TurnUsage(5, 4, 3, 2),
        ),
        (
            USAGE
            | {
                "prompt_tokens_details": {"cached_tokens": None},
                "completion_tokens_details": {"audio_tokens": 1},
            },
            TurnUsage(5, 0, 3, 0),
        ),
        ({"prompt_tokens": None}, TurnUsage()),
        (None, None),
    ],
)
def test_usage_and_its_details_may_be_missing(usage: Json | None, expected: TurnUsage) -> None:
    assert replay([chunk(content="a"), STOP, {"choices": [], "usage": usage}]).usage == expected


@pytest.mark.parametrize(
    "usage",
    [
        5,
        "many",
        [USAGE],
        USAGE | {"completion_tokens": 10**30},
        USAGE | {"completion_tokens": 2**31},
        USAGE | {"prompt_tokens": -1},
        USAGE | {"prompt_tokens": "5"},
        USAGE | {"prompt_tokens": 1.5},
        USAGE | {"prompt_tokens": True},
        USAGE | {"prompt_tokens_details": {"cached_tokens": -4}},
        USAGE | {"completion_tokens_details": {"reasoning_tokens": "two"}},
    ],
    ids=repr,
)
def test_usage_that_cannot_be_is_unknown_and_the_answer_is_good(usage: object) -> None:
    chunks = [chunk(content="a"), STOP, {"choices": [], "usage": usage}]
    replayed = replay(orjson.loads(json.dumps(chunks)))
    assert (replayed.said, replayed.usage, replayed.error) == ([text("a")], None, None)
    whole = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}
    replayed = replay_whole(json.dumps(whole).encode(), limit=3)
    assert (replayed.said, replayed.usage, replayed.error) == ([text("a")], None, None)


def test_usage_in_every_chunk_counts_once() -> None:
    running = [{**chunk(content="a"), "usage": USAGE | {"completion_tokens": n}} for n in (1, 2)]
    replayed = replay([*running, {**STOP, "usage": USAGE}, {"choices": [], "usage": USAGE}])
    assert replayed.usage == TurnUsage(5, 0, 3, 0)


def test_a_chunk_with_empty_choices_and_no_usage_says_nothing() -> None:
    assert ChatNormalizer().feed({"choices": []}) == []


# --- Errors ---------------------------------------------------------------------------------------


def test_a_stream_without_a_finish_reason_was_cut() -> None:
    assert broken(chunk(content="Hel"), chunk(content="lo")).said == [cut(text("Hello"))]


@pytest.mark.parametrize("reason", ["abort", "error", 5, {"a": 1}])
def test_an_unknown_finish_reason_is_a_failure(reason: Any) -> None:
    broken(chunk(content="a"), chunk(reason))


def test_an_error_in_mid_stream_keeps_what_came_before() -> None:
    error = {"message": "Internal server error", "type": "InternalServerError", "code": 500}
    replayed = replay([calls(piece(0, '{"city', name="f")), {"error": error}])
    assert isinstance(replayed.error, UpstreamRefused)
    assert (replayed.error.status, str(replayed.error)) == (500, "Internal server error")
    assert replayed.said == [cut(call("f", '{"city'))]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ({"error": {"message": "Busy.", "code": 503}}, 503, "Busy."),
        ({"error": {"message": "Busy.", "code": "overloaded"}}, 500, "Busy."),
        ({"error": {"message": "Busy.", "code": 200}}, 500, "Busy."),
        ({"error": "Busy."}, 500, "Busy."),
        ({"error": None}, 500, "The model server refused the request."),
        ({"error": {"message": "2 errors:\n  type=missing"}}, 500,
         "The model server refused the request."),
    ],
)  # fmt: skip
def test_errors_in_a_stream_have_several_shapes(error: Json, status: int, message: str) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        ChatNormalizer().feed(error)
    assert (caught.value.status, str(caught.value)) == (status, message)


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        5,
        "data",
        [],
        {},
        {"choices": {"a": 1}},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": "Hi"}]},
        chunk(content=["Hi"]),
        chunk(content=5),
        chunk(reasoning={"text": "Hm."}),
        chunk(refusal=True),
        chunk(tool_calls="f"),
        chunk(tool_calls=[5]),
        calls(piece(0, "{}")),
        calls(piece(0, "{}", name="")),
        calls({"index": 0, "function": {"name": ["f"]}}),
        calls({"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}),
        calls({"index": [], "function": {"name": "f"}}),
    ],
)
def test_what_is_no_chunk_is_a_failure_of_the_upstream(garbage: object) -> None:
    assert broken(chunk(content="a"), garbage).said == [cut(text("a"))]


@pytest.mark.parametrize("between", [chunk(content="text"), calls(piece(1, "{}", name="g"))])
def test_arguments_after_something_else_are_a_failure(between: Json) -> None:
    broken(calls(piece(0, "{", name="f", id="a")), between, calls(piece(0, "}")))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**40) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "reasoning", "tool_calls", "index",
                             "function", "name", "arguments", "id", "finish_reason", "usage",
                             "prompt_tokens", "prompt_tokens_details", "error", "refusal"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)  # fmt: skip
CHUNKS = JSON | st.builds(lambda delta: {"choices": [{"delta": delta}]}, JSON)


@given(st.lists(CHUNKS, max_size=5))
def test_any_json_is_an_answer_or_a_failure_of_the_upstream(chunks: list[object]) -> None:
    replayed = replay([*chunks, STOP])
    assert replayed.error is None or isinstance(replayed.error, UpstreamError)


# --- Without a stream -----------------------------------------------------------------------------


def whole(finish: str | None = "stop", **message: Any) -> Json:
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": USAGE}


def test_an_answer_without_a_stream_is_one_big_delta() -> None:
    made = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}] * 2
    made = [{**each, "id": f"id{n}"} for n, each in enumerate(made)]
    replayed = replay_whole(orjson.dumps(whole(content="Hi", refusal=None, tool_calls=made)))
    assert replayed.said == [text("Hi"), call("f", "{}"), call("f", "{}")]
    assert replayed.usage == TurnUsage(5, 0, 3, 0)


@pytest.mark.parametrize(
    "body",
    [
        [],
        "Hi",
        {},
        {"choices": []},
        {"choices": [{"message": {"content": "Hi"}}]},
        {"choices": [{"finish_reason": "stop"}]},
        whole(None, content="Hi"),
        whole(content=["Hi"]),
    ],
)
def test_a_body_that_is_no_completion_is_a_failure_of_the_upstream(body: object) -> None:
    assert type(replay_whole(orjson.dumps(body)).error) is UpstreamBroke


def test_an_error_with_a_good_status_is_a_refusal() -> None:
    replayed = replay_whole(orjson.dumps({"error": {"message": "Busy.", "code": 503}}))
    assert isinstance(replayed.error, UpstreamRefused)
    assert replayed.error.status == 503


WHOLE = st.builds(lambda said: {"choices": [{"message": said, "finish_reason": "stop"}]}, JSON)


@given(JSON | WHOLE)
def test_any_body_is_an_answer_or_a_failure_of_the_upstream(body: object) -> None:
    error = replay_whole(orjson.dumps(body)).error
    assert error is None or isinstance(error, UpstreamError)
