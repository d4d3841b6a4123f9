"""What the model is offered for the tools of a request, and what its calls mean."""

from __future__ import annotations

from typing import Any

import pytest

from apps.api.protocol.offers import LONGEST_NAME, Offers, flat_name
from tests.api.protocol.bodies import accept

ADD: dict[str, Any] = {"type": "function", "name": "add"}
RUN: dict[str, Any] = {"type": "custom", "name": "run", "description": "Runs code."}
FILES: dict[str, Any] = {"type": "namespace", "name": "files", "tools": [ADD, RUN]}


def offers_of(*tools: dict[str, Any], choice: Any = None) -> Offers:
    body = accept({"input": "Hi", "tools": [*tools], "tool_choice": choice})
    return Offers(body.declared, body.tool_choice)


def test_every_tool_becomes_a_function_of_its_own() -> None:
    shown = [(o.name, o.kind, o.namespace, o.tool) for o in offers_of(ADD, RUN, FILES)]
    assert shown == [
        ("add", "function", None, "add"),
        ("run", "custom", None, "run"),
        ("files__add", "function", "files", "add"),
        ("files__run", "custom", "files", "run"),
    ]


def test_a_custom_tool_takes_one_text() -> None:
    offer = offers_of(RUN).meant("run")
    assert offer is not None
    assert offer.parameters["required"] == ["input"]


def test_a_pattern_becomes_part_of_the_schema_and_of_the_description() -> None:
    grammar = {"type": "grammar", "syntax": "regex", "definition": "[a-z]+"}
    offer = offers_of(RUN | {"format": grammar}).meant("run")
    assert offer is not None
    assert offer.parameters["properties"]["input"]["pattern"] == "[a-z]+"
    assert "[a-z]+" in (offer.description or "")


def test_names_never_collide() -> None:
    clash = {"type": "namespace", "name": "files", "tools": [ADD]}
    names = [offer.name for offer in offers_of(ADD | {"name": "files__add"}, clash)]
    assert names == ["files__add", "files__add_2"]


def test_long_names_are_shortened_in_the_same_way_each_time() -> None:
    name = flat_name("t" * 60, "n" * 60)
    assert len(name) == LONGEST_NAME
    assert name == flat_name("t" * 60, "n" * 60) != flat_name("t" * 61, "n" * 60)


def test_markup_behind_a_name_is_cut() -> None:
    offer = offers_of(ADD).meant("add<|channel|>json")
    assert offer is not None
    assert offer.tool == "add"


def test_hosted_tools_that_are_not_offered_are_left_out_and_told() -> None:
    offers = offers_of({"type": "web_search"}, ADD)
    assert offers.ignored == ["web_search"]
    assert [offer.name for offer in offers.sent] == ["add"]


@pytest.mark.parametrize(
    ("choice", "sent", "mode"),
    [
        (None, ["add", "run"], "auto"),
        ("required", ["add", "run"], "required"),
        ("none", [], "none"),
        ({"type": "allowed_tools", "mode": "required", "tools": [ADD]}, ["add"], "required"),
        ({"type": "custom", "name": "run"}, ["add", "run"], "forced"),
    ],
)
def test_the_choice_decides_what_is_sent(choice: Any, sent: list[str], mode: str) -> None:
    offers = offers_of(ADD, RUN, choice=choice)
    assert ([offer.name for offer in offers.sent], offers.mode) == (sent, mode)


def test_calls_that_the_choice_forbids_are_not_permitted() -> None:
    only_add = {"type": "allowed_tools", "mode": "auto", "tools": [ADD]}
    offers = offers_of(ADD, RUN, choice=only_add)
    assert offers.permits(offers.meant("add"))
    assert not offers.permits(offers.meant("run"))
    assert not offers_of(ADD, choice="none").permits(None)


@pytest.mark.parametrize(
    ("tools", "choice", "problem"),
    [
        ([], "required", "Tool choice 'required' needs 'tools'."),
        ([], ADD, "Tool choice 'add' is not in 'tools'."),
        ([ADD], {"type": "custom", "name": "add"}, "Tool choice 'add' is not in 'tools'."),
        ([ADD], {"type": "shell"}, "Tool choice 'shell' is not in 'tools'."),
        (
            [ADD],
            {"type": "allowed_tools", "mode": "auto", "tools": [RUN]},
            "The allowed tool 'run' is not in 'tools'.",
        ),
        ([ADD], ADD, None),
    ],
)
def test_a_choice_that_cannot_be_met_is_named(
    tools: list[dict[str, Any]], choice: Any, problem: str | None
) -> None:
    body = accept({"input": "Hi", "tools": tools, "tool_choice": choice})
    assert Offers(body.declared, body.tool_choice).impossible(body.tool_choice) == problem
