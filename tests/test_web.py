"""The web app in a real browser, by clicks and drags: one server and one browser for all tests."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml
from conftest import NUMPY_MODEL
from PIL import Image
from test_drawing import PAINTER, PAINTER_CONFIG
from web_server import (
    PICTURES,
    add_model,
    choose,
    chromium,
    drag,
    fill,
    needs_chromium,
    one,
    picture,
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
NAME = "return arguments[0].innerText.trim() || arguments[0].closest('[aria-label]')?.ariaLabel"
PAINTER_NUMBER, SLOW, TWO_VERSIONS, PAIR, FINE, ALONE = 904, 905, 906, 907, 908, 909
SUM = """
class Model:
    def sample(self, batch):
        return {"images": batch.inputs["left"] + 10 * batch.inputs["right"]}

def load(weights_dir, device):
    return Model()
"""
SIDE: dict[str, Any] = {"kind": "image", "shape": [1, 8, 8], "required": True, "help": "A side."}
SUM_CONFIG: dict[str, Any] = {
    "latent": 0,
    "conditions": None,
    "options": None,
    "inputs": {"left": SIDE, "right": SIDE},
    "outputs": {"images": PAINTER_CONFIG["outputs"]["images"]},
}
SLEEPER = NUMPY_MODEL.replace(
    "images = np.zeros", "__import__('time').sleep(0.5); images = np.zeros"
)

ALONE_MODEL = NUMPY_MODEL.replace("images = np.zeros", "assert batch.n == 1; images = np.zeros")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, Path]]:
    folder = tmp_path_factory.mktemp("web")
    add_model(folder / "configs", 901)
    add_model(folder / "configs", 902, files=None)
    add_model(folder / "configs", 903, memory_per_sample=10**8)
    add_model(folder / "configs", PAINTER_NUMBER, PAINTER, **PAINTER_CONFIG)
    add_model(folder / "configs", SLOW, SLEEPER)
    add_model(folder / "configs", TWO_VERSIONS)
    add_model(folder / "configs", PAIR, SUM, **SUM_CONFIG)
    fine = {"type": "float", "default": 0.0005, "minimum": 0, "maximum": 0.001, "help": "Small."}
    add_model(folder / "configs", FINE, options={"gain": fine})
    add_model(folder / "configs", ALONE, ALONE_MODEL)
    add_older_version(folder / "configs" / f"{TWO_VERSIONS:05d}_TOY_MRI_NOISE.yaml")
    with served(folder) as (address, process), chromium(folder) as browser:
        yield address, browser, folder
        hosts = [urlsplit(request).hostname for request in requested(browser)]
        assert len(hosts) > 10
        assert set(hosts) == {"127.0.0.1"}
        assert not browser.get_log("browser"), "errors in the browser's own log"
        assert process.poll() is None


def add_older_version(path: Path) -> None:
    """Add version 0.9.0, in which the option ``gain`` is 7 unless it is chosen."""
    config = yaml.safe_load(path.read_text())
    older = copy.deepcopy(config["versions"]["1.0.0"])
    older["options"]["gain"]["default"] = 7
    config["versions"]["0.9.0"] = older
    path.write_text(yaml.safe_dump(config, sort_keys=False))


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


def unfolded(browser: Any) -> Any:
    """The canvas to draw on, once it has unfolded and rests in the middle of the screen."""
    one(browser, ".q-expansion-item .q-item").click()
    places = [0, 1]
    while places[-1] != places[-2]:
        canvas = one(browser, ".mz-draw canvas")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        time.sleep(0.3)
        places.append(canvas.rect["y"] if canvas.is_displayed() else len(places))
    return canvas


def form(site: tuple[str, Any, Path], number: int) -> Any:
    """The browser with the page of a model."""
    address, browser, _ = site
    browser.get(f"{address}models/{number}.html")
    until(lambda: one(browser, "input[aria-label=samples]"))
    return browser


def test_from_the_gallery_to_a_model_to_its_explorer(site: tuple[str, Any, Path]) -> None:
    address, browser, _ = site
    browser.get(f"{address}?package=bundled")
    until(lambda: one(browser, "#count").text)
    picture(browser, "see-web-gallery")
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


def downloaded(browser: Any, path: Path, folder: Path, *, n: int, seed: int) -> Path:
    """The set that a page makes as the zip ``path``, unpacked into ``folder``."""
    fill(browser, "samples", str(n))
    fill(browser, "seed", str(seed))
    press(browser, "generate")
    with zipfile.ZipFile(until(lambda: path if path.exists() else None)) as archive:
        archive.extractall(folder)
    return folder / path.stem


def test_download_is_the_set_that_the_command_makes(
    site: tuple[str, Any, Path], tmp_path: Path
) -> None:
    browser = form(site, 901)
    made = downloaded(browser, site[2] / "medzoo_901_seed7.zip", tmp_path, n=5, seed=7)
    assert np.array_equal(medzoo.read(made).images, medzoo.generate(901, 5, seed=7).images)
    link = until(lambda: browser.find_element("partial link text", "medzoo_901_seed7.zip"))
    assert "/made/" in link.get_attribute("href")


def test_an_older_version_is_chosen_explored_and_downloaded(site: tuple[str, Any, Path]) -> None:
    browser = form(site, TWO_VERSIONS)
    choose(browser, "version", "0.9.0")
    until(lambda: browser.current_url.endswith("?version=0.9.0"))
    until(lambda: one(browser, "input[aria-label=samples]"))
    fill(browser, "seed", "7")
    press(browser, "generate")
    path = until(lambda: p if (p := site[2] / "medzoo_906_seed7.zip").exists() else None)
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("provenance.json"))
        assert json.loads(archive.read(name))["version"] == "0.9.0"
    browser.find_element("partial link text", "explore").click()
    until(lambda: pixels(browser)[0, 5] == 7)
    assert "version='0.9.0'" in one(browser, "code.mz-line").text


def test_a_version_that_does_not_exist_is_answered(site: tuple[str, Any, Path]) -> None:
    address, browser, _ = site
    for page in (f"models/{TWO_VERSIONS}.html", f"explore/{TWO_VERSIONS}"):
        browser.get(f"{address}{page}?version=3.0.0")
        assert until(lambda: t if "3.0.0" in (t := said(browser)) else "")


def test_wrong_numbers_are_answered_and_the_form_is_kept(site: tuple[str, Any, Path]) -> None:
    browser = form(site, 901)
    for samples, answer in (
        ("10000000", "at most 2,000"),
        ("many", "not a number"),
        ("0", "at least 1"),
        ("99999999999999999999999", "at most 2,000"),
    ):
        fill(browser, "samples", samples)
        press(browser, "generate")
        until(lambda answer=answer: answer in said(browser))
        assert one(browser, "input[aria-label=samples]").get_attribute("value") == samples
    fill(browser, "samples", "2")
    fill(browser, "seed", "-1")
    press(browser, "generate")
    until(lambda: "'-1' is not a number of seed" in said(browser))


def test_run_is_cancelled_while_others_go_on(site: tuple[str, Any, Path]) -> None:
    browser = form(site, SLOW)
    fill(browser, "samples", "2000")
    press(browser, "generate")
    until(lambda: " of 2000 samples" in said(browser))
    browser.switch_to.new_window("tab")
    explored(site, SLOW)  # its picture is made between two batches
    browser.close()
    browser.switch_to.window(browser.window_handles[0])
    press(browser, "cancel")
    until(lambda: "cancelled" in said(browser))


def upload(browser: Any, name: str, *paths: Path) -> None:
    """Choose files for the input ``name``, all at once."""
    field = until(lambda: one(browser, f"[aria-label='upload {name}'] input[type=file]"))
    field.send_keys("\n".join(map(str, paths)))


def test_wrong_upload_is_answered(site: tuple[str, Any, Path], tmp_path: Path) -> None:
    browser = form(site, PAINTER_NUMBER)
    text, small = tmp_path / "notes.txt", tmp_path / "small.png"
    text.write_text("not a picture")
    Image.new("L", (3, 3)).save(small)
    for path in (text, small):
        upload(browser, "masks", path)
        until(lambda path=path: path.name in said(browser))
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(30_000_000)
    upload(browser, "masks", huge)
    until(lambda: "at most 20 MB" in said(browser))
    right = tmp_path / "right.png"
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(right)
    upload(browser, "masks", right)
    until(lambda: "1 file for masks" in said(browser))


def test_two_inputs_are_uploaded_one_after_the_other(
    site: tuple[str, Any, Path], tmp_path: Path
) -> None:
    browser = form(site, PAIR)
    for name, value in (("right", 3), ("left", 4)):
        path = tmp_path / f"{name}.png"
        Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)
        upload(browser, name, path)
        until(lambda name=name: f"1 file for {name}" in said(browser))
    made = downloaded(browser, site[2] / "medzoo_907_seed1.zip", tmp_path, n=1, seed=1)
    assert (medzoo.read(made).images == 34).all()


def test_uploads_go_together_in_the_natural_order_of_their_names(
    site: tuple[str, Any, Path], tmp_path: Path
) -> None:
    browser = form(site, PAIR)
    for name, factor in (("left", 1), ("right", 2)):
        paths = []
        for number in (10, 2, 1):
            path = tmp_path / f"{name}{number}.png"
            Image.fromarray(np.full((8, 8), factor * number, np.uint8)).save(path)
            paths.append(path)
        if name == "right":
            paths.reverse()
        for count, path in enumerate(paths, start=1):
            upload(browser, name, path)
            expected = f"{count} file{'s' * (count > 1)} for {name}"
            until(lambda expected=expected: expected in said(browser))
    made = downloaded(browser, site[2] / "medzoo_907_seed2.zip", tmp_path, n=3, seed=2)
    images = medzoo.read(made).images
    assert images[:, 0, 0, 0].tolist() == [21, 42, 210]


def test_mask_is_drawn_and_painted(site: tuple[str, Any, Path]) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = explored(site, PAINTER_NUMBER)
    canvas = unfolded(browser)
    press(browser, "generated mask")
    pixel = canvas.size["width"] / 8
    mouse = ActionChains(browser, duration=20)
    mouse.move_to_element_with_offset(canvas, round(-2.5 * pixel), round(0.5 * pixel))
    mouse.click_and_hold().move_by_offset(round(5 * pixel), 0).release().perform()
    press(browser, "paint")
    until(lambda: pixels(browser).max() > 100)
    choose(browser, "masks", "none")
    until(lambda: pixels(browser).ndim == 2)
    shown = pixels(browser)
    assert (shown[0] == 110).all()
    assert (shown[4, 1:7] == 110).all()
    assert (shown[7] == 10).all()
    canvas.send_keys(Keys.ARROW_DOWN * 3, " ")
    press(browser, "paint")
    until(lambda: pixels(browser)[7].max() == 110)
    press(browser, "undo")
    until(lambda: pixels(browser)[7].max() == 10)


def test_everything_is_reached_by_the_keyboard(site: tuple[str, Any, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = explored(site)
    names: list[str] = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.switch_to.active_element
        names.append(browser.execute_script(NAME, focused))
    expected = {"all models", "random", "undo", "its value", "condition", "gain", "seed", "mark A"}
    assert expected <= set(names)
    one(browser, ".q-slider[aria-label='gain'] [tabindex='0']").send_keys(Keys.ARROW_RIGHT)
    until(lambda: pixels(browser)[0, 5] == 4)


def test_controls_set_the_state_and_the_line_of_python(site: tuple[str, Any, Path]) -> None:
    browser = explored(site)
    choose(browser, "condition", "malignant")
    until(lambda: pixels(browser)[0, 0] == 1)
    fill(browser, "seed", "17\n")
    until(lambda: "seed=17" in one(browser, "code.mz-line").text)
    names: dict[str, Any] = {"medzoo": medzoo}
    exec(one(browser, "code.mz-line").text, names)
    assert np.array_equal(names["samples"].images[0, 0], pixels(browser))
    fill(browser, "seed", "no\n")
    until(lambda: "not a valid seed" in said(browser))
    press(browser, "mark A")
    fill(browser, "seed", "18\n")
    until(lambda: "seed=18" in one(browser, "code.mz-line").text)
    press(browser, "mark B")
    until(lambda: not browser.find_elements("css selector", ".disabled[aria-label='A to B']"))

    def is_back_at_a() -> bool:  # a busy browser may miss a drag
        drag(browser, "A to B", 0.2, 0.0)
        time.sleep(1)
        return np.array_equal(pixels(browser)[0, 1:5], names["samples"].images[0, 0, 0, 1:5])

    until(is_back_at_a)
    choose(browser, "side by side", "4")
    until(lambda: pixels(browser).shape == (18, 18))
    press(browser, "save state")
    path = until(lambda: p if (p := site[2] / "medzoo_901_seed18.zip").exists() else None)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["medzoo_901_seed18.json", "medzoo_901_seed18.png"]


def test_a_latent_number_that_is_being_typed_stops_nothing(site: tuple[str, Any, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = explored(site, SLOW)
    until(lambda: one(browser, ".mz-explorer").get_attribute("aria-busy") == "false")
    for _ in range(4):
        press(browser, "random")
    fill(browser, "latent, 0 to 3", Keys.BACKSPACE)
    until(lambda: one(browser, ".mz-explorer").get_attribute("aria-busy") == "false")
    seed = one(browser, "input[aria-label=seed]").get_attribute("value")
    assert f"seed={seed}," in one(browser, "code.mz-line").text
    assert one(browser, "input[aria-label='latent, 0 to 3']").get_attribute("value") == ""


def test_a_waiting_move_stays_with_its_latent(site: tuple[str, Any, Path]) -> None:
    browser = explored(site, SLOW)
    until(lambda: one(browser, ".mz-explorer").get_attribute("aria-busy") == "false")
    own = pixels(browser)[0, 1:5]
    drag(browser, "its value", 0.5, 0.7, 1.0)
    fill(browser, "latent, 0 to 3", "2\n")
    until(lambda: pixels(browser)[0, 1] == 188)  # 128 + 20 * 3
    until(lambda: one(browser, ".mz-explorer").get_attribute("aria-busy") == "false")
    assert np.array_equal(pixels(browser)[0, 2:5], own[1:])


def test_a_slider_of_small_steps_shows_the_state(site: tuple[str, Any, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = explored(site, FINE)
    thumb = one(browser, ".q-slider[aria-label='gain'] [tabindex='0']")
    thumb.send_keys(Keys.ARROW_RIGHT)
    until(lambda: "gain=0.00051" in one(browser, "code.mz-line").text)
    assert "+0.00051" in one(browser, "main").text
    press(browser, "undo")
    until(lambda: "+0.0005\n" in one(browser, "main").text + "\n")
    assert "+0.00051" not in one(browser, "main").text


def test_samples_side_by_side_that_cannot_be_made_are_not_shown_as_chosen(
    site: tuple[str, Any, Path],
) -> None:
    browser = explored(site, ALONE)
    choose(browser, "side by side", "4")
    until(lambda: one(browser, ".mz-message.mz-bad"))
    chosen = ".q-select:has([aria-label='side by side'])"
    until(lambda: one(browser, chosen).text.split()[:1] == ["1"])
    press(browser, "random")
    until(lambda: "seed=0," not in one(browser, "code.mz-line").text)
    assert pixels(browser).shape == (8, 8)


def test_saving_waits_for_a_change_that_goes_on(site: tuple[str, Any, Path]) -> None:
    browser = explored(site, SLOW)
    until(lambda: one(browser, ".mz-explorer").get_attribute("aria-busy") == "false")
    press(browser, "random")
    press(browser, "save state")
    path = until(lambda: next(site[2].glob("medzoo_905_seed*.zip"), None))
    with zipfile.ZipFile(path) as archive:
        state = json.loads(archive.read(f"{path.stem}.json"))
        with archive.open(f"{path.stem}.png") as file:
            saved = np.asarray(Image.open(file))
    assert state["arguments"]["seed"] != 0
    assert np.array_equal(saved, medzoo.generate(**state["arguments"]).images[0, 0])


def test_page_fits_a_narrow_screen(site: tuple[str, Any, Path]) -> None:
    address, browser, _ = site
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for page in ("", "models/901.html", "explore/901", f"explore/{PAINTER_NUMBER}"):
            browser.get(f"{address}{page}")
            until(lambda: one(browser, "#models, .mz-form, .mz-picture img"))
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= 400, page
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_visualize_shows_a_loaded_model_in_a_browser(site: tuple[str, Any, Path]) -> None:
    browser, folder = site[1], site[2]
    # A shell that starts commands in the background has them ignore the signal.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "import medzoo; print(medzoo.visualize(901, ui='web', seed=4)); print('went on')"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        words: list[str] = []
        while "/own/1" not in " ".join(words):
            words = process.stdout.readline().split()
        browser.get(words[-1])
        expected = medzoo.generate(901, 1, seed=4, condition="benign").images[0, 0]
        assert np.array_equal(pixels(browser), expected)
        process.send_signal(signal.SIGINT)
        assert "went on" in process.stdout.read()
    assert process.returncode == 0


def test_phantom_begins_with_named_directions(site: tuple[str, Any, Path]) -> None:
    browser = explored(site, 109)
    if browser.find_elements("xpath", "//button[normalize-space()='find directions']"):
        press(browser, "find directions")
    until(lambda: one(browser, ".q-slider[aria-label='size']"))
    masks = {}
    choose(browser, "masks", "beside")
    for share in (0.1, 0.9):
        before = pixels(browser)
        drag(browser, "size", 0.5, share)
        until(lambda before=before: not np.array_equal(pixels(browser), before))
        until(lambda: one(browser, ".mz-explorer").get_attribute("aria-busy") == "false")
        masks[share] = pixels(browser).any(axis=2)[:, pixels(browser).shape[1] // 2 :].sum()
    assert masks[0.9] > 1.5 * masks[0.1]
    choose(browser, "masks", "outline")
    until(lambda: one(browser, ".mz-explorer").get_attribute("aria-busy") == "false")
    option = browser.find_elements("css selector", ".q-slider[aria-label='contrast']")[-1]
    assert "1" in option.find_element("xpath", "../output").text
    browser.execute_script("scrollTo(0, 0)")
    picture(browser, "see-web")


@pytest.mark.skipif(not PICTURES, reason="MEDZOO_SCREENSHOTS takes the pictures of the docs")
def test_parotid_model_paints_around_a_stroke(site: tuple[str, Any, Path]) -> None:
    from selenium.webdriver import ActionChains

    browser = explored(site, 104)
    until(lambda: "finding" not in said(browser))
    before = pixels(browser)
    canvas = unfolded(browser)
    press(browser, "generated mask")
    mouse = ActionChains(browser, duration=20).move_to_element_with_offset(canvas, -95, -35)
    mouse.click_and_hold().move_by_offset(20, 30).release().perform()
    press(browser, "paint")
    until(lambda: not np.array_equal(pixels(browser), before))
    choose(browser, "masks", "beside")
    until(lambda: pixels(browser).shape[1] == 2 * pixels(browser).shape[0])
    drawn = pixels(browser)[:, pixels(browser).shape[0] :].any(axis=2)
    own = medzoo.generate(104, 1, seed=0).masks[0, 0] > 0
    assert drawn.mean() > 1.2 * own.mean()
    choose(browser, "masks", "outline")
    browser.execute_script("scrollTo(0, 0)")
    picture(browser, "see-web-mask", 1230)
