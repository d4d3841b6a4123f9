"""Which tool a call means, when the model writes its name not quite as it was offered."""

from __future__ import annotations

import pytest

from apps.api.protocol.offers import Offers
from apps.api.protocol.requests import CreateResponse

TOOLS = [
    {"type": "function", "name": "wait"},
    {
        "type": "namespace",
        "name": "functions",
        "tools": [{"type": "custom", "name": "exec"}, {"type": "function", "name": "wait"}],
    },
    {"type": "namespace", "name": "first", "tools": [{"type": "function", "name": "add"}]},
    {"type": "namespace", "name": "second", "tools": [{"type": "function", "name": "add"}]},
]


@pytest.mark.parametrize(
    ("called", "meant"),
    [
        ("functions__exec", ("functions", "exec")),
        ("functions__exec<|channel|>commentary", ("functions", "exec")),
        ("exec", ("functions", "exec")),
        ("wait", (None, "wait")),
        ("functions__wait", ("functions", "wait")),
        ("second__add", ("second", "add")),
        ("add", None),
        ("third__add", None),
    ],
)
def test_a_name_without_its_namespace_is_understood_unless_several_fit(
    called: str, meant: tuple[str | None, str] | None
) -> None:
    body = CreateResponse.model_validate({"input": "Hi", "tools": TOOLS})
    offer = Offers(body.declared).meant(called)
    assert (offer and (offer.namespace, offer.tool)) == meant
