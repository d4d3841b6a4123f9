"""The command line of vLLM: which parsers a model needs, so that tools and reasoning work.

Without them vLLM refuses ``tool_choice: auto`` and leaves the model's thoughts in its answer.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

TESTED = ("0.32.0",)
"""The versions of vLLM with which the gateway was tested."""


class Family(NamedTuple):
    """Models whose name contains the pattern, and the names of vLLM's parsers for them."""

    pattern: str
    tools: str = ""
    reasoning: str = ""
    more: tuple[str, ...] = ()


# The first match counts. A reasoning parser is named only for models that think unless they are
# told not to, or whose parser waits for an opening tag: others would take whole answers for thought.
FAMILIES = (
    Family(r"deepseek-?r1-distill", reasoning="deepseek_r1"),
    Family(r"deepseek-?v4", "deepseek_v4", "deepseek_v4", ("--tokenizer-mode", "deepseek_v4")),
    Family(
        r"deepseek-?v3[.-]2", "deepseek_v32", "deepseek_v3", ("--tokenizer-mode", "deepseek_v32")
    ),
    Family(r"deepseek-?v3[.-]1", "deepseek_v31", "deepseek_v3"),
    Family(r"deepseek-?v3", "deepseek_v3"),
    Family(r"deepseek-?r1", "deepseek_v3", "deepseek_r1"),
    Family(r"xlam", "xlam"),
    Family(r"hermes", "hermes"),
    Family(r"nemotron-?3", "qwen3_coder", "nemotron_v3"),
    Family(r"nemotron"),
    Family(r"qwen3-?coder", "qwen3_coder"),
    Family(r"qwen3[.][5-9]", "qwen3_coder", "qwen3"),
    Family(r"qwen3.*instruct", "hermes"),
    Family(r"qwen3", "hermes", "qwen3"),
    Family(r"qwq", "hermes", "deepseek_r1"),
    Family(r"qwen2[.]5", "hermes"),
    Family(r"llama-?4", "llama4_pythonic"),
    Family(r"llama-?3[.-]?[1-3]", "llama3_json"),
    Family(r"magistral|ministral-3.*reasoning", "mistral", "mistral"),
    Family(r"mistral-(small-4|medium-3[.]5)", "mistral", "mistral"),
    Family(r"(mi|mini|pix|code|dev)stral|mixtral", "mistral"),
    Family(r"glm-?(4[.][7-9]|[5-9])", "glm47", "glm45"),
    Family(r"glm-?4[.][56]", "glm45", "glm45"),
    Family(r"kimi-?k3", "kimi_k3", "kimi_k3"),
    Family(r"kimi-?k2[.][5-9]|kimi-?k2.*think", "kimi_k2", "kimi_k2"),
    Family(r"kimi-?k2", "kimi_k2"),
    Family(r"minimax-?m3", "minimax_m3", "minimax_m3"),
    Family(r"minimax-?m2", "minimax_m2", "minimax_m2"),
    Family(r"gpt-?oss", "openai", "openai_gptoss"),
    Family(r"granite-?20b-functioncalling", "granite-20b-fc"),
    Family(r"granite-?4", "granite4"),
    Family(r"granite-?3", "granite"),
    Family(r"functiongemma", "functiongemma"),
    Family(r"gemma-?4", "gemma4", "gemma4"),
    Family(r"olmo-?3.*think", "olmo3", "olmo3"),
    Family(r"olmo-?3", "olmo3"),
    Family(r"seed-?oss", "seed_oss", "seed_oss"),
    Family(r"step-?3[.]5", "step3p5", "step3p5"),
    Family(r"hunyuan-?a13b", "hunyuan_a13b", "hunyuan_a13b"),
    Family(r"phi-?4-mini", "phi4_mini_json"),
    Family(r"internlm", "internlm"),
    Family(r"jamba", "jamba"),
)
UNKNOWN = Family("")


def family(model: str) -> Family:
    """The family that a model's name or path belongs to."""
    name = model.lower().replace("_", "-")
    return next((known for known in FAMILIES if re.search(known.pattern, name)), UNKNOWN)


def parser_flags(model: str, given: Sequence[str]) -> list[str]:
    """The flags that the model's family needs, but for those that were given."""
    known = family(model)
    flags: list[str] = []
    if known.tools or has_flag(given, "--tool-call-parser"):
        if not has_flag(given, "--enable-auto-tool-choice"):
            flags.append("--enable-auto-tool-choice")
        if not has_flag(given, "--tool-call-parser"):
            flags += ["--tool-call-parser", known.tools]
    if known.reasoning and not has_flag(given, "--reasoning-parser"):
        flags += ["--reasoning-parser", known.reasoning]
    if known.more and not has_flag(given, known.more[0]):
        flags += known.more
    return flags


def command(program: str, model: str, *, port: int, given: Sequence[str]) -> list[str]:
    """How vLLM is started. What the operator gave comes last, where it overrides the rest."""
    own = ["--host", "127.0.0.1", "--port", str(port), *parser_flags(model, given)]
    return [*shlex.split(program), "serve", model, *own, *given]


def has_flag(flags: Sequence[str], name: str) -> bool:
    return flag_value(flags, name) is not None


def flag_value(flags: Sequence[str], name: str) -> str | None:
    """The value of ``--name value`` or ``--name=value``, empty for a bare flag, None if absent.

    vLLM takes underscores for hyphens in the names of its flags.
    """
    for flag, following in zip(flags, [*flags[1:], ""], strict=False):
        key, equals, value = flag.partition("=")
        if key.replace("_", "-") == name:
            return value if equals else following if not following.startswith("--") else ""
    return None


def shown(arguments: Sequence[str]) -> str:
    """The command as it may be printed: a key in it is not."""
    secret = flag_value(arguments, "--api-key")
    words = (word.replace(secret, "***") if secret else word for word in arguments)
    return " ".join(shlex.quote(word) for word in words)
