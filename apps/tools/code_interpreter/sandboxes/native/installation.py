"""The virtual environment of native interpreters: apart from the gateway's, with hashes pinned."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
WARM_UP = "import matplotlib.pyplot"
LIST = """
import importlib.metadata as m, json
print(json.dumps(sorted({d.metadata["Name"] + " " + d.version for d in m.distributions()})))
"""


class InstallFailed(Exception):
    """pip's word for what went wrong."""


class NativeInstallation:
    """One folder: ``venv`` is the interpreter's, ``mpl`` the cache of matplotlib's fonts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.venv, self.fonts = self.folder / "venv", self.folder / "mpl"
        self.python = self.venv / "bin/python"
        self.manifest = self.folder / "installed.json"

    @property
    def installed(self) -> bool:
        return self.manifest.is_file()

    def packages(self) -> list[str]:
        found: list[str] = json.loads(self.manifest.read_text(encoding="utf-8"))
        return found

    def install(self, say: Callable[[str], None], *, with_packages: bool = True) -> None:
        """Make the environment and install the pinned packages; again, it completes what is
        missing. Raises InstallFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.venv / "bin/pip" if with_packages else self.python).exists():
                say("Making a virtual environment")
                venv.create(self.venv, symlinks=True, with_pip=with_packages)
            if with_packages:
                say("Installing packages; this takes some minutes")
                pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                self._run([*pip, "--require-hashes", "--only-binary=:all:", "-r", REQUIREMENTS])
                self._run(["-c", WARM_UP])
            elif self.installed:
                return
            self.manifest.write_text(self._run(["-c", LIST]), encoding="utf-8")

    def _run(self, arguments: Sequence[str | Path]) -> str:
        done = subprocess.run(  # noqa: S603 - the interpreter that was just made
            [self.python, "-I", *arguments],
            capture_output=True,
            text=True,
            env={"MPLCONFIGDIR": str(self.fonts), "PATH": "/usr/bin:/bin"},
        )
        if done.returncode:
            raise InstallFailed(done.stderr.strip()[-2000:])
        return done.stdout


def base_python() -> Path:
    """Where the standard library of the environment is."""
    return Path(sys.base_prefix)
