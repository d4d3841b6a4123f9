"""Packages by the lock file: fetched with what they need, checked, and there when code imports them."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.download import FetchFailed
from apps.tools.code_interpreter.sandboxes.pyodide.backend import PyodideSandbox
from apps.tools.code_interpreter.sandboxes.pyodide.install import (
    UnknownPackage,
    add_packages,
    closure,
    install,
)
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation

from .conftest import LIMITS, Interpreter


def quiet(name: str, done: int, total: int) -> None:
    """No progress is shown."""


def wheel(folder: Path, name: str, source: str) -> tuple[str, str]:
    """A package of one module; its file name and hash."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", source)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path.name, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A distribution that cannot be reached by network, in a folder."""
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


@pytest.fixture
def installation(folder: Path, tmp_path: Path, wheels: Path) -> Installation:
    """A copy whose lock file knows two packages of our own."""
    original, copy = Installation(folder / "pyodide"), Installation(tmp_path / "pyodide")
    copy.core.mkdir(parents=True)
    for path in original.core.iterdir():
        if path.suffix not in (".whl", ".part"):
            _link(path, copy.core / path.name)
    lock = json.loads((original.core / "pyodide-lock.json").read_bytes())
    for name, source, depends in (
        ("greeting", "from recipient import NAME\ndef greet():\n    return f'hello {NAME}'\n", 1),
        ("recipient", "NAME = 'world'\n", 0),
    ):
        file, sha256 = wheel(wheels, name, source)
        lock["packages"][name] = lock["packages"]["numpy"] | {
            "name": name,
            "version": "1.0",
            "file_name": file,
            "sha256": sha256,
            "imports": [name],
            "depends": ["recipient"] if depends else [],
        }
    copy.write(copy.core / "pyodide-lock.json", json.dumps(lock).encode())
    return copy


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        target.write_bytes(source.read_bytes())


def test_packages_come_with_what_they_need(installation: Installation, wheels: Path) -> None:
    assert add_packages(installation, ["Greeting"], quiet, source=str(wheels)) == [
        "greeting",
        "recipient",
    ]
    assert add_packages(installation, ["greeting"], quiet, source=str(wheels)) == []
    assert installation.packages() == ["greeting 1.0", "recipient 1.0"]


def test_the_default_set_is_known(installation: Installation) -> None:
    names = closure(installation, ["numpy", "pandas", "matplotlib", "scikit-learn", "Pillow"])
    assert {"numpy", "pandas", "scipy", "python-dateutil", "kiwisolver", "pillow"} <= {*names}


def test_code_imports_installed_packages(installation: Installation, wheels: Path) -> None:
    add_packages(installation, ["greeting"], quiet, source=str(wheels))
    config = sb.SandboxConfig(backend="pyodide", folder=installation.folder.parent, spares=0)
    sandbox = PyodideSandbox(config)
    try:
        assert sandbox.probe().packages == ("greeting 1.0", "recipient 1.0")
        python = Interpreter(sandbox.start("s", LIMITS))
        assert python.run("import greeting\ngreeting.greet()").value == "'hello world'"
        missing = python.run("import numpy").error.traceback
        assert "Available: greeting, recipient, and the standard library" in missing
        assert "Deno" not in python.run("open('/etc/passwd')").error.traceback
    finally:
        sandbox.close()


def test_a_wheel_that_was_changed_is_not_taken(installation: Installation, wheels: Path) -> None:
    with zipfile.ZipFile(wheels / "recipient-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("evil.py", "")
    with pytest.raises(FetchFailed, match="sha256 differs"):
        add_packages(installation, ["recipient"], quiet, source=str(wheels))
    assert installation.packages() == []


def test_unknown_packages_and_missing_files_are_said(
    installation: Installation, wheels: Path
) -> None:
    with pytest.raises(UnknownPackage, match="no-such-thing"):
        add_packages(installation, ["no_such_thing"], quiet, source=str(wheels))
    with pytest.raises(FetchFailed, match="numpy-"):
        add_packages(installation, ["numpy"], quiet, source=str(wheels))
    with pytest.raises(FetchFailed, match="cannot be fetched"):
        add_packages(installation, ["numpy"], quiet, source="http://127.0.0.1:9/")


def test_another_pyodide_than_the_pinned_one_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "pyodide-314.0.7.tgz").write_bytes(b"something else")
    with pytest.raises(FetchFailed, match="sha512 differs"):
        install(Installation(tmp_path / "pyodide"), quiet, source=str(tmp_path))


def test_without_an_installation_nothing_starts(tmp_path: Path) -> None:
    sandbox = PyodideSandbox(sb.SandboxConfig(backend="pyodide", folder=tmp_path))
    try:
        health = sandbox.probe()
        assert not health.usable
        assert "manage.py sandbox install" in health.missing[0]
        with pytest.raises(sb.SandboxUnavailable, match=r"manage\.py sandbox install"):
            sandbox.start("s", LIMITS)
    finally:
        sandbox.close()
