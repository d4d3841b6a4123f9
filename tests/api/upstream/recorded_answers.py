"""What each recording of vLLM's chat completions must come to. Written by hand from the bytes."""

from __future__ import annotations

from dataclasses import dataclass

from apps.api.protocol.deltas import Finish, TurnUsage
from tests.api.upstream.replays import Said, call, cut, text, thought


@dataclass(frozen=True)
class Answer:
    """Items, why the turn ended, tokens (input, cached, output, reasoning) if they were told."""

    said: list[Said]
    finish: Finish
    usage: TurnUsage | None


def ended(*said: Said, usage: tuple[int, int, int, int] | None = None) -> Answer:
    return Answer([*said], Finish.STOP, TurnUsage(*usage) if usage else None)


def limited(*said: Said, usage: tuple[int, int, int, int] | None = None) -> Answer:
    return Answer([*said], Finish.LENGTH, TurnUsage(*usage) if usage else None)


GREETS, CALLS = thought("\nI will greet the user.\n"), thought("\nI will call a tool.\n")
HAS_RESULT, WRITES = thought("\nI have the result.\n"), thought("\nI will write JSON.\n")
HELLO, SECRET = text("Hello!"), text("The secret word is banana.")
ADA = text('{"name": "Ada", "age": 36}')
CODE = call("code_interpreter", '{"code": "2+2"}')
PARIS = call("get_weather", '{"city": "Paris"}')
ROME = call("get_weather", '{"city": "Rome"}')
MARKUP = '{"name": "code_interpreter", "arguments": {"code": "2+2"}}'
UNDER_MARKUP = text(f"<tool_call>\n{MARKUP}\n</tool_call>")
RAMBLING = text("cafseciselocal" + "attr" * 195)
SINGING = text(
    "la " * 203 + "lala " * 5 + "la " * 7 + "lala " * 2 + "la" * 12 + " " + "la " * 4 + "lala "
    + "la" * 1568
)  # fmt: skip

BARE = {
    "text_reasoning": ended(
        text("<think>\nThere is no such tool.\n</think>\n\nI have no such tool."),
        usage=(14, 0, 27, 0),
    ),
    "tools_none": ended(
        text(f"<think>\nI will call a tool.\n</think>\n\n<tool_call>\n{MARKUP}\n</tool_call>"),
        usage=(35, 0, 52, 0),
    ),
}

CHAT = {
    "assistant_last": ended(text("one two three"), usage=(31, 0, 7, 0)),
    "content_parts": ended(text("one"), usage=(20, 0, 2, 0)),
    "developer_role": ended(SECRET, usage=(42, 0, 14, 0)),
    "echo_last_assistant_continued": ended(thought(" three"), text(""), usage=(20, 0, 4, 3)),
    "error_assistant_empty_content": limited(cut(thought("\nI")), usage=(26, 0, 3, 2)),
    "error_message_role": limited(cut(thought("\nI")), usage=(9, 0, 3, 2)),
    "error_message_without_content": limited(cut(thought("\nI")), usage=(8, 0, 3, 2)),
    "error_model_null": ended(HELLO, usage=(18, 0, 3, 0)),
    "error_priority": ended(
        thought("\nI have nothing to add.\n"), text("OK."), usage=(9, 0, 19, 12)
    ),
    "error_tool_bad_name": ended(HELLO, usage=(41, 0, 3, 0)),
    "guided_json_old_name": ended(ADA, usage=(26, 0, 20, 0)),
    "json_object": ended(ADA, usage=(26, 0, 20, 0)),
    "json_schema": ended(ADA, usage=(26, 0, 20, 0)),
    "json_schema_cut_by_length": limited(cut(text('{"name"')), usage=(26, 0, 4, 0)),
    "json_schema_reasoning": ended(WRITES, ADA, usage=(20, 0, 32, 10)),
    "length": limited(cut(text("la la la la ")), usage=(15, 0, 8, 0)),
    "length_in_reasoning": limited(cut(thought("\nI")), usage=(9, 0, 3, 2)),
    "logprobs": ended(HELLO, usage=(18, 0, 3, 0)),
    "max_completion_tokens": limited(cut(text("la la la")), usage=(15, 0, 5, 0)),
    "multi_turn": ended(text("Your name is Grace."), usage=(51, 0, 10, 0)),
    "no_limit_runs_to_context_end": limited(cut(SINGING), usage=(15, 0, 2033, 0)),
    "return_prompt_text_with_history_reasoning": ended(
        HAS_RESULT, text("The result is sunny"), usage=(101, 0, 22, 10)
    ),
    "return_prompt_text_with_history_reasoning_content": ended(
        HAS_RESULT, text("The result is sunny"), usage=(101, 0, 22, 10)
    ),
    "stop_string": ended(text(""), usage=(15, 0, 5, 0)),
    "stop_string_included": ended(text("la la la"), usage=(15, 0, 5, 0)),
    "stop_token_ids": ended(text("a. b"), usage=(21, 0, 5, 0)),
    "stream": ended(HELLO),
    "stream_include_reasoning_false": ended(text("\n\nHello!")),
    "stream_interval_4": ended(text("one two three four five six seven")),
    "stream_json_schema": ended(ADA),
    "stream_json_schema_reasoning": ended(WRITES, ADA),
    "stream_length": limited(cut(text("la la ")), usage=(15, 0, 4, 0)),
    "stream_length_in_reasoning": limited(cut(thought("\nI")), usage=(9, 0, 3, 2)),
    "stream_logprobs": ended(HELLO),
    "stream_logprobs_reasoning": ended(GREETS, HELLO),
    "stream_reasoning": ended(GREETS, HELLO),
    "stream_return_token_ids": ended(HELLO),
    "stream_stop_string": ended(text("")),
    "stream_tool_auto": ended(CODE, usage=(48, 0, 36, 0)),
    "stream_tool_auto_reasoning": ended(CALLS, CODE, usage=(42, 0, 52, 12)),
    "stream_tool_cut_by_length": limited(cut(call("code_interpreter", ""))),
    "stream_tool_named": ended(PARIS, usage=(51, 0, 34, 0)),
    "stream_tool_named_reasoning": ended(CALLS, PARIS),
    "stream_tool_none": ended(UNDER_MARKUP),
    "stream_tool_parallel": ended(PARIS, ROME, usage=(63, 0, 68, 0)),
    "stream_tool_parallel_false": ended(PARIS),
    "stream_tool_required": ended(CODE, usage=(48, 0, 36, 0)),
    "stream_tool_required_cut_by_length": limited(),
    "stream_tool_required_reasoning": ended(CALLS, CODE),
    "stream_unicode": limited(cut(RAMBLING)),
    "stream_usage": ended(HELLO, usage=(18, 0, 3, 0)),
    "stream_usage_continuous": ended(HELLO, usage=(18, 0, 3, 0)),
    "structured_choice": ended(text("no"), usage=(26, 0, 2, 0)),
    "structured_grammar": ended(text("no"), usage=(26, 0, 2, 0)),
    "structured_regex": ended(text("555"), usage=(26, 0, 4, 0)),
    "system_message_in_the_middle": ended(SECRET, usage=(71, 0, 14, 0)),
    "system_secret": ended(SECRET, usage=(42, 0, 14, 0)),
    "text": ended(HELLO, usage=(18, 0, 3, 0)),
    "text_include_reasoning_false": ended(text("\n\nHello!"), usage=(12, 0, 19, 12)),
    "text_reasoning": ended(GREETS, HELLO, usage=(12, 0, 19, 12)),
    "text_reasoning_effort_high": ended(GREETS, HELLO, usage=(12, 0, 19, 12)),
    "text_reasoning_effort_none": ended(HELLO, usage=(18, 0, 3, 0)),
    "thinking_token_budget": ended(
        thought("\nI"), text("I will greet the user.\n\n\nHello!"), usage=(12, 0, 21, 2)
    ),
    "tool_and_json_schema": ended(
        text('{"name": "code_codeifi", "age": 4}'), usage=(48, 0, 22, 0)
    ),
    "tool_auto": ended(CODE, usage=(48, 0, 36, 0)),
    "tool_auto_not_used": ended(HELLO, usage=(46, 0, 3, 0)),
    "tool_auto_reasoning": ended(CALLS, CODE, usage=(42, 0, 52, 12)),
    "tool_cut_by_length": limited(
        cut(text('<tool_call>\n{"name": "code_interpreter",')), usage=(48, 0, 14, 0)
    ),
    "tool_history_arguments_empty": ended(text("The result is 4"), usage=(88, 0, 8, 0)),
    "tool_history_arguments_not_json": ended(text("The result is 4"), usage=(88, 0, 8, 0)),
    "tool_named": ended(PARIS, usage=(51, 0, 34, 0)),
    "tool_named_cut_by_length": limited(cut(text("<tool_call>\n{")), usage=(51, 0, 3, 0)),
    "tool_named_reasoning": ended(CALLS, PARIS, usage=(45, 0, 48, 12)),
    "tool_none": ended(UNDER_MARKUP, usage=(48, 0, 36, 0)),
    "tool_parallel": ended(PARIS, ROME, usage=(63, 0, 68, 0)),
    "tool_parallel_false": ended(PARIS, usage=(63, 0, 34, 0)),
    "tool_required": ended(CODE, usage=(48, 0, 36, 0)),
    "tool_required_against_will": limited(
        cut(text('<tool_call>\n{"name": "get_weather", "arguments": {"city": "hello8 '
                 + "3" * 170)),
        usage=(39, 0, 200, 0),
    ),
    "tool_required_cut_by_length": limited(
        cut(text('<tool_call>\n{"name"')), usage=(48, 0, 6, 0)
    ),
    "tool_required_reasoning": ended(CALLS, CODE, usage=(42, 0, 50, 12)),
    "tool_result_answer": ended(text("The result is 4"), usage=(98, 0, 8, 0)),
    "tool_result_answer_reasoning": ended(
        HAS_RESULT, text("The result is 4"), usage=(92, 0, 22, 10)
    ),
    "tool_result_without_a_call": ended(CODE, usage=(58, 0, 36, 0)),
    "tool_strict_true": ended(CODE, usage=(41, 0, 36, 0)),
    "tool_without_parameters": ended(
        call("code_interpreter", '{")": "2+2"}'), usage=(40, 0, 36, 0)
    ),
    "two_system_messages": ended(SECRET, usage=(54, 0, 14, 0)),
    "unicode": limited(cut(RAMBLING), usage=(33, 0, 200, 0)),
    "unknown_fields_ignored": ended(HELLO, usage=(18, 0, 3, 0)),
}  # fmt: skip

GUARDED = {
    "cached_tokens_1": limited(cut(thought("\nI")), usage=(287, 0, 3, 2)),
    "cached_tokens_2": limited(cut(thought("\nI")), usage=(287, 256, 3, 2)),
    "cached_tokens_stream": limited(cut(thought("\nI")), usage=(287, 256, 3, 2)),
    "deepseek_r1_stream": ended(HELLO),
    "deepseek_r1_stream_reasoning": ended(GREETS, HELLO),
    "deepseek_r1_text": ended(thought("Hello!"), text(""), usage=(18, 0, 3, 0)),
    "deepseek_r1_text_reasoning": ended(GREETS, HELLO, usage=(12, 0, 19, 12)),
    "deepseek_r1_tool_reasoning": ended(CALLS, CODE, usage=(35, 0, 52, 12)),
    "request_id_header": ended(GREETS, HELLO, usage=(12, 0, 19, 12)),
}

BLUE, RED = call("toys__look", '{"q": "blue"}'), call("toys__look", '{"q": "red"}')

MCP = {
    "call": ended(CALLS, BLUE, usage=(56, 0, 53, 12)),
    "calls": ended(thought("\nI will call two tools.\n"), BLUE, RED, usage=(71, 0, 90, 12)),
    "result": ended(HAS_RESULT, text("The result is a blue"), usage=(125, 0, 24, 10)),
    "results": ended(
        thought("\nI have the results.\n"),
        text("The results are a blue and a red"),
        usage=(185, 0, 30, 10),
    ),
}

CODE_INTERPRETER = {
    "number_call": ended(CALLS, CODE, usage=(35, 0, 52, 12)),
    "number_answer": ended(HAS_RESULT, text("The result is 4"), usage=(102, 0, 22, 10)),
    "number_again_call": ended(CALLS, CODE, usage=(119, 0, 52, 12)),
    "number_again_answer": ended(HAS_RESULT, text("The result is 4"), usage=(186, 0, 22, 10)),
    "two_calls_first": ended(CALLS, CODE, usage=(46, 0, 52, 12)),
    "two_calls_second": ended(
        thought("\nI will call a tool again.\n"),
        call("code_interpreter", '{"code": "_ + 1"}'),
        usage=(113, 0, 56, 14),
    ),
    "two_calls_answer": ended(
        thought("\nI have the results.\n"),
        text("The results are 4 and 5"),
        usage=(184, 0, 26, 10),
    ),
}

FOLDERS = {
    "bare": BARE,
    "chat": CHAT,
    "code_interpreter": CODE_INTERPRETER,
    "guarded": GUARDED,
    "mcp": MCP,
}

ANSWERS = {
    f"{folder}/{name}": answer
    for folder, answers in FOLDERS.items()
    for name, answer in answers.items()
}
"""Answers to good requests, by recording."""

NOT_ASKED_FOR = {"chat/n_2", "chat/stream_n_2"}
"""The gateway always asks for one choice."""

BREAKS = {
    "chat/stream_client_cuts": [cut(text("la la "))],
    "chat/stream_json_schema_bad_schema": [],
}
"""Streams that do not come to their end, and what they say before."""
