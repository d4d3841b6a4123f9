"""Content parts of input items, and the small types that all of them share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic.json_schema import SkipJsonSchema

from apps.api.protocol.media import PREFIX
from apps.api.protocol.params import Id, TolerantParam, refuse, tag_by_type
from apps.api.protocol.types import JSONObject

MAX_TEXT = 10_485_760
MAX_IMAGE_URL = 20_971_520
MAX_FILE_DATA = 73_400_320
MAX_LINK = 8_192

Text: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT)]
CallId: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]
ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class InputText(TolerantParam):
    type: Literal["input_text"]
    text: Text

    def to_part(self) -> JSONObject:
        return {"type": "input_text", "text": self.text}


def _check_link(url: str | None) -> str | None:
    if url is not None and not url.lower().startswith(("http://", "https://")):
        raise refuse("invalid_value", "The file's URL is not an http or https URL.")
    return url


def _check_file_data(data: str | None) -> str | None:
    """References are ours to write."""
    if data is not None and data.startswith(PREFIX):
        raise refuse("invalid_value", "The file's data is neither base64 nor a data URL.")
    return data


def _check_image_url(url: str | None) -> str | None:
    """What else looks like a URL is none: not the files of this machine, nor our references."""
    scheme = (url or "data:")[:8].lower()
    if not scheme.startswith(("data:", "http://", "https://")):
        raise refuse("invalid_image_url", "The image is neither an http(s) URL nor a data URL.")
    if not scheme.startswith("data:") and len(url or "") > MAX_LINK:
        raise refuse("invalid_image_url", f"The URL is longer than {MAX_LINK} characters.")
    return url


class InputImage(TolerantParam):
    """A picture, as data, as a URL or as an uploaded file."""

    type: Literal["input_image"]
    file_id: Id | None = None
    image_url: Annotated[
        Annotated[str, Field(max_length=MAX_IMAGE_URL)] | None, AfterValidator(_check_image_url)
    ] = None
    detail: Literal["low", "high", "auto", "original"] | None = None

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if bool(self.image_url) == bool(self.file_id):
            raise refuse(
                "missing_required_parameter",
                "An input_image needs either an 'image_url' or a 'file_id'.",
            )
        return self

    def to_part(self) -> JSONObject:
        source = {"image_url": self.image_url} if self.image_url else {"file_id": self.file_id}
        return {"type": "input_image", "detail": self.detail or "auto"} | source


class InputFile(TolerantParam):
    """A file whose text the model is to read, as data, as a URL or as an uploaded file."""

    type: Literal["input_file"]
    file_id: Id | None = None
    file_data: Annotated[
        Annotated[str, Field(max_length=MAX_FILE_DATA)] | None, AfterValidator(_check_file_data)
    ] = None
    file_url: Annotated[
        Annotated[str, Field(max_length=MAX_LINK)] | None, AfterValidator(_check_link)
    ] = None
    filename: Annotated[str, Field(max_length=512)] | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if len(self._sources) != 1:
            raise refuse(
                "missing_required_parameter",
                "An input_file needs one of 'file_data', 'file_url' and 'file_id'.",
            )
        return self

    @property
    def _sources(self) -> JSONObject:
        sources = {"file_data": self.file_data, "file_url": self.file_url, "file_id": self.file_id}
        return {name: value for name, value in sources.items() if value}

    def to_part(self) -> JSONObject:
        return {"type": "input_file", "filename": self.filename} | self._sources


class OutputTextParam(TolerantParam):
    """Text of an assistant message, whichever of the two names the client gave it."""

    type: Literal["output_text", "input_text"]
    text: Text
    annotations: list[JSONObject] | None = None
    logprobs: list[JSONObject] | None = None

    def to_part(self) -> JSONObject:
        return {
            "type": "output_text",
            "annotations": self.annotations or [],
            "logprobs": self.logprobs or [],
            "text": self.text,
        }


class EncryptedText(TolerantParam):
    """What a model wrote for another agent's eyes. Nobody here encrypts it: it is plain text."""

    type: Literal["encrypted_content"]
    encrypted_content: Text

    def to_part(self) -> JSONObject:
        return {"type": "encrypted_content", "encrypted_content": self.encrypted_content}


class RefusalParam(TolerantParam):
    type: Literal["refusal"]
    refusal: Text

    def to_part(self) -> JSONObject:
        return {"type": "refusal", "refusal": self.refusal}


def _refuse_part(kind: str) -> str:
    raise refuse("unsupported_value", f"Content parts of type {kind!r} are not supported here.")


class OtherPart(TolerantParam):
    """Catches every part that is not supported, to name its type in the error."""

    type: Annotated[str, AfterValidator(_refuse_part)]


class ReasoningPart(TolerantParam):
    """What some model thought, or a summary of it."""

    type: Literal["reasoning_text", "summary_text"]
    text: Text

    def to_part(self) -> JSONObject:
        return {"type": self.type, "text": self.text}


_Other: TypeAlias = SkipJsonSchema[Annotated[OtherPart, Tag("#other")]]

TextPart: TypeAlias = Annotated[
    Annotated[InputText, Tag("#input_text")] | _Other,
    Discriminator(tag_by_type(("input_text",))),
]
InputPart: TypeAlias = Annotated[
    Annotated[InputText, Tag("#input_text")]
    | Annotated[InputImage, Tag("#input_image")]
    | Annotated[InputFile, Tag("#input_file")]
    | _Other,
    Discriminator(tag_by_type(("input_text", "input_image", "input_file"))),
]
AssistantPart: TypeAlias = Annotated[
    Annotated[OutputTextParam, Tag("#output_text")]
    | Annotated[OutputTextParam, Tag("#input_text")]
    | Annotated[RefusalParam, Tag("#refusal")]
    | _Other,
    Discriminator(tag_by_type(("output_text", "input_text", "refusal"))),
]
AgentPart: TypeAlias = Annotated[
    Annotated[InputText, Tag("#input_text")]
    | Annotated[EncryptedText, Tag("#encrypted_content")]
    | SkipJsonSchema[Annotated[OtherPart, Tag("#other")]],
    Discriminator(tag_by_type(("input_text", "encrypted_content"))),
]


def text_or_list(value: Any) -> str:
    return "#text" if isinstance(value, str) else "#list"


InputContent: TypeAlias = Annotated[
    Annotated[Text, Tag("#text")] | Annotated[list[InputPart], Tag("#list")],
    Discriminator(text_or_list),
]
TextContent: TypeAlias = Annotated[
    Annotated[Text, Tag("#text")] | Annotated[list[TextPart], Tag("#list")],
    Discriminator(text_or_list),
]
AssistantContent: TypeAlias = Annotated[
    Annotated[Text, Tag("#text")] | Annotated[list[AssistantPart], Tag("#list")],
    Discriminator(text_or_list),
]


def to_content(content: InputContent | TextContent) -> str | list[JSONObject]:
    """The kept form of a content: a string stays one. Media are still as the client sent them."""
    if isinstance(content, str):
        return content
    return [part.to_part() for part in content if not isinstance(part, OtherPart)]
