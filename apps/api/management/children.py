"""Child processes of a command: started so that they never outlive it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import ctypes
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence

LINE_END = re.compile(r"[\r\n]+")  # progress bars end their lines with a bare return
PR_SET_PDEATHSIG = 1

Echo = Callable[[str], None]


class Child:
    """One child, the head of a process group of its own.

    Signals of the terminal therefore reach the command alone, which decides what to tell whom.
    """

    def __init__(self, process: Process, reading: asyncio.Task[None] | None) -> None:
        self.process = process
        self.reading = reading

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        echo: Echo | None = None,
    ) -> Child:
        """With ``echo``, it gets each line of the child's output; else the output is ours."""
        ends = os.pipe() if echo else None
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=env,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=_dying_with(os.getpid()),
                stdin=DEVNULL,
                stdout=ends[1] if ends else None,
                stderr=STDOUT if ends else None,
            )
        except BaseException:
            if ends:
                os.close(ends[0])
            raise
        finally:
            if ends:
                os.close(ends[1])
        reading = asyncio.create_task(_read(ends[0], echo)) if ends and echo else None
        return cls(process, reading)

    async def wait(self) -> int:
        """The exit status; what the child wrote has been echoed by then."""
        status = await self.process.wait()
        if self.reading is not None:
            # A grandchild may hold the pipe for longer.
            await asyncio.wait([self.reading], timeout=1)
        return status

    def signal(self, number: int) -> None:
        # Not by the process object: it would fetch the exit status, for which asyncio waits.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill the child with whatever it started and left in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def stop(self, number: int, *, grace: float) -> None:
        """Ask it to end, and kill what is left after that time."""
        self.signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), grace)
        self.kill()
        await self.wait()


async def _read(end: int, echo: Echo) -> None:
    """Echo what comes out of a pipe.

    asyncio's own pipe would not do: waiting for the child would wait for all who hold the pipe.
    """
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(end, "rb", 0)
    )
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    try:
        while data := await reader.read(1 << 16):
            *lines, rest = LINE_END.split(rest + decoder.decode(data))
            for line in lines:
                echo(line)
        if rest:
            echo(rest)
    finally:
        transport.close()


def _dying_with(parent: int) -> Callable[[], None] | None:
    """What the child runs before its program: SIGTERM when the parent is gone, even if killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before the line above
            os.kill(os.getpid(), signal.SIGTERM)

    return tie


def describe(status: int) -> str:
    """An exit status in words."""
    return (
        f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    )
