"""Real sandboxes. What they need is installed once per machine, into GATEWAY_TEST_SANDBOX_DIR."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from apps.tools.code_interpreter import ledger
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes import make_sandbox
from apps.tools.code_interpreter.sandboxes.confinement import kernel
from apps.tools.code_interpreter.sandboxes.native.backend import bubblewrap
from apps.tools.code_interpreter.sandboxes.native.installation import NativeInstallation
from apps.tools.code_interpreter.sandboxes.pyodide.install import install
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation
from tests.programs import ROOT

FOLDER = Path(os.environ.get("GATEWAY_TEST_SANDBOX_DIR", ROOT / "var/test-sandbox"))
SECRET = "this is in the environment of the host"
# Generous where a test is not about the limit: machines are busy.
LIMITS = sb.Limits(memory_mb=256, rss_mb=800, wall_s=30, grace_s=10)


@dataclass
class Outcome:
    """The events of one call, sorted."""

    events: list[sb.Event] = field(default_factory=list)

    def _of(self, kind: type) -> list[sb.Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def out(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, sb.Stdout))

    @property
    def err(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, sb.Stderr))

    @property
    def value(self) -> str | None:
        return next((e.text for e in self.events if isinstance(e, sb.Result)), None)

    @property
    def error(self) -> sb.Error:
        return next(e for e in self.events if isinstance(e, sb.Error))

    @property
    def images(self) -> list[sb.Display]:
        return [e for e in self.events if isinstance(e, sb.Display)]

    @property
    def files(self) -> dict[str, int]:
        return {e.path: e.size for e in self.events if isinstance(e, sb.FileChanged)}

    @property
    def deleted(self) -> list[str]:
        return [e.path for e in self.events if isinstance(e, sb.FileDeleted)]

    @property
    def truncated(self) -> dict[str, int]:
        return {e.stream: e.dropped for e in self.events if isinstance(e, sb.Truncated)}

    @property
    def done(self) -> sb.Done:
        assert [type(e) for e in self.events].count(sb.Done) == 1
        last = self.events[-1]
        assert isinstance(last, sb.Done)
        return last


@dataclass
class Interpreter:
    """A session, and how tests use it."""

    session: sb.Session
    calls: int = 0

    def run(self, code: str) -> Outcome:
        self.calls += 1
        return Outcome(list(self.session.execute(code, f"call_{self.calls}")))

    def read(self, path: str) -> bytes:
        return b"".join(self.session.get(path))


@pytest.fixture(scope="session")
def folder() -> Path:
    install(Installation(FOLDER / "pyodide"), lambda *progress: None)
    native = NativeInstallation(FOLDER / "native")
    if not native.installed:  # its packages are large: tests that need them say how to get them
        native.install(lambda line: None, with_packages=False)
    return FOLDER


@pytest.fixture(scope="session", params=["pyodide", "native-bubblewrap", "native-landlock"])
def sandbox(request: pytest.FixtureRequest, folder: Path) -> Iterator[sb.Sandbox]:
    name, _, layer = request.param.partition("-")
    patch = pytest.MonkeyPatch()
    patch.setenv("GATEWAY_SECRET_OF_THE_HOST", SECRET)
    if layer == "bubblewrap" and not bubblewrap():
        pytest.skip("needs bwrap (apt install bubblewrap) and user namespaces")
    if layer == "landlock":
        if not (kernel().landlock and kernel().seccomp):
            pytest.skip("needs a kernel with Landlock and seccomp")
        patch.setattr("apps.tools.code_interpreter.sandboxes.native.backend.bubblewrap", str)
    backend = make_sandbox(sb.SandboxConfig(backend=name, folder=folder))
    backend.warm()
    yield backend
    backend.close()
    patch.undo()


@pytest.fixture(scope="session")
def shared(sandbox: sb.Sandbox) -> Iterator[Interpreter]:
    """For tests that leave the interpreter as usable as it was."""
    session = sandbox.start("shared", LIMITS)
    yield Interpreter(session)
    session.close()


@pytest.fixture
def python(shared: Interpreter) -> Interpreter:
    assert shared.session.state == "ready"
    return shared


@pytest.fixture
def start(sandbox: sb.Sandbox) -> Iterator[Callable[..., Interpreter]]:
    """Starts interpreters that may be ruined."""
    sessions: list[sb.Session] = []

    def make(limits: sb.Limits = LIMITS, restore: bytes | None = None) -> Interpreter:
        sessions.append(sandbox.start("own", limits, restore=restore))
        return Interpreter(sessions[-1])

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A Redis database without nodes."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as made:
        _clear(made)
        yield made
        _clear(made)


def _clear(client: redis.Redis) -> None:
    for key in client.scan_iter(f"{ledger.PREFIX}*"):
        client.delete(key)
