"""Take the README's screenshots: pages of a generated service's viewer. Run it with `make screenshots`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, expect

from tests.environments import sync
from tests.viewer.browser import chromium
from tests.viewer.viewer import Viewer
from tools.demo import OWN_DATABASE, REPO, bake

SIZE = {"width": 1280, "height": 680}


def main() -> int:
    with TemporaryDirectory(prefix="otel-screenshots-") as name:
        folder = Path(name)
        project = bake(folder)
        python = sync(project, dev=True)
        with Viewer(project, python, folder, OWN_DATABASE) as viewer, chromium(folder) as browser:
            for _ in range(4):
                viewer.send_requests()
            page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
            page.goto(viewer.page)
            page.get_by_role("option").filter(has_text="502").first.click()
            page.get_by_role("treeitem").filter(has_text="process_payment").click()
            expect(page.get_by_label("Span", exact=True)).to_contain_text("payment service failed")
            save(page, "viewer-trace.png")
            page = browser.new_page(viewport=SIZE, color_scheme="dark")  # type: ignore[arg-type]
            page.goto(f"{viewer.page}/#/metrics")
            for _ in range(5):
                viewer.send_requests()
                page.wait_for_timeout(5000)  # a data point arrives every five seconds
            save(page, "viewer-metrics.png")
    return 0


def save(page: Page, name: str) -> None:
    """Save a screenshot with a palette: a quarter of the size, with no visible difference."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = REPO / "docs" / name
    path.parent.mkdir(exist_ok=True)
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    sys.exit(main())
