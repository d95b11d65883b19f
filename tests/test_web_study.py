"""Reader studies in a real browser: by keys and clicks, paused, killed, resumed."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from studies import real_pictures, truths
from web_server import chromium, needs_chromium, one, press, requested, said, served, until

import medzoo
from medzoo import study
from medzoo.errors import InputError
from medzoo.study import Study
from medzoo.web import serve

pytestmark = needs_chromium
Toy = Callable[..., int]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def made(toy: Toy, tmp_path: Path) -> Study:
    return study.new(
        tmp_path / "turing",
        real_pictures(tmp_path / "real"),
        toy(),
        n=3,
        training=2,
        likert="realism",
        closing=["Why?"],
        seed=1,
    )


@pytest.fixture
def address(made: Study, tmp_path: Path) -> Iterator[str]:
    with served(tmp_path, "--study", str(made.folder)) as (found, _):
        yield f"{found}study/{made.id[:8]}"


def keys(browser: Any, *pressed: str) -> None:
    """Press keys, one after the other, wherever the focus is."""
    from selenium.webdriver import ActionChains

    for key in pressed:
        ActionChains(browser).send_keys(key).perform()


def begin(browser: Any, address: str, name: str, years: str = "", how: str = "begin") -> None:
    browser.get(address)
    until(lambda: one(browser, "input[aria-label^='your name']")).send_keys(name)
    one(browser, "input[aria-label^='years']").send_keys(years)
    press(browser, how)


def place(browser: Any) -> str:
    """Which item the page shows, such as ``3 of 8``."""
    return until(lambda: re.search(r"\d+ of \d+", one(browser, ".mz-study").text))[0]


def answer(browser: Any, rating: str, realism: str, at: str) -> None:
    """Answer the item that is shown by keys alone, and see that the page goes on."""
    from selenium.webdriver.common.keys import Keys

    until(lambda: place(browser) == at)
    keys(browser, rating, realism)
    until(lambda: browser.switch_to.active_element.text == "confirm")
    keys(browser, Keys.ENTER)


def test_a_reader_goes_through_by_keys_alone(
    browser: Any, address: str, made: Study, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    begin(browser, address, "Dr A", "12")
    for number in (1, 2):
        answer(browser, "6", "2", f"{number} of 8")
        text = until(lambda: one(browser, ".mz-truth").text)
        assert re.match(r"(Right. This picture is synthetic|Wrong. This picture is real)\.", text)
        until(lambda: browser.switch_to.active_element.text == "next")
        keys(browser, Keys.ENTER)
    for number in range(3, 9):
        until(lambda number=number: place(browser) == f"{number} of 8")
        keys(browser, "9", "1", "3", Keys.BACKSPACE, "4")  # 9 is no answer; 3 is taken back
        until(lambda: browser.switch_to.active_element.text == "confirm")
        keys(browser, Keys.ENTER)
    until(lambda: one(browser, "textarea[aria-label='Why?']")).send_keys("the noise")
    press(browser, "send")
    until(lambda: "Thank you" in one(browser, ".mz-study").text)
    (reader,) = made.readers()
    assert (reader.name, reader.experience, reader.closing) == ("Dr A", 12, {"Why?": "the noise"})
    stored = [a for a in made._store.answers() if not made._store.items()[a.item][1]]
    assert [(a.rating, a.scales["realism"]) for a in stored] == [(1, 4)] * 6
    assert all(0 < a.seconds < 600 for a in stored)
    assert made.report().figure("specificity").value == 1


def test_the_page_shows_the_picture_and_nothing_about_it(
    browser: Any, address: str, made: Study
) -> None:
    browser.get("about:blank")  # servers of other tests have ended
    requested(browser)
    browser.get_log("browser")
    begin(browser, address, "Dr A")
    image = until(lambda: one(browser, ".mz-picture img"))
    png = base64.b64decode(image.get_attribute("src").partition(",")[2])
    reading = made.start("Dr A", resume=True)
    assert png == made.picture(reading.current.pictures[0])
    page = browser.page_source
    for name in (*truths(made), *made._store.items(), "sample 1", "benign"):
        assert name not in page
    hosts = {address.split("/")[2] for address in requested(browser)}
    assert hosts == {address.split("/")[2]}
    assert not browser.get_log("browser")


def test_a_name_that_is_taken_is_refused_and_resumed(
    browser: Any, address: str, made: Study
) -> None:
    begin(browser, address, "Dr A", "12")
    answer(browser, "6", "2", "1 of 8")
    until(lambda: made.readers()[0].answered == 1)
    begin(browser, address, "dr a")
    assert "There is a reader 'dr a' already" in until(lambda: said(browser))
    press(browser, "resume")
    assert until(lambda: place(browser)) == "2 of 8"
    begin(browser, address, "Dr B", how="resume")
    assert "There is no reader 'Dr B' to resume" in until(lambda: said(browser))
    begin(browser, address, "Dr B", "900")
    assert "experience=900" in until(lambda: said(browser))
    assert [reader.name for reader in made.readers()] == ["Dr A"]


def test_a_pause_hides_the_picture_and_stops_the_clock(
    browser: Any, address: str, made: Study
) -> None:
    begin(browser, address, "Dr A")
    until(lambda: one(browser, ".mz-picture img").is_displayed())
    keys(browser, "p")
    until(lambda: "The clock stands still" in one(browser, ".mz-study").text)
    assert not one(browser, ".mz-picture img").is_displayed()
    keys(browser, "6")  # not an answer now
    press(browser, "continue")
    until(lambda: one(browser, ".mz-picture img").is_displayed())
    assert not browser.find_elements("css selector", "button[aria-pressed='true']")
    answer(browser, "5", "5", "1 of 8")
    until(lambda: made.readers()[0].answered == 1)


def test_a_pause_keeps_the_answers_and_the_comment(browser: Any, address: str, made: Study) -> None:
    from selenium.webdriver.common.keys import Keys

    begin(browser, address, "Dr A")
    until(lambda: place(browser) == "1 of 8")
    keys(browser, "6", "2")
    until(lambda: browser.switch_to.active_element.text == "confirm")
    one(browser, "input[aria-label^='comment']").send_keys("too smooth")
    for _ in range(2):
        press(browser, "pause")
        until(lambda: "The clock stands still" in one(browser, ".mz-study").text)
        press(browser, "continue")
        until(lambda: one(browser, ".mz-picture img").is_displayed())
        assert "The clock stands still" not in one(browser, ".mz-study").text
    assert len(browser.find_elements("css selector", "button[aria-pressed='true']")) == 2
    until(lambda: browser.switch_to.active_element.text == "confirm")
    keys(browser, Keys.ENTER)
    until(lambda: made.readers()[0].answered == 1)
    (stored,) = made._store.answers()
    assert (stored.rating, stored.scales["realism"], stored.comment) == (6, 2, "too smooth")


def test_an_answer_in_another_window_during_a_pause_moves_on(
    browser: Any, address: str, made: Study
) -> None:
    begin(browser, address, "Dr A")
    until(lambda: place(browser) == "1 of 8")
    keys(browser, "6")
    until(lambda: browser.find_elements("css selector", "button[aria-pressed='true']"))
    keys(browser, "p")
    until(lambda: "The clock stands still" in one(browser, ".mz-study").text)
    other = made.start("Dr A", resume=True)
    other.answer(other.current.id, 1, scales={"realism": 1})
    press(browser, "continue")
    until(lambda: place(browser) == "2 of 8")
    assert not browser.find_elements("css selector", "button[aria-pressed='true']")


def test_a_page_that_is_loaded_again_knows_its_reader(
    browser: Any, address: str, made: Study
) -> None:
    from selenium.webdriver.common.keys import Keys

    begin(browser, address, "Dr A")
    answer(browser, "6", "2", "1 of 8")
    until(lambda: one(browser, ".mz-truth").text)
    browser.refresh()
    name = until(lambda: one(browser, "input[aria-label^='your name']"))
    assert name.get_attribute("value") == "Dr A"
    until(lambda: browser.switch_to.active_element.text == "resume")
    keys(browser, Keys.ENTER)
    assert until(lambda: place(browser)) == "2 of 8"


def test_two_readers_at_once_do_not_mix(browser: Any, address: str, made: Study) -> None:
    first = browser.current_window_handle
    begin(browser, address, "Dr A")
    until(lambda: place(browser) == "1 of 8")
    browser.switch_to.new_window("tab")
    second = browser.current_window_handle
    begin(browser, address, "Dr B")
    answer(browser, "1", "1", "1 of 8")
    until(lambda: one(browser, ".mz-truth").text)
    browser.switch_to.window(first)
    answer(browser, "6", "5", "1 of 8")
    until(lambda: one(browser, ".mz-truth").text)
    stored = {a.reader: (a.rating, a.scales["realism"]) for a in made._store.answers()}
    assert stored == {"dr a": (6, 5), "dr b": (1, 1)}
    browser.switch_to.window(second)
    browser.close()
    browser.switch_to.window(first)


def test_an_answer_in_another_window_stays(browser: Any, address: str, made: Study) -> None:
    begin(browser, address, "Dr A")
    until(lambda: place(browser) == "1 of 8")
    other = made.start("Dr A", resume=True)
    other.answer(other.current.id, 1, scales={"realism": 1})
    answer(browser, "6", "5", "1 of 8")
    assert "answered in another window" in until(lambda: said(browser))
    assert place(browser) == "2 of 8"
    assert made._store.answers()[0].rating == 1


def test_answers_survive_a_killed_server(browser: Any, made: Study, tmp_path: Path) -> None:
    import signal

    with served(tmp_path, "--study", str(made.folder)) as (found, process):
        begin(browser, f"{found}study/{made.id[:8]}", "Dr A")
        answer(browser, "6", "2", "1 of 8")
        until(lambda: one(browser, ".mz-truth").text)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert made.readers()[0].answered == 1
    with served(tmp_path, "--study", str(made.folder)) as (found, _):
        begin(browser, f"{found}study/{made.id[:8]}", "Dr A", how="resume")
        until(lambda: place(browser) == "2 of 8")
    browser.get_log("browser")  # the connection was lost, as it should


def test_pairs_stand_side_by_side_and_are_clicked(browser: Any, toy: Toy, tmp_path: Path) -> None:
    made = study.new(
        tmp_path / "pairs", real_pictures(tmp_path / "real"), toy(), n=2, pairs=True, seed=1
    )
    with served(tmp_path, "--study", str(made.folder)) as (found, _):
        begin(browser, f"{found}study/{made.id[:8]}", "Dr A")
        images = until(lambda: browser.find_elements("css selector", ".mz-picture img"))
        left, right = (image.rect for image in images)
        assert left["x"] + left["width"] <= right["x"]
        assert left["y"] == right["y"]
        press(browser, "2 right")
        press(browser, "confirm")
        until(lambda: place(browser) == "2 of 2")
    assert made._store.answers()[0].rating == 2


def test_a_read_only_server_takes_no_answers(browser: Any, made: Study, tmp_path: Path) -> None:
    with served(tmp_path, "--read-only", "--study", str(made.folder)) as (found, _):
        browser.get(f"{found}study/{made.id[:8]}")
        assert "nobody can answer" in until(lambda: said(browser))
        browser.get(f"{found}study")
        until(lambda: "turing: 6 items" in one(browser, "main").text)


def test_the_screenshot_of_the_docs(browser: Any, tmp_path: Path) -> None:
    """Of model 109 against itself. ``MEDZOO_SCREENSHOTS=docs/pictures`` keeps it."""
    real = medzoo.generate(109, 8, seed=9)
    made = study.new(
        tmp_path / "turing", real, 109, n=2, training=3, likert=["realism", "contrast"], seed=2
    )
    with served(tmp_path, "--study", str(made.folder)) as (found, _):
        begin(browser, f"{found}study/{made.id[:8]}", "Dr A")
        until(lambda: place(browser) == "1 of 7")
        keys(browser, "2", "4")
        until(lambda: len(browser.find_elements("css selector", "[aria-pressed='true']")) == 2)
        picture, sheet = one(browser, ".mz-picture img").rect, one(browser, ".mz-sheet").rect
        height = browser.execute_script("return window.innerHeight")
        assert picture["height"] > height / 2
        assert sheet["y"] + sheet["height"] <= height, "an item has to fit into the window"
        folder = Path(os.environ.get("MEDZOO_SCREENSHOTS", tmp_path))
        assert browser.save_screenshot(str(folder / "see-study.png"))


def test_two_copies_of_a_study_are_not_served(made: Study, tmp_path: Path) -> None:
    copy = study.import_file(made.export(tmp_path / "a.zip"), tmp_path / "copy")
    with pytest.raises(InputError, match="are copies of one study"):
        serve(port=0, studies=[made.folder, copy.folder])
    with pytest.raises(InputError, match="There is no study in"):
        serve(port=0, studies=tmp_path)
