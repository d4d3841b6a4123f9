#!/usr/bin/env python3
"""Installs uv into a folder, with nothing but Python: ``install_uv.py FOLDER VERSION``.

Run by the Makefile where no uv is found. By pip if there is one, else by the pip in a virtual
environment, else (Debian without python3-pip and python3-venv) straight from the package index.
"""

from __future__ import annotations

import configparser
import hashlib
import io
import os
import platform
import ssl
import stat
import subprocess
import sys
import urllib.request
import zipfile
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

PYPI = "https://pypi.org/simple"
TIME_LIMIT = 120


class Link(NamedTuple):
    """A file on the index, and the digest that its link names."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.rsplit("/", 1)[-1]


def main() -> None:
    folder, version = Path(sys.argv[1]), sys.argv[2]
    say(f"uv is not installed: putting version {version} into {folder}/")
    requirement = f"uv=={version}"
    if find_spec("pip"):
        by_pip(sys.executable, folder, requirement)
    elif find_spec("ensurepip"):
        environment = folder / "pip"
        command = [sys.executable, "-m", "venv", str(environment)]
        subprocess.run(command, check=True)  # noqa: S603 - nothing in it comes from outside
        by_pip(str(environment / "bin" / "python"), folder, requirement)
    else:
        from_index(folder, version)


def by_pip(python: str, folder: Path, requirement: str) -> None:
    """Pip knows the mirrors, certificates and proxies of this machine."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    command = [python, "-m", "pip", "install", *options, "--target", str(folder), requirement]
    subprocess.run(command, check=True)  # noqa: S603 - nothing in it comes from outside


# --- Without pip ----------------------------------------------------------------------------------


def from_index(folder: Path, version: str) -> None:
    """Download this machine's wheel, check its digest, and unpack the program."""
    index = setting("index-url") or PYPI
    page = f"{index.rstrip('/')}/uv/"
    wheel = choose(links(page), version)
    if wheel is None:
        sys.exit(f"{page} has no wheel of uv {version} for this machine: install uv by hand.")
    content = fetch(wheel.url)
    if wheel.sha256 and hashlib.sha256(content).hexdigest() != wheel.sha256:
        sys.exit(f"{wheel.url} is not what {page} says it is: its digest differs.")
    program = folder / "bin" / "uv"
    program.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        program.write_bytes(archive.read(f"uv-{version}.data/scripts/uv"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def links(page: str) -> list[Link]:
    """The files that a page of the index links to."""
    found: list[Link] = []

    class Anchors(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "a" and (target := dict(attrs).get("href")):
                url, fragment = urldefrag(urljoin(page, target))
                found.append(Link(url, fragment.removeprefix("sha256=")))

    Anchors().feed(fetch(page).decode("utf-8"))
    return found


def choose(candidates: list[Link], version: str) -> Link | None:
    """The wheel of this version, one of whose tags names this system and processor."""
    if sys.platform == "darwin":
        system = "macosx"
    else:
        system = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    machine = platform.machine()
    for link in candidates:
        name, _, tags = link.name.removesuffix(".whl").rpartition("-")
        fits = (tag.startswith(system) and tag.endswith(machine) for tag in tags.split("."))
        if name == f"uv-{version}-py3-none" and any(fits):
            return link
    return None


def fetch(url: str) -> bytes:
    """Like pip, trusting the certificates that PIP_CERT names."""
    context = ssl.create_default_context(cafile=setting("cert") or None)
    request = urllib.request.Request(url, headers={"Accept": "text/html"})  # noqa: S310 - pip's own
    with urllib.request.urlopen(request, timeout=TIME_LIMIT, context=context) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def setting(option: str) -> str:
    """What pip's environment variables, else its configuration files, say."""
    if value := os.environ.get("PIP_" + option.upper().replace("-", "_")):
        return value
    config = configparser.ConfigParser(interpolation=None)
    home = Path.home()
    base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    own = os.environ.get("PIP_CONFIG_FILE", "")
    config.read(["/etc/pip.conf", home / ".pip" / "pip.conf", base / "pip" / "pip.conf", own])
    return config.get("global", option, fallback="")


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
