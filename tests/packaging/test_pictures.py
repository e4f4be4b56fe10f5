"""The pictures of the README: there, small, shown, and of pages that exist. `make screenshots` makes them anew; tests do not, since times differ each time."""

import re
import time
from unittest.mock import Mock

import pytest
from headrace_broker.rpc.access import LEAST
from headrace_broker.web.manager import Manager
from starlette.routing import Route

from tests.support.processes import ROOT

screenshots = pytest.importorskip("demo.screenshots", reason="needs playwright")


def test_each_picture_is_there_small_and_shown() -> None:
    shown = (ROOT / "README.md").read_text() + (ROOT / "docs" / "manager.md").read_text()
    for picture in screenshots.PICTURES:
        data = (screenshots.IMAGES / f"{picture.name}.png").read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) < screenshots.MOST_BYTES, picture.name
        assert f"images/{picture.name}.png" in shown, f"nothing shows {picture.name}.png"
    known = {f"{picture.name}.png" for picture in screenshots.PICTURES}
    assert {path.name for path in screenshots.IMAGES.iterdir()} == known
    assert set(re.findall(r"images/([\w-]+\.png)", shown)) == known


def test_each_picture_is_of_a_page_of_the_manager() -> None:
    manager = Manager(Mock(), Mock(), "x", LEAST, time.monotonic)
    pages = [route.path_regex for route in manager.routes if isinstance(route, Route) and route.methods is not None and "GET" in route.methods]
    for picture in screenshots.PICTURES:
        path = re.sub(r"\{\w+\}", "1", picture.address).partition("?")[0]
        assert any(page.match(path) for page in pages), f"there is no page {path}"
