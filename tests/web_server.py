"""`medzoo serve` in a process of its own, with small models, and a headless Chromium in front of it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import yaml
from conftest import NUMPY_MODEL, toy_config
from numpy.typing import NDArray
from PIL import Image

from medzoo.files import sha256_of

T = TypeVar("T")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no Chromium and chromedriver on this machine"
)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PICTURES = os.environ.get("MEDZOO_SCREENSHOTS")  # a folder
PATIENCE = 120.0  # seconds, of a busy machine


def add_model(folder: Path, number: int, code: str = NUMPY_MODEL, **changes: Any) -> None:
    """Register a small package with a number of its own."""
    package = folder / f"package{number}"
    package.mkdir(parents=True)
    (package / "model.py").write_text(textwrap.dedent(code), encoding="utf-8")
    files = {"model.py": sha256_of(package / "model.py")}
    config = toy_config(**{"source": f"file:{package.name}", "files": files, **changes})
    config["id"] = f"{number:05d}_TOY_MRI_NOISE"
    (folder / f"{config['id']}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `medzoo serve` prints, and its process; models are in ``folder/configs``."""
    (folder / "configs").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "MEDZOO_MODEL_CONFIGS": str(folder / "configs"),
        "MEDZOO_CACHE": str(folder / "cache"),
        "MEDZOO_OFFLINE": "1",
        "MEDZOO_QUIET": "1",
    }
    command = [sys.executable, "-m", "medzoo", "serve", "--port", "0", *arguments]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=folder
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        (address,) = re.findall(r"http://\S+", line) or pytest.fail(
            line + (folder / "serve.log").read_text()
        )
        yield address, process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A headless Chromium of 1280x800, which notes every request that it makes."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, "--window-size=1280,800", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def requested(browser: Any) -> set[str]:
    """The addresses that the browser asked for since the last call, web sockets included."""
    addresses = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            addresses.add(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            addresses.add(message["params"]["url"])
    own = ("data:", "blob:", "chrome:", "chrome-untrusted:")  # the last two: its start page
    return {address for address in addresses if not address.startswith(own)}


def until(ask: Callable[[], T]) -> T:
    """What ``ask`` returns, once it is true and raises nothing of the browser's."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + PATIENCE
    while True:
        try:
            answer = ask()
        except WebDriverException:
            answer = None
        if answer:
            return answer
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def pixels(browser: Any) -> NDArray[np.uint8]:
    """The picture that the explorer shows."""
    source = until(lambda: one(browser, ".mz-picture img").get_attribute("src"))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def picture(browser: Any, name: str, height: int = 800) -> None:
    """Take a picture for the docs, into the folder that MEDZOO_SCREENSHOTS names."""
    if PICTURES:
        size = {"width": 1280, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(0.5)
        browser.save_screenshot(str(Path(PICTURES).absolute() / f"{name}.png"))
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def one(browser: Any, selector: str) -> Any:
    """The element that a CSS selector finds."""
    return browser.find_element("css selector", selector)


def press(browser: Any, text: str) -> None:
    """Click the button with this text."""
    until(lambda: _clicked(browser.find_element("xpath", f"//button[normalize-space()='{text}']")))


def _clicked(element: Any) -> bool:
    element.click()
    return True


def fill(browser: Any, name: str, text: str) -> None:
    """Type into the field with this name, in place of what it holds."""
    from selenium.webdriver.common.keys import Keys

    one(browser, f"input[aria-label='{name}']").send_keys(Keys.CONTROL, "a", Keys.NULL, text)


def choose(browser: Any, name: str, value: str) -> None:
    """Choose a value from the list with this name."""
    until(lambda: _clicked(one(browser, f".q-select:has([aria-label='{name}'])")))
    path = f"//*[contains(@class, 'q-menu')]//*[normalize-space()='{value}']"
    until(lambda: _clicked(browser.find_element("xpath", path)))


def drag(browser: Any, slider: str, *shares: float) -> None:
    """Take the thumb of a slider to each share of its length, and let go of it at the last one."""
    from selenium.webdriver import ActionChains

    track = until(lambda: one(browser, f".q-slider[aria-label='{slider}'] .q-slider__track"))
    width = track.size["width"]
    mouse = ActionChains(browser, duration=20)
    for k, share in enumerate(shares):
        mouse.move_to_element_with_offset(track, round((share - 0.5) * width), 0)
        if not k:
            mouse.click_and_hold()
    mouse.release().perform()


def said(browser: Any) -> str:
    """What the page says in its message."""
    return " ".join(e.text for e in browser.find_elements("css selector", ".mz-message")).strip()
