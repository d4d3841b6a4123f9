"""What errors tell."""

from __future__ import annotations

from apps.api.errors import InvalidRequest


def test_what_a_client_sent_is_not_sent_back_by_the_megabyte() -> None:
    error = InvalidRequest("x" * 70_000, code="invalid_value", param="y" * 70_000)
    assert len(str(error.envelope)) < 2_500
    assert error.detail.message == error.message
    assert error.message.endswith("…")
