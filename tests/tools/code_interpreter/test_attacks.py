"""What hostile code tries. Each attempt fails, and costs at most its own session."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.confinement import kernel
from tests.programs import ROOT, eventually

from .conftest import LIMITS, SECRET, Interpreter

Start = Callable[..., Interpreter]


class Listener:
    """Counts who reaches it, over TCP, UDP and a Unix socket."""

    def __init__(self, path: str) -> None:
        self.reached: list[str] = []
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.unix.bind(path)
        os.chmod(path, 0o777)
        for name, sock in (("tcp", self.tcp), ("udp", self.udp), ("unix", self.unix)):
            threading.Thread(target=self._listen, args=(name, sock), daemon=True).start()

    def _listen(self, name: str, sock: socket.socket) -> None:
        try:
            sock.accept() if name == "tcp" else sock.recv(100)
        except OSError:
            return
        self.reached.append(name)


@contextmanager
def listener(path: Path) -> Iterator[Listener]:
    it = Listener(str(path))
    yield it
    for sock in (it.tcp, it.udp, it.unix):
        sock.close()


def test_no_listener_is_ever_reached(python: Interpreter, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with listener(tmp_path / "unix") as it:
        tcp, udp = it.tcp.getsockname()[1], it.udp.getsockname()[1]
        outcome = python.run(
            f"import socket, urllib.request\ntcp, udp, unix = {tcp}, {udp}, {it.unix.getsockname()!r}\n"
            "def attempt(name, f):\n"
            "    try:\n        f()\n        print(name, 'WORKED')\n"
            "    except Exception as exc:\n        print(name, type(exc).__name__)\n"
            "def pair():\n"
            "    a, b = socket.socketpair(type=socket.SOCK_DGRAM)\n    a.sendto(b'x', unix)\n"
            "def unix_datagram():\n"
            "    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', unix)\n"
            "def udp_datagram():\n"
            "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "    s.connect(('127.0.0.1', udp))\n    s.send(b'x')\n"
            "attempt('tcp', lambda: socket.create_connection(('127.0.0.1', tcp), 2))\n"
            "attempt('http', lambda: urllib.request.urlopen(f'http://127.0.0.1:{tcp}/', timeout=2))\n"
            "attempt('udp', udp_datagram)\nattempt('pair', pair)\nattempt('unix', unix_datagram)\n"
        )
        assert len(outcome.out.splitlines()) == 5
        assert "tcp WORKED" not in outcome.out
        assert "http WORKED" not in outcome.out
        python.run("import time; time.sleep(0.2)")
        assert it.reached == []


def test_the_host_s_environment_is_not_there(python: Interpreter) -> None:
    outcome = python.run(
        "import os, glob\nfound = [str(dict(os.environ))]\n"
        "for path in ['/proc/self/environ', f'/proc/{os.getppid()}/environ',"
        " *glob.glob('/proc/[0-9]*/environ')]:\n"
        "    try:\n        found.append(open(path, 'rb').read().decode('latin-1'))\n"
        "    except OSError:\n        pass\n"
        "print(found)"
    )
    assert outcome.done.status == "ok"
    assert SECRET not in outcome.out
    assert "GATEWAY_" not in outcome.out


def test_the_host_s_files_cannot_be_read_or_written(python: Interpreter, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    outcome = python.run(
        f"for path in ({str(secret)!r}, {str(ROOT / 'manage.py')!r}, '/etc/shadow'):\n"
        "    try:\n        print(open(path).read())\n"
        "    except OSError as exc:\n        print('refused')\n"
        f"try:\n    open({str(tmp_path / 'planted')!r}, 'w').write('x')\nexcept OSError:\n    pass\n"
    )
    assert outcome.out == "refused\n" * 3
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.system('touch {mark}')",
        "import subprocess; subprocess.run(['/bin/sh', '-c', 'touch {mark}'])",
        "import os; os.execv('/bin/touch', ['touch', '{mark}'])",
        "import os; os.posix_spawn('/bin/touch', ['touch', '{mark}'], dict())",
        "import ctypes; ctypes.CDLL(None).system(b'touch {mark}')",
    ],
)
def test_no_program_is_started(start: Start, tmp_path: Path, code: str) -> None:
    tmp_path.chmod(0o777)
    mark = tmp_path / "mark"
    start().run(code.replace("{mark}", str(mark)))
    assert not mark.exists()


def test_os_system_is_an_error_and_not_the_end(python: Interpreter) -> None:
    assert python.run("import os; os.system('id')").done.status in ("ok", "error")
    assert python.run("1").value == "1"


def test_threads_are_bounded(start: Start) -> None:
    """Their stacks count as memory; in WebAssembly there are none."""
    python, other = start(), start()
    outcome = python.run(
        "import threading, time\nstarted = 0\n"
        "while True:\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "    started += 1"
    )
    assert outcome.done.status in ("error", "oom", "crashed")
    assert other.run("1").value == "1"


def test_there_is_no_fork(python: Interpreter) -> None:
    outcome = python.run("import os\nfor _ in range(1000):\n    os.fork()")
    assert outcome.error.name in ("OSError", "PermissionError", "BlockingIOError", "AttributeError")
    assert python.run("1").value == "1"


def test_the_kernel_s_larger_tools_are_out_of_reach(python: Interpreter) -> None:
    """Tracing, namespaces, mounts, kernel modules, other processes' memory."""
    outcome = python.run(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def attempt(name, *arguments):\n"
        "    try:\n        got = getattr(libc, name)(*arguments)\n"
        "    except (AttributeError, OSError, RuntimeError):\n        got = -1\n"
        "    print(name, 'refused' if got == -1 else got)\n"
        f"attempt('ptrace', 16, {os.getpid()}, None, None)\n"
        "attempt('unshare', 0x10000000)\n"
        "attempt('mount', b'none', b'/mnt/data', b'tmpfs', 0, None)\n"
        "attempt('chroot', b'/mnt')\n"
        f"attempt('process_vm_readv', {os.getpid()}, None, 0, None, 0, 0)\n"
        "attempt('setns', 0, 0)\n"
    )
    assert outcome.done.status == "ok"
    assert [line.split()[1] for line in outcome.out.splitlines()] == ["refused"] * 6
    assert python.run("1").value == "1"


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import ctypes; ctypes.memset(0, 1, 1 << 16); ctypes.string_at(0)",
        "import ctypes; ctypes.CDLL(None).abort()",
    ],
    ids=["exit", "kill", "memset", "abort"],
)
def test_whoever_ruins_the_interpreter_loses_it(start: Start, code: str) -> None:
    """Or does not even manage to: in any case the call ends, and the host knows how."""
    python = start(dataclasses.replace(LIMITS, wall_s=5, grace_s=1))
    python.run("kept = 'kept'")
    done = python.run(code).done
    if done.state_lost:
        assert done.status in ("crashed", "timeout")
        with pytest.raises(sb.SessionDead):
            python.run("1")
    else:
        assert python.run("kept").value == "'kept'"


def test_the_host_cannot_be_killed(python: Interpreter) -> None:
    python.run(
        "import os, signal\n"
        f"for pid in (os.getppid(), {os.getpid()}, -1):\n"
        "    try:\n        os.kill(pid, signal.SIGUSR1 if hasattr(signal, 'SIGUSR1') else 10)\n"
        "    except (OSError, AttributeError):\n        pass"
    )
    assert python.run("1").value == "1"


FORGE = """
import gc, sys, types
def forge(kind, detail, body):
    for thing in gc.get_objects():
        if type(thing).__name__ == 'Repl':
            thing.emit(kind, detail, body)
            return
    frame = sys._getframe()
    while frame:
        for thing in frame.f_locals.values():
            if type(thing).__name__ == 'Repl':
                thing.emit(kind, detail, body)
                return
        frame = frame.f_back
    raise LookupError('no harness found')
"""


# Of the native sandbox, code has the descriptor itself: see the next test.
@pytest.mark.parametrize("sandbox", ["pyodide"], indirect=True)
def test_forged_frames_cannot_end_a_call(start: Start) -> None:
    python = start()
    outcome = python.run(
        FORGE + "\nfor kind in ('done', 'ready', 'reply', 'fatal', 'nonsense'):\n"
        "    forge(kind, 'call_1', b'')\nprint('still here')"
    )
    assert "still here" in outcome.out
    assert outcome.done.status == "ok"
    assert python.run("1 + 1").value == "2"


@pytest.mark.parametrize("kind", ["done", "fatal", "nonsense"])
def test_forged_frames_harm_their_own_session_only(start: Start, kind: str) -> None:
    python, other = start(), start()
    outcome = python.run(
        "import gc, os\n"
        "for thing in gc.get_objects():\n"
        "    if type(thing).__name__ == 'Kernel':\n"
        f"        thing._send(dict(kind={kind!r}, call='call_1', ok=True, heap=1 << 60))\n"
        "        os.write(thing.outgoing, b'\\xff' * 100)"
    )
    assert outcome.done.status in ("ok", "crashed")
    assert other.run("1").value == "1"


def test_forged_images_and_errors_stay_within_their_limits(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, display_bytes=1000, output_bytes=10_000))
    outcome = python.run(
        FORGE + "\nforge('display', 'text/html', b'<script>')\n"
        "forge('display', 'image/png', b'no png')\n"
        "forge('display', 'image/png', b'\\x89PNG\\r\\n\\x1a\\n' + bytes(5000))\n"
        "forge('error', 'x' * 5000, b'y' * 50_000 + b'\\0' + b'z' * 50_000)"
    )
    assert outcome.images == []
    assert len(outcome.error.name) <= 200
    assert len(outcome.error.value) <= 2000
    assert len(outcome.error.traceback) <= 10_000


def test_breaking_the_harness_costs_only_its_own_session(start: Start) -> None:
    python, other = start(dataclasses.replace(LIMITS, wall_s=5, grace_s=1)), start()
    outcome = python.run(
        "import builtins, sys\nbuiltins.eval = builtins.len = builtins.isinstance = None\n"
        "sys.modules.clear()\nimport gc\nfor o in gc.get_objects():\n"
        "    if type(o).__name__ == 'Repl':\n        o.__dict__.clear()"
    )
    assert outcome.done.status in ("ok", "error", "timeout", "crashed")
    assert other.run("1").value == "1"


def test_a_disk_cannot_be_filled(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, rss_mb=450, files_bytes=20 << 20))
    outcome = python.run(
        "block = b'x' * (8 << 20)\n"
        "for n in range(200):\n    with open(f'{n % 90}', 'ab') as f:\n        f.write(block)"
    )
    assert outcome.done.status in ("oom", "error", "crashed")
    assert sum(outcome.files.values()) <= 20 << 20


HOST = """
import sys
from pathlib import Path
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes import make_sandbox

backend = make_sandbox(
    sb.SandboxConfig(backend=sys.argv[1], folder=Path(sys.argv[2]), spares=0, unconfined=True)
)
session = backend.start("s", sb.Limits(wall_s=1000))
for event in session.execute("print('on')\\nwhile True:\\n    pass", "call"):
    if isinstance(event, sb.Stdout):
        print(session.pid, flush=True)
"""


def test_an_interpreter_does_not_outlive_its_host(sandbox: sb.Sandbox, folder: Path) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, sandbox.name, str(folder)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert host.stdout is not None
        with host.stdout:
            pid = int(host.stdout.readline())
            assert Path(f"/proc/{pid}").exists()
            host.send_signal(signal.SIGKILL)
            host.wait(10)
        eventually(lambda: not _lives(pid), limit=10, what="the interpreter ends")
    finally:
        host.kill()
        host.wait(10)


def _lives(pid: int) -> bool:
    """A zombie that nobody collects here has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_process_has_no_privileges(start: Start) -> None:
    if kernel().missing:
        pytest.skip("needs a kernel with Landlock and seccomp")
    python = start()
    status = Path(f"/proc/{python.session.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
