"""A real Chromium without a window, driven by its own DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0  # seconds


def found():
    """The path of a browser, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page in the browser."""

    def __init__(self, socket):
        self._socket = socket
        self._number = 0
        self.complaints = []

    async def call(self, method, **parameters):
        self._number += 1
        call = {"id": self._number, "method": method, "params": parameters}
        await self._socket.send_json(call)
        while True:
            told = await self._socket.receive_json(timeout=PATIENCE)
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(told["params"])
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]

    async def run(self, script):
        """The value of an expression in the page."""
        found = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script):
        """Wait until an expression is true, and give its value."""
        for _ in range(int(10 * PATIENCE)):
            # A page that is still being loaded has no parts.
            if value := await self.run(f"(() => {{ try {{ return {script} }} catch {{ }} }})()"):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(f"never true: {script}\n{await self.run('document.body.innerText')}")

    async def open(self, address, width, height, dark=False):
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.call("Page.enable")
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        await self.size(width, height)
        await self.call("Page.navigate", url=address)

    async def size(self, width, height):
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip

    async def picture(self, path):
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def browsing():
    """A tab in a browser of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [found(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--remote-debugging-port=0",
             f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [page for page in await answer.json() if page["type"] == "page"]
                address = pages[0]["webSocketDebuggerUrl"]
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    yield Tab(socket)
        finally:
            process.terminate()
            process.wait(30)


async def _port(path):
    for _ in range(int(10 * PATIENCE)):
        if path.exists() and (lines := path.read_text().splitlines()):
            return lines[0]
        await asyncio.sleep(0.1)
    raise AssertionError("the browser does not start")
