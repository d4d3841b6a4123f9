"""Which flags vLLM gets for which model."""

from __future__ import annotations

import pytest

from apps.api.management.vllm import command, family, flag_value, parser_flags, shown


@pytest.mark.parametrize(
    ("model", "tools", "reasoning"),
    [
        ("Qwen/Qwen3-8B", "hermes", "qwen3"),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", "hermes", "qwen3"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "hermes", ""),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "hermes", ""),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_coder", ""),
        ("Qwen/Qwen3.6-35B-A3B-FP8", "qwen3_coder", "qwen3"),
        ("Qwen/Qwen2.5-7B-Instruct", "hermes", ""),
        ("Qwen/QwQ-32B", "hermes", "deepseek_r1"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3_json", ""),
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", "llama3_json", ""),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3_json", ""),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4_pythonic", ""),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "hermes", ""),
        ("nvidia/Llama-3.1-Nemotron-70B-Instruct-HF", "", ""),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "qwen3_coder", "nemotron_v3"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral", ""),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral", ""),
        ("mistralai/Mistral-Small-4-119B-2603", "mistral", "mistral"),
        ("mistralai/Ministral-3-8B-Instruct-2512", "mistral", ""),
        ("mistralai/Ministral-3-8B-Reasoning-2512", "mistral", "mistral"),
        ("mistralai/Magistral-Small-2506", "mistral", "mistral"),
        ("mistralai/Devstral-Small-2507", "mistral", ""),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mistral", ""),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek_v3", "deepseek_r1"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "", "deepseek_r1"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek_v3", ""),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek_v31", "deepseek_v3"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek_v32", "deepseek_v3"),
        ("deepseek-ai/DeepSeek-V4-Flash", "deepseek_v4", "deepseek_v4"),
        ("zai-org/GLM-4.5-Air", "glm45", "glm45"),
        ("zai-org/GLM-4.6", "glm45", "glm45"),
        ("zai-org/GLM-4.7-Flash", "glm47", "glm45"),
        ("zai-org/GLM-5", "glm47", "glm45"),
        ("THUDM/glm-4-9b-chat", "", ""),
        ("moonshotai/Kimi-K2-Instruct", "kimi_k2", ""),
        ("moonshotai/Kimi-K2-Thinking", "kimi_k2", "kimi_k2"),
        ("moonshotai/Kimi-K2.5", "kimi_k2", "kimi_k2"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax_m2", "minimax_m2"),
        ("ibm-granite/granite-3.1-8b-instruct", "granite", ""),
        ("ibm-granite/granite-4.0-h-small", "granite4", ""),
        ("openai/gpt-oss-20b", "openai", "openai_gptoss"),
        ("google/gemma-4-31B-it", "gemma4", "gemma4"),
        ("google/gemma-3-27b-it", "", ""),
        ("google/functiongemma-270m-it", "functiongemma", ""),
        ("/models/qwen3_8b", "hermes", "qwen3"),
        ("my/own-model", "", ""),
    ],
)
def test_a_model_gets_the_parsers_of_its_family(model: str, tools: str, reasoning: str) -> None:
    assert (family(model).tools, family(model).reasoning) == (tools, reasoning)


def test_tools_need_two_flags_of_vllm() -> None:
    assert parser_flags("Qwen/Qwen2.5-7B", []) == [
        "--enable-auto-tool-choice",
        "--tool-call-parser",
        "hermes",
    ]


def test_a_model_of_no_known_family_gets_no_flags() -> None:
    assert parser_flags("my/own-model", []) == []


@pytest.mark.parametrize(
    ("given", "added"),
    [
        (["--tool-call-parser", "x"], ["--enable-auto-tool-choice", "--reasoning-parser", "qwen3"]),
        (["--tool_call_parser=x", "--enable-auto-tool-choice"], ["--reasoning-parser", "qwen3"]),
        (
            ["--reasoning-parser", "x"],
            ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"],
        ),
    ],
)
def test_flags_that_were_given_are_not_added(given: list[str], added: list[str]) -> None:
    assert parser_flags("Qwen/Qwen3-8B", given) == added


def test_a_new_tokenizer_mode_is_named_where_the_model_needs_it() -> None:
    assert parser_flags("deepseek-ai/DeepSeek-V3.2", [])[-2:] == [
        "--tokenizer-mode",
        "deepseek_v32",
    ]


def test_what_the_operator_gives_comes_last() -> None:
    assert command("uv run vllm", "own", port=1, given=["--host", "::1"]) == (
        ["uv", "run", "vllm", "serve", "own", "--host", "127.0.0.1", "--port", "1", "--host", "::1"]
    )


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        ([], None),
        (["--port", "1"], "1"),
        (["--port=1"], "1"),
        (["--port"], ""),
        (["--port", "--other"], ""),
        (["--other", "--port=1"], "1"),
    ],
)
def test_a_flag_is_found_in_each_of_its_forms(flags: list[str], value: str | None) -> None:
    assert flag_value(flags, "--port") == value


def test_a_key_is_not_shown() -> None:
    assert shown(["vllm", "--api-key=word", "--name", "a b"]) == "vllm '--api-key=***' --name 'a b'"
