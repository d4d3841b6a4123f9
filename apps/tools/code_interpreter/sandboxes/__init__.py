"""The backends of code_interpreter, and how one is chosen."""

from __future__ import annotations

from apps.tools.code_interpreter.sandbox import Sandbox, SandboxConfig, SandboxUnavailable


def make_sandbox(config: SandboxConfig) -> Sandbox:
    """The backend that ``config`` names. Starts nothing. Raises SandboxUnavailable for `off`."""
    match config.backend:
        case "pyodide":
            from apps.tools.code_interpreter.sandboxes.pyodide.backend import PyodideSandbox

            return PyodideSandbox(config)
        case "native":
            from apps.tools.code_interpreter.sandboxes.native.backend import NativeSandbox

            return NativeSandbox(config)
        case "off":
            raise SandboxUnavailable("code_interpreter is switched off (GATEWAY_SANDBOX).")
        case other:
            raise SandboxUnavailable(f"There is no sandbox {other!r}.")
