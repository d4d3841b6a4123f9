"""Settings that are read from the environment."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from responses_gateway import env


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://127.0.0.1",
        "redis://redis:6379/",
        "redis://redis:6379/0",
        "rediss://user:p%2Fss@redis.example.org:6380/3?ssl_cert_reqs=none",
        "redis://:p@ss@[::1]:6379/1",
        "unix:///run/redis.sock",
        "unix://user:word@/run/redis.sock?db=2",
    ],
)
def test_a_url_of_a_redis(url: str) -> None:
    env.check_redis_url("REDIS_URL", url)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:6379",
        "http://127.0.0.1:6379",
        "redis://127.0.0.1:none/0",
        "redis://127.0.0.1:6379/none",
        "redis://:s3cr/et@127.0.0.1:6379/0",
        "redis://:s3cr?et@127.0.0.1:6379/0",
        "redis://:s3cr#et@127.0.0.1:6379/0",
    ],
)
def test_a_url_of_no_redis_is_named_and_not_quoted(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL is not a URL") as told:
        env.check_redis_url("REDIS_URL", url)
    assert "s3cr" not in str(told.value)
