"""How secrets are entered in forms: written, never shown. A form says only whether one is set."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.renderers import BaseRenderer
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.store.encryption import NoEncryptionKey
from apps.store.secrets import CIPHER, Secret


class _Unshown(forms.Textarea):
    """Several lines, which are not shown again, not even beside an error."""

    def format_value(self, value: Any) -> str | None:
        return None


class SecretWidget(forms.MultiWidget):
    """A box for a new value and one to tick for none. ``stored`` says what there is."""

    def __init__(self, box: forms.Widget) -> None:
        super().__init__({"new": box, "clear": forms.CheckboxInput()})
        self.stored = Secret()

    def decompress(self, value: Any) -> list[Any]:
        return [None, False]

    def render(
        self,
        name: str,
        value: Any,
        attrs: dict[str, Any] | None = None,
        renderer: BaseRenderer | None = None,
    ) -> SafeString:
        ids = (attrs or {}).get("id", name)
        box, tick = self.widgets
        new = box.render(f"{name}_new", None, {"id": f"{ids}_new"}, renderer)
        if not self.stored:
            return format_html('<div class="gw-secret">{}<p>Not set.</p></div>', new)
        clear = tick.render(f"{name}_clear", False, {"id": f"{ids}_clear"}, renderer)
        return format_html(
            '<div class="gw-secret">{}<p>Set; it stays when the box is left empty. '
            "<label>{} Erase it</label></p></div>",
            new,
            clear,
        )

    def id_for_label(self, id_: str) -> str:
        return f"{id_}_new" if id_ else id_


class SecretField(forms.MultiValueField):
    """Cleans to a new Secret, an empty one to erase what is stored, or None to keep it."""

    def __init__(self, *, box: forms.Widget | None = None, **kwargs: Any) -> None:
        box = box or forms.PasswordInput(attrs={"autocomplete": "new-password"})
        kwargs |= {"required": False, "require_all_fields": False, "widget": SecretWidget(box)}
        kwargs.pop("initial", None)
        super().__init__(
            (forms.CharField(required=False), forms.BooleanField(required=False)), **kwargs
        )

    def compress(self, data_list: list[Any]) -> Secret | None:
        text, clear = data_list or ["", False]
        if clear:
            return Secret()
        return self.secret(text) if text else None

    def secret(self, text: str) -> Secret:
        if not CIPHER.can_encrypt:
            raise ValidationError(str(NoEncryptionKey()))
        return Secret(text)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return any(data or ())


class SecretLinesField(SecretField):
    """A mapping, one ``name<separator>value`` on a line."""

    def __init__(self, *, separator: str, **kwargs: Any) -> None:
        self.separator = separator
        shown = f"NAME{separator}value"
        box = _Unshown(attrs={"rows": 3, "autocomplete": "off", "placeholder": shown})
        super().__init__(box=box, **kwargs)

    def secret(self, text: str) -> Secret:
        super().secret(text)
        values: dict[str, str] = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            name, found, value = line.partition(self.separator)
            if not found or not name.strip():
                raise ValidationError(
                    f"Each line is a name, “{self.separator.strip()}” and a value."
                )
            values[name.strip()] = value.strip()
        return Secret.mapping(values)


def show_stored(form: forms.ModelForm[Any]) -> None:
    """Have the form of a row say which of its secrets are set."""
    for name, field in form.fields.items():
        if isinstance(field.widget, SecretWidget):
            field.widget.stored = getattr(form.instance, name)
