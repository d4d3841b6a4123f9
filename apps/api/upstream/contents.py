"""Content parts as chat completions have them: text, images as data URLs, files as their text.

Pure. Tool messages hold text only: images of an output follow in a message of the user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from apps.api.protocol.media import PREFIX
from apps.api.protocol.types import JSONObject

DETAILS = {"original": "high"}
"""What older servers do not know, in their words."""

UNFIT = re.compile(r'[\x00-\x1f\x7f"<>]')
"""What would end the line or the tag that holds a file's name."""


def content_of(parts: Sequence[JSONObject], media: Mapping[str, str]) -> str | list[JSONObject]:
    """A message's content. ``media`` is that of the context. One text is sent as a string, which
    every template understands; several as parts."""
    if not parts:
        return ""
    rendered = [_part(part, media) for part in parts]
    if len(rendered) == 1 and rendered[0]["type"] == "text":
        text: str = rendered[0]["text"]
        return text
    return rendered


def told_by_tool(
    output: str | Sequence[JSONObject], media: Mapping[str, str], *, call: str
) -> tuple[Any, list[JSONObject]]:
    """The content of the tool message, and the parts of the user's message that follows it with
    the images; ``call`` tells the model where they come from."""
    if isinstance(output, str):
        return output, []
    images = [_part(p, media) for p in output if p["type"] == "input_image" and _is_there(p, media)]
    texts = [part for part in output if part["type"] != "input_image"]
    if not images:
        return content_of(texts, media), []
    count = "1 image" if len(images) == 1 else f"{len(images)} images"
    if not texts:
        texts = [{"type": "input_text", "text": f"({count}, shown in the next message)"}]
    caption = {"type": "text", "text": f"{count} from the output of {call}:"}
    return content_of(texts, media), [caption, *images]


def _part(part: JSONObject, media: Mapping[str, str]) -> JSONObject:
    match part["type"]:
        case "input_image":
            detail = part.get("detail") or "auto"
            shown = {"url": _shown(part, media), "detail": DETAILS.get(detail, detail)}
            return {"type": "image_url", "image_url": shown}
        case "input_file":
            name = UNFIT.sub("_", part.get("filename") or "file")
            text = f'<file name="{name}">\n{_shown(part, media)}\n</file>'
            return {"type": "text", "text": text}
        case _:
            return {"type": "text", "text": part["text"]}


def _is_there(image: JSONObject, media: Mapping[str, str]) -> bool:
    """Whether there is anything to show: what code has made is shown as far as there is room."""
    url: str = image["image_url"]
    return not url.startswith(PREFIX) or url.removeprefix(PREFIX) in media


def _shown(part: JSONObject, media: Mapping[str, str]) -> str:
    """What its reference stands for; a URL that is left to the upstream stays itself."""
    source: str = part.get("image_url") or part["file_data"]
    return media[source.removeprefix(PREFIX)] if source.startswith(PREFIX) else source
