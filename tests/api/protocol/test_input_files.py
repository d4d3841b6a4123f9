"""The names that files of the input get, and what is said in their place."""

from __future__ import annotations

from typing import Any

import pytest

from apps.api.protocol.input_files import FileKey, containers_after, names, safe_name, with_notes
from apps.api.protocol.media import PREFIX


def message(*files: tuple[str, str | None]) -> dict[str, Any]:
    parts = [
        {"type": "input_file", "filename": name, "file_data": PREFIX + sha} for sha, name in files
    ]
    return {"type": "message", "role": "user", "content": parts}


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (None, "file"),
        ("", "file"),
        ("a b.csv", "a b.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\report.xlsx", "report.xlsx"),
        ("..", "_.."),
        (".", "_."),
        ("..hidden", "_..hidden"),
        (".env", ".env"),
        ("a\nb\0<c>.txt", "a_b__c_.txt"),
        ("folder/", "folder"),
        ("x" * 300 + ".xlsx", "x" * 195 + ".xlsx"),
        ("é" * 150 + ".csv", "é" * 98 + ".csv"),
    ],
)
def test_names_are_safe(filename: str | None, expected: str) -> None:
    assert safe_name(filename) == expected


def test_names_are_unique_and_stay_what_they_were() -> None:
    first = [message(("1", "a.csv"), ("2", "x/a.csv"), ("1", "a.csv"))]
    assert list(names(first).values()) == ["a.csv", "a-2.csv"]
    longer = [*first, message(("3", "a-2.csv"), ("1", "b.csv"))]
    assert list(names(longer).values()) == ["a.csv", "a-2.csv", "a-2-2.csv", "b.csv"]


def test_calls_have_the_files_that_came_before_them() -> None:
    def call(container: str, status: str = "completed") -> dict[str, Any]:
        return {"type": "code_interpreter_call", "container_id": container, "status": status}

    items = [message(("1", "a")), call("c1"), message(("2", "b")), call("c2", "failed")]
    assert containers_after(items) == {
        FileKey("1", "a"): frozenset({"c1"}),
        FileKey("2", "b"): frozenset(),
    }


def test_notes_leave_the_items_as_they_are() -> None:
    items = [message(("1", "a.zip"), ("2", "b.txt"))]
    (told,) = with_notes(items, {FileKey("1", "a.zip"): "[a.zip]"})
    assert told["content"] == [{"type": "input_text", "text": "[a.zip]"}, items[0]["content"][1]]
    assert items[0]["content"][0]["type"] == "input_file"
