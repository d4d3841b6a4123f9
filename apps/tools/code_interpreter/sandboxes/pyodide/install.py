"""Fetches Pyodide and its packages, once, and makes the snapshot that sessions start from."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable

from apps.tools.code_interpreter.sandboxes.child import ChildGone
from apps.tools.code_interpreter.sandboxes.download import (
    FetchFailed,
    Progress,
    check_integrity,
    check_sha256,
    fetch,
)
from apps.tools.code_interpreter.sandboxes.pyodide.backend import start_deno
from apps.tools.code_interpreter.sandboxes.pyodide.installation import (
    FILES,
    INTEGRITY,
    SOURCES,
    VERSION,
    Installation,
)

REGISTRY = "https://registry.npmjs.org/pyodide/-"
DISTRIBUTION = f"https://cdn.jsdelivr.net/pyodide/v{VERSION}/full"
DEFAULT_PACKAGES = ("numpy", "pandas", "matplotlib", "scipy", "sympy", "pillow", "scikit-learn")
BUILD = 180.0  # seconds for a cold start of Pyodide: five on a quiet machine


class UnknownPackage(Exception):
    """Pyodide's distribution has no package of that name."""


def install(installation: Installation, progress: Progress, *, source: str = REGISTRY) -> None:
    """Have Pyodide and the base snapshot; does nothing where they are. Raises FetchFailed."""
    with installation.locked():
        if not installation.installed:
            name = f"pyodide-{VERSION}.tgz"
            data = fetch(source, name, progress)
            check_integrity(data, INTEGRITY, name)
            _unpack(data, installation)
        if not installation.snapshot.is_file():
            _build_snapshot(installation, progress)


def _unpack(data: bytes, installation: Installation) -> None:
    installation.core.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/{name}")
            assert member is not None
            installation.write(installation.core / name, member.read())


def _build_snapshot(installation: Installation, progress: Progress) -> None:
    """Start Python from nothing, let it import what cells use most, and write its memory down."""
    progress("snapshot", 0, 1)
    child = start_deno(installation)
    sources = {name: path.read_text(encoding="utf-8") for name, path in SOURCES.items()}
    try:
        child.send({"op": "boot", "sources": sources}, within=BUILD)
        built = child.expect("built", within=BUILD)
    except ChildGone as exc:
        raise FetchFailed(f"Pyodide does not start: {exc}") from exc
    finally:
        child.kill()
        child.reap()
    older = sorted(installation.core.glob("base-*.snapshot"), key=lambda path: path.stat().st_mtime)
    for old in older[:-1]:  # the last may belong to a version that still runs here
        old.unlink()
    installation.write(installation.snapshot, built.body)
    progress("snapshot", 1, 1)


def closure(installation: Installation, names: Iterable[str]) -> list[str]:
    """The packages, and those that they need, as the lock file calls them. Raises
    UnknownPackage."""
    packages, found = installation.lock["packages"], list[str]()
    queue = [_normalised(name) for name in names]
    while queue:
        name = queue.pop(0)
        if name not in packages:
            raise UnknownPackage(name)
        if name not in found:
            found.append(name)
            queue += map(_normalised, packages[name]["depends"])
    return found


def add_packages(
    installation: Installation,
    names: Iterable[str],
    progress: Progress,
    *,
    source: str = DISTRIBUTION,
) -> list[str]:
    """Fetch the wheels of these packages and of what they need; those that are new are returned.
    Raises FetchFailed and UnknownPackage."""
    added = []
    with installation.locked():
        present = installation.present()
        for name in closure(installation, names):
            if name in present:
                continue
            package = installation.lock["packages"][name]
            file = package["file_name"]
            data = fetch(source, file, progress)
            check_sha256(data, package["sha256"], file)
            installation.write(installation.core / file, data)
            added.append(name)
    return added


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
