"""What the model is told of the code interpreter: true of the sandbox that will run the code."""

from __future__ import annotations

from collections.abc import Sequence

from apps.tools.base import ToolFunction

TEXT = (
    "Runs Python code in a stateful interpreter and returns what it prints, the value of the last "
    "expression, tracebacks, and figures. Variables, imports and files last from call to call. "
    "Files are in /mnt/data, the working directory; link files for the user as "
    "sandbox:/mnt/data/NAME. There is no network access, and nothing can be installed."
)
PARAMETERS = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "description": "The Python code to run."},
    },
    "required": ["code"],
    "additionalProperties": False,
}


def function(packages: Sequence[str], files: Sequence[str]) -> ToolFunction:
    """``packages`` can be imported besides the standard library; ``files`` are there already."""
    parts = [TEXT]
    if packages:
        parts.append(f"Besides the standard library there are: {', '.join(sorted(packages))}.")
    else:
        parts.append("There is the standard library only.")
    if files:
        parts.append(f"Files there now: {', '.join(files)}.")
    return ToolFunction(name="code_interpreter", description=" ".join(parts), parameters=PARAMETERS)
