"""Files go in, what code makes comes out, and nothing else does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from apps.tools.code_interpreter import sandbox as sb

from .conftest import LIMITS, Interpreter

Start = Callable[..., Interpreter]


def test_files_go_in_and_come_out(python: Interpreter) -> None:
    python.session.put("table.csv", [b"a,b\n", b"1,2\n"])
    outcome = python.run("text = open('/mnt/data/table.csv').read(); text")
    assert outcome.value == repr("a,b\n1,2\n")
    assert outcome.files == {}  # it was there before
    outcome = python.run("with open('table.csv', 'a') as f:\n    f.write('3,4\\n')")
    assert outcome.files == {"table.csv": 12}
    assert python.read("table.csv") == b"a,b\n1,2\n3,4\n"


def test_files_may_be_in_folders_large_and_empty(python: Interpreter) -> None:
    outcome = python.run(
        "import os\nos.makedirs('out/deep', exist_ok=True)\n"
        "with open('out/deep/big.bin', 'wb') as f:\n    f.write(b'x' * 3_000_000)\n"
        "open('empty', 'w').close()"
    )
    assert outcome.files == {"out/deep/big.bin": 3_000_000, "empty": 0}
    assert python.read("out/deep/big.bin") == b"x" * 3_000_000
    assert python.read("empty") == b""
    python.session.put("in/sub/nothing", [])
    assert python.run("os.path.getsize('in/sub/nothing')").value == "0"


def test_a_deleted_file_is_gone(python: Interpreter) -> None:
    python.session.put("old.txt", [b"old"])
    python.session.delete("old.txt")
    python.session.delete("old.txt")
    assert python.run("import os; os.path.exists('old.txt')").value == "False"
    with pytest.raises(FileNotFoundError):
        python.read("old.txt")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a//b", ".", "a\0b"])
def test_paths_that_lead_elsewhere_are_refused(python: Interpreter, path: str) -> None:
    with pytest.raises(sb.FilesRefused):
        python.session.put(path, [b"x"])
    with pytest.raises(sb.FilesRefused):
        python.read(path)


def test_links_and_pipes_are_not_collected(python: Interpreter) -> None:
    outcome = python.run(
        "import os\n"
        "for name, target in (('passwd', '/etc/passwd'), ('root', '/'), ('self', '.')):\n"
        "    os.path.lexists(name) or os.symlink(target, name)\n"
        "try:\n    os.mkfifo('pipe')\nexcept (OSError, AttributeError):\n    pass\n"
        "with open('real.txt', 'w') as f:\n    f.write('x')"
    )
    assert outcome.files == {"real.txt": 1}
    for path in ("passwd", "root/etc/passwd", "self/real.txt", "pipe"):
        with pytest.raises(FileNotFoundError):
            python.read(path)
    python.run("[os.unlink(n) for n in ('passwd', 'root', 'self')]")


def test_a_link_does_not_lead_a_written_file_out(python: Interpreter) -> None:
    python.run("import os; os.symlink('/tmp', 'way_out')")
    with pytest.raises(sb.FilesRefused):
        python.session.put("way_out/planted", [b"x"])
    python.run("os.unlink('way_out')")


def test_more_files_than_allowed_are_not_collected(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, files_count=3, files_bytes=1000))
    outcome = python.run("for i in range(5):\n    open(f'{i}.txt', 'w').write('12345')")
    assert len(outcome.files) == 3
    assert outcome.truncated == {"files": 10}
    with pytest.raises(sb.FilesRefused):
        python.session.put("one_more.txt", [b"x"])
    python.run("import os\nfor i in range(5):\n    os.unlink(f'{i}.txt')")
    with pytest.raises(sb.FilesRefused):
        python.session.put("big", [b"x" * 600, b"x" * 600])
    outcome = python.run("with open('big2', 'w') as f:\n    f.write('x' * 2000)")
    assert sum(outcome.files.values()) <= 1000
    assert outcome.truncated == {"files": 2000} or outcome.error.name == "OSError"


def test_files_that_are_gone_are_told(python: Interpreter) -> None:
    python.session.put("given.txt", [b"1"])
    assert python.run("open('a.txt', 'w').write('a')").deleted == []
    moved = python.run("import os; os.rename('a.txt', 'b.txt'); os.remove('given.txt')")
    assert sorted(moved.deleted) == ["a.txt", "given.txt"]
    assert moved.files == {"b.txt": 1}
    assert python.run("1").deleted == []
