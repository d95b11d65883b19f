"""Masks that a user draws: the brush, and what a model paints in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backend_bases import MouseEvent

import medzoo
from medzoo.errors import InputError
from medzoo.view import Exploration, Explorer
from medzoo.view.drawing import Drawing, labels_of, mask_input

# Its picture is 10 + 100 * mask, and its own masks have their first row set.
PAINTER = """
import numpy as np

class Model:
    def sample(self, batch):
        masks = np.zeros((batch.n, 1, 8, 8), np.uint8)
        masks[:, :, 0] = 1
        if "masks" in batch.inputs:
            masks = np.asarray(batch.inputs["masks"])
        return {"images": 10 + 100 * masks, "masks": masks}

def load(weights_dir, device):
    return Model()
"""
PAINTER_CONFIG: dict[str, Any] = {
    "latent": 0,
    "conditions": None,
    "options": None,
    "inputs": {
        "masks": {"kind": "mask", "shape": [1, 8, 8], "required": False, "help": "Where."},
        "style": {"kind": "image", "shape": [1, 8, 8], "required": False, "help": "How."},
    },
    "outputs": {
        "images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 255]},
        "masks": {"kind": "mask", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 2]},
    },
}


@pytest.fixture
def painter(toy: Callable[..., int]) -> Iterator[Exploration]:
    with medzoo.load(toy(PAINTER, **PAINTER_CONFIG)) as model:
        yield Exploration(model)


def flat(drawing: Drawing) -> Any:
    return drawing.values[0].tolist()


def test_a_dot_is_a_disc_and_a_line_is_a_band() -> None:
    drawing = Drawing(np.zeros((1, 5, 7), np.uint8))
    drawing.stroke([(1, 2)], 1, 2)
    assert flat(drawing) == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 2, 0, 0, 0, 0, 0],
        [2, 2, 2, 0, 0, 0, 0],
        [0, 2, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    drawing.stroke([(-3, 4), (20, 4)], 0, 1)
    assert flat(drawing)[4] == [1] * 7
    drawing.stroke([(1, 2)], 0, 0)
    assert flat(drawing)[2] == [2, 0, 2, 0, 0, 0, 0]
    assert [drawing.undo() for _ in range(4)] == [True, True, True, False]
    assert not drawing.values.any()


def test_a_stroke_covers_what_is_near_its_line() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-4, 36, (6, 2))
    drawing = Drawing(np.zeros((1, 30, 40), np.uint8))
    drawing.stroke(points.tolist(), 3.5, 1)
    y, x = np.mgrid[:30, :40]
    parts = [a + (b - a) * np.linspace(0, 1, 800)[:, None] for a, b in pairwise(points)]
    along = np.concatenate(parts)
    away = np.min([(x - px) ** 2 + (y - py) ** 2 for px, py in along], axis=0) ** 0.5
    sure = np.abs(away - 3.5) > 0.01
    assert np.array_equal(drawing.values[0][sure] > 0, (away < 3.5)[sure])


def test_brush_is_a_ball_in_a_volume() -> None:
    drawing = Drawing(np.zeros((1, 9, 9, 9), np.uint8))
    drawing.stroke([(4, 4)], 2, 1, section=3)
    z, y, x = np.mgrid[:9, :9, :9]
    ball = (z - 3) ** 2 + (y - 4) ** 2 + (x - 4) ** 2 <= 4
    assert np.array_equal(drawing.values[0] > 0, ball)


def test_strokes_that_cannot_be_leave_the_mask() -> None:
    drawing = Drawing(np.zeros((1, 4, 4, 4), np.uint8))
    for points, radius, value, section in (
        ([], 1, 1, 0),
        ("red", 1, 1, 0),
        ([(0, 0)] * 10_001, 1, 1, 0),
        ([(0, float("nan"))], 1, 1, 0),
        ([(0, 0, 0)], 1, 1, 0),
        ([(0, 0)], 10**6, 1, 0),
        ([(0, 0)], -1, 1, 0),
        ([(0, 0)], 1, 256, 0),
        ([(0, 0)], 1, 1, 4),
    ):
        with pytest.raises(InputError):
            drawing.stroke(points, radius, value, section)
    with pytest.raises(InputError, match="shape"):
        drawing.replace(np.zeros((1, 4, 4), np.uint8))
    assert not drawing.values.any()
    assert not drawing.undo()


def test_models_that_take_a_mask() -> None:
    taking = {}
    for model in medzoo.list_models():
        config = mask_input(model.default)
        if config is not None:
            taking[model.number] = labels_of(model.default, config)
    assert taking[104] == [1]
    assert taking[105] == [1, 2]
    assert 4 not in taking


def test_model_paints_what_was_drawn(painter: Exploration) -> None:
    first = painter.pixels()
    assert np.array_equal(painter.mask_shown()[0, 0], [1] * 8)
    drawing = Drawing(painter.mask_shown())
    drawing.stroke([(4, 4)], 1, 2)
    painter.paint(drawing.values)
    assert np.array_equal(painter.samples.images[0], 10 + 100 * drawing.values)
    painter.show(samples=4, masks="none")
    assert np.array_equal(painter.samples.masks, [drawing.values] * 4)
    painter.show(samples=1, masks="outline")
    painter.go_to(5)
    assert np.array_equal(painter.mask_shown(), drawing.values)
    painter.paint(None)
    assert np.array_equal(painter.pixels(), first)


def test_mask_that_does_not_fit_changes_nothing(painter: Exploration, toy: Any) -> None:
    for mask in (np.zeros((8, 8), np.uint8), np.zeros((1, 8, 8)), np.full((1, 8, 8), 300), "red"):
        with pytest.raises(InputError):
            painter.paint(mask)
    assert painter.state.mask is None
    with medzoo.load(toy()) as model, pytest.raises(InputError, match="takes no mask"):
        Exploration(model).paint(np.zeros((1, 8, 8), np.uint8))


def test_saved_drawing_makes_the_picture_again(
    painter: Exploration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawing = Drawing(painter.mask_shown())
    drawing.stroke([(2, 5)], 2, 1)
    painter.paint(drawing.values)
    path = painter.save()
    state = json.loads(path.with_suffix(".json").read_text())
    names: dict[str, Any] = {"medzoo": medzoo}
    exec(state["python"], names)
    assert np.array_equal(names["samples"].images, painter.samples.images)


def test_drawing_is_shown_over_the_picture(painter: Exploration) -> None:
    drawing = Drawing(np.zeros((1, 8, 8), np.uint8))
    gray = drawing.pixels(painter.samples)
    assert gray.shape == (8, 8, 3)
    assert (gray[0] > gray[1]).all()  # the picture itself is brighter in its first row
    drawing.stroke([(3, 3)], 0, 1)
    drawing.stroke([(5, 5)], 0, 2)
    changed = np.argwhere((drawing.pixels(painter.samples) != gray).any(axis=2))
    assert changed.tolist() == [[3, 3], [5, 5]]


# ----------------------------------------------------------------------------------- in the window
def mouse(explorer: Explorer, kind: str, axes: Any, x: float, y: float, **more: Any) -> None:
    pixel = axes.transData.transform((x, y))
    event = MouseEvent(f"{kind}_event", explorer.figure.canvas, *pixel, **{"button": 1, **more})
    event._process()


def press(explorer: Explorer, name: str) -> None:
    for kind in ("button_press", "button_release"):
        mouse(explorer, kind, explorer.buttons[name].ax, 0.5, 0.5)


def test_mask_is_drawn_with_the_mouse_in_a_window(toy: Callable[..., int]) -> None:
    with medzoo.load(toy(PAINTER, **PAINTER_CONFIG)) as model:
        explorer = Explorer(model)
        picture = explorer._picture
        mouse(explorer, "button_press", picture, 4, 4)  # the brush is off
        mouse(explorer, "button_release", picture, 4, 4)
        press(explorer, "draw")
        press(explorer, "blank")
        assert explorer.buttons["draw"].label.get_text() == "draw: brush 1"
        mouse(explorer, "scroll", picture, 4, 4, step=-3)
        mouse(explorer, "button_press", picture, 2, 4)
        for x in (3, 4, 6):
            mouse(explorer, "motion_notify", picture, x, 4)
        mouse(explorer, "button_release", picture, 6, 4)
        for _ in range(2):
            press(explorer, "draw")
        mouse(explorer, "button_press", picture, 4, 4)
        mouse(explorer, "button_release", picture, 4, 4)
        press(explorer, "paint")
        expected = np.full((8, 8), 10)
        expected[4, [2, 3, 5, 6]] = 110
        assert np.array_equal(explorer.samples.images[0, 0], expected)
        assert explorer.buttons["draw"].label.get_text() == "draw: off"
        press(explorer, "undo")
        assert explorer.exploration.state.mask is None


def test_a_mask_is_drawn_for_a_model_that_shows_none(toy: Callable[..., int]) -> None:
    code = PAINTER.replace(', "masks": masks}', "}")
    outputs = {"images": PAINTER_CONFIG["outputs"]["images"]}
    with medzoo.load(toy(code, **{**PAINTER_CONFIG, "outputs": outputs})) as model:
        explorer = Explorer(model)
        press(explorer, "draw")
        assert explorer.buttons["draw"].label.get_text() == "draw: brush"
        mouse(explorer, "scroll", explorer._picture, 4, 4, step=-3)
        mouse(explorer, "button_press", explorer._picture, 4, 4)
        mouse(explorer, "button_release", explorer._picture, 4, 4)
        press(explorer, "paint")
        assert np.argwhere(explorer.samples.images[0, 0] == 110).tolist() == [[4, 4]]


def test_models_without_a_mask_have_no_brush(toy: Callable[..., int]) -> None:
    with medzoo.load(toy()) as model:
        assert "draw" not in Explorer(model).buttons
