"""The pictures of the README: a broker with something of everything in it, seen in Chromium. `make screenshots` makes docs/images anew.

Needs playwright and a Chromium, as the tests of the pages do. Times and ids differ each time, so pictures are made when the pages have changed, not with each test run.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from headrace_client import AdminClient, Client
from playwright.async_api import Page, async_playwright

from demo import sights
from demo.servers import start_agent, start_broker
from demo.sights import Seen

IMAGES = Path(__file__).parent.parent / "docs" / "images"
MOST_BYTES = 150_000
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
SIZE = (1280, 720)


@dataclass(frozen=True)
class Picture:
    """`address` may name {graph}, {repaired}, {runs} and {operation} of `sights.fill`."""

    name: str
    address: str
    scheme: str = "light"
    size: tuple[int, int] = SIZE


PICTURES = (
    Picture("jobs", "/jobs"),
    Picture("graph", "/jobs/{graph}?tab=graph"),
    Picture("log", "/jobs/{runs}?tab=log", "dark"),
    Picture("data", "/jobs/{repaired}?tab=data&from=0&to=VERSION"),
    Picture("operation", "/operations/{operation}"),
    Picture("type", "/types/import.rows", "dark"),
)


async def take(page: Page, base: str, seen: Seen, folder: Path) -> None:
    """Makes the pictures."""
    for picture in PICTURES:
        await page.set_viewport_size({"width": picture.size[0], "height": picture.size[1]})
        await page.emulate_media(color_scheme="dark" if picture.scheme == "dark" else "light")
        address = picture.address.format(graph=seen.graph, repaired=seen.repaired, runs=seen.runs, operation=seen.operation).replace("VERSION", str(seen.version))
        answer = await page.goto(base + address)
        if answer is None or not answer.ok:
            raise SystemExit(f"{address} cannot be shown: {answer.status if answer else 'no answer'}")
        await page.screenshot(path=folder / f"{picture.name}.png")


async def _main() -> None:
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="headrace-pictures-"))
    IMAGES.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        broker, ready = await start_broker(directory, "127.0.0.1:0")
        stack.push_async_callback(broker.stop)
        agent = await start_agent(directory, ready["grpc"][0], 1, "demo.orders:agent")
        stack.push_async_callback(agent.stop)
        client = await stack.enter_async_context(Client(ready["grpc"][0]))
        admin = await stack.enter_async_context(AdminClient(ready["grpc"][0], actor="ada"))
        seen = await sights.fill(client, admin, pause_s=0.25)
        try:  # so that there is a log, and a minute with something in it; the newest jobs are orders
            async with asyncio.timeout(5):
                await sights.go_on(client, every_s=1)
        except TimeoutError:
            pass
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        stack.push_async_callback(browser.close)
        page = await browser.new_page()
        await page.goto(ready["web"])
        await take(page, f"http://{ready['http']}", seen, IMAGES)
    for picture in PICTURES:
        path = IMAGES / f"{picture.name}.png"
        print(f"{path.relative_to(IMAGES.parent.parent)} {path.stat().st_size:,} bytes")
        if path.stat().st_size > MOST_BYTES:
            sys.exit(f"{path.name} has more than {MOST_BYTES:,} bytes: show less, or a smaller part")


if __name__ == "__main__":
    asyncio.run(_main())
