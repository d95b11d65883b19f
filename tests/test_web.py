"""The web app in a real browser, by clicks and drags: one server and one browser for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_server import (
    add_model,
    chromium,
    drag,
    needs_chromium,
    one,
    pixels,
    press,
    requested,
    said,
    served,
    until,
)

import medzoo
from medzoo import registry

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, Path]]:
    folder = tmp_path_factory.mktemp("web")
    add_model(folder / "configs", 901)
    add_model(folder / "configs", 902, files=None)
    add_model(folder / "configs", 903, memory_per_sample=10**8)
    with served(folder) as (address, process), chromium(folder) as browser:
        yield address, browser, folder
        requests = requested(browser)
        host = address.partition("//")[2].strip("/")
        assert len(requests) > 10
        assert {request.split("/")[2] for request in requests} == {host}
        assert not browser.get_log("browser"), "errors in the browser's own log"
        assert process.poll() is None


@pytest.fixture(autouse=True)
def toys(site: tuple[str, Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(site[2] / "configs"))
    registry.lookup._registry.cache_clear()


def explored(site: tuple[str, Any, Path], number: int = 901) -> Any:
    """The browser with an explorer that has just been opened."""
    address, browser, _ = site
    browser.get(f"{address}explore/{number}")
    until(lambda: one(browser, ".mz-picture img").get_attribute("src"))
    return browser


def test_from_the_gallery_to_a_model_to_its_explorer(site: tuple[str, Any, Path]) -> None:
    address, browser, _ = site
    browser.get(address)
    one(browser, "input[name=words]").send_keys("00901")
    assert until(lambda: one(browser, "#count").text) == f"1 of {len(medzoo.list_models())} models"
    browser.find_element("partial link text", "00901").click()
    until(lambda: "A. Tester" in one(browser, "main").text)
    assert "medzoo.generate(901, 4)" in one(browser, "main").text
    browser.find_element("partial link text", "explore").click()
    assert np.array_equal(pixels(browser), medzoo.generate(901, 1, seed=0).images[0, 0])


def test_a_dragged_slider_changes_its_latent_and_the_picture(site: tuple[str, Any, Path]) -> None:
    browser = explored(site)
    before = pixels(browser)
    drag(browser, "its value", 0.5, 0.6, 0.8, 1.0)
    until(lambda: pixels(browser)[0, 1] == 188)  # 128 + 20 * 3
    after = pixels(browser)
    assert np.array_equal(np.argwhere(after != before), [[0, 1]])
    press(browser, "undo")
    until(lambda: pixels(browser)[0, 1] != 188)
    press(browser, "reset")
    until(lambda: np.array_equal(pixels(browser), before))


def test_a_model_that_cannot_run_here_says_why(site: tuple[str, Any, Path]) -> None:
    address, browser, _ = site
    browser.get(f"{address}explore/902")
    assert "trust" in until(lambda: t if "trust" in (t := said(browser)) else "")
    browser.get(f"{address}explore/903")
    assert "memory" in until(lambda: t if "memory" in (t := said(browser)) else "")
    browser.get(f"{address}explore/777")
    assert until(lambda: said(browser)).startswith("There is no model '777'.")
