"""What each recorded error of vLLM must come to. Written by hand from the bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """An error: its status, what clients read of it, the parameter."""

    status: int
    message: str
    param: str | None = None


GENERIC = "The model server refused the request."
TOO_LONG = (
    "This model's maximum context length is 2048 tokens. However, your prompt contains at least "
    "2049 input tokens, which exceeds this limit even without any output tokens. Please reduce the "
    "length of the input prompt."
)
BUSY = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a "
    "different instance."
)
PARTS = (
    "audio_embeds, audio_url, image_embeds, image_pil, image_url, input_audio, input_image, "
    "input_text, output_text, prompt_embeds, refusal, text, thinking, tool_reference, "
    "video_embeds, video_url"
)
NO_MODEL = "The model `nope` does not exist. Valid aliases: tiny."

REFUSALS = {
    "bare/stream_tools_required": Refusal(
        400, 'tool_choice="required" requires --tool-call-parser to be set'
    ),
    "bare/tools_auto": Refusal(
        400,
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    ),
    "bare/tools_named": Refusal(
        400, 'tool_choice=function "code_interpreter" requires --tool-call-parser to be set'
    ),
    "bare/tools_required": Refusal(
        400, 'tool_choice="required" requires --tool-call-parser to be set'
    ),
    "chat/error_audio": Refusal(400, "tiny is not a multimodal model"),
    "chat/error_chat_template_in_request": Refusal(
        400,
        "Chat template is passed with request, but --trust-request-chat-template is not set. "
        "Refused request with untrusted chat template.",
    ),
    "chat/error_content_type": Refusal(400, GENERIC),
    "chat/error_context_max_tokens": Refusal(
        400,
        "max_tokens=5000 cannot be greater than max_model_len=2048. Please request fewer output "
        "tokens.",
        "max_tokens",
    ),
    "chat/error_context_prompt": Refusal(400, TOO_LONG, "input_tokens"),
    "chat/error_context_prompt_stream": Refusal(400, TOO_LONG, "input_tokens"),
    "chat/error_file": Refusal(
        400,
        f"Unsupported chat content part type: 'file'. Supported types: {PARTS}.",
        "type",
    ),
    "chat/error_image": Refusal(400, "tiny is not a multimodal model"),
    "chat/error_image_stream": Refusal(400, "tiny is not a multimodal model"),
    "chat/error_logit_bias": Refusal(
        400,
        "token_id(s) [99999999] in logit_bias contain out-of-vocab token ids. Vocabulary size: "
        "1152",
        "logit_bias",
    ),
    "chat/error_max_tokens_0": Refusal(400, "max_tokens must be at least 1, got 0.", "max_tokens"),
    "chat/error_max_tokens_negative": Refusal(
        400, "max_tokens must be at least 1, got -1.", "max_tokens"
    ),
    "chat/error_messages_empty": Refusal(
        400, "Cannot apply chat template to an empty conversation. Provide at least one message."
    ),
    "chat/error_model": Refusal(404, NO_MODEL, "model"),
    "chat/error_model_stream": Refusal(404, NO_MODEL, "model"),
    "chat/error_n_0": Refusal(400, "n must be at least 1, got 0."),
    "chat/error_no_messages": Refusal(400, GENERIC, "messages"),
    "chat/error_not_json": Refusal(400, GENERIC, "10"),
    "chat/error_reasoning_effort": Refusal(400, GENERIC, "reasoning_effort"),
    "chat/error_stop_too_many": Refusal(400, GENERIC, "stop"),
    "chat/error_stream_options_without_stream": Refusal(
        400,
        "Stream options can only be defined when `stream=True`.",
        "stream_options",
    ),
    "chat/error_temperature": Refusal(
        400,
        "temperature must be non-negative, got -1.0.",
        "temperature",
    ),
    "chat/error_temperature_3": Refusal(
        400,
        "temperature must be in [0, 2], got 3.0.",
        "temperature",
    ),
    "chat/error_temperature_text": Refusal(400, GENERIC, "temperature"),
    "chat/error_tool_choice_responses_form": Refusal(
        400,
        "Invalid value for `function`: `None` in `tool_choice`! Correct usage: "
        '`{"type": "function", "function": {"name": "my_function"}}`',
        "tool_choice.function",
    ),
    "chat/error_tool_choice_unknown_tool": Refusal(
        400,
        "The tool specified in `tool_choice` does not match any of the specified `tools`",
        "tool_choice",
    ),
    "chat/error_tool_choice_without_tools": Refusal(
        400, "When using `tool_choice`, `tools` must be set.", "tool_choice"
    ),
    "chat/error_tool_responses_form": Refusal(400, GENERIC, "tools.0.function"),
    "chat/error_tool_type": Refusal(400, GENERIC, "tools.0.type"),
    "chat/error_tools_empty": Refusal(
        400,
        "`tools` must not be an empty array. Either provide at least one tool or omit the field "
        "entirely.",
        "tools",
    ),
    "chat/error_top_logprobs_50": Refusal(
        400,
        "Requested sample logprobs of 50, which is greater than max allowed: 20",
        "logprobs",
    ),
    "chat/error_top_logprobs_without_logprobs": Refusal(
        400,
        "when using `top_logprobs`, `logprobs` must be set to true.",
        "top_logprobs",
    ),
    "chat/error_top_p": Refusal(400, "top_p must be in (0, 1], got 2.0.", "top_p"),
    "chat/error_top_p_0": Refusal(400, "top_p must be in (0, 1], got 0.0.", "top_p"),
    "chat/error_unknown_part": Refusal(400, GENERIC),
    "chat/json_schema_bad_schema": Refusal(400, "Grammar error: Invalid type: nonsense"),
    "chat/json_schema_unsupported_keyword": Refusal(
        400, 'Grammar error: Unimplemented keys: ["uniqueItems"]'
    ),
    "guarded/body_not_json_with_key": Refusal(400, GENERIC, "1"),
    "guarded/no_key": Refusal(401, "Unauthorized"),
    "guarded/queue_full": Refusal(503, BUSY),
    "guarded/queue_full_stream": Refusal(503, BUSY),
    "guarded/wrong_key": Refusal(401, "Unauthorized"),
}
"""Answers with an error status, by recording."""
