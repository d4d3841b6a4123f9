"""Which tools the demo model calls, in which order, and what it says about their results.

The rows of the table in rules.py that end in a call. Not here: what `tool_choice` enforces.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from . import arithmetic, schema
from .prompt import Prompt, pattern
from .request import Call, Tool


def say_results(results: Sequence[str]) -> str:
    if len(results) == 1:
        return f"The result is {results[0]}"
    return f"The results are {' and '.join(results)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Calls in their order, and what to say when all of them have been answered."""

    calls: tuple[Call, ...] = ()
    say: Callable[[Sequence[str]], str] = say_results
    one_by_one: bool = False
    endless: bool = False

    def due(self, answered: int, *, parallel: bool) -> tuple[Call, ...]:
        left = self.calls if self.endless else self.calls[answered:]
        return left if parallel and not self.one_by_one else left[:1]


def plan_for(prompt: Prompt) -> Plan | None:
    """The calls that the text asks for; empty when no tool fits, None when it asks for none."""
    if _PLAIN.match(prompt.text):
        return None
    for rule, make in _RULES:
        if (found := rule.search(prompt.text)) and (plan := make(found, prompt)) is not None:
            return plan
    return _arithmetic(prompt)


def made_up_call(tool: Tool, text: str) -> Call:
    """A call that nothing in the text asks for."""
    return _call(tool, text)


def _loop(found: re.Match[str], prompt: Prompt) -> Plan:
    rest = found["rest"]
    inner = _RULE_USE.match(rest)
    plan = _use(inner, prompt) if inner else None
    plan = plan or _coded((rest,), prompt)
    return replace(plan, calls=plan.calls[:1], endless=True)


def _execute(found: re.Match[str], prompt: Prompt) -> Plan:
    return _coded(re.split(r"(?i)\s+and then:\s*", found["rest"]), prompt)


def _use(found: re.Match[str], prompt: Prompt) -> Plan | None:
    calls = []
    for wish in re.split(r"(?i)\s+and also\s+(?:use\s+)?", found["rest"]):
        name, *value = re.split(r"(?i)\s+with\s+", wish, maxsplit=1)
        if (tool := _tool_called(name, prompt.tools)) is None:
            return None if re.search(r"\s", name) else Plan()
        calls.append(_call(tool, prompt.text, re.sub(r"(?<=\w)\.$", "", "".join(value))))
    return Plan(calls=tuple(calls))


def _weather(found: re.Match[str], prompt: Prompt) -> Plan:
    cities = [
        re.split(r"(?i)\s+(?:today|tomorrow|now|right|in|at|on|please|using|with)\b", city)[0]
        for city in re.split(r"(?i)\s*,\s*(?:and\s+)?|\s+and\s+", found["cities"].strip())
    ]
    tool = next((tool for tool in prompt.tools if "weather" in tool.name.lower()), None)
    calls = tuple(_call(tool, prompt.text, city) for city in cities) if tool else ()

    def say(results: Sequence[str]) -> str:
        known = zip(cities, results, strict=False)
        return "\n".join(f"The weather in {city}: {result}" for city, result in known)

    return Plan(calls=calls, say=say)


def _arithmetic(prompt: Prompt) -> Plan | None:
    """With a code tool, or after its results; else the answer is the number itself."""
    source = arithmetic.expression(prompt.text)
    if source is None or (_code_tool(prompt.tools) is None and not prompt.results):
        return None
    return _coded((source,), prompt)


_PLAIN: Final = pattern(r"(?:say|repeat|echo|json)\s*:")
_RULE_USE: Final = pattern(r"\Ause\s+(?P<rest>.+)")
_RULES: Final[tuple[tuple[re.Pattern[str], Callable[..., Plan | None]], ...]] = (
    (pattern(r"\Aloop\s*:\s*(?P<rest>.+)"), _loop),
    (pattern(r"\Aexecute\s*:\s*(?P<rest>.+)"), _execute),
    (_RULE_USE, _use),
    (pattern(r"\bweather\b[^?.!\n]*?\sin\s+(?P<cities>[^?.!\n]+)"), _weather),
)


def _coded(sources: Sequence[str], prompt: Prompt) -> Plan:
    tool = _code_tool(prompt.tools)
    calls = tuple(_call(tool, prompt.text, source) for source in sources) if tool else ()
    return Plan(calls=calls, one_by_one=True)


def _code_tool(tools: Sequence[Tool]) -> Tool | None:
    return next((tool for tool in tools if _main_parameter(tool) == "code"), None)


def _tool_called(name: str, tools: Sequence[Tool]) -> Tool | None:
    """By its name, or by the end of it: hosts put the name of a server in front."""
    wanted = re.compile(rf"(?:.*[^a-z0-9])?{re.escape(name)}", re.IGNORECASE)
    fitting = [tool for tool in tools if wanted.fullmatch(tool.name)]
    return min(fitting, key=lambda tool: len(tool.name), default=None)


def _main_parameter(tool: Tool) -> str | None:
    """The only required string parameter, else the first string parameter, else the first."""
    properties: Mapping[str, Any] = tool.parameters.get("properties") or {}
    strings = [name for name, one in properties.items() if _is_string(one)]
    required = [name for name in strings if name in tool.parameters.get("required", ())]
    candidates = required if len(required) == 1 else strings or list(properties)
    return candidates[0] if candidates else None


def _is_string(parameter: object) -> bool:
    kind = parameter.get("type", "string") if isinstance(parameter, Mapping) else None
    return "string" in kind if isinstance(kind, list) else kind == "string"


def _call(tool: Tool, text: str, value: str = "") -> Call:
    """A call with every required parameter; `value` is the main one, or all of them as JSON."""
    arguments = _json_object(value)
    if arguments is None:
        main = _main_parameter(tool)
        arguments = schema.fill(
            {"type": "object", "required": (), **tool.parameters},
            text,
            default=value or schema.subject(text),
            known={main: value} if main and value else {},
            strict=False,
        )
    return Call(tool.name, json.dumps(arguments, ensure_ascii=False))


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
