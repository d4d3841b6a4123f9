"""The backend `native`: CPython in bubblewrap where that works, behind Landlock and seccomp in any case
where the kernel has them."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes import confinement
from apps.tools.code_interpreter.sandboxes.backend import START, Backend
from apps.tools.code_interpreter.sandboxes.child import Child, ChildGone, family
from apps.tools.code_interpreter.sandboxes.held_folder import HeldFolder, remove
from apps.tools.code_interpreter.sandboxes.native.installation import (
    NativeInstallation,
    base_python,
)
from apps.tools.code_interpreter.sandboxes.native.work_folder import WorkFolder

HARNESS = Path(__file__).parent.parent
KERNEL = Path(__file__).with_name("kernel.py")
BWRAP = [
    "--unshare-all",
    "--unshare-user",
    "--disable-userns",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
    "--uid",
    "1000",
    "--gid",
    "1000",
    "--hostname",
    "sandbox",
    "--cap-drop",
    "ALL",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
]


class NativeSandbox(Backend):
    """See ``Sandbox``."""

    name = "native"
    features = frozenset({"interrupt"})

    def __init__(self, config: sb.SandboxConfig) -> None:
        super().__init__(config)
        self.installation = NativeInstallation(config.folder / "native")
        self._folder: HeldFolder | None = None

    def health(self) -> sb.Health:
        refusals = [reason for reason in (self._not_installed(), self._not_confined()) if reason]
        bwrap = () if bubblewrap() else ("bubblewrap (bwrap, and user namespaces)",)
        return sb.Health(
            usable=not refusals,
            backend=self.name,
            versions={"python": ".".join(map(str, sys.version_info[:3]))},
            layers=(*(("bubblewrap",) if bubblewrap() else ()), *confinement.kernel().layers),
            missing=(*refusals, *bwrap, *confinement.kernel().missing),
            packages=tuple(self.installation.packages()) if self.installation.installed else (),
        )

    def _not_installed(self) -> str:
        if self.installation.installed:
            return ""
        return "The native sandbox is not installed. Run `manage.py sandbox install --native`."

    def _not_confined(self) -> str:
        """Code is confined by namespaces, or by Landlock with seccomp; else it is not run."""
        kernel = confinement.kernel()
        if bubblewrap() or (kernel.landlock and kernel.seccomp) or self.config.unconfined:
            return ""
        return (
            "Nothing here confines native code: neither bubblewrap with user namespaces nor "
            "Landlock with seccomp works. Use GATEWAY_SANDBOX=pyodide."
        )

    def open(self, restore: bytes | None) -> NativeInterpreter:
        if restore is not None:
            raise sb.SnapshotRefused("Native interpreters cannot be restored.")
        if reason := self._not_installed() or self._not_confined():
            raise sb.SandboxUnavailable(reason)
        folder = self._work_folder()
        try:
            child = self.spawn(*_command(self.installation, folder))
        except sb.SandboxUnavailable:
            remove(folder)
            raise
        return NativeInterpreter(child, folder)

    def _work_folder(self) -> Path:
        """A new one, in a folder that this host holds. Raises SandboxUnavailable."""
        try:
            return self._make_folder()
        except OSError as exc:  # a disk that is full or read-only: no code has run
            why = exc.strerror or "its files cannot be copied"
            raise sb.SandboxUnavailable(f"Code gets no folder to work in: {why}.") from exc

    def _make_folder(self) -> Path:
        if self._folder is None:
            self._folder = HeldFolder(self.installation.folder / "sessions")
        folder = self._folder.path / secrets.token_hex(8)
        for part in (folder, folder / "data", folder / "tmp"):
            part.mkdir(mode=0o700)
        if self.installation.fonts.is_dir():
            shutil.copytree(self.installation.fonts, folder / "tmp" / "mpl")
        return folder

    def close(self) -> None:
        super().close()
        if self._folder is not None:
            self._folder.close()


class NativeInterpreter:
    """One CPython that is ready."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child, self.folder = child, folder
        self._ids = count(1)
        try:
            self.child.expect("ready", within=START)
            self.pid = family(self.child.pid)[-1]
        except ChildGone:
            self.close()
            raise

    def close(self) -> None:
        self.child.kill()
        self.child.reap()
        remove(self.folder)

    def configure(self, limits: sb.Limits) -> WorkFolder:
        number = next(self._ids)
        rlimits = {"DATA": limits.memory_mb << 20, "FSIZE": limits.files_bytes}
        self.child.send({"op": "configure", "id": number, "rlimits": rlimits})
        self.child.expect("reply", within=START)
        return WorkFolder(self.folder, limits)

    def interrupt(self, call_id: str) -> None:
        try:
            os.kill(self.pid, signal.SIGINT)
        except ProcessLookupError as exc:
            raise ChildGone("it has ended") from exc

    def snapshot(self) -> bytes | None:
        return None


def _command(installation: NativeInstallation, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The same program either way; bubblewrap gives it the paths /mnt/data and /tmp."""
    jailed = bubblewrap()
    data, tmp = ("/mnt/data", "/tmp") if jailed else (str(folder / "data"), str(folder / "tmp"))  # noqa: S108
    read: list[Path | str] = [
        installation.venv,
        base_python(),
        HARNESS,
        "/usr/share",
        "/etc/fonts",
        "/etc/mime.types",
    ]
    order = confinement.order(
        read=[*read, *(["/proc", "/dev"] if jailed else [])],
        write=[data, tmp],
        rlimits={"CORE": 0, "NOFILE": 256},
        parent=not jailed,
        script=str(KERNEL),
        arguments={
            "harness": str(HARNESS),
            "data": data,
            "packages": ", ".join(name.split()[0] for name in installation.packages()),
        },
    )
    env = {
        "HOME": tmp,
        "TMPDIR": tmp,
        "MPLCONFIGDIR": f"{tmp}/mpl",
        "LANG": "C.UTF-8",
        "USER": "sandbox",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    argv = [str(installation.python), "-I", "-B", "-X", "utf8", str(confinement.LAUNCHER), order]
    if jailed:
        argv = [
            jailed,
            *BWRAP,
            *_mounts([*read, *confinement.LIBRARIES], folder),
            *_set(env),
            *argv,
        ]
    return argv, env


def _mounts(read: list[Path | str], folder: Path) -> list[str]:
    """Bubblewrap's view of the disk: what may be read at its own place, and the session's folders."""
    mounts = ["--bind", str(folder / "tmp"), "/tmp", "--bind", str(folder / "data"), "/mnt/data"]  # noqa: S108
    for path in ["/usr", *read]:
        if Path(path).is_symlink():
            mounts += ["--symlink", os.readlink(path), str(path)]
        elif Path(path).exists():
            mounts += ["--ro-bind", str(path), str(path)]
    return [*mounts, "--chdir", "/mnt/data"]


def _set(env: dict[str, str]) -> list[str]:
    return [word for name, value in env.items() for word in ("--setenv", name, value)]


@functools.cache
def bubblewrap() -> str | None:
    """The program, where it is allowed to make namespaces. Raises SandboxUnavailable."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    made = confinement.trial([program, *BWRAP, "--ro-bind", "/", "/", "/bin/true"])
    return None if made is None else program
