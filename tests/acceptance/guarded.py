"""A gateway that has keys, of two projects, in front of an upstream with two models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM

MODELS = ("org/one", "org/two")

MAKE_KEYS = """
import json
from datetime import timedelta
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from apps.store import keys
from apps.store.models import Project

ours = Project.objects.get(slug=Project.DEFAULT_SLUG)
theirs = Project.objects.create(slug="theirs", name="Theirs")
yesterday = timezone.now() - timedelta(days=1)
revoked, revoked_token = keys.issue(ours, name="revoked")
keys.revoke(revoked)
browser = Client()
browser.force_login(User.objects.create_superuser("root"))
print(json.dumps({
    "ours": keys.issue(ours, name="ours")[1],
    "colleague": keys.issue(ours, name="colleague")[1],
    "theirs": keys.issue(theirs, name="theirs")[1],
    "expired": keys.issue(ours, name="expired", expires_at=yesterday)[1],
    "revoked": revoked_token,
    "session": browser.cookies["sessionid"].value,
}))
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """The gateway, its upstream, and what ``MAKE_KEYS`` made."""

    gateway: Gateway
    vllm: ScriptedVLLM
    ours: str
    colleague: str
    theirs: str
    expired: str
    revoked: str
    session: str

    def ask(self, token: str | None, method: str, path: str, **options: Any) -> httpx.Response:
        """One request with this key, or with none."""
        headers = {**options.pop("headers", {})}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return self.gateway.http.request(method, path, headers=headers, **options)


def guarded(gateway: Gateway, vllm: ScriptedVLLM) -> Guarded:
    """Make the keys."""
    made = gateway.manage("shell", "--no-imports", "-v", "0", "-c", MAKE_KEYS)
    return Guarded(gateway, vllm, **json.loads(made))
