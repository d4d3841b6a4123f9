"""Installs what code_interpreter runs code in, adds packages to it, and says how it stands."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.api.management.terminal import Terminal
from apps.tools.code_interpreter.configuration import sandbox_config, sandbox_folder, sandbox_limits
from apps.tools.code_interpreter.sandbox import Result, SandboxUnavailable
from apps.tools.code_interpreter.sandboxes import make_sandbox
from apps.tools.code_interpreter.sandboxes.download import FetchFailed
from apps.tools.code_interpreter.sandboxes.native.installation import (
    InstallFailed,
    NativeInstallation,
)
from apps.tools.code_interpreter.sandboxes.pyodide.install import (
    DEFAULT_PACKAGES,
    DISTRIBUTION,
    UnknownPackage,
    add_packages,
    install,
)
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation
from apps.tools.conf import conf

BAR = 30  # characters


class Command(BaseCommand):
    help = "Install, extend and inspect the sandbox of code_interpreter."
    requires_system_checks: list[str] = []  # it runs before anything is configured

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        install = actions.add_parser("install", help="Fetch Python for the sandbox, once.")
        install.add_argument("--from", dest="source", metavar="FOLDER", help="Not from a registry.")
        install.add_argument("--no-packages", action="store_true", help="Python alone.")
        install.add_argument("--native", action="store_true", help="For GATEWAY_SANDBOX=native.")
        packages = actions.add_parser("packages", help="Add packages, and what they need.")
        packages.add_argument("names", nargs="+", metavar="NAME")
        packages.add_argument("--from", dest="source", metavar="FOLDER", help="Has the wheels.")
        actions.add_parser("status", help="Say what is installed and what confines code.")

    def handle(self, *, action: str, **options: Any) -> None:
        self.terminal = Terminal(self.stdout, self.stderr)
        self.installation = Installation(sandbox_folder() / "pyodide")
        if action == "install" and options["native"]:
            self.install_native(with_packages=not options["no_packages"])
        elif action == "install":
            self.install(options["source"], with_packages=not options["no_packages"])
        elif action == "packages":
            self.packages(options["names"], options["source"])
        else:
            self.status()

    def install(self, source: str | None, *, with_packages: bool) -> None:
        registry = f"{conf.SANDBOX_NPM_REGISTRY.rstrip('/')}/pyodide/-"
        try:
            install(self.installation, self.progress, source=source or registry)
        except FetchFailed as exc:
            raise CommandError(str(exc)) from exc
        versions = ", ".join(f"{k} {v}" for k, v in self.installation.versions().items())
        self.terminal.line(f"Installed in {self.installation.folder}: {versions}.")
        if not with_packages:
            return
        try:
            self.add(DEFAULT_PACKAGES, source)
        except FetchFailed as exc:
            self.terminal.line(
                f"Without packages: {exc}. Code has Python's standard library; "
                f"`manage.py sandbox packages {' '.join(DEFAULT_PACKAGES)}` adds them later."
            )

    def install_native(self, *, with_packages: bool) -> None:
        installation = NativeInstallation(sandbox_folder() / "native")
        try:
            installation.install(self.terminal.line, with_packages=with_packages)
        except InstallFailed as exc:
            raise CommandError(str(exc)) from exc
        self.terminal.line(f"Installed in {installation.folder}.")

    def packages(self, names: list[str], source: str | None) -> None:
        if not self.installation.installed:
            raise CommandError("Run `manage.py sandbox install` first.")
        try:
            self.add(names, source)
        except UnknownPackage as exc:
            raise CommandError(f"Pyodide's distribution has no package {exc}.") from exc
        except FetchFailed as exc:
            raise CommandError(str(exc)) from exc

    def add(self, names: list[str] | tuple[str, ...], source: str | None) -> None:
        where = source or conf.SANDBOX_PACKAGES_URL or DISTRIBUTION
        added = add_packages(self.installation, names, self.progress, source=where)
        self.terminal.line(f"Packages added: {', '.join(added) or 'none, they are there already'}.")

    def status(self) -> None:
        """Every line is a fact; the last is a call that ran."""
        try:
            sandbox = make_sandbox(sandbox_config())
        except SandboxUnavailable as exc:
            self.terminal.line(str(exc))
            return
        health = sandbox.probe()
        self.terminal.line(f"Backend   {health.backend}")
        self.terminal.line(f"Folder    {sandbox_folder()}")
        self.terminal.line(f"Versions  {', '.join(map(' '.join, health.versions.items())) or '-'}")
        self.terminal.line(f"Layers    {', '.join(health.layers) or '-'}")
        self.terminal.line(f"Packages  {', '.join(health.packages) or 'none'}")
        for missing in health.missing:
            self.terminal.line(f"Missing   {missing}")
        if not health.usable:
            raise CommandError("code_interpreter cannot run code here.")
        try:
            began = time.monotonic()
            session = sandbox.start("status", sandbox_limits())
            started = time.monotonic()
            events = list(session.execute("1 + 1", "status"))
            ended = time.monotonic()
        except SandboxUnavailable as exc:
            raise CommandError(str(exc)) from exc
        finally:
            sandbox.close()
        if Result("2") not in events:
            raise CommandError(f"1 + 1 is not 2: {events}")
        self.terminal.line(
            f"Works     started in {started - began:.2f} s, 1 + 1 in {ended - started:.3f} s"
        )

    def progress(self, name: str, done: int, total: int) -> None:
        """A bar on a terminal; elsewhere one line per file."""
        if self.terminal.in_place and total:
            full = BAR * done // total
            bar = "#" * full + "." * (BAR - full)
            self.terminal.status(f"{name} [{bar}]", f" {done / 1e6:.1f} MB" if total > 1 else "")
        elif done == total or not self.terminal.in_place:
            self.terminal.status(f"Fetching {name}" if total != 1 else "Preparing Python")
