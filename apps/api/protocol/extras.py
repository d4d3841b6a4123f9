"""vLLM's own request fields that clients may use beside the API's: one allow-list.

Not in it, and refused as unknown: whatever reaches into the server (other requests' caches,
templates, ids), and what this gateway decides itself.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from apps.api.protocol.input_parts import text_or_list
from apps.api.protocol.params import Param
from apps.api.protocol.types import JSONObject

Penalty = Annotated[float, Field(ge=-2, le=2)]


class VllmExtras(Param):
    """Sent on under the same names, only when given."""

    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    length_penalty: float | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    seed: int | None = None
    stop: (
        Annotated[
            Annotated[str, Tag("#text")] | Annotated[list[str], Tag("#list")],
            Discriminator(text_or_list),
        ]
        | None
    ) = None
    stop_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    allowed_token_ids: list[int] | None = None
    logit_bias: dict[str, float] | None = None
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    structured_outputs: JSONObject | None = None
    chat_template_kwargs: JSONObject | None = None
    documents: list[dict[str, Any]] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    thinking_token_budget: int | None = None
    include_reasoning: bool | None = None
    repetition_detection: JSONObject | None = None
    priority: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=512)] | None = None

    def extras(self) -> JSONObject:
        """What was given, for the upstream."""
        given = self.model_fields_set & EXTRAS
        sent: JSONObject = self.model_dump(include=given, exclude_none=True) if given else {}
        return sent


EXTRAS = frozenset(VllmExtras.model_fields)
