"""What the log leaves out."""

from __future__ import annotations

import logging

import pytest


def test_a_database_that_is_away_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(20):
        logging.getLogger("psycopg.pool").warning("error connecting, attempt %s", number)
    assert len(caplog.records) <= 1


def test_what_is_left_out_has_been_said(caplog: pytest.LogCaptureFixture) -> None:
    """Other words are another matter, such as the reason."""
    for number in range(3):
        logging.getLogger("psycopg.pool").warning("broken, number %s", number)
        logging.getLogger("psycopg.pool").warning("cannot connect, number %s", number)
    assert caplog.messages == ["broken, number 0", "cannot connect, number 0"]
