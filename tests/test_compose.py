"""``compose.yaml``, as far as it can be judged without Docker."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from apps.api.management.sandbox_worker import SECRETS
from tests.programs import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def networks(service: str) -> set[str]:
    return set(SERVICES[service].get("networks", ["default"]))


def test_a_worker_has_no_secret_of_the_gateway_and_no_way_to_its_database() -> None:
    assert not SECRETS & SERVICES["worker"]["environment"].keys()
    assert "env_file" not in SERVICES["worker"]
    assert not networks("worker") & networks("postgres")
    assert not set(SERVICES["worker"]["volumes"]) & set(SERVICES["gateway"]["volumes"])


def test_a_worker_meets_the_gateway_in_redis_and_fetches_files_there() -> None:
    assert SERVICES["worker"]["environment"]["REDIS_URL"].startswith("redis://redis:")
    assert SERVICES["gateway"]["environment"]["GATEWAY_INTERNAL_URL"] == "http://gateway:5969"
    assert networks("worker") <= networks("redis") & networks("gateway")
    assert "noeviction" in SERVICES["redis"]["command"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_names_is_there(service: str) -> None:
    definition = SERVICES[service]
    assert networks(service) <= COMPOSE["networks"].keys()
    assert definition.get("depends_on", {}).keys() <= SERVICES.keys()
    assert {volume.split(":")[0] for volume in definition.get("volumes", [])} <= (
        COMPOSE["volumes"].keys()
    )
