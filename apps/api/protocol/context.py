"""What one turn needs to know, whichever dialect the upstream speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apps.api.protocol.offers import NO_OFFERS, Offers
from apps.api.protocol.requests import TextFormat
from apps.api.protocol.types import Item, JSONObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """History and new input in order, and how to go on from there.

    Sampling values are None where the upstream's own default holds. ``media`` tells by their
    hashes what stands for the media that items refer to: data URLs of images, texts of files.
    """

    model: str
    items: list[Item]
    media: Mapping[str, str] = field(default_factory=dict)
    instructions: str | None = None
    offers: Offers = NO_OFFERS
    parallel_tool_calls: bool = True
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    text_format: TextFormat | None = None
    reasoning_effort: str | None = None
    sees_images: bool = True  # of tools that the gateway ran; what clients send is their choice
    top_logprobs: int | None = None  # None: no logprobs at all
    extras: JSONObject = field(default_factory=dict)
    stream: bool = True
