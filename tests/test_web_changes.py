"""The web app without a browser: late moves, viewers of one model, what a run may take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medzoo
from medzoo import seeds
from medzoo.errors import InputError, MedzooError, OutOfMemoryError
from medzoo.view import Exploration
from medzoo.web.changes import Changes, in_turn
from medzoo.web.download import check_upload
from medzoo.web.making import CancelledError, Making, formats_for
from medzoo.web.workshop import MOST_LOADED, Loaded, Workshop

VIEWERS = 20


class Viewer:
    """A viewer whose page is a list of what it showed."""

    def __init__(self, loaded: Loaded, seed: int) -> None:
        self.exploration = Exploration(loaded.model, seed)
        self.shown: list[Any] = []
        self.errors: list[MedzooError] = []
        self.busy: list[bool] = []
        self.changes = Changes(loaded, self._show, self.errors.append, self.busy.append)

    def _show(self) -> Callable[[], None]:
        return partial(self.shown.append, self.exploration.pixels())

    async def rest(self) -> None:
        while not self.busy or self.busy[-1]:
            await asyncio.sleep(0.01)


def test_late_moves_of_a_slider_are_dropped(toy: Callable[..., int]) -> None:
    config = medzoo.info(toy())

    async def move() -> Viewer:
        workshop = Workshop("cpu")
        loaded = await workshop.borrow(config, config.default)
        viewer = Viewer(loaded, 0)
        moves = []

        def slow(value: float) -> None:
            moves.append(value)
            time.sleep(0.1)
            viewer.exploration.move(0, value)

        for step in range(40):
            viewer.changes.ask("slider", partial(slow, step / 20))
            await asyncio.sleep(0.01)
        await viewer.rest()
        workshop.close()
        assert len(moves) < 20
        assert moves[-1] == 39 / 20
        assert moves == sorted(moves)
        return viewer

    viewer = asyncio.run(move())
    assert viewer.exploration.state.latents[0] == np.float32(39 / 20)
    assert np.array_equal(viewer.shown[-1], viewer.exploration.pixels())


def test_clicks_are_not_dropped_and_errors_change_nothing(toy: Callable[..., int]) -> None:
    config = medzoo.info(toy())

    async def click() -> Viewer:
        loaded = await Workshop("cpu").borrow(config, config.default)
        viewer = Viewer(loaded, 3)
        for seed in (5, -1, 7):
            viewer.changes.click(partial(viewer.exploration.go_to, seed))
        await viewer.rest()
        return viewer

    viewer = asyncio.run(click())
    assert viewer.exploration.state.seed == 7
    assert [type(error) for error in viewer.errors] == [InputError]
    assert viewer.exploration.undo()
    assert viewer.exploration.state.seed == 5


def test_twenty_viewers_share_a_model_and_mix_no_states(toy: Callable[..., int]) -> None:
    config = medzoo.info(toy())

    async def view() -> list[Viewer]:
        workshop = Workshop("cpu")
        asked = [workshop.borrow(config, config.default) for _ in range(VIEWERS)]
        loans = await asyncio.gather(*asked)
        assert len({id(loaded.model) for loaded in loans}) == 1
        viewers = [Viewer(loaded, number) for number, loaded in enumerate(loans)]
        for step in range(5):
            for number, viewer in enumerate(viewers):
                move = partial(viewer.exploration.move, number % 4, number / 10 + step / 100)
                viewer.changes.ask("slider", move)
            await asyncio.sleep(0.01)
        await asyncio.gather(*(viewer.rest() for viewer in viewers))
        return viewers

    for number, viewer in enumerate(asyncio.run(view())):
        latents = seeds.latents(number, [0], 4)
        latents[0, number % 4] = number / 10 + 4 / 100
        expected = medzoo.generate(901, 1, seed=number, latents=latents, condition="benign")
        assert np.array_equal(viewer.shown[-1], expected.images[0, 0])
        assert not viewer.errors


def test_server_answers_while_a_model_works(toy: Callable[..., int]) -> None:
    config = medzoo.info(toy())

    async def work() -> int:
        loaded = await Workshop("cpu").borrow(config, config.default)
        release = threading.Event()
        task = asyncio.ensure_future(in_turn(loaded, release.wait))
        answered = 0
        while answered < 5:
            await asyncio.sleep(0.01)
            answered += 1
        assert not task.done()
        release.set()
        await task
        return answered

    assert asyncio.run(work()) == 5


def test_models_in_use_stay_loaded_and_others_make_room(toy: Callable[..., int]) -> None:
    config = medzoo.info(toy())

    async def borrow() -> None:
        workshop = Workshop("cpu")
        first = await workshop.borrow(config, config.default)
        for number in range(MOST_LOADED - 1):
            workshop._loaded["other", str(number)] = await Workshop("cpu").borrow(
                config, config.default
            )
        with pytest.raises(InputError, match="other models are in use"):
            await workshop.borrow(medzoo.info(8), medzoo.info(8).default)
        workshop.give_back(first)
        await workshop.borrow(medzoo.info(107), medzoo.info(107).default)
        assert first.model._session is None
        assert len(workshop._loaded) == MOST_LOADED
        workshop.close()

    asyncio.run(borrow())


def test_model_that_needs_more_memory_than_there_is(toy: Callable[..., int]) -> None:
    config = medzoo.info(toy(memory_per_sample=10**8))

    async def borrow() -> None:
        workshop = Workshop("cpu")
        for _ in range(2):
            with pytest.raises(OutOfMemoryError, match="does not fit"):
                await workshop.borrow(config, config.default)
        assert not workshop._loaded

    asyncio.run(borrow())


@pytest.mark.parametrize("shape", [[1, 8, 8], [1, 2048, 2048]])
def test_request_is_bounded_in_samples_and_in_memory(
    toy: Callable[..., int], tmp_path: Path, shape: list[int]
) -> None:
    images = {"kind": "image", "dtype": "uint8", "shape": shape, "range": [0, 255]}
    config = medzoo.info(toy(outputs={"images": images}))
    making = Making(config, config.default, tmp_path)
    making.check(256)
    for n in (2001, 10**7, 10**30):
        with pytest.raises(InputError, match="at most 2,000"):
            making.check(n)
    if shape[1] > 8:
        with pytest.raises(InputError, match=r"at most 1\.1 GB"):
            making.check(2000)
    assert making.folder.parent == tmp_path
    making.remove()
    assert not making.folder.exists()


def test_cancelled_run_leaves_nothing_and_the_next_one_works(
    toy: Callable[..., int], tmp_path: Path
) -> None:
    config = medzoo.info(toy())
    making = Making(config, config.default, tmp_path)
    counts = []

    async def run(stop: int) -> Path:
        workshop = Workshop("cpu")

        def progress(done: int, n: int) -> None:
            counts.append((done, n))
            if done >= stop:
                making.cancel()

        try:
            return await making.run(
                workshop, progress, n=40, seed=1, format="npz", inputs=None, options={}
            )
        finally:
            assert [loaded.users for loaded in workshop._loaded.values()] == [0]
            workshop.close()

    with pytest.raises(CancelledError):
        asyncio.run(run(8))
    assert counts[0] == (4, 40)
    assert len(counts) < 8
    assert not list(making.folder.iterdir())
    assert asyncio.run(run(1000)).name == "medzoo_901_seed1.zip"
    making.remove()


def test_only_the_last_zip_of_a_viewer_is_kept(toy: Callable[..., int], tmp_path: Path) -> None:
    config = medzoo.info(toy())
    mine, other = (Making(config, config.default, tmp_path) for _ in range(2))

    async def run(making: Making) -> Path:
        workshop = Workshop("cpu")
        try:
            return await making.run(
                workshop,
                lambda done, n: None,
                n=1,
                seed=None,
                format="npz",
                inputs=None,
                options={},
            )
        finally:
            workshop.close()

    kept = asyncio.run(run(other))
    for _ in range(3):
        last = asyncio.run(run(mine))
        assert list(mine.folder.iterdir()) == [last]
    assert kept.exists()


def test_formats_are_those_that_hold_the_samples() -> None:
    assert formats_for(medzoo.info(8).default.outputs) == ["png", "nifti", "dicom", "npz"]
    assert formats_for(medzoo.info(107).default.outputs) == ["csv", "npz"]
    assert formats_for(medzoo.info(105).default.outputs)[:2] == ["nifti", "dicom"]


PLACED = {"kind": "volume", "shape": [1, 3, 4, 5], "required": True, "help": "A scan."}
GOES_WITH_IT = {**PLACED, "required": False, "geometry": "scan"}


@pytest.mark.parametrize("name", ["scan", "other", "where"])
def test_an_upload_is_checked_without_the_other_inputs(
    toy: Callable[..., int], tmp_path: Path, name: str
) -> None:
    inputs = {"scan": PLACED, "other": PLACED, "where": GOES_WITH_IT}
    config = medzoo.info(toy(inputs=inputs))
    right, wrong = tmp_path / "right.npy", tmp_path / "wrong.npy"
    np.save(right, np.ones((3, 4, 5), np.uint8))
    np.save(wrong, np.ones((3, 4, 6), np.uint8))
    check_upload(config, config.default, name, right)
    with pytest.raises(InputError, match=r"wrong\.npy does not fit"):
        check_upload(config, config.default, name, wrong)


def test_an_upload_need_not_replace_all_default_pictures_at_once(tmp_path: Path) -> None:
    config = medzoo.info(7)
    np.save(tmp_path / "mine.npy", np.ones((256, 256), np.uint8))
    for name in config.default.inputs:
        check_upload(config, config.default, name, tmp_path / "mine.npy")
