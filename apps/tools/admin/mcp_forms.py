"""What operators enter: a server, and a file with servers."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.store.models import McpServer
from apps.store.models.mcp_server import STDIO, TRANSPORTS
from apps.store.secret_input import SecretLinesField, show_stored
from apps.tools.conf import conf
from apps.tools.mcp.addresses import check_operator_url
from apps.tools.urlguard import Refused

LARGEST_FILE = 1024 * 1024


def may_enter_commands(request: HttpRequest) -> bool:
    """Whether this user may have programs run on this machine."""
    return conf.MCP_STDIO_ADMIN and request.user.is_active and request.user.is_superuser


class LinesField(forms.CharField):
    """A list of texts, one on a line."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 3}))
        super().__init__(strip=False, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        return list(filter(None, map(str.strip, (value or "").splitlines())))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class McpServerForm(forms.ModelForm[McpServer]):
    """One server. The URL is judged as far as it can be without asking; a secret is for the origin
    that it was entered for."""

    headers = SecretLinesField(
        separator=": ",
        label="HTTP headers",
        help_text="One on a line, as in “X-Team: blue”. Entering any replaces all.",
    )
    env = SecretLinesField(
        separator="=",
        label="Environment",
        help_text="The whole environment of the program, one variable on a line. Entering any "
        "replaces all.",
    )
    args = LinesField(label="Arguments", help_text="One on a line.")
    allowed_tools = LinesField(
        label="Allowed tools", help_text="Names, one on a line. Empty: all that the server has."
    )

    class Meta:
        model = McpServer
        fields = "__all__"  # noqa: DJ007 - which ones, the admin says
        widgets = {
            "url": forms.URLInput(attrs={"size": 70}),
            "description": forms.Textarea(attrs={"rows": 3}),
        }

    with_commands = False
    """Whether a stdio server may be entered here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        show_stored(self)
        if "transport" in self.fields and not self.with_commands:
            field: Any = self.fields["transport"]
            field.choices = [choice for choice in TRANSPORTS if choice[0] != STDIO]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"].strip()
        if url:
            try:
                check_operator_url(url)
            except Refused as exc:
                raise ValidationError(str(exc)) from exc
        return url

    def clean_allowed_tools(self) -> list[str] | None:
        return self.cleaned_data["allowed_tools"] or None

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned = self.cleaned_data
        transport = cleaned.get("transport", self.instance.transport)
        needed = "command" if transport == STDIO else "url"
        if needed in self.fields and needed not in self.errors and not cleaned.get(needed):
            self.add_error(needed, f"A server of this kind needs a {needed}.")
        if cleaned.get("oauth_client_id") and not cleaned.get("oauth_issuer"):
            self.add_error("oauth_issuer", "Say who issued the client id: it is sent nowhere else.")
        return cleaned

    @property
    def erased(self) -> list[str]:
        """Names of the stored secrets that do not follow the server to its new place."""
        return [str(self.fields[name].label) for name in self.instance.left_behind]


class McpJsonForm(forms.Form):
    """An ``mcp.json``, as a file or as text."""

    file = forms.FileField(required=False, label="File")
    text = forms.CharField(
        required=False,
        label="or its text",
        widget=forms.Textarea(
            attrs={"rows": 14, "spellcheck": "false", "class": "vLargeTextField"}
        ),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        file = cleaned.get("file")
        if file and file.size > LARGEST_FILE:
            raise ValidationError("The file is too large for an mcp.json.")
        cleaned["content"] = file.read() if file else cleaned.get("text")
        if not cleaned["content"]:
            raise ValidationError("Choose a file, or paste its text.")
        return cleaned
