"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from playwright.sync_api import Browser, sync_playwright

FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync
"""


class NoBrowserError(Exception):
    """Chromium is not installed here."""


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Run a browser that stores its profile in `folder`."""
    program = shutil.which("chromium")
    if program is None:
        raise NoBrowserError("Chromium is not installed (Debian's package `chromium`)")
    with patch.dict(os.environ, {"TMPDIR": str(folder), "HOME": str(folder)}), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield browser
        browser.close()
