"""What the demo model says: the rows of the table in rules.py that end in a text."""

import json
import re
from collections.abc import Callable
from typing import Final

from . import arithmetic
from .prompt import Prompt, pattern
from .schema import pairs

MAX_COUNT: Final = 10_000
INTRODUCTION: Final = "I am the demo model of the Responses Gateway"
_ABILITIES: Final = (
    'Try "Say: TEXT", "2+2", "Count to 5", "My name is Ada.", "JSON: name Ada, age 36", "Sing",'
    ' "Think: 2+2", with a weather tool "What is the weather in Paris?" or, with the code'
    ' interpreter, "Execute: print(6 * 7)".'
)
_SONG: Final = pattern(r"(?:please\s+)?sing\b")
_NAME: Final = pattern(r"\bmy name is\s+(?P<name>[^.!?,;\n]+)")
_SECRET: Final = pattern(r"\bthe secret word is\s+(?P<word>[^\s.!?,;]+)")


def is_song(text: str) -> bool:
    return _SONG.match(text) is not None


def answer_to(prompt: Prompt) -> str:
    for rule, answer in _RULES:
        if found := rule.search(prompt.text):
            return answer(found, prompt)
    if (source := arithmetic.expression(prompt.text)) is not None:
        return _number(source)
    return (
        f"{INTRODUCTION}, not a language model: I follow a few fixed rules, and none of them is"
        f" about {prompt.quoted()}. {_ABILITIES}"
    )


def _echo(found: re.Match[str], _: Prompt) -> str:
    return found["rest"]


def _greeting(_: re.Match[str], __: Prompt) -> str:
    return f"Hello! {INTRODUCTION}."


def _own_name(_: re.Match[str], prompt: Prompt) -> str:
    for text in [prompt.text, *prompt.said_by("user")]:
        if told := _NAME.search(text):
            return f"Your name is {told['name'].strip()}."
    return "I do not know your name."


def _new_name(found: re.Match[str], _: Prompt) -> str:
    return f"Nice to meet you, {found['name'].strip()}."


def _secret(_: re.Match[str], prompt: Prompt) -> str:
    for text in prompt.said_by("system", "developer"):
        if told := _SECRET.search(text):
            return f"The secret word is {told['word']}."
    return "I do not know the secret word."


def _last_number(_: re.Match[str], prompt: Prompt) -> str:
    for text in prompt.said_by("tool", "assistant"):
        if found := arithmetic.numbers(text):
            return f"The number was {found[-1]}."
    return "I have not computed a number yet."


def _count(found: re.Match[str], _: Prompt) -> str:
    last = int(found["last"])
    if last > MAX_COUNT:
        return f"I can count to {MAX_COUNT} at most."
    return " ".join(str(number) for number in range(1, last + 1))


def _object(found: re.Match[str], _: Prompt) -> str:
    return json.dumps(pairs(found["rest"]), ensure_ascii=False)


def _number(source: str) -> str:
    try:
        return arithmetic.compute(source)
    except (ArithmeticError, ValueError) as exc:
        return f"I cannot compute {source}: {exc}."


_RULES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Prompt], str]], ...]] = (
    (pattern(r"\A(?:say|repeat|echo)\s*:\s*(?P<rest>.*)"), _echo),
    (
        pattern(r"\A(?:please\s+)?(?:say\s+)?(?:hello|hi|hey)(?:\s+(?:there|world))?\W*\Z"),
        _greeting,
    ),
    (pattern(r"\bwhat(?:['\u2019]s|\s+is)\s+my\s+name\b"), _own_name),
    (pattern(r"\bwhat(?:['\u2019]s|\s+is)\s+the\s+secret\s+word\b"), _secret),
    (pattern(r"\bwhat\s+(?:number|result)\s+did\s+you\b"), _last_number),
    (_NAME, _new_name),
    (pattern(r"\A(?:please\s+)?count\s+to\s+(?P<last>\d{1,9})\b"), _count),
    (pattern(r"\Ajson\s*:\s*(?P<rest>.*)"), _object),
)
