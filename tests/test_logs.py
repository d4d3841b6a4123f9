"""What the log leaves out."""

from __future__ import annotations

import logging

import pytest


def test_a_database_that_is_away_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(20):
        logging.getLogger("psycopg.pool").warning("error connecting, attempt %s", number)
    assert len(caplog.records) <= 1
