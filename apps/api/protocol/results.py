"""What came of calls that the gateway ran itself: as items tell it and as the model is told.

Both are made from the same parts, so that an item that comes back tells the model what it was
told when the call had just ended. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from apps.api.protocol.media import PREFIX, code_images
from apps.api.protocol.media_types import fits_models
from apps.api.protocol.types import Item, JSONObject


class ResultText(NamedTuple):
    text: str


class ResultImage(NamedTuple):
    """An image as a URL: of data, or of the gateway's own. ``reference`` stands in stored items
    for the latter."""

    url: str
    reference: str | None = None


ResultPart: TypeAlias = ResultText | ResultImage

ErrorKind: TypeAlias = Literal["unavailable", "protocol_error", "http_error", "tool_error"]


class CallError(NamedTuple):
    """Why a call failed. A ``tool_error`` is the tool's own word."""

    kind: ErrorKind
    message: str
    code: int | None = None


class CitableFile(NamedTuple):
    """A file in a container, which an answer may link by its ``path``."""

    file_id: str
    container_id: str
    path: str

    @property
    def filename(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class CallResult(NamedTuple):
    """The end of one call, in the order in which its parts came."""

    parts: tuple[ResultPart, ...] = ()
    error: CallError | None = None
    files: tuple[CitableFile, ...] = ()


INTERRUPTED = CallResult(
    error=CallError(
        "unavailable",
        "The call was interrupted after it had begun: whether it did what it was to do is not "
        "known.",
    )
)
"""The end of a call that nobody waited for."""


# --- Code interpreter -----------------------------------------------------------------------------


def code_outputs(result: CallResult, *, stored: bool) -> list[JSONObject]:
    """``logs`` and ``image`` outputs, as they are stored or as the client sees them. Neighbouring
    texts are one; what failed is told in a log, since the item has no other place for it."""
    parts = list(result.parts)
    if result.error is not None:
        parts.append(ResultText(result.error.message))
    outputs: list[JSONObject] = []
    for part in parts:
        if isinstance(part, ResultImage):
            url = part.reference if stored and part.reference else part.url
            outputs.append({"type": "image", "url": url})
        elif outputs and outputs[-1]["type"] == "logs":
            outputs[-1]["logs"] += part.text
        elif part.text:
            outputs.append({"type": "logs", "logs": part.text})
    return outputs


IMAGE_SHOWN = "[An image was shown to the user.]\n"


def told_of_code(item: Item) -> str | Sequence[JSONObject]:
    """What the model is told of a ``code_interpreter_call``: text or content parts."""
    outputs = item.get("outputs")
    if outputs is None:
        return NOT_KEPT
    told = "".join(
        output["logs"] if output["type"] == "logs" else IMAGE_SHOWN for output in outputs
    )
    images = [image["url"] for image in code_images(item) if _is_visible(image["url"])]
    if not images:
        return told or "(no output)"
    shown = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in images]
    return [{"type": "input_text", "text": told}, *shown]


def _is_visible(url: str) -> bool:
    """Whether a model can be shown it: a reference, or the data of an image that is no giant."""
    if url.startswith(PREFIX):
        return True
    label, found, data = url[:HEAD].partition(";base64,")
    if not found or not label.startswith("data:image/"):
        return False
    try:
        return fits_models(base64.b64decode(data[: len(data) // 4 * 4], validate=True))
    except ValueError:
        return False


HEAD = 100
"""As much of a data URL as tells what the image is."""
NOT_KEPT = "(The output of this call was not kept.)"

# --- MCP ------------------------------------------------------------------------------------------


def mcp_output(result: CallResult) -> str:
    """The texts of the result; images are told by a word."""
    return "\n".join(
        part.text if isinstance(part, ResultText) else "[image]" for part in result.parts
    )


def mcp_error(result: CallResult) -> JSONObject | None:
    """The error in one of the three forms that the API has."""
    error = result.error
    if error is None:
        return None
    if error.kind == "tool_error":
        text = mcp_output(result) or error.message
        return {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": text}]}
    if error.kind == "protocol_error":
        code = -32603 if error.code is None else error.code
        return {"type": "mcp_protocol_error", "code": code, "message": error.message}
    code = 503 if error.code is None else error.code
    return {"type": "http_error", "code": code, "message": error.message}


def told_of_mcp(item: Item) -> str | Sequence[JSONObject]:
    """What the model is told of an ``mcp_call``: text or content parts."""
    if (error := item.get("error")) is not None:
        return f"Error: {_words(error)}"
    output = item.get("output")
    if output is None:
        return NOT_KEPT
    images = item.get("images") or ()
    if not images:
        return str(output) or "(no output)"
    shown = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in images]
    return [{"type": "input_text", "text": output}, *shown]


def _words(error: object) -> str:
    """The words of an error in any of its forms; other servers send plain strings."""
    if not isinstance(error, dict):
        return str(error)
    if "message" in error:
        return str(error["message"])
    content = error.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(str(text) for text in texts if text)
