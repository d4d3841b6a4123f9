"""Whether a text follows a grammar, and how long that may take."""

from __future__ import annotations

import time

import pytest

from apps.api.engine import grammars
from apps.api.engine.grammars import follows
from apps.api.protocol.tools import GrammarFormat


def grammar(definition: str, syntax: str = "lark") -> GrammarFormat:
    return GrammarFormat.model_validate(
        {"type": "grammar", "syntax": syntax, "definition": definition}
    )


PATCH = grammar(
    """start: "*** Begin Patch" LF hunk+ "*** End Patch" LF?
hunk: "*** Add File: " /(.+)/ LF added+
added: "+" /(.*)/ LF
%import common.LF
"""
)
AMBIGUOUS = grammar('start: a\na: a a | "x"\n')


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("*** Begin Patch\n*** Add File: ä.py\n+x\n+\n*** End Patch", True),
        ("*** Begin Patch\n*** Add File: ä.py\n+x\n+\n*** End Patch\n", True),
        ("*** Begin Patch\n*** Add File: ä.py\nx\n*** End Patch", False),
        ("*** Begin Patch\n*** Add File: ä.py\n+x\n", False),
        ("*** Begin Patch\n*** Add File: ä.py\n+x\n*** End Patch\n\n", False),
        ("", False),
    ],
)
def test_lark(text: str, right: bool) -> None:
    assert follows(text, PATCH) is right


@pytest.mark.parametrize(
    ("text", "right"), [("123", True), ("12", False), ("1234", False), ("12\n", False)]
)
def test_regular_expressions_hold_for_the_whole_text(text: str, right: bool) -> None:
    assert follows(text, grammar("[0-9]{3}", "regex")) is right


def test_a_long_text_takes_little_time() -> None:
    lines = "+some line of text\n" * 20_000
    assert follows(f"*** Begin Patch\n*** Add File: a\n{lines}*** End Patch\n", PATCH)


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be told in time counts as right."""
    monkeypatch.setattr(grammars, "PATIENCE", 0.05)
    started = time.monotonic()
    assert follows("x" * 5_000 + "y", AMBIGUOUS)
    assert time.monotonic() - started < 5


def test_a_grammar_that_grows_too_complex_tells_nothing() -> None:
    wide = "".join(f'r{i}: r{i + 1} r{i + 1} | "x"\n' for i in range(300))
    assert follows("x" * 300 + "y", grammar(f'start: r0\n{wide}r300: "x"\n'))
