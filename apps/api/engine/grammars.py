"""Whether the grammars of custom tools can be used, and whether a text follows one.

The judge is llguidance, under whose grammars vLLM decodes: what it takes, the upstream takes. Its
work is bounded by limits of its own, and done outside the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import lru_cache

from apps.api.errors import InvalidRequest
from apps.api.protocol.grammars import DeclaredGrammar, declared_grammars
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.tools import GrammarFormat

MOST = 100_000
"""Characters of all grammars of a request. Judging so many takes a tenth of a second."""

LONGEST = 300
"""Characters of what the judge says."""

PATIENCE = 1.0
"""Seconds that a text may take. Hostile grammars take long, and nobody else waits for them."""
PIECE = 32
"""Bytes that are judged at once: between pieces, other threads have their turn."""


async def check_grammars(body: CreateResponse) -> None:
    """Raise InvalidRequest for the first grammar of the request that is none."""
    grammars = list(declared_grammars(body))
    length = 0
    for param, grammar in grammars:
        length += len(grammar.definition)
        if length > MOST:
            raise InvalidRequest(
                f"Invalid value for '{param}': all grammars together may have {MOST:,} characters.",
                code="string_above_max_length",
                param=param,
            )
    if grammars:
        await asyncio.to_thread(_check, grammars)


def _check(grammars: Sequence[DeclaredGrammar]) -> None:
    for param, grammar in grammars:
        if problem := _problem(grammar.syntax, grammar.definition):
            kind = "regular expression" if grammar.syntax == "regex" else "Lark grammar"
            message = f"Invalid value for '{param}': the {kind} cannot be used: {problem}."
            raise InvalidRequest(message, code="invalid_value", param=param)


@lru_cache(maxsize=64)
def _problem(syntax: str, definition: str) -> str:
    """What is wrong with a grammar, or nothing. Agents send the same ones again and again."""
    # Loaded for those who need it: that takes as long as a hundred requests.
    from llguidance import LLMatcher, LLTokenizer

    judged = _serialized(syntax, definition)
    return _in_short(LLMatcher.validate_grammar(judged, LLTokenizer("byte")))


def _serialized(syntax: str, definition: str) -> str:
    from llguidance import LLMatcher

    make = LLMatcher.grammar_from_regex if syntax == "regex" else LLMatcher.grammar_from_lark
    return make(definition)


def follows(text: str, grammar: GrammarFormat) -> bool:
    """Whether the text follows the grammar; what cannot be told in time counts as right. Blocks."""
    from llguidance import LLMatcher, LLTokenizer

    judged = _serialized(grammar.syntax, grammar.definition)
    matcher = LLMatcher(LLTokenizer("byte"), judged, log_level=0)
    until = time.monotonic() + PATIENCE
    tokens = list(text.encode())  # each byte is a token
    for start in range(0, len(tokens), PIECE):
        piece = tokens[start : start + PIECE]
        if matcher.try_consume_tokens(piece) < len(piece):
            return matcher.is_error()  # it has given up
        if time.monotonic() > until:
            return True
    return matcher.is_accepting()


def _in_short(told: str) -> str:
    """The line that says what is wrong; the others draw it."""
    lines = told.splitlines() or [""]
    reason = next((line.removeprefix("error: ") for line in lines if "error: " in line[:7]), "")
    return (reason or lines[0])[:LONGEST].rstrip(".: ")
