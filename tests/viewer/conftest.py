"""Projects with their development tools, and a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import unavailable
from tests.environments import sync
from tests.viewer.browser import NoBrowserError, chromium

TIMEOUT = 30_000
"""Milliseconds to wait for something to appear, on a busy machine."""


@pytest.fixture(scope="session")
def developed(bake: Callable[..., Path]) -> Callable[..., tuple[Path, Path]]:
    """Return the project of the given answers, and the Python of its environment, development tools included."""

    @cache
    def developed(**answers: str) -> tuple[Path, Path]:
        project = bake(fresh=True, **answers)
        return project, sync(project, dev=True)

    return developed


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser that all tests of the page share."""
    try:
        with chromium(tmp_path_factory.mktemp("chromium")) as browser:
            yield browser
    except NoBrowserError as reason:
        unavailable(reason)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose errors fail the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.set_default_timeout(TIMEOUT)
    expect.set_options(timeout=TIMEOUT)
    yield page
    page.close()
    assert errors == []
