"""Encrypts stored secrets anew with the first of GATEWAY_ENCRYPTION_KEYS, so that older keys can go."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from apps.store.encryption import NoEncryptionKey
from apps.store.fields import EncryptedField
from apps.store.secrets import Secret, SecretUnreadable


class Command(BaseCommand):
    help = "Encrypt stored secrets with the newest key."

    def handle(self, **options: Any) -> None:
        try:
            count = sum(_rotate(model) for model in apps.get_models())
        except (SecretUnreadable, NoEncryptionKey) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(
            f"{count} secrets were encrypted anew. Keys after the first are needed no more for what "
            "is stored here; reasoning that clients keep stays sealed with the key of its time."
        )


@transaction.atomic
def _rotate(model: type[models.Model]) -> int:
    """Row by row, without the model's own save: nothing but the encryption changes."""
    fields = [field for field in model._meta.get_fields() if isinstance(field, EncryptedField)]
    count = 0
    for row in model._default_manager.select_for_update() if fields else ():
        old = {field.name: getattr(row, field.name) for field in fields}
        stale = {name: s for name, s in old.items() if s and not s.is_current}
        if stale:
            new = {name: Secret(secret.reveal()) for name, secret in stale.items()}
            model._default_manager.filter(pk=row.pk).update(**new)
        count += len(stale)
    return count
