"""A model field for secrets."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.text import capfirst

from apps.store.secret_input import SecretField
from apps.store.secrets import Secret


class EncryptedField(models.TextField[Secret, Secret]):
    """Keeps a ``Secret``. Its column is bound into the encryption, and cannot be searched. In
    forms it is written, never shown."""

    description = "Encrypted text"

    def __init__(self, **kwargs: Any) -> None:
        kwargs |= {"default": Secret, "blank": True}
        super().__init__(**kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        for own in ("default", "blank"):
            kwargs.pop(own, None)
        return name, path, args, kwargs

    @property
    def _bound(self) -> str:
        return f"{self.model._meta.db_table}.{self.name}"

    def from_db_value(
        self, value: str | None, expression: Any, connection: BaseDatabaseWrapper
    ) -> Secret:
        return Secret(sealed=value or "", bound=self._bound)

    def to_python(self, value: Any) -> Secret:
        """Of a serialized row too, which has it encrypted."""
        return value if isinstance(value, Secret) else Secret(sealed=value or "", bound=self._bound)

    def get_prep_value(self, value: Any) -> str:
        if not isinstance(value, Secret):
            raise TypeError(f"{self.name} takes a Secret.")
        return value.sealed_for(self._bound)

    def value_to_string(self, obj: models.Model) -> str:
        """Serialized as it is stored."""
        return self.get_prep_value(self.value_from_object(obj))

    def formfield(self, **kwargs: Any) -> Any:
        return SecretField(label=capfirst(self.verbose_name), help_text=self.help_text)

    def save_form_data(self, instance: models.Model, data: Secret | None) -> None:
        """None keeps what is stored."""
        if data is not None:
            setattr(instance, self.name, data)

    def get_lookup(self, lookup_name: str) -> Any:
        raise FieldError(f"{self.name} is encrypted and cannot be searched.")
