"""The interpreter's side of a session: runs cells as a notebook would. Both backends use it.

It lives beside the code that it runs, which can do to it what it likes: nothing that this module
says is believed by the host. Uses the standard library only, in any Python from 3.11 on.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import io
import linecache
import os
import re
import sys
import traceback
import types
from collections.abc import Awaitable, Callable, Coroutine
from importlib.machinery import ModuleSpec
from typing import Any

Emit = Callable[[str, str, bytes], object]
"""Kind, its detail (stream, media type, name of the exception), content."""

CELL = "<cell "
FIGURES = "sandbox_figures"
UNBATCHED = 200  # lines of a cell that are passed on at once; what floods comes in blocks
BLOCK = 16_384
SHOWN = 100_000  # characters of one repr


class Repl:
    """One namespace. ``wait`` awaits the task that a cell with top-level await became, in ``loop``
    or in the one that runs."""

    def __init__(
        self,
        emit: Emit,
        wait: Callable[[asyncio.Future[Any]], Awaitable[Any]],
        installed: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.emit, self.wait, self.installed = emit, wait, installed
        self.loop = loop
        self.cells = 0
        self.interruptible = False
        self.task: asyncio.Future[Any] | None = None
        prefixes = {sys.prefix, sys.base_prefix} - {"", "/", "/usr"}
        self.renamed = dict.fromkeys(prefixes, "/usr")
        """Paths of the host, and what they are called in tracebacks."""
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        self.namespace = main.__dict__
        self.reserve: bytes | None = None
        self.out, self.err = Stream(self, "stdout"), Stream(self, "stderr")
        builtins.input = _no_input
        builtins.display = self.display  # type: ignore[attr-defined]
        sys.meta_path.append(FiguresFinder(self._show_figures))
        os.environ["MPLBACKEND"] = f"module://{FIGURES}"

    def attach(self) -> None:
        """Make print and warnings come out here."""
        sys.stdout, sys.stderr = self.out, self.err

    async def run(self, source: str) -> bool:
        """Run one cell; True where it raised nothing."""
        self.attach()
        self.cells += 1
        self.reserve = self.reserve or _reserve()
        self.out.lines = self.err.lines = 0
        name = f"{CELL}{self.cells}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            await self._interruptibly(source, name)
        except SystemExit as exc:
            code = SystemExit.__dict__["code"].__get__(exc)  # not what its class makes of it
            if code is None or (type(code) in (int, bool) and not code):
                return True
            self._report(exc)
            return False
        except asyncio.CancelledError:
            self._report(KeyboardInterrupt())
            return False
        except BaseException as exc:  # everything that a cell raises is its result
            self._report(exc)
            return False
        finally:
            self.flush()
        return True

    async def _interruptibly(self, source: str, name: str) -> None:
        """No call is made between the cell's last step and the flag: no interrupt comes there."""
        try:
            self.interruptible = True
            await self._run(source, name)
        finally:
            self.interruptible = False

    def interrupt(self, number: int, frame: types.FrameType | None) -> None:
        """The handler of SIGINT. One that comes when the cell has ended is too late and does
        nothing; one that meets the event loop must not break it. Raises KeyboardInterrupt."""
        if not self.interruptible:
            return
        if self.task is None or _runs_cell(frame):
            raise KeyboardInterrupt
        self.cancel()

    def cancel(self) -> None:
        """End what the cell awaits."""
        if self.task is not None:
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)

    async def _run(self, source: str, name: str) -> None:
        value = None
        for code, shown in self._compile(source, name):
            value = eval(code, self.namespace)  # noqa: S307 - what a sandbox is for
            if code.co_flags & inspect.CO_COROUTINE:
                value = await self._awaited(value)
            if shown and value is not None:
                self.namespace["_"] = value
                self._show(value)
        self._show_figures()

    async def _awaited(self, cell: Coroutine[Any, Any, Any]) -> Any:
        self.task = asyncio.ensure_future(cell, loop=self.loop)
        try:
            return await self.wait(self.task)
        finally:
            self.task = None

    def _compile(self, source: str, name: str) -> list[tuple[types.CodeType, bool]]:
        """The cell's code, its last expression apart; with whether its value is shown."""
        tree = ast.parse(source, name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        parts = []
        if tree.body:
            parts.append((compile(tree, name, "exec", flags, dont_inherit=True), False))
        if isinstance(last, ast.Expr):
            code = compile(ast.Expression(last.value), name, "eval", flags, dont_inherit=True)
            parts.append((code, not source.rstrip().endswith(";")))
        return parts

    def display(self, *values: Any) -> None:
        """What notebooks call `display`."""
        for value in values:
            self._show(value)

    def _show(self, value: Any) -> None:
        self.flush()
        if (png := _png(value)) is not None:
            self.emit("display", "image/png", png)
            _close_figure(value)
        else:
            self.emit("result", "", _cut(repr(value)).encode("utf-8", "replace"))

    def _show_figures(self) -> None:
        """Every open figure is an output, as in a notebook."""
        plt: Any = sys.modules.get("matplotlib.pyplot")
        for number in list(plt.get_fignums()) if plt else ():
            figure = plt.figure(number)
            if figure.get_axes() or figure.texts or figure.images:
                self._show(figure)
            plt.close(number)

    def flush(self) -> None:
        self.out.flush()
        self.err.flush()

    def _report(self, exc: BaseException) -> None:
        if issubclass(type(exc), MemoryError):  # isinstance may ask the exception
            self.reserve = None  # room to say so
        self.flush()
        name: str = type.__dict__["__name__"].__get__(type(exc))  # not what a metaclass makes of it
        try:
            self.interruptible = True  # what an exception says of itself is code of the cell
            told = self._told(exc)
        except BaseException:
            told = f"\0{name}: <its text cannot be had>\n"
        finally:
            self.interruptible = False
        self.emit("error", name, told.encode("utf-8", "replace"))

    def _told(self, exc: BaseException) -> str:
        """Its value, and the traceback, which takes whatever the text raises for no text: so the
        value, which is interrupted, comes first."""
        if isinstance(exc, ModuleNotFoundError):
            self._explain(exc)
        value = _cut(self._renamed(_text(exc)), 2000)
        return f"{value}\0{_cut(self._renamed(_traceback(exc)))}"

    def _renamed(self, text: str) -> str:
        for path, name in self.renamed.items():
            text = text.replace(path, name)
        return text

    def _explain(self, exc: ModuleNotFoundError) -> None:
        package = (exc.name or "").partition(".")[0]
        if package and package not in sys.stdlib_module_names and package not in sys.modules:
            exc.add_note(
                f"The package {package!r} is not installed in this sandbox, which has no network: "
                f"it cannot be installed either. Available: {self.installed or 'no packages'}, and "
                "the standard library."
            )


class FiguresFinder:
    """Makes the backend of matplotlib that `plt.show()` belongs to, once matplotlib asks for it."""

    def __init__(self, show: Callable[[], None]) -> None:
        self.show = show

    def find_spec(self, name: str, *place: Any) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == FIGURES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        from matplotlib.backends import backend_agg  # type: ignore[import-not-found,unused-ignore]

        public = {k: v for k, v in vars(backend_agg).items() if not k.startswith("__")}
        vars(module).update(public, show=lambda *args, **kwargs: self.show())


class Stream(io.TextIOBase):
    """sys.stdout or sys.stderr: passes on whole lines, in the order in which both were written."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, repl: Repl, name: str) -> None:
        self.repl, self.stream = repl, name
        self.pending: list[str] = []
        self.size = self.lines = 0

    @property
    def buffer(self) -> Any:
        return _Bytes(self)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return 1 if self.stream == "stdout" else 2

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        other = self.repl.err if self is self.repl.out else self.repl.out
        if other.pending:
            other.flush()
        self.pending.append(text)
        self.size += len(text)
        if "\n" in text:
            self.lines += 1
            if self.lines <= UNBATCHED:
                self.flush()
        if self.size >= BLOCK:
            self.flush()
        return len(text)

    def flush(self) -> None:
        if self.pending:
            text = "".join(self.pending)
            self.pending, self.size = [], 0
            self.repl.emit("text", self.stream, text.encode("utf-8", "replace"))


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer``."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.stream.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


def _reserve() -> bytes | None:
    try:
        return bytes(1 << 20)
    except MemoryError:
        return None


def _no_input(prompt: object = "") -> str:
    raise EOFError("input() is not available: nobody is there to answer")


def _png(value: Any) -> bytes | None:
    """The value as an image, for figures, images of PIL and what else draws itself."""
    if isinstance(value, type):
        return None
    try:
        if hasattr(value, "savefig") and hasattr(value, "get_axes"):
            buffer = io.BytesIO()
            value.savefig(buffer, format="png", bbox_inches="tight")
            return buffer.getvalue()
        draw = getattr(value, "_repr_png_", None)
        data = draw() if callable(draw) else None
    except Exception:  # then its repr is shown
        return None
    return data if isinstance(data, bytes) else None


def _close_figure(value: Any) -> None:
    """A figure that was shown is not shown again at the end of the cell."""
    plt = sys.modules.get("matplotlib.pyplot")
    if plt is not None and hasattr(value, "savefig"):
        plt.close(value)


def _traceback(exc: BaseException) -> str:
    """As Python prints it, beginning at the cell, with the paths that everybody knows."""
    report = traceback.TracebackException.from_exception(exc, compact=True)
    if isinstance(exc, SyntaxError) and not any(_is_cell(frame) for frame in report.stack):
        return "".join(report.format_exception_only())  # the cell is none: nothing has run
    seen: set[int] = set()
    queue = [report]
    while queue:
        part = queue.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        _begin_at_cell(part.stack)
        queue += [p for p in (part.__cause__, part.__context__) if p is not None]
        queue += getattr(part, "exceptions", None) or []
    text = "".join(report.format())
    return re.sub(r"file://\S*/", "", text)


def _begin_at_cell(stack: traceback.StackSummary) -> None:
    """Drop what comes before the cell's first frame, and the harness's own wherever it is."""
    first = next((i for i, frame in enumerate(stack) if _is_cell(frame)), 0)
    own = f"{os.path.dirname(__file__)}/"
    stack[:] = [frame for frame in stack[first:] if not frame.filename.startswith(own)]


def _is_cell(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(CELL)


def _runs_cell(frame: types.FrameType | None) -> bool:
    """Whether code of a cell is what runs in this frame, or has called it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(CELL):
            return True
        frame = frame.f_back
    return False


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return ""


def _cut(text: str, limit: int = SHOWN) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
