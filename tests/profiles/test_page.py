"""The report in a real browser: on a desk and a phone, in the light and the dark, and on paper."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

import pytest

from tests import browser

PICTURES = os.environ.get("ELASTIQ_SCREENSHOTS")  # a folder to keep them in
CHARTS = "[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width)"
READY = "document.readyState === 'complete' && document.querySelector('h1') !== null"
WIDER = "document.documentElement.scrollWidth > window.innerWidth"

pytestmark = pytest.mark.skipif(
    browser.found() is None, reason="no Chromium is installed: apt-get install chromium"
)


@pytest.fixture(scope="module")
def page(elastiq, motley_bundle, tmp_path_factory):
    """The page of a bundle, with what a replay found."""
    folder = tmp_path_factory.mktemp("page")
    burst, path = folder / "burst.json", folder / "report.html"
    elastiq("replay", motley_bundle, "--simulate", "--seconds", 2, "--rate", 0.05,
            "--deadline-ms", 20, "-o", burst, check=0)  # fmt: skip
    elastiq("report", motley_bundle, "--replay", burst, "-o", path, check=0)
    return path.as_uri()


@pytest.mark.parametrize(
    ("name", "width", "height", "dark"),
    [("desk", 1200, 900, False), ("desk-dark", 1200, 900, True), ("phone", 390, 800, False)],
)
def test_it_fits_and_draws(page, tmp_path, name, width, height, dark):
    async def look():
        async with browser.browsing() as tab:
            await tab.open(page, width, height, dark)
            await tab.until(READY)
            assert not await tab.run(WIDER)
            assert min(await tab.run(CHARTS)) > 250
            assert await tab.run("document.querySelectorAll('svg circle').length") >= 8
            assert await tab.run("document.querySelectorAll('tbody tr').length") > 10
            assert "Effective accuracy" in await tab.run("document.body.innerText")
            ink = await tab.run("getComputedStyle(document.body).backgroundColor")
            assert (ink == "rgb(17, 23, 30)") == dark
            await tab.picture(Path(PICTURES or tmp_path) / f"report-{name}.png")
            assert tab.complaints == []

    asyncio.run(look())


def test_it_prints(page, tmp_path):
    async def look():
        async with browser.browsing() as tab:
            await tab.open(page, 1200, 900)
            await tab.until(READY)
            return await tab.call("Page.printToPDF", printBackground=True)

    printed = base64.b64decode(asyncio.run(look())["data"])
    (Path(PICTURES or tmp_path) / "report.pdf").write_bytes(printed)
    assert printed[:5] == b"%PDF-"
    assert 1 < printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") < 12
