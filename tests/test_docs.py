"""The pages are true: their code runs, their links lead somewhere, their names exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

import responses_gateway
from tests import markdown
from tests.management.gateway_command import Serve, environment
from tests.markdown import Block
from tests.programs import ROOT

PORT = "127.0.0.1:5969"
PAGES = markdown.pages()
SHELLS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}


def runnable(block: Block) -> bool:
    return block.run and block.language in SHELLS


# --- Code -----------------------------------------------------------------------------------------


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Serve]:
    """``serve --demo`` on an empty folder."""
    if shutil.which("curl") is None:
        pytest.skip("no curl: install it, e.g. `apt-get install curl`")
    program = Serve(tmp_path, "--demo")
    yield program
    program.close()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(runnable, markdown.blocks(page)))], ids=markdown.name
)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(
    page: Path, demo: Serve, tmp_path: Path
) -> None:
    found = markdown.blocks(page)
    for block, following in zip(found, [*found[1:], None], strict=True):
        if not runnable(block):
            continue
        output = run(block, demo.url, tmp_path)
        if following is not None and following.language == "text":
            assert output.strip() == following.code.strip(), f"line {following.line}"
        else:
            assert '{"error"' not in output, f"line {block.line}: {output}"


def run(block: Block, url: str, folder: Path) -> str:
    """Run one block as the page has it, but for where the gateway and its Python are."""
    code = block.code.replace(PORT, url.removeprefix("http://"))
    code = code.replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        [*SHELLS[block.language], code],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"line {block.line}: {done.stdout}{done.stderr}"
    return done.stdout


# --- Links and names ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=markdown.name)
def test_links_within_the_project_lead_to_a_page_and_a_heading(page: Path) -> None:
    for link in markdown.links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in markdown.anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=markdown.name)
def test_targets_of_make_that_a_page_names_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    code = " ; ".join(
        [block.code for block in markdown.blocks(page)]
        + re.findall(r"`([^`]+)`", markdown.prose(page))
    )
    for arguments in re.findall(r"(?:^|; |&& |\n)make ([a-z ]+)", code):
        assert set(arguments.split()) <= targets, arguments


@pytest.mark.parametrize(
    "file",
    [*map(markdown.name, PAGES), ".env.example", "compose.yaml", "Dockerfile", "Makefile"],
)
def test_settings_that_a_file_names_exist(file: str) -> None:
    known = {setting.name for group in settings.SETTINGS_GROUPS for setting in group.declared()}
    not_settings = {"GATEWAY_API_KEY"}  # a shell variable of examples
    for found in set(re.findall(r"\bGATEWAY_[A-Z_]*[A-Z]\b(?!_\*)", text(file))):
        if not found.startswith("GATEWAY_TEST_"):
            assert found.removesuffix("_FILE") in known | not_settings, found


# --- Versions -------------------------------------------------------------------------------------


def text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def test_the_version_of_the_package_is_that_of_the_project() -> None:
    assert project()["project"]["version"] == responses_gateway.__version__


def test_everything_names_the_same_oldest_python() -> None:
    oldest = project()["project"]["requires-python"].removeprefix(">=")
    matrix = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"][0] == oldest
    assert project()["tool"]["mypy"]["python_version"] == oldest
    assert project()["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    for file in ("README.md", "CONTRIBUTING.md", "docs/quickstart.md"):
        assert set(re.findall(r"Python (3\.\d+) or newer", text(file))) == {oldest}, file


def test_everything_installs_the_same_uv_and_ruff() -> None:
    hooks = {
        repository["repo"].rpartition("/")[-1]: repository.get("rev", "").removeprefix("v")
        for repository in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    }
    locked = {
        package["name"]: package["version"] for package in tomllib.loads(text("uv.lock"))["package"]
    }
    assert f"UV_VERSION := {hooks['uv-pre-commit']}\n" in text("Makefile")
    assert f"UV_VERSION={hooks['uv-pre-commit']}\n" in text("Dockerfile")
    assert locked["ruff"] == hooks["ruff-pre-commit"]


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    versions = re.findall(r"^## \[(.+?)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert set(versions[1:2]) <= {responses_gateway.__version__}
