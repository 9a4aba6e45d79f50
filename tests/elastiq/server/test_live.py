"""The live page: what it is told, what it may set, and what a real browser makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import elastiq
from tests import browser

MODEL = "tiny"
PICTURES = os.environ.get("ELASTIQ_SCREENSHOTS")  # a folder to keep them in


@pytest.fixture(scope="module")
def image(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        return bundle.samples().input(0)["image"]


@pytest.fixture
def served(start, tiny_bundle):
    with start(f"{MODEL}={tiny_bundle}") as running:
        yield running


def post(address, path, body, token="", kind="application/json"):
    headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def refused(address, path, body, **how):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(address, path, body, **how)
    return caught.value.code, json.load(caught.value)["error"]


def infer(address, image, **parameters):
    data = {"name": "image", "datatype": "FP32", "shape": image.shape, "data": image.tolist()}
    return post(address, f"/v2/models/{MODEL}/infer", {"inputs": [data], "parameters": parameters})


def test_it_tells_what_became_of_requests_and_of_each_but_once(served, image):
    point = infer(served.http, image, deadline_ms=10_000)["parameters"]["point"]
    with pytest.raises(urllib.error.HTTPError):
        infer(served.http, image, deadline_ms=1e-6)
    with pytest.raises(urllib.error.HTTPError):
        infer(served.http, image, point="nowhere")  # wrong in itself: it says nothing of the server
    (model,) = post(served.http, "/live", {})["models"]
    first, second = model["events"]
    assert (first["state"], first["point"], first["deadline"]) == ("in time", point, 10_000)
    assert first["latency"] > 0 and 0 <= first["score"] <= 1
    assert (second["state"], second["point"]) == ("refused", None)
    assert (model["point"], model["number"], model["waiting"]) == (point, 2, 0)
    assert model["counts"] == {"in time": 1, "refused": 1}
    assert [one["name"] for one in model["points"]] == ["queries=2", "queries=8"]
    assert 0 <= model["load"]["others"] <= 1
    (again,) = post(served.http, "/live", {MODEL: 1})["models"]
    assert [event["number"] for event in again["events"]] == [2]


def test_a_pinned_point_answers_whoever_asks_for_none(served, image):
    for pinned, other in (("queries=2", "queries=8"), ("queries=8", "queries=2")):
        post(served.http, f"/live/models/{MODEL}", {"point": pinned})
        assert infer(served.http, image)["parameters"]["point"] == pinned
        assert infer(served.http, image, point=other)["parameters"]["point"] == other
    (model,) = post(served.http, "/live", {})["models"]
    assert model["hand"] == {"point": "queries=8", "deadline": None}
    assert model["counts"]["shifts"] == 2


def test_a_deadline_set_by_hand_is_that_of_requests_without_one(served, image):
    post(served.http, f"/live/models/{MODEL}", {"deadline_ms": 1e-6})
    with pytest.raises(urllib.error.HTTPError, match="504"):
        infer(served.http, image)
    infer(served.http, image, deadline_ms=10_000)
    post(served.http, f"/live/models/{MODEL}", {})
    infer(served.http, image)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"point": "nowhere"}, "no point is called 'nowhere'"),
        ({"deadline_ms": 0}, "above 0"),
        ({"deadline_ms": "soon"}, "must be a number"),
        ({"deadline_ms": True}, "must be a number"),
        ({"speed": 1}, "speed cannot be set"),
    ],
)
def test_what_makes_no_sense_is_refused(server, told, words):
    status, error = refused(server.http, f"/live/models/{MODEL}", told)
    assert status == 400 and words in error


def test_pages_of_other_sites_can_set_nothing(server):
    """A browser sends plain text anywhere without asking, and JSON only where it may."""
    status, _ = refused(server.http, f"/live/models/{MODEL}", {}, kind="text/plain")
    assert status == 400
    assert refused(server.http, "/live/models/other", {})[0] == 404


def test_with_a_token_only_the_empty_page_is_open(start, tiny_bundle, tmp_path):
    (tmp_path / "token").write_text("secret")
    with start(f"{MODEL}={tiny_bundle}", "--token-file", tmp_path / "token") as running:
        with urllib.request.urlopen(f"http://{running.http}/", timeout=60) as page:
            assert b"<!doctype html>" in page.read()
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        for path in ("/live", f"/live/models/{MODEL}"):
            assert refused(running.http, path, {})[0] == 401
            assert refused(running.http, path, {}, token="wrong")[0] == 401
            post(running.http, path, {}, token="secret")


def test_the_page_takes_nothing_from_elsewhere():
    text = (Path(elastiq.__file__).parent / "server" / "page.html").read_text()
    assert "http://" not in text and "https://" not in text and "//cdn" not in text
    assert "innerHTML" not in text  # a model's name is text, whatever it holds


@contextmanager
def traffic(address, image):
    """Requests with and without time, until the end."""
    ended = threading.Event()

    def send():
        while not ended.wait(0.02):
            for deadline in (10_000, 500, 0.1):
                with suppress(urllib.error.HTTPError):
                    infer(address, image, deadline_ms=deadline)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


in_browser = pytest.mark.skipif(
    browser.found() is None, reason="no Chromium is installed: apt-get install chromium"
)
TEXT = "document.getElementById('{}').textContent"


async def picture(tab, name, tmp_path):
    path = Path(PICTURES or tmp_path) / f"{name}.png"
    await tab.picture(path)
    assert path.stat().st_size > 5000


@in_browser
def test_a_browser_shows_what_happens_and_pins_a_point(served, image, tmp_path):
    async def look():
        async with browser.browsing() as tab:
            await tab.open(f"http://{served.http}/", 1100, 900)
            await tab.until(f"Number({TEXT.format('count')}) > 20")
            assert await tab.run(TEXT.format("state")) == "live"
            assert await tab.run(TEXT.format("point")) in ("queries=2", "queries=8")
            assert (await tab.run(TEXT.format("attainment"))).endswith(" %")
            inks = "new Set(document.getElementById('chart').getContext('2d').getImageData(0, 0, "
            inks += "1000, 200).data).size"
            assert await tab.run(inks) > 10  # something is drawn
            await picture(tab, "light", tmp_path)
            await tab.run("document.querySelector('[aria-label=\"pin queries=2\"]').click()")
            await tab.until(f"{TEXT.format('point')} === 'queries=2'")
            await tab.run("document.getElementById('deadline').value = '250'")
            await tab.run("document.getElementById('hand').requestSubmit()")
            hand = {"point": "queries=2", "deadline": 0.25}
            for _ in range(100):
                if post(served.http, "/live", {})["models"][0]["hand"] == hand:
                    break
                await asyncio.sleep(0.1)
            assert post(served.http, "/live", {})["models"][0]["hand"] == hand
            await tab.run("document.getElementById('free').click()")
            await tab.until(
                "document.getElementById('free').getAttribute('aria-pressed') == 'true'"
            )
            assert tab.complaints == []

    with traffic(served.http, image):
        asyncio.run(look())


@in_browser
def test_it_fits_a_phone_and_the_dark(served, image, tmp_path):
    async def look():
        async with browser.browsing() as tab:
            await tab.open(f"http://{served.http}/", 375, 900, dark=True)
            await tab.until(f"Number({TEXT.format('count')}) > 20")
            assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
            background = "getComputedStyle(document.body).backgroundColor"
            assert sum(map(int, (await tab.run(background))[4:-1].split(","))) < 150
            await picture(tab, "phone", tmp_path)
            assert tab.complaints == []

    with traffic(served.http, image):
        asyncio.run(look())


@in_browser
def test_it_asks_for_the_token(start, tiny_bundle, tmp_path):
    (tmp_path / "token").write_text("secret")

    async def look(address):
        async with browser.browsing() as tab:
            await tab.open(f"http://{address}/", 800, 600)
            await tab.until("document.getElementById('door').hidden === false")
            assert "wants a token" in await tab.run(TEXT.format("state"))
            await tab.run("document.getElementById('token').value = 'secret'")
            await tab.run("document.getElementById('door').requestSubmit()")
            await tab.until(f"{TEXT.format('state')} === 'live'")
            assert await tab.run("document.getElementById('door').hidden")

    with start(f"{MODEL}={tiny_bundle}", "--token-file", tmp_path / "token") as running:
        asyncio.run(look(running.http))
