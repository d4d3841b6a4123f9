"""Reads the project's Markdown as tests need it: code blocks, tables, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.programs import ROOT

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run by the tests: .+ -->\n$")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. ``run`` is False where a comment before it says why not."""

    language: str
    code: str
    line: int
    run: bool


def pages() -> list[Path]:
    """Every page that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    text = text_of(page)
    return [
        Block(
            language=found["language"],
            code=found["code"],
            line=text.count("\n", 0, found.start()) + 1,
            run=not NOT_RUN.search(text, 0, found.start()),
        )
        for found in FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", text_of(page))


def links(page: Path) -> Iterator[str]:
    return (found["target"] for found in LINK.finditer(prose(page)))


def anchors(page: Path) -> set[str]:
    """The names by which GitHub and mkdocs link to headings."""
    return {
        re.sub(r"[^\w\- ]", "", found["text"].lower()).replace(" ", "-")
        for found in HEADING.finditer(prose(page))
    }


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows, without the head, of the first table under a heading."""
    section = text_of(page).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
