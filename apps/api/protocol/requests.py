"""The body of ``POST /v1/responses``: every field of the API, honoured or refused by name.

A field that is not built accepts null, an empty value and its default; anything else is an error
that names it. Nothing is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from apps.api.protocol.extras import VllmExtras
from apps.api.protocol.input_items import Input
from apps.api.protocol.params import WITHOUT_NUL, Param, TolerantParam, refuse, tag_by_type
from apps.api.protocol.tools import (
    GATEWAY_TOOLS,
    KnownTool,
    Tool,
    ToolChoice,
    declared_names,
    known_tools,
)
from apps.api.protocol.types import JSONObject

# --- text.format ----------------------------------------------------------------------------------


class TextFormatText(Param):
    type: Literal["text"]


class TextFormatJsonObject(Param):
    type: Literal["json_object"]


class TextFormatJsonSchema(Param):
    """Structured output: the upstream decodes under this schema."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
    schema_: JSONObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


def _refuse_format(kind: str) -> str:
    raise refuse("unsupported_value", f"Text formats of type {kind!r} are not supported.")


class OtherTextFormat(TolerantParam):
    """Catches every format that is not supported, to name its type in the error."""

    type: Annotated[str, AfterValidator(_refuse_format)]


TextFormat: TypeAlias = Annotated[
    Annotated[TextFormatText, Tag("#text")]
    | Annotated[TextFormatJsonObject, Tag("#json_object")]
    | Annotated[TextFormatJsonSchema, Tag("#json_schema")]
    | SkipJsonSchema[Annotated[OtherTextFormat, Tag("#other")]],
    Discriminator(tag_by_type(("text", "json_object", "json_schema"))),
]


def _only(*allowed: Any) -> AfterValidator:
    """Accept null, what is empty, and these values; refuse the rest by name."""

    def check(value: Any) -> Any:
        if value is None or value in ([], {}, "") or value in allowed:
            return value
        if allowed and isinstance(value, str):
            raise refuse(
                "unsupported_value", f"The value {value!r} of '{{param}}' is not supported."
            )
        raise refuse("unsupported_parameter", "'{param}' is not supported.")

    return AfterValidator(check)


class TextConfig(Param):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None  # echoed; vLLM has no such control

    def echo(self) -> JSONObject:
        shown = (
            self.format.model_dump(by_alias=True, exclude_none=True)
            if self.format
            else {"type": "text"}
        )
        return {"format": shown, "verbosity": self.verbosity or "medium"}


PLAIN_TEXT = TextConfig()
"""Of requests that say nothing about it."""


Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ReasoningConfig(Param):
    effort: Effort | None = None
    # No summaries are made: the reasoning itself is given, and the echo says null.
    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    # All reasoning of the past is shown to the model's template, which decides.
    context: Literal["auto", "all_turns", "current_turn"] | None = None
    mode: Annotated[str | None, _only("standard")] = None


class StreamOptions(Param):
    include_obfuscation: bool | None = None  # padding is optional for servers; none is ever sent


# --- The body -------------------------------------------------------------------------------------

Metadata: TypeAlias = dict[
    Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]
]

HARMLESS_INCLUDES = (  # they ask for members of items which this gateway does not produce
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
)


INCLUDE_CODE_OUTPUTS = "code_interpreter_call.outputs"
INCLUDE_IMAGES = "message.input_image.image_url"  # where input items are read back
INCLUDE_LOGPROBS = "message.output_text.logprobs"
INCLUDE_ENCRYPTED = "reasoning.encrypted_content"


def _older_spelling(retention: Any) -> Any:
    return "in_memory" if retention == "in-memory" else retention


def check_include(value: str) -> str | None:
    """What is wrong with one value of ``include``, or None."""
    known = (
        *HARMLESS_INCLUDES,
        INCLUDE_CODE_OUTPUTS,
        INCLUDE_IMAGES,
        INCLUDE_LOGPROBS,
        INCLUDE_ENCRYPTED,
    )
    return None if value in known else f"The include {value!r} is not supported."


class CreateResponse(VllmExtras):
    """A create request. Limits are those of the published API description."""

    model: Annotated[str, Field(min_length=1, max_length=512, pattern=WITHOUT_NUL)] | None = None
    input: Input | None = None
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=128, pattern=WITHOUT_NUL)] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = None

    tools: Annotated[list[Tool], Field(max_length=512)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None

    # Accepted and echoed; they change nothing here.
    user: Annotated[str, Field(max_length=512)] | None = None
    safety_identifier: Annotated[str, Field(max_length=128)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
    prompt_cache_retention: Annotated[
        Literal["in_memory", "24h"] | None, BeforeValidator(_older_spelling)
    ] = None
    client_metadata: JSONObject | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None
    ) = None
    # Limits the calls that the gateway runs itself.
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None

    # Not built: only what asks for nothing.
    background: Annotated[bool | None, _only(False)] = None
    background_options: Annotated[JSONObject | None, _only({"completion_window": "soonest"})] = None
    conversation: Annotated[Any, _only()] = None
    context_management: Annotated[Any, _only()] = None
    include: Annotated[list[str], Field(max_length=64)] | None = None
    prompt: Annotated[Any, _only()] = None
    prompt_cache_options: Annotated[Any, _only()] = None
    moderation: Annotated[Any, _only()] = None
    access_programs: Annotated[Any, _only()] = None
    image: Annotated[Any, _only()] = None

    @field_validator("include")
    @classmethod
    def _known_includes(cls, include: list[str] | None) -> list[str] | None:
        for value in include or ():
            if (problem := check_include(value)) is not None:
                raise refuse("unsupported_value", problem)
        return include

    @field_validator("tools")
    @classmethod
    def _unique_names(cls, tools: list[Tool] | None) -> list[Tool] | None:
        seen: set[tuple[bool, str | None, str]] = set()
        for kind, namespace, name in declared_names(known_tools(tools)):
            key = kind in GATEWAY_TOOLS, namespace, name
            if key in seen:
                raise refuse("invalid_value", f"Two tools are called {name!r}.")
            seen.add(key)
        return tools

    @field_validator("stream_options")
    @classmethod
    def _only_in_streams(cls, options: Any, info: ValidationInfo) -> Any:
        if options is not None and not info.data.get("stream"):
            raise refuse("invalid_value", "'stream_options' is allowed only with 'stream': true.")
        return options

    @model_validator(mode="after")
    def _has_input(self) -> Self:
        if self.input is None and self.previous_response_id is None:
            raise refuse(
                "missing_required_parameter", "Missing required parameter: 'input'.", param="input"
            )
        return self

    @property
    def declared(self) -> list[KnownTool]:
        """The tools of the request; items may bring more."""
        return known_tools(self.tools)

    def includes(self, value: str) -> bool:
        """Whether the client asked for this additional data."""
        return value in (self.include or ())

    @property
    def keeps(self) -> bool:
        """Whether the response is stored: the default is yes."""
        return self.store is not False
