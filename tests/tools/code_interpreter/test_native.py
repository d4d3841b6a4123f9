"""What only the backend `native` has: the host's disk, packages as they come, and a refusal."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.child import Child
from apps.tools.code_interpreter.sandboxes.confinement import Kernel
from apps.tools.code_interpreter.sandboxes.held_folder import remove
from apps.tools.code_interpreter.sandboxes.native import work_folder
from apps.tools.code_interpreter.sandboxes.native.backend import NativeSandbox
from apps.tools.code_interpreter.sandboxes.native.work_folder import WorkFolder
from apps.tools.code_interpreter.sandboxes.session import InterpreterSession

from .conftest import FOLDER, LIMITS, Interpreter

Start = Callable[..., Interpreter]
both = pytest.mark.parametrize("sandbox", ["native-bubblewrap", "native-landlock"], indirect=True)
BACKEND = "apps.tools.code_interpreter.sandboxes.native.backend"


@pytest.fixture
def unconfinable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without namespaces, Landlock and seccomp."""
    monkeypatch.setattr(f"{BACKEND}.bubblewrap", lambda: None)
    monkeypatch.setattr(f"{BACKEND}.confinement.kernel", lambda: Kernel(0, False))


@pytest.mark.usefixtures("unconfinable")
def test_nothing_starts_where_nothing_confines_it(folder: Path) -> None:
    sandbox = NativeSandbox(sb.SandboxConfig(backend="native", folder=folder, spares=0))
    try:
        health = sandbox.probe()
        assert not health.usable
        assert health.missing[0].startswith("Nothing here confines native code")
        with pytest.raises(sb.SandboxUnavailable, match="Nothing here confines"):
            sandbox.start("s", LIMITS)
    finally:
        sandbox.close()


@pytest.mark.usefixtures("unconfinable")
def test_unless_told_so_explicitly(folder: Path) -> None:
    sandbox = NativeSandbox(
        sb.SandboxConfig(backend="native", folder=folder, spares=0, unconfined=True)
    )
    try:
        assert sandbox.probe().usable
        assert Interpreter(sandbox.start("s", LIMITS)).run("1 + 1").value == "2"
    finally:
        sandbox.close()


def test_without_an_installation_nothing_starts(tmp_path: Path) -> None:
    sandbox = NativeSandbox(sb.SandboxConfig(backend="native", folder=tmp_path))
    try:
        with pytest.raises(sb.SandboxUnavailable, match=r"sandbox install --native"):
            sandbox.start("s", LIMITS)
    finally:
        sandbox.close()


def test_a_disk_that_takes_no_folder_is_told_as_a_sandbox_that_cannot_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(parent: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(parent))

    monkeypatch.setattr(f"{BACKEND}.HeldFolder", refuse)
    monkeypatch.setattr(NativeSandbox, "_not_confined", lambda sandbox: "")
    sandbox = NativeSandbox(sb.SandboxConfig(backend="native", folder=folder, spares=0))
    try:
        with pytest.raises(sb.SandboxUnavailable, match="No space left on device"):
            sandbox.start("s", LIMITS)
    finally:
        sandbox.close()


@both
def test_the_work_folder_goes_with_the_session(start: Start) -> None:
    python = start()
    python.run("open('x', 'w').close()")
    folder = python.session._files.folder  # type: ignore[attr-defined]
    assert (folder / "data" / "x").exists()
    python.session.close()
    assert not folder.exists()


@both
def test_files_of_a_crashed_interpreter_are_still_reported(start: Start) -> None:
    """And can be had until the end of the call."""
    session = start().session
    code = "import os\nwith open('result.txt', 'w') as f:\n    f.write('done')\nos._exit(1)"
    found = {}
    for event in session.execute(code, "call"):
        if isinstance(event, sb.FileChanged):
            found[event.path] = b"".join(session.get(event.path))
    assert found == {"result.txt": b"done"}
    assert isinstance(event, sb.Done)
    assert event.state_lost


def test_a_link_put_in_place_of_a_folder_leads_nowhere(tmp_path: Path) -> None:
    """Also for links that appear while the host looks: it never resolves a path twice."""
    (tmp_path / "data").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    work = WorkFolder(tmp_path, LIMITS)
    try:
        os.symlink(tmp_path / "outside", tmp_path / "data" / "folder")
        os.symlink(tmp_path / "outside" / "secret", tmp_path / "data" / "file")
        os.mkfifo(tmp_path / "data" / "pipe")
        for path in ("folder/secret", "file", "pipe"):
            with pytest.raises(FileNotFoundError):
                list(work.get(path))
            with pytest.raises(sb.FilesRefused):
                work.put(path, [b"overwritten"])
        work.delete("folder/secret")
        assert (tmp_path / "outside" / "secret").read_text() == "secret"
        assert work.list() == ([], 0)
    finally:
        work.close()


def fill(folder: Path, megabytes: int) -> None:
    with open(folder / "filling", "wb") as file:
        file.writelines(os.urandom(1 << 20) for _ in range(megabytes))


@pytest.mark.parametrize("place", ["data", "tmp", "/".join(["data", *["d"] * 40])])
def test_what_is_on_the_disk_is_seen_wherever_it_is(tmp_path: Path, place: str) -> None:
    for name in ("data", "tmp", place):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    fill(tmp_path / place, 24)
    work = WorkFolder(tmp_path, dataclasses.replace(LIMITS, files_bytes=1 << 20))
    assert work.exceeded()
    work.close()


def test_more_files_than_are_looked_at_are_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_folder, "MOST_ENTRIES", 10)
    (tmp_path / "tmp").mkdir()
    for number in range(11):
        (tmp_path / "data" / str(number)).mkdir(parents=True)
    work = WorkFolder(tmp_path, LIMITS)
    assert work.exceeded()
    work.close()


def test_depth_and_number_of_entries_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "tmp").mkdir()
    deep = tmp_path / "data" / "/".join(["d"] * 100)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    work = WorkFolder(tmp_path, LIMITS)
    assert work.list() == ([], 0)
    work.close()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user without root's powers, who this process is meanwhile."""
    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    folder, home = Path(tempfile.mkdtemp()), Path.cwd()
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    yield folder
    os.seteuid(0)
    os.chdir(home)
    shutil.rmtree(folder, ignore_errors=True)


def test_folders_that_code_has_locked_are_removed(unprivileged: Path) -> None:
    folder = unprivileged / "session"
    deep = folder
    for _ in range(1500):
        deep.mkdir()
        os.chdir(deep)
        deep = Path("d")
    os.chdir("/")
    (folder / "locked").mkdir(mode=0o700)
    (folder / "locked" / "file").touch()
    (folder / "locked").chmod(0)
    remove(folder)
    assert not folder.exists()


def test_a_session_whose_folder_is_locked_is_ended(unprivileged: Path) -> None:
    (unprivileged / "data").mkdir()
    (unprivileged / "tmp").mkdir()
    locked = WorkFolder(unprivileged, LIMITS)
    child = Child(["/bin/sleep", "600"], {})
    session = InterpreterSession(Silent(child, locked), "s", LIMITS)
    try:
        (unprivileged / "data").chmod(0)
        with pytest.raises(sb.SessionDead):
            session.list()
    finally:
        session.close()


class Silent:
    """An interpreter that says nothing."""

    def __init__(self, child: Child, files: WorkFolder) -> None:
        self.child, self.pid, self.files = child, child.pid, files

    def configure(self, limits: sb.Limits) -> WorkFolder:
        return self.files

    def interrupt(self, call_id: str) -> None: ...

    def snapshot(self) -> bytes | None: ...

    def close(self) -> None: ...


@pytest.fixture
def scientific() -> None:
    if not (FOLDER / "native" / "mpl").is_dir():
        pytest.skip(
            "needs the packages: GATEWAY_SANDBOX_DIR=var/test-sandbox manage.py sandbox install "
            "--native"
        )


@both
@pytest.mark.usefixtures("scientific")
@pytest.mark.parametrize("end", ["", "plt.show()", "fig", "display(fig)", "fig.savefig('a.png')"])
def test_a_figure_is_displayed_once(start: Start, end: str) -> None:
    python = start(sb.Limits(wall_s=60))
    outcome = python.run(
        f"import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2, 3]);\n{end}"
    )
    assert outcome.done.status == "ok", outcome.events
    assert [i.media_type for i in outcome.images] == ["image/png"]
    assert outcome.err == ""
    assert set(outcome.files) <= {"a.png"}


@both
@pytest.mark.usefixtures("scientific")
def test_images_of_pil_and_tables_of_pandas_are_shown(start: Start) -> None:
    python = start(sb.Limits(wall_s=60))
    assert len(python.run("from PIL import Image\nImage.new('RGB', (8, 8))").images) == 1
    outcome = python.run(
        "import pandas as pd\npd.DataFrame({'a': [1, 2]}).to_csv('/mnt/data/t.csv', index=False)\n"
        "pd.read_csv('/mnt/data/t.csv').sum()['a']"
    )
    assert outcome.value == "np.int64(3)", outcome.events
    assert set(outcome.files) == {"t.csv"}


@both
def test_files_elsewhere_stay_what_they_are(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    before = secret.stat()
    start().run(
        "import os\n"
        f"for change in (lambda p: os.chmod(p, 0o777), lambda p: os.utime(p, (1, 1)),\n"
        f"               lambda p: os.truncate(p, 0), lambda p: os.setxattr(p, 'user.x', b'1')):\n"
        f"    try:\n        change({str(secret)!r})\n    except OSError:\n        pass"
    )
    after = secret.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (
        before.st_mode,
        before.st_mtime_ns,
        1,
    )
    assert "user.x" not in os.listxattr(secret)


@both
@pytest.mark.parametrize(
    "call",
    ["libc.memfd_create(b'x', 0)", "libc.shmget(0, 1 << 20, 0o1600)", "libc.prctl(1, 0, 0, 0, 0)"],
    ids=["memory in a descriptor", "memory of nobody", "a life without the host"],
)
def test_what_would_outlive_or_outgrow_its_limits_is_refused(start: Start, call: str) -> None:
    outcome = start().run(f"import ctypes\nlibc = ctypes.CDLL(None)\n{call}")
    assert outcome.value == "-1"


@both
def test_copying_and_unpacking_files_works(start: Start) -> None:
    outcome = start().run(
        "import shutil, tarfile\n"
        "open('a.txt', 'w').write('a')\nshutil.copy2('a.txt', 'b.txt')\n"
        "with tarfile.open('c.tar', 'w') as tar:\n    tar.add('b.txt')\n"
        "with tarfile.open('c.tar') as tar:\n    tar.extractall('out', filter='data')\n"
        "open('out/b.txt').read()"
    )
    assert outcome.value == "'a'"


@both
def test_a_folder_that_is_closed_to_all_harms_nobody(start: Start) -> None:
    python, other = start(), start()
    python.run("import os\nos.chmod('/mnt/data', 0)\nos.mkdir('x', 0)")
    assert python.run("1").done.status in ("ok", "crashed", "oom")
    assert other.run("1").value == "1"
