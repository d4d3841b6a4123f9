"""Fixtures of the store's tests."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client


@pytest.fixture
def admin_client(db: None) -> Client:
    """A superuser's client. Without a password: hashing one would take longer than most tests."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client
