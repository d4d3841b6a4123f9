"""A real browser for tests of the admin's pages: Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.gateway import Gateway

QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
"""Nothing of it leaves the machine; as root, it has no sandbox of its own."""


@contextmanager
def logged_in(gateway: Gateway) -> Iterator[Page]:
    """A page of the admin, as its first superuser sees it. Errors of scripts fail the test."""
    chromium = os.environ.get("GATEWAY_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium: `apt-get install chromium`, or set GATEWAY_TEST_CHROMIUM")
    port = gateway.url.rpartition(":")[2]
    link = gateway.manage("loginlink", "--port", port).split()[-1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET.split())
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(link)
        if page.locator("form [type=submit]").count() and "/once/" in page.url:
            page.locator("form [type=submit]").first.click()
        yield page
        browser.close()
    assert not errors
