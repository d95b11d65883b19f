"""The grid, and the window with sliders: driven by the mouse and the keyboard, on a canvas without a display."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import CloseEvent, KeyEvent, MouseEvent
from matplotlib.figure import Figure
from PIL import Image

import medzoo
from medzoo import seeds
from medzoo.config import Output
from medzoo.errors import DatasetError, InputError
from medzoo.samples import Samples
from medzoo.samples.pictures import draw, grid
from medzoo.view import Explorer, window
from medzoo.view.exploration import REACH
from medzoo.view.explorer import PAGE

LONG_MODEL = """
import numpy as np

class Model:
    def sample(self, batch):
        images = np.zeros((batch.n, 64), np.uint8)
        images[:, : batch.latents.shape[1]] = np.clip(batch.latents * 20 + 128, 0, 255)
        images[:, 62] = batch.options["gain"]
        images[:, 63] = batch.conditions["condition"]
        return {"images": images.reshape(batch.n, 1, 8, 8)}

def load(weights_dir, device):
    return Model()
"""
GRAY = Output("images", "image", "uint8", (1, 4, 4), (0.0, 255.0))


# --------------------------------------------------------------------------------------------------- a hand on a mouse
def mouse(explorer: Explorer, kind: str, axes: Axes, x: float, y: float = 0.5) -> None:
    """An event at a point of ``axes``, both of its coordinates from 0 to 1."""
    pixel = axes.transAxes.transform((x, y))
    MouseEvent(f"{kind}_event", explorer.figure.canvas, *pixel, button=1)._process()


def click(explorer: Explorer, axes: Axes, x: float = 0.5, y: float = 0.5) -> None:
    mouse(explorer, "button_press", axes, x, y)
    mouse(explorer, "button_release", axes, x, y)


def drag(explorer: Explorer, k: int, *values: float) -> None:
    """Press the slider ``k`` at the first value, move over the others, let go at the last."""
    axes = explorer.sliders[k].ax
    at = [(v + REACH) / (2 * REACH) for v in values]
    mouse(explorer, "button_press", axes, at[0])
    for x in at[1:]:
        mouse(explorer, "motion_notify", axes, x)
    mouse(explorer, "button_release", axes, at[-1])


def press(explorer: Explorer, name: str) -> None:
    click(explorer, explorer.buttons[name].ax)


def choose(explorer: Explorer, name: str, value: str) -> None:
    """Click on the radio button ``value``."""
    radio = explorer.radios[name]
    label = next(t for t in radio.labels if t.get_text() == value)
    click(explorer, radio.ax, 0.2, label.get_position()[1])


def type_seed(explorer: Explorer, text: str) -> None:
    """Click at the end of the seed, remove it, and type another one, without Enter."""
    click(explorer, explorer.seed_box.ax, 0.95)
    for key in ["backspace"] * len(explorer.seed_box.text) + list(text):
        KeyEvent("key_press_event", explorer.figure.canvas, key)._process()


def shown(explorer: Explorer) -> Any:
    """The pixels on the window, as gray levels of 8 bits."""
    (image,) = explorer._picture.images
    return np.rint(np.asarray(image.get_array()) * 255).astype(np.uint8)


def reference(explorer: Explorer) -> Any:
    """What `medzoo.generate` makes of the explorer's state, from scratch."""
    return medzoo.generate(explorer.model.config.number, 1, **explorer.arguments).images[0, 0]


@pytest.fixture
def open_toy(toy: Callable[..., int]) -> Iterator[Callable[..., Explorer]]:
    explorers = []

    def opened(seed: int = 0, **config: Any) -> Explorer:
        explorers.append(Explorer(medzoo.load(toy(**config)), seed=seed))
        return explorers[-1]

    yield opened
    for explorer in explorers:
        explorer.model.close()


# --------------------------------------------------------------------------------------------------------- the explorer
def test_opens_with_sample_0_of_the_seed(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy(seed=7)
    assert np.array_equal(explorer.latents, seeds.latents(7, [0], 4)[0])
    assert np.array_equal(shown(explorer), medzoo.generate(901, 1, seed=7).images[0, 0])
    assert explorer._picture.get_title() == "benign"
    assert "00901_TOY_MRI_NOISE 1.0.0, seed 7" in explorer._caption.get_text()
    assert "not for diagnosis" in explorer._caption.get_text()


@pytest.mark.parametrize("k", range(4))
def test_dragging_a_slider_moves_its_latent_and_no_other(
    open_toy: Callable[..., Explorer], k: int
) -> None:
    explorer = open_toy()
    before, picture = explorer.latents.copy(), shown(explorer)
    drag(explorer, k, 0.0, 1.0, -1.5)
    expected = before.copy()
    expected[k] = -1.5
    assert np.allclose(explorer.latents, expected, atol=0.02)
    assert np.array_equal(np.delete(explorer.latents, k), np.delete(before, k))
    assert np.array_equal(shown(explorer), reference(explorer))
    assert list(zip(*np.nonzero(shown(explorer) != picture), strict=True)) == [
        (0, 1 + k)
    ]  # the noise stays
    assert explorer.sliders[k].valtext.get_text() == f"{explorer.latents[k]:+.2f}"


def test_picture_follows_while_the_mouse_is_down(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy()
    axes = explorer.sliders[2].ax
    mouse(explorer, "button_press", axes, 0.9)
    seen = [shown(explorer)[0, 3]]
    for x in (0.5, 0.1):
        mouse(explorer, "motion_notify", axes, x)
        seen.append(shown(explorer)[0, 3])
    mouse(explorer, "button_release", axes, 0.1)
    mouse(explorer, "motion_notify", axes, 0.9)  # let go: nothing happens
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 3
    assert shown(explorer)[0, 3] == seen[-1]


def test_latent_beyond_its_slider_keeps_its_value(open_toy: Callable[..., Explorer]) -> None:
    seed = next(s for s in range(1000) if seeds.latents(s, [0], 10)[0].max() > REACH + 0.05)
    explorer = open_toy(seed=seed, code=LONG_MODEL, latent=10)
    k = int(explorer.latents.argmax())
    assert explorer.sliders[k].val == REACH
    assert explorer.sliders[k].valtext.get_text() == f"{explorer.latents[k]:+.2f}"
    drag(explorer, (k + 1) % 10, 0.0)
    assert explorer.latents[k] == seeds.latents(seed, [0], 10)[0].max()


def test_pages_reach_every_latent(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy(code=LONG_MODEL, latent=23)
    before = explorer.latents.copy()
    assert explorer.pages == 3
    press(explorer, "previous")
    assert explorer.page == 0
    for _ in range(4):
        press(explorer, "next")
    assert explorer.page == 2
    assert explorer._heading.get_text() == "Latents 20 to 22 of 23"
    assert [s.ax.get_visible() for s in explorer.sliders] == [True] * 3 + [False] * 7
    drag(explorer, 1, 2.5)
    drag(explorer, 5, 2.5)  # there is no latent 25
    assert np.array_equal(np.nonzero(explorer.latents != before)[0], [2 * PAGE + 1])
    assert np.array_equal(shown(explorer), reference(explorer))
    press(explorer, "previous")
    assert explorer.sliders[9].label.get_text() == "latent 19"
    assert explorer.sliders[9].val == pytest.approx(before[19])
    assert all(s.ax.get_visible() for s in explorer.sliders)


def test_directions_that_there_are_not_leave_the_latents(
    open_toy: Callable[..., Explorer],
) -> None:
    plain = "return {'images': np.zeros((batch.n, 1, 8, 8), np.uint8)}"
    explorer = open_toy(code=LONG_MODEL.replace("return {", f"{plain}\n        return {{"))
    press(explorer, "find directions")
    assert explorer._note.get_text() == "no direction changes the picture"
    drag(explorer, 1, 0.0, 1.5)
    assert explorer.latents[1] == pytest.approx(1.5, abs=0.05)


def test_directions_that_cannot_be_found_are_said_in_the_window(
    open_toy: Callable[..., Explorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = open_toy()

    def fail(**_: object) -> None:
        raise InputError("The model is gone.")

    monkeypatch.setattr(explorer.exploration, "find_directions", fail)
    press(explorer, "find directions")
    assert explorer._note.get_text() == "The model is gone."
    drag(explorer, 1, 0.0, 1.5)
    assert explorer.latents[1] == pytest.approx(1.5, abs=0.05)


def test_radio_button_changes_the_condition_alone(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy()
    latents = explorer.latents.copy()
    choose(explorer, "condition", "malignant")
    assert explorer.inputs["condition"] == "malignant"
    assert explorer._picture.get_title() == "malignant"
    assert shown(explorer)[0, 0] == 1
    assert np.array_equal(explorer.latents, latents)
    assert np.array_equal(shown(explorer), reference(explorer))
    choose(explorer, "condition", "benign")
    assert shown(explorer)[0, 0] == 0


def test_option_has_a_slider_of_its_type(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy()
    assert shown(explorer)[0, 5] == 3  # the default
    click(explorer, explorer.options["gain"].ax, 7.2 / 9)
    assert explorer.inputs["gain"] == 7
    assert type(explorer.inputs["gain"]) is int
    assert shown(explorer)[0, 5] == 7


def test_options_of_a_few_values_have_radio_buttons(open_toy: Callable[..., Explorer]) -> None:
    options = {
        "gain": {
            "type": "int",
            "default": 5,
            "choices": [1, 5, 9],
            "help": "Written into a pixel.",
        },
        "sharp": {"type": "bool", "default": False, "help": "Ignored."},
        "strength": {
            "type": "float",
            "default": 1.0,
            "help": "Without bounds, so without a slider.",
        },
    }
    explorer = open_toy(options=options)
    assert explorer.options == {}
    choose(explorer, "gain", "9")
    choose(explorer, "sharp", "True")
    assert explorer.inputs == {"condition": "benign", "gain": 9, "sharp": True, "strength": 1.0}
    assert shown(explorer)[0, 5] == 9


def test_next_seed_keeps_the_condition(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy(seed=2**64 - 1)
    choose(explorer, "condition", "malignant")
    press(explorer, "next seed")
    assert explorer.seed == 0
    assert explorer.seed_box.text == "0"
    assert np.array_equal(
        shown(explorer), medzoo.generate(901, 1, seed=0, condition="malignant").images[0, 0]
    )


def test_typed_seed_is_taken_at_enter(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy()
    type_seed(explorer, "31")
    assert explorer.seed == 0
    KeyEvent("key_press_event", explorer.figure.canvas, "enter")._process()
    assert explorer.seed == 31
    assert np.array_equal(shown(explorer), medzoo.generate(901, 1, seed=31).images[0, 0])
    drag(explorer, 0, 2.0)  # leaving the box is not another seed
    assert explorer.latents[0] == pytest.approx(2.0, abs=0.02)


def test_typed_seed_is_taken_before_the_control_clicked_next(
    open_toy: Callable[..., Explorer],
) -> None:
    explorer = open_toy()
    type_seed(explorer, "31")
    drag(explorer, 0, 2.0)
    assert explorer.seed == 31
    assert explorer.latents[0] == pytest.approx(2.0, abs=0.02)
    assert np.array_equal(explorer.latents[1:], seeds.latents(31, [0], 4)[0, 1:])


def test_visiting_the_seed_box_keeps_what_was_moved(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy()
    drag(explorer, 0, 2.0)
    click(explorer, explorer.seed_box.ax)
    drag(explorer, 1, -2.0)
    assert np.allclose(explorer.latents[:2], [2.0, -2.0], atol=0.02)


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "", str(2**64)])
def test_typed_nonsense_leaves_the_seed(open_toy: Callable[..., Explorer], text: str) -> None:
    explorer = open_toy(seed=5)
    type_seed(explorer, text)
    KeyEvent("key_press_event", explorer.figure.canvas, "enter")._process()
    assert explorer.seed == 5
    assert explorer.seed_box.text == "5"
    assert "is not a valid seed" in explorer._note.get_text()


def test_reset_goes_back_to_the_seeds_own_sample(open_toy: Callable[..., Explorer]) -> None:
    explorer = open_toy(code=LONG_MODEL, latent=12)
    first = shown(explorer)
    drag(explorer, 0, 2.5)
    press(explorer, "next")
    drag(explorer, 1, -2.5)
    choose(explorer, "condition", "malignant")
    click(explorer, explorer.options["gain"].ax, 1.0)
    assert not np.array_equal(shown(explorer), first)
    press(explorer, "reset")
    assert np.array_equal(explorer.latents, seeds.latents(0, [0], 12)[0])
    assert np.array_equal(shown(explorer), first)
    assert explorer.radios["condition"].value_selected == "benign"
    assert explorer.options["gain"].val == 3


def test_saved_files_make_the_picture_again(
    open_toy: Callable[..., Explorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer = open_toy(seed=3)
    drag(explorer, 1, 1.25)
    choose(explorer, "condition", "malignant")
    press(explorer, "save")
    assert explorer._note.get_text() == "saved medzoo_901_seed3_1.png and .json"
    state = json.loads(Path("medzoo_901_seed3_1.json").read_text())
    again = medzoo.generate(**state["arguments"])
    with Image.open("medzoo_901_seed3_1.png") as saved:
        assert np.array_equal(np.asarray(saved), again.images[0, 0])
        assert np.array_equal(np.asarray(saved), shown(explorer))
        about = json.loads(saved.text["medzoo"])  # type: ignore[attr-defined]
    assert about == {
        "synthetic": True,
        "model": "00901_TOY_MRI_NOISE",
        "version": "1.0.0",
        "seed": 3,
        "license": "MIT",
    }


def test_saving_never_overwrites(
    open_toy: Callable[..., Explorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer = open_toy()
    Path("medzoo_901_seed0_1.json").write_text("mine")
    press(explorer, "save")
    press(explorer, "save")
    assert {p.name for p in tmp_path.glob("medzoo_*.png")} == {
        "medzoo_901_seed0_2.png",
        "medzoo_901_seed0_3.png",
    }
    assert Path("medzoo_901_seed0_1.json").read_text() == "mine"


def test_failed_save_is_said_in_the_window(
    open_toy: Callable[..., Explorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = open_toy()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.setattr(
        "medzoo.files.os.replace",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    press(explorer, "save")
    assert "could not be written: No space left on device" in explorer._note.get_text()


def test_model_without_latents_has_no_sliders(open_toy: Callable[..., Explorer]) -> None:
    code = """
        import numpy as np
        class Model:
            def sample(self, batch):
                return {"images": np.stack([batch.rng(i).bytes(64).reshape(1, 8, 8) for i in range(batch.n)])}
        def load(weights_dir, device):
            return Model()
        """
    explorer = open_toy(
        code=code, latent=0, options={}, conditions={}, outputs={"images": toy_image()}
    )
    assert explorer.sliders == []
    assert set(explorer.buttons) == {
        *("next seed", "undo", "random", "reset", "save"),
        "samples",
    }
    press(explorer, "next seed")
    assert np.array_equal(shown(explorer), medzoo.generate(901, 1, seed=1).images[0, 0])


def test_explorer_lives_as_long_as_its_window_and_closes_the_model(
    open_toy: Callable[..., Explorer],
) -> None:
    explorer = open_toy()
    model, canvas, alive = explorer.model, explorer.figure.canvas, weakref.ref(explorer)
    del explorer
    gc.collect()
    assert alive() is not None
    CloseEvent("close_event", canvas)._process()
    with pytest.raises(InputError, match="closed"):
        model.generate(1)


def test_model_8_follows_a_slider_of_its_first_component() -> None:
    with medzoo.load(8, device="cpu") as model:
        explorer = Explorer(model, seed=4)
        assert explorer.pages == 52
        first = shown(explorer)
        drag(explorer, 0, 2.0)
        choose(explorer, "condition", "malignant")
        expected = medzoo.generate(
            8, 1, device="cpu", seed=4, latents=explorer.latents[None], condition="malignant"
        )
        assert np.array_equal(shown(explorer), expected.images[0, 0])
        assert np.abs(shown(explorer).astype(int) - first).mean() > 2  # gray levels
        assert np.array_equal(explorer.latents[1:], seeds.latents(4, [0], 512)[0, 1:])


# ------------------------------------------------------------------------------------------------------------- the grid
def toy_image(**changes: Any) -> dict[str, Any]:
    return {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 255]} | changes


def samples_of(*outputs: Output, n: int = 2, **columns: Any) -> Samples:
    return Samples(columns, {o.name: o for o in outputs}, np.arange(n))


def test_grid_shows_the_first_samples_with_labels_and_origin(toy: Callable[..., int]) -> None:
    samples = medzoo.generate(toy(), 20, seed=5)
    figure = samples.plot(6, columns=3)
    assert [a.get_title() for a in figure.axes] == ["benign", "malignant"] * 3
    assert len({round(a.get_position().x0, 6) for a in figure.axes}) == 3
    for axes, image in zip(figure.axes, samples.images[:6, 0], strict=True):
        assert np.allclose(axes.images[0].get_array(), image / 255)
        assert axes.images[0].get_clim() == (0, 1)
        assert not axes.axison
    (below,) = figure.texts
    assert below.get_text() == "00901_TOY_MRI_NOISE 1.0.0, seed 5\nsynthetic, not for diagnosis"
    assert plt.get_fignums() == []


def test_grid_stays_within_its_figure_and_apart(toy: Callable[..., int]) -> None:
    samples = medzoo.generate(toy(), 30, seed=0)
    for n, columns in ((1, None), (5, 1), (7, 4), (30, 30), (30, None)):
        figure = grid(samples, n, columns=columns)
        figure.canvas.draw()
        boxes = [a.get_tightbbox() for a in figure.axes] + [figure.texts[0].get_window_extent()]
        for k, box in enumerate(boxes):
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
            assert not any(box.shrunk(0.98, 0.98).overlaps(other) for other in boxes[:k])


def test_grid_of_samples_on_disk_reads_names_of_labels(
    toy: Callable[..., int], tmp_path: Path
) -> None:
    medzoo.generate(toy(), 4, seed=5, out=tmp_path / "set")
    figure = medzoo.read(tmp_path / "set").plot()
    assert [a.get_title() for a in figure.axes] == ["benign", "malignant"] * 2


def test_grid_shows_the_columns_value_range() -> None:
    ct = Output("images", "image", "int16", (1, 4, 4), (-1000.0, 3000.0), "HU")
    values = np.full((2, 1, 4, 4), 1000, np.int16)
    figure = grid(samples_of(ct, images=values))
    assert np.allclose(figure.axes[0].images[0].get_array(), 0.5)
    assert [a.get_title() for a in figure.axes] == ["sample 0", "sample 1"]


def test_grid_shows_signed_values_of_unknown_range_from_darkest_to_brightest() -> None:
    output = Output("images", "image", "int16", (1, 1, 3))
    values = np.array([[[[-1000, 0, 1000]]]], np.int16)
    figure = grid(Samples({"images": values}, {"images": output}, np.arange(1)))
    assert figure.axes[0].images[0].get_array().ravel().tolist() == [0, 0.5, 1]


def test_grid_shows_the_columns_window_where_it_has_one() -> None:
    ct = Output(
        "images", "image", "int16", (1, 1, 4), (-1000.0, 3000.0), "HU", window=(40.0, 400.0)
    )
    values = np.array([2 * [[[-1000, -160, 40, 3000]]]], np.int16).reshape(2, 1, 1, 4)
    assert np.allclose(
        grid(samples_of(ct, images=values)).axes[0].images[0].get_array(), [[0, 0, 0.5, 1]]
    )


def test_grid_shows_three_channels_as_colours_and_other_numbers_by_the_first() -> None:
    rgb = Output("images", "image", "uint8", (3, 4, 4), (0.0, 255.0))
    values = np.arange(2 * 48, dtype=np.uint8).reshape(2, 3, 4, 4)
    assert np.allclose(
        grid(samples_of(rgb, images=values)).axes[1].images[0].get_array(),
        np.moveaxis(values[1], 0, -1) / 255,
    )
    two = Output("images", "image", "uint8", (2, 4, 4), (0.0, 255.0))
    assert np.allclose(
        grid(samples_of(two, images=values[:, :2])).axes[1].images[0].get_array(),
        values[1, 0] / 255,
    )


def test_grid_shows_the_middle_slice_in_millimetres() -> None:
    volume = Output("volumes", "volume", "uint8", (1, 5, 4, 4), (0.0, 255.0), "", (3.0, 2.0, 1.0))
    values = np.zeros((2, 1, 5, 4, 4), np.uint8)
    values[:, :, 2] = 200
    figure = grid(samples_of(volume, volumes=values))
    assert np.allclose(figure.axes[0].images[0].get_array(), 200 / 255)
    width, height = figure.axes[0].get_window_extent().size
    assert height / width == pytest.approx(2.0)


def test_grid_outlines_masks_of_the_same_size() -> None:
    masks, small = (
        Output("masks", "mask", "uint8", (1, 4, 4)),
        Output("small", "mask", "uint8", (1, 2, 2)),
    )
    values = np.zeros((3, 1, 4, 4), np.uint8)
    values[1, 0, 1:3, 0:2] = 1  # touches the border
    values[2, 0, 0, 0], values[2, 0, 3, 3] = 1, 2  # two structures
    images = np.zeros((3, 1, 4, 4), np.uint8)
    figure = grid(
        samples_of(
            GRAY,
            masks,
            small,
            n=3,
            images=images,
            masks=values,
            small=np.ones((3, 1, 2, 2), np.uint8),
        )
    )
    empty, one, two = figure.axes
    assert len(empty.collections) == 0
    box = one.collections[0].get_paths()[0].get_extents()
    assert np.allclose(
        box.extents, [-0.5, 0.5, 1.5, 2.5]
    )  # x0, y0, x1, y1: around columns 0-1, rows 1-2
    assert len(two.collections) == 2
    assert (
        two.collections[0].get_edgecolor().tolist() != two.collections[1].get_edgecolor().tolist()
    )
    assert all(a.get_xlim() == (-0.5, 3.5) and a.get_ylim() == (3.5, -0.5) for a in figure.axes)


def test_a_picture_is_drawn_in_place_of_the_one_before() -> None:
    masks = Output("masks", "mask", "uint8", (1, 4, 4))
    values = np.zeros((2, 1, 4, 4), np.uint8)
    values[0, 0, 0, 0], values[0, 0, 3, 3], values[1, 0, 1:3, 1:3] = 1, 2, 1
    samples = samples_of(
        GRAY, masks, images=np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4), masks=values
    )
    axes = grid(samples).axes[0]
    assert len(axes.collections) == 2
    draw(axes, samples, 1)
    (image,), (outline,) = axes.images, axes.collections
    assert np.allclose(image.get_array(), samples.images[1, 0] / 255)
    assert outline.get_paths()[0].get_extents().bounds == pytest.approx((0.5, 0.5, 2, 2))
    assert axes.get_title() == "sample 1"
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 3.5), (3.5, -0.5))


def test_grid_of_masks_alone_shows_them_white_on_black() -> None:
    masks = Output("masks", "mask", "uint8", (1, 4, 4))
    values = np.zeros((2, 1, 4, 4), np.uint8)
    values[0, 0, 1, 1] = 1
    assert grid(samples_of(masks, masks=values)).axes[0].images[0].get_array()[1, 1] == 1


def test_soft_mask_is_outlined_at_half_of_its_highest() -> None:
    masks = Output("masks", "mask", "float32", (1, 4, 4), (0.0, 1.0))
    values = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 1, 4, 4)
    figure = grid(samples_of(GRAY, masks, images=np.zeros((2, 1, 4, 4), np.uint8), masks=values))
    assert [len(a.collections) for a in figure.axes] == [1, 1]


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "4", None])
def test_grid_of_a_count_that_is_none(bad: Any) -> None:
    samples = samples_of(GRAY, images=np.zeros((2, 1, 4, 4), np.uint8))
    with pytest.raises(InputError, match="n="):
        samples.plot(bad)
    if bad is not None:
        with pytest.raises(InputError, match="columns="):
            samples.plot(4, columns=bad)


def test_grid_of_nothing_to_draw() -> None:
    labels = Output("labels", "label", "int64", ())
    with pytest.raises(
        InputError, match=r"no image, volume or mask to draw, only labels \(label\)"
    ):
        samples_of(labels, labels=np.zeros(2, np.int64)).plot()
    with pytest.raises(InputError, match="no samples to draw"):
        samples_of(GRAY, n=0, images=np.zeros((0, 1, 4, 4), np.uint8)).plot()


def test_notebook_shows_the_grid() -> None:
    figure: Any = grid(samples_of(GRAY, images=np.zeros((2, 1, 4, 4), np.uint8)))
    assert figure._repr_png_().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------- a window or a file
@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_without_a_display_a_grid_is_written(
    toy: Callable[..., int], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = medzoo.visualize(toy(), seed=3)
    assert path == Path("medzoo_901_seed3.png")
    assert "No display" in (said := capsys.readouterr().out)
    assert "medzoo_901_seed3.png" in said
    with Image.open(path) as picture:
        assert min(picture.size) > 400
        assert "Not for diagnosis" in picture.text["Comment"]  # type: ignore[attr-defined]
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="already"):
        medzoo.visualize(901, seed=3)
    assert path.read_bytes() == before


def test_save_replaces_its_file_and_opens_no_window(
    toy: Callable[..., int],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(window, "has_display", lambda _: True)
    monkeypatch.setattr(window, "open_window", lambda *_: pytest.fail("a window was opened"))
    Path("grid.png").write_text("old")
    assert medzoo.visualize(toy(), save="grid.png") == Path("grid.png")
    with Image.open("grid.png") as picture:
        assert picture.format == "PNG"
    assert "grid.png" in capsys.readouterr().out
    assert medzoo.visualize(901, save=here / "deeper" / "grid.pdf") == here / "deeper" / "grid.pdf"
    assert (here / "deeper" / "grid.pdf").read_bytes().startswith(b"%PDF")


def test_save_that_cannot_be(toy: Callable[..., int], here: Path) -> None:
    number = toy()
    for name in ("grid", "grid.docx"):
        with pytest.raises(InputError, match="not a picture file"):
            medzoo.visualize(number, save=name)
    Path("file").write_text("")
    with pytest.raises(DatasetError, match="could not be written"):
        medzoo.visualize(number, save="file/grid.png")
    assert [p.name for p in here.iterdir()] == ["file"]


def test_model_without_pictures_is_refused_before_it_is_loaded(
    toy: Callable[..., int], here: Path
) -> None:
    number = toy(
        "raise RuntimeError('loaded')",
        outputs={"rows": {"kind": "table", "dtype": "float32", "shape": [3]}},
    )
    with pytest.raises(InputError, match="no image"):
        medzoo.visualize(number)


def test_notebook_of_still_pictures_gets_the_grid(
    toy: Callable[..., int],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        matplotlib, "get_backend", lambda: "module://matplotlib_inline.backend_inline"
    )
    figure = medzoo.visualize(toy())
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 16
    assert "%matplotlib widget" in capsys.readouterr().out
    assert list(here.iterdir()) == []


def test_with_a_display_a_window_is_opened(
    toy: Callable[..., int], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    showings: list[bool] = []
    monkeypatch.setattr(window, "has_display", lambda _: True)
    monkeypatch.setattr(plt, "show", lambda: showings.append(True))
    try:
        explorer = medzoo.visualize(toy(), seed=2)
        assert isinstance(explorer, Explorer)
        assert showings == [True]
        assert plt.get_fignums() == [explorer.figure.number]
        drag(explorer, 0, 1.0)
        assert np.array_equal(shown(explorer), reference(explorer))
        assert list(here.iterdir()) == []
    finally:
        plt.close("all")


def test_display_is_found_by_backend_and_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(plt, "switch_backend", tried.append)
    assert window.has_display("qtagg")
    assert tried == ["qtagg"]
    assert not any(
        window.has_display(b)
        for b in ("agg", "pdf", "inline", "module://matplotlib_inline.backend_inline")
    )

    def headless(backend: str) -> None:
        raise ImportError("Cannot load backend, as 'headless' is currently running")

    monkeypatch.setattr(plt, "switch_backend", headless)
    assert not window.has_display("tkagg")


def test_matplotlib_waits_until_something_is_drawn() -> None:
    code = "import sys, medzoo, medzoo.view, medzoo.samples; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
