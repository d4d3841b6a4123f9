"""What the demo model answers: a request in, a `Reply` out; no I/O, no chance, no clock.

Case does not matter, sampling options are ignored. The last user message decides; the first row
that fits wins. TEXT, V, CITY and so on stand for any text, R for what the tool answered.

| user message | reply |
| --- | --- |
| `Fail with 503` (400 to 599) | that HTTP status with an error body |
| `Fail in the middle` | some tokens, then the connection is cut |
| `Wait 5 seconds`, `Wait 5 seconds and TEXT` | the answer (to TEXT) after that time, at most 60 s |
| `Think: TEXT` | a short reasoning, then what TEXT alone would give |
| `Loop: CODE`, `Loop: Use TOOL with V` | the same call after every result, for ever |
| `Execute: CODE` | a call of the code tool; then `The result is R` |
| `Execute: A and then: B` | one call after the other; then `The results are R1 and R2` |
| `Use TOOL with V` | a call; V is the main parameter, or a JSON object of all of them |
| `Use T1 with V1 and also T2 with V2` | two calls at once; then `The results are R1 and R2` |
| `What is the weather in CITY?` | a call of a tool named `...weather...`; `The weather in CITY: R` |
| `What is the weather in CITY and CITY?` | a call for each, then a line for each |
| `2+2`, `What is 2+2?`, `Compute 12*(3+4)` | a call of the code tool; without one, the number |
| `Sing` | `la la la ...` until the limit of tokens |
| `Say: TEXT`, `Repeat: TEXT`, `Echo: TEXT` | TEXT |
| `say hello`, `hi`, `hello` | `Hello! I am the demo model of the Responses Gateway.` |
| `What is my name?` | `Your name is X.`, from the newest `My name is X.` in the history |
| `What is the secret word?` | `The secret word is X.`, when a system message says so |
| `What number did you just compute?` | `The number was N.`, the newest in the history |
| `My name is X.` | `Nice to meet you, X.` |
| `Count to N` | `1 2 3 ... N` |
| `JSON: name Ada, age 36` | `{"name": "Ada", "age": 36}` |
| anything else | a sentence that says what this model is, and what it can do |

The main parameter of a tool is its only required string parameter, else its first string
parameter. The code tool is one whose main parameter is called `code`. When no tool fits a wish,
the answer is `I have no such tool.`; a result that no row explains gives `The result is R`.

| option | effect |
| --- | --- |
| `parallel_tool_calls: false` | one call at a time, the next after its result |
| `tool_choice: none` | as if there were no tools |
| `tool_choice` required or named | always a call: that of the table, else arguments made up |
| `reasoning_effort` other than none | a short reasoning first, as with `Think:` |
| `response_format` | JSON, with what the text (and the last result) says of each property |
| `structured_outputs.choice` | the first choice |

Arguments that are made up come from the text where it names them (`age 36`), else: strings are
the text after "with" or "in" or all of it, numbers the first in the text or 1, booleans true, of
an enum the member that the text names or the first.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Final

from . import schema
from .answers import answer_to, is_song
from .plans import made_up_call, plan_for, say_results
from .prompt import Prompt, pattern, read_prompt
from .request import Call, ChatRequest, RefusedError

MAX_WAIT: Final = 60.0
NO_TOOL: Final = "I have no such tool."

_FAIL: Final = pattern(r"fail with (?:http |status )?(?P<status>[45]\d\d)\b")
_BREAK: Final = pattern(r"fail in the middle\b")
_WAIT: Final = pattern(
    r"wait (?P<seconds>\d+(?:\.\d+)?) ?(?:s|sec|seconds?)\b[\s,.:;]*(?:(?:and|then)\b\s*)*"
)
_THINK: Final = pattern(r"think\s*:\s*")
_KINDS: Final = {
    400: "BadRequestError",
    404: "NotFoundError",
    429: "Too Many Requests",
    500: "InternalServerError",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model says before any limit is applied: reasoning, then text or calls."""

    reasoning: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    endless: bool = False  # the text is repeated until the limit
    wait: float = 0.0  # seconds before the first token
    broken: bool = False  # the connection is cut halfway


def respond(request: ChatRequest) -> Reply:
    prompt = read_prompt(request)
    if found := _FAIL.match(prompt.text):
        raise _failure(int(found["status"]))
    if _BREAK.match(prompt.text):
        return Reply(text="This answer is going to break off in the middle of it.", broken=True)
    wait, prompt = _waited(prompt)
    thinking = request.thinking
    if found := _THINK.match(prompt.text):
        prompt = replace(prompt, text=prompt.text[found.end() :])
        thinking = thinking is not False
    reply = replace(_reply(prompt, request), wait=wait)
    return replace(reply, reasoning=_reasoning(prompt, reply)) if thinking else reply


def _failure(status: int) -> RefusedError:
    message = f"The demo model was asked to fail with {status}."
    return RefusedError(message, status=status, kind=_KINDS.get(status, "Error"))


def _waited(prompt: Prompt) -> tuple[float, Prompt]:
    found = _WAIT.match(prompt.text)
    if found is None:
        return 0.0, prompt
    rest = prompt.text[found.end() :] or f"Say: I waited {found['seconds']} seconds."
    # Only the first turn of several waits: the others have the tool results that it asked for.
    seconds = 0.0 if prompt.results else min(float(found["seconds"]), MAX_WAIT)
    return seconds, replace(prompt, text=rest)


def _reply(prompt: Prompt, request: ChatRequest) -> Reply:
    plan = plan_for(prompt)
    calls = plan.due(len(prompt.results), parallel=request.parallel) if plan else ()
    if request.tool_choice in ("required", "named"):
        calls = _forced(calls or (plan.calls[:1] if plan else ()), prompt, request)
    if calls:
        return Reply(calls=calls, finish="stop" if request.named else "tool_calls")
    if (formatted := _formatted(prompt, request)) is not None:
        return Reply(text=formatted)
    if prompt.results:
        return Reply(text=plan.say(prompt.results) if plan else say_results(prompt.results))
    if plan is not None:
        return Reply(text=NO_TOOL)
    if is_song(prompt.text):
        return Reply(text="la", endless=True)
    return Reply(text=answer_to(prompt))


def _forced(wanted: tuple[Call, ...], prompt: Prompt, request: ChatRequest) -> tuple[Call, ...]:
    tools = [tool for tool in prompt.tools if request.named in ("", tool.name)]
    names = [tool.name for tool in tools]
    mentioned = next((tool for tool in tools if tool.name in prompt.text), tools[0])
    fitting = tuple(call for call in wanted if call.name in names)
    return fitting or (made_up_call(mentioned, prompt.text),)


def _formatted(prompt: Prompt, request: ChatRequest) -> str | None:
    """The answer in the form that the client asked for, or None when it asked for none."""
    if request.choices:
        return request.choices[0]
    text = re.sub(r"(?i)\Ajson\s*:\s*", "", prompt.text)
    default = prompt.results[-1] if prompt.results else schema.subject(text)
    if request.schema is not None:
        sources = "\n".join([*prompt.results[-1:], text])
        value = schema.fill(request.schema, sources, default=default)
        return json.dumps(value, ensure_ascii=False)
    if request.json_object:
        found = schema.pairs(text) if text != prompt.text else {}
        return json.dumps(found or {"text": default}, ensure_ascii=False)
    return None


def _reasoning(prompt: Prompt, reply: Reply) -> str:
    said = f"The user says {prompt.quoted()}."
    if reply.calls:
        return f"{said} I will call {' and '.join(call.name for call in reply.calls)}."
    if prompt.results:
        return f"{said} I know what the tool answered."
    return f"{said} I can answer that at once."
