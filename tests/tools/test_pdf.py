"""The text of PDFs, got in a child process."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import pytest

from apps.tools.pdf import UnreadablePDF, extract_text
from tests.web import pdf


def read(data: bytes, **limits: Any) -> str:
    wanted: dict[str, Any] = {"pages": 10, "characters": 1000, "time_limit": 30.0} | limits
    return asyncio.run(extract_text(data, **wanted))


def test_the_text_of_all_pages_is_read_in_order() -> None:
    assert read(pdf("The first page", "", "The last page")) == "The first page\n\nThe last page"


def test_too_many_pages_are_refused() -> None:
    with pytest.raises(UnreadablePDF, match="3 pages; at most 2"):
        read(pdf("a", "b", "c"), pages=2)


def test_too_much_text_is_refused() -> None:
    with pytest.raises(UnreadablePDF, match="10 characters"):
        read(pdf("eleven char"), characters=10)


def test_a_pdf_without_text_says_so() -> None:
    with pytest.raises(UnreadablePDF, match="no text"):
        read(pdf(""))


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4\n", b"%PDF-1.4 garbage" * 100, pdf("x")[:200]])
def test_a_broken_pdf_says_so(data: bytes) -> None:
    with pytest.raises(UnreadablePDF):
        read(data)


def test_a_pdf_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(UnreadablePDF, match=r"longer than 0\.001 seconds"):
        read(pdf("x"), time_limit=0.001)


def test_the_child_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = []
    run = subprocess.run

    def watch(*arguments: Any, **options: Any) -> Any:
        environments.append(options["env"])
        return run(*arguments, **options)

    monkeypatch.setenv("GATEWAY_SECRET_KEY", "secret")
    monkeypatch.setattr(subprocess, "run", watch)
    read(pdf("x"))
    assert [environment.keys() for environment in environments] == [{"PYTHONPATH"}]
