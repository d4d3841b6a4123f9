"""The pages about families of models: their commands are those that the gateway itself would start."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from apps.api.management import vllm
from tests.programs import ROOT

FOLDER = ROOT / "docs/models"
INDEX = FOLDER / "index.md"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page != INDEX)
TOLD_BY_HAND = {"Team-ACE/ToolACE-8B"}
"""Models whose name does not tell their family, as their page says."""


def commands(page: Path) -> list[list[str]]:
    """The words of each command of a page."""
    blocks = re.findall(
        r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [shlex.split(block.replace("\\\n", " ")) for block in blocks]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_starts_vllm_with_the_flags_that_the_gateway_adds(page: Path) -> None:
    assert commands(page)
    for program, serve, model, *flags in commands(page):
        assert (program, serve) == ("vllm", "serve")
        if model not in TOLD_BY_HAND:
            assert flags == vllm.parser_flags(model, ())


def test_models_told_by_hand_are_unknown_to_the_table() -> None:
    assert {vllm.family(model) for model in TOLD_BY_HAND} == {vllm.UNKNOWN}


def test_the_index_leads_to_every_page_and_names_its_parsers() -> None:
    rows = re.findall(
        r"^\| \[.+?\]\((.+?)\) \| (.+?) \| (.+?) \|$",
        INDEX.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert sorted(name for name, _, _ in rows) == [page.name for page in PAGES]
    for name, tools, reasoning in rows:
        flags = [flag for words in commands(FOLDER / name) for flag in words]
        named = set(re.findall(r"`([a-z0-9_]+)`", f"{tools} {reasoning}"))
        used = {value for option, value in pairwise(flags) if "parser" in option}
        assert named == used, name


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=lambda page: page.stem)
def test_a_page_names_the_versions_that_were_tested(page: Path) -> None:
    told = re.findall(r"Tested with vLLM (\d+\.\d+\.\d+)", page.read_text(encoding="utf-8"))
    assert told == list(vllm.TESTED)
