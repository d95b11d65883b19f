"""The explorer without a face, leading directions, walks, and the face in a notebook."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NUMPY_MODEL
from PIL import Image

import medzoo
from medzoo import seeds, settings
from medzoo.cli import main
from medzoo.errors import InputError, MedzooError
from medzoo.view import Exploration, directions, exploration, window
from medzoo.view.directions import Direction, directions_of, leading, named

SIZE = 16
# latent 0: brightness; 1: place of a bright disc from left to right; 2: its size; others: nothing.
DISC = """
import numpy as np

class Model:
    def sample(self, batch):
        y, x = np.mgrid[:16, :16]
        images = np.zeros((batch.n, 1, 16, 16), np.uint8)
        masks = np.zeros((batch.n, 1, 16, 16), np.uint8)
        for i in range(batch.n):
            z = batch.latents[i]
            disc = (y - 8) ** 2 + (x - 8 - 1.5 * z[1]) ** 2 < (3 + 0.5 * z[2]) ** 2
            images[i, 0] = np.clip(60 + 12 * z[0] + 90 * disc, 0, 255)
            images[i, 0, 0, 0] = batch.rng(i).bytes(1)[0]
            masks[i, 0] = disc
        return {"images": images, "masks": masks}

def load(weights_dir, device):
    return Model()
"""
DISC_OUTPUTS = {
    "images": {"kind": "image", "dtype": "uint8", "shape": [1, 16, 16], "range": [0, 255]},
    "masks": {"kind": "mask", "dtype": "uint8", "shape": [1, 16, 16]},
}
VOLUME = """
import numpy as np

class Model:
    def sample(self, batch):
        z, y, x = np.mgrid[:3, :4, :5]
        one = (100 * z + 10 * y + x).astype(np.int16)
        return {"volumes": np.stack([one[None]] * batch.n)}

def load(weights_dir, device):
    return Model()
"""
VOLUME_OUTPUTS = {
    "volumes": {
        "kind": "volume", "dtype": "int16", "shape": [1, 3, 4, 5],
        "range": [-1000, 1000], "unit": "HU",
    }
}  # fmt: skip


ONE_AT_A_TIME = NUMPY_MODEL.replace("images = np.zeros", "assert batch.n == 1; images = np.zeros")


@pytest.fixture
def opened(toy: Callable[..., int]) -> Iterator[Callable[..., Exploration]]:
    models = []

    def explore(seed: int = 0, **config: Any) -> Exploration:
        models.append(medzoo.load(toy(**config)))
        return Exploration(models[-1], seed)

    yield explore
    for model in models:
        model.close()


@pytest.fixture
def disc(toy: Callable[..., int]) -> int:
    return toy(DISC, latent=6, conditions={}, options={}, outputs=DISC_OUTPUTS)


# ----------------------------------------------------------------------------------- the state
def test_state_is_what_generate_makes(opened: Callable[..., Exploration]) -> None:
    explorer = opened(seed=7)
    explorer.move(2, 1.5)
    explorer.set("condition", "malignant")
    explorer.set("gain", 7)
    again = medzoo.generate(
        901, 1, seed=7, latents=explorer.state.latents[None], condition="malignant", gain=7
    )
    assert np.array_equal(explorer.samples.images, again.images)
    assert np.array_equal(explorer.pixels(), again.images[0, 0])


def test_undo_goes_back_step_by_step(opened: Callable[..., Exploration]) -> None:
    explorer = opened(seed=7)
    first = explorer.pixels()
    explorer.move(0, 2.0)
    second = explorer.pixels()
    explorer.go_to(3)
    explorer.reset()
    assert explorer.undo()
    assert explorer.undo()
    assert explorer.state.seed == 7
    assert np.array_equal(explorer.pixels(), second)
    assert explorer.undo()
    assert np.array_equal(explorer.pixels(), first)
    assert not explorer.undo()


def test_what_is_refused_changes_nothing(opened: Callable[..., Exploration]) -> None:
    explorer = opened()
    state = explorer.state
    for act in (
        lambda: explorer.move(4, 0.0),
        lambda: explorer.move(-1, 0.0),
        lambda: explorer.move(0, float("nan")),
        lambda: explorer.set("gain", 100),
        lambda: explorer.set("colour", "red"),
        lambda: explorer.go_to(-1),
        lambda: explorer.between(0.5),
        lambda: explorer.show(masks="red"),
        lambda: explorer.show(samples=10**7),
        lambda: explorer.mark("C"),
    ):
        with pytest.raises(InputError):
            act()
        assert explorer.state is state
    assert explorer.look == exploration.Look()
    assert not explorer.undo()


@pytest.mark.parametrize(
    "look",
    [
        {"window": (40, 0)},
        {"window": (40, -1)},
        {"window": (None, 1)},
        {"window": 40},
        {"window": "soft"},
        {"sections": (1, 2)},
        {"sections": 1},
        {"sections": (9, None, None)},
    ],
)
def test_a_look_that_cannot_be_shown_is_refused(
    opened: Callable[..., Exploration], look: dict[str, Any]
) -> None:
    explorer = opened(code=VOLUME, latent=0, conditions={}, options={}, outputs=VOLUME_OUTPUTS)
    before, pixels = explorer.look, explorer.pixels()
    with pytest.raises(InputError):
        explorer.show(**look)
    assert explorer.look == before
    assert np.array_equal(explorer.pixels(), pixels)


def test_a_model_that_fails_leaves_the_state_that_is_shown(
    opened: Callable[..., Exploration],
) -> None:
    explorer = opened(code=ONE_AT_A_TIME, seed=7)
    explorer.move(0, 2.0)
    state, look, pixels = explorer.state, explorer.look, explorer.pixels()
    with pytest.raises(MedzooError):
        explorer.show(samples=4)
    assert (explorer.state, explorer.look) == (state, look)
    explorer.move(1, 1.0)  # goes on with one sample
    explorer.model.close()
    with pytest.raises(InputError, match="is closed"):
        explorer.undo()
    assert explorer.state.latents[1] == 1.0
    assert np.array_equal(explorer.samples.images[0, 0, 0, 2], 148)
    assert not np.array_equal(explorer.pixels(), pixels)


def test_random_is_a_fresh_seed(opened: Callable[..., Exploration]) -> None:
    explorer = opened()
    explorer.random()
    first = explorer.state.seed
    explorer.random()
    assert first != explorer.state.seed
    assert np.array_equal(
        explorer.pixels(), medzoo.generate(901, 1, seed=explorer.state.seed).images[0, 0]
    )


def test_side_by_side_moves_all_samples_alike(opened: Callable[..., Exploration]) -> None:
    explorer = opened(seed=5)
    explorer.show(samples=4)
    assert np.array_equal(
        explorer.samples.images, medzoo.generate(901, 4, seed=5, condition="benign").images
    )
    own = seeds.latents(5, range(4), 4)
    explorer.move(1, float(own[0, 1]) + 0.5)
    rows = explorer.arguments["latents"]
    assert np.allclose(rows[:, 1], own[:, 1] + 0.5)
    assert np.array_equal(np.delete(rows, 1, axis=1), np.delete(own, 1, axis=1))
    assert explorer.pixels().shape == (18, 18)


def test_from_a_to_b(opened: Callable[..., Exploration]) -> None:
    explorer = opened(seed=1)
    explorer.mark("A")
    a = explorer.state.latents
    explorer.go_to(2)
    explorer.mark("B")
    explorer.between(0.0)
    assert np.array_equal(explorer.state.latents, a)
    explorer.between(1.0)
    assert np.array_equal(explorer.state.latents, seeds.latents(2, [0], 4)[0])
    explorer.between(0.5)
    lengths = [np.linalg.norm(v) for v in (a, seeds.latents(2, [0], 4)[0])]
    assert np.linalg.norm(explorer.state.latents) == pytest.approx(np.mean(lengths), rel=1e-5)


def test_between_of_ends_without_an_arc() -> None:
    a = np.array([1, 0, 2], np.float32)
    assert np.allclose(exploration.between(a, -a, 0.25), a / 2)
    assert np.allclose(exploration.between(a, 3 * a, 0.5), 2 * a)
    assert np.allclose(exploration.between(a, 0 * a, 0.5), a / 2)


def test_saved_state_and_its_line_make_the_picture_again(
    opened: Callable[..., Exploration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer = opened(seed=3)
    line = explorer.python()
    assert "latents" not in line
    names: dict[str, Any] = {"medzoo": medzoo}
    exec(line, names)
    assert np.array_equal(names["samples"].images, explorer.samples.images)
    explorer.move(1, 1.25)
    explorer.set("condition", "malignant")
    path = explorer.save()
    state = json.loads(path.with_suffix(".json").read_text())
    assert state["python"] == explorer.python(path.with_suffix(".json"))
    exec(state["python"], names)
    assert np.array_equal(names["samples"].images, explorer.samples.images)
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), explorer.pixels())
        assert "Not for diagnosis" in picture.text["Comment"]  # type: ignore[attr-defined]


def test_state_of_an_own_package_says_its_folder_and_needs_trust(tmp_path: Path) -> None:
    folder = medzoo.copy(109, tmp_path / "mine")
    with medzoo.load(folder, trust=True) as model:
        recipe = Exploration(model).recipe
    assert (recipe["model_id"], recipe["trust"]) == (str(folder), True)


def test_volume_has_sections_and_a_window(opened: Callable[..., Exploration]) -> None:
    explorer = opened(code=VOLUME, outputs=VOLUME_OUTPUTS, conditions={}, options={}, latent=0)
    assert explorer.sizes == {"axial": 3, "coronal": 4, "sagittal": 5}
    assert explorer.value_range == (-1000, 1000)
    explorer.show(window=(100, 400), sections=(2, 0, 4))
    values = explorer.samples.volumes[0, 0]
    expected = np.rint(np.clip((values[2] + 100) / 400, 0, 1) * 255)
    assert np.array_equal(explorer.pixels()[:4, :5], expected)
    for sections in ((3, 0, 0), (0, -1, 0)):
        with pytest.raises(InputError, match="section"):
            explorer.show(sections=sections)
    with pytest.raises(InputError, match="no latents"):
        explorer.move(0, 1.0)


def test_window_is_offered_for_hu_and_16_bits_alone(opened: Callable[..., Exploration]) -> None:
    assert opened().value_range is None


# ----------------------------------------------------------------------------------- directions
def test_leading_directions_are_named_by_what_they_change(disc: int) -> None:
    with medzoo.load(disc) as model:
        found = directions_of(model)
        again = directions_of(model)
    names = [direction.name for direction in found]
    assert len(set(names)) == len(names)
    by_name = {direction.name: direction.vector for direction in found}
    assert abs(by_name["brightness"][0]) > 0.9
    assert by_name["position, left to right"][1] > 0.9  # more is further to the right
    assert by_name["size"][2] > 0.9
    gram = np.stack([d.vector for d in found]) @ np.stack([d.vector for d in found]).T
    assert np.allclose(gram, np.eye(len(found)), atol=1e-5)
    for first, second in zip(found, again, strict=True):  # from the cache
        assert (first.name, first.vector.tolist()) == (second.name, second.vector.tolist())
    assert len(list((settings.cache_folder() / "directions").iterdir())) == 1


def test_damaged_or_unwritable_cache_is_no_error(disc: int) -> None:
    with medzoo.load(disc) as model:
        found = directions_of(model)
        (path,) = (settings.cache_folder() / "directions").iterdir()
        for content in ("{", '{"directions": [{"name": "x", "change": 1, "vector": [1]}]}'):
            path.write_text(content)
            assert [d.name for d in directions_of(model)] == [d.name for d in found]
        path.unlink()
        path.parent.rmdir()
        path.parent.write_text("a file in the place of the folder")
        assert [d.name for d in directions_of(model)] == [d.name for d in found]


def test_another_version_has_other_directions(disc: int, toy: Callable[..., int]) -> None:
    with medzoo.load(disc) as model:
        directions_of(model)
    toy(DISC + "\n", latent=6, conditions={}, options={}, outputs=DISC_OUTPUTS)
    with medzoo.load(disc) as model:
        assert directions.cached_directions(model) is None


def test_no_two_directions_share_a_name() -> None:
    vectors = [np.eye(4, dtype=np.float32)[k] for k in range(3)]
    changes = np.array([[2.0, 1.0], [-3.0, 0.6], [1.9, 0.4]])
    found = named(vectors, changes, ["brightness", "size"])
    assert [d.name for d in found] == ["size", "brightness", "direction 2"]
    assert found[1].vector.tolist() == [0, -1, 0, 0]  # turned, so that right is brighter
    assert found[1].change == 3.0


def test_directions_of_pictures_that_never_change() -> None:
    latents = seeds.latents(0, range(20), 5)
    assert leading(latents, np.ones((20, 7), np.float32)) == []


def test_a_slide_moves_along_its_direction_alone(disc: int) -> None:
    with medzoo.load(disc) as model:
        explorer = Exploration(model, 4)
        assert explorer.directions is None
        found = explorer.find_directions()
        before = explorer.state.latents
        explorer.slide(1, 2.0)
        after = explorer.state.latents
    assert found[1].position(after) == pytest.approx(2.0, abs=1e-5)
    for k, direction in enumerate(found):
        if k != 1:
            expected = direction.position(before)
            assert direction.position(after) == pytest.approx(expected, abs=1e-5)


def test_position_on_a_direction() -> None:
    direction = Direction("x", np.array([0.6, 0.8], np.float32), 1.0)
    moved = direction.moved(np.array([1.0, 1.0], np.float32), -0.6)
    assert np.allclose(moved, [1 - 2 * 0.6, 1 - 2 * 0.8])


# ----------------------------------------------------------------------------------- walks
def test_traverse_changes_one_latent_and_keeps_the_noise(disc: int, tmp_path: Path) -> None:
    frames = medzoo.traverse(disc, latent=1, steps=5, reach=2.0, seed=3)
    own = seeds.latents(3, [0], 6)[0]
    assert frames.positions.tolist() == [-2, -1, 0, 1, 2]
    assert np.array_equal(frames.latents[:, 1], np.float32([-2, -1, 0, 1, 2]))
    assert np.array_equal(np.delete(frames.latents, 1, 1), np.repeat(own[None, [0, 2, 3, 4, 5]], 5, 0))  # fmt: skip
    for row, latents in enumerate(frames.latents):
        again = medzoo.generate(disc, 1, seed=3, latents=latents[None])
        assert np.array_equal(frames.columns["images"][row], again.images[0])
    assert len({int(v) for v in frames.columns["images"][:, 0, 0, 0]}) == 1  # the noise
    path = frames.save(tmp_path / "walk.png")
    with Image.open(path) as picture:
        assert picture.size == (5 * SIZE + 4 * 2, SIZE)
    with Image.open(frames.save(tmp_path / "walk.gif")) as picture:
        assert getattr(picture, "n_frames") == 8  # noqa: B009  (there and back)
    assert "latent 1" in frames._repr_html_()


def test_traverse_by_name_makes_the_named_property_larger(disc: int) -> None:
    frames = medzoo.traverse(disc, "size", 3)
    assert "(size)" in frames.title
    sizes = frames.columns["masks"].sum(axis=(1, 2, 3))
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    "arguments",
    [{"fps": 0}, {"fps": "4"}, {"scale": 0}, {"scale": "2"}, {"columns": -1}, {"masks": "red"}],
)
def test_frames_refuse_what_cannot_be_drawn(
    disc: int, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    walk = medzoo.traverse(disc, latent=0, steps=2)
    for name in ("walk.png", "walk.gif"):
        with pytest.raises(InputError):
            walk.save(tmp_path / name, **arguments)
    if "fps" not in arguments:
        with pytest.raises(InputError):
            walk.strip(**arguments)
    assert not list(tmp_path.glob("walk*"))


def test_interpolate_goes_from_seed_to_seed(disc: int) -> None:
    frames = medzoo.interpolate(disc, 1, 2, steps=3)
    ends = seeds.latents(1, [0], 6)[0], seeds.latents(2, [0], 6)[0]
    assert np.array_equal(frames.latents[0], ends[0])
    assert np.array_equal(frames.latents[2], ends[1])
    assert np.array_equal(frames.columns["images"][0], medzoo.generate(disc, 1, seed=1).images[0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"direction": "colour"},
        {"direction": 99},
        {"direction": True},
        {"steps": 1},
        {"steps": 10**7},
        {"latent": 6},
        {"latent": -1},
        {"reach": 0},
        {"reach": float("inf")},
        {"seed": -1},
        {"direction": [0]},
        {"latents": np.zeros((2, 6), np.float32)},
        {"n": 3},
        {"condition": "benign"},
    ],
)
def test_traverse_refuses(disc: int, arguments: Any) -> None:
    with pytest.raises(InputError):
        medzoo.traverse(disc, **{"steps": 2, **arguments})


def test_walks_need_latents_and_pictures(toy: Callable[..., int]) -> None:
    number = toy("raise RuntimeError('loaded')", latent=0)
    with pytest.raises(InputError, match="no latents"):
        medzoo.traverse(number)
    with pytest.raises(InputError, match="no latents"):
        medzoo.interpolate(number, 1, 2)
    with pytest.raises(InputError, match="no image"):
        medzoo.traverse(107)


def test_commands_write_a_strip_and_an_animation(
    disc: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strip, film = tmp_path / "a.png", tmp_path / "b.gif"
    walk = ["traverse", str(disc), "--latent", "0", "--steps", "4", "--columns", "2"]
    assert main([*walk, "--out", str(strip)]) == 0
    with Image.open(strip) as picture:
        assert picture.size == (2 * SIZE + 2, 2 * SIZE + 2)
    assert main(["interpolate", str(disc), "1", "2", "--steps", "3", "--out", str(film)]) == 0
    assert "3 pictures, from seed 1 to seed 2" in capsys.readouterr().out
    assert film.read_bytes().startswith(b"GIF8")
    assert main([*walk, "--out", str(tmp_path / "c.jpg")]) == 2
    assert "must end in .png or .gif" in capsys.readouterr().err


# ----------------------------------------------------------------------------------- the notebook
def test_controls_in_a_notebook_follow_the_state(
    disc: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from medzoo.view.notebook import NotebookExplorer

    with medzoo.load(disc) as model:
        directions_of(model)
        face = NotebookExplorer(model, seed=4)
        names = [direction.name for direction in face.exploration.directions or []]
        assert [slider.description for slider in face.directions] == names
        before = face.image.value
        face.directions[0].value = 2.0
        assert face.image.value != before
        moved = face.exploration.state.latents
        assert face.exploration.directions[0].position(moved) == pytest.approx(2.0, abs=1e-5)  # type: ignore[index]
        face.number.value = 5
        face.latent.value = 1.5
        assert face.exploration.state.latents[5] == 1.5
        face.controls["masks"].value = "beside"
        pixels = face.exploration.pixels(24)
        assert pixels.shape == (16 * 24, 32 * 24, 3)
        face.controls["seed"].value = "31"
        assert face.exploration.state.seed == 31
        face.controls["seed"].value = "x"
        assert "not a valid seed" in face.note.value
        assert face.controls["seed"].value == "31"
        face.buttons["undo"].click()
        assert face.controls["seed"].value == "4"
        assert face.latent.value == 1.5
        face.buttons["save"].click()
        assert "saved medzoo_901_seed4_1.png" in face.note.value
        assert face.controls["A to B"].disabled
        for end in "AB":
            face.buttons[end].click()
        assert not face.controls["A to B"].disabled


def test_notebook_finds_directions_when_asked(disc: int) -> None:
    from medzoo.view.notebook import NotebookExplorer

    with medzoo.load(disc) as model:
        face = NotebookExplorer(model)
        assert not face.directions
        face.buttons["find directions"].click()
        assert face.directions


def test_notebook_controls_of_inputs(toy: Callable[..., int]) -> None:
    from medzoo.view.notebook import NotebookExplorer

    with medzoo.load(toy()) as model:
        face = NotebookExplorer(model)
        face.controls["condition"].value = "malignant"
        face.controls["gain"].value = 9
        assert face.exploration.state.inputs == {"condition": "malignant", "gain": 9}
        face.buttons["reset"].click()
        assert (face.controls["condition"].value, face.controls["gain"].value) == ("benign", 3)


def test_notebook_shows_the_look_that_is_drawn(toy: Callable[..., int]) -> None:
    from medzoo.view.notebook import NotebookExplorer

    with medzoo.load(toy(ONE_AT_A_TIME)) as model:
        face = NotebookExplorer(model)
        face.controls["samples"].value = 4
        assert "sample" in face.note.value
        assert (face.controls["samples"].value, face.exploration.look.samples) == (1, 1)
        face.controls["gain"].value = 9
        assert face.exploration.state.inputs["gain"] == 9


def test_notebook_keeps_an_option_that_is_called_like_a_look_apart(toy: Callable[..., int]) -> None:
    from medzoo.view.notebook import NotebookExplorer

    option = {"type": "int", "default": 3, "minimum": 0, "maximum": 9, "help": "A number."}
    with medzoo.load(toy(options={"gain": option, "samples": option})) as model:
        face = NotebookExplorer(model)
        face.controls["samples"].value = 5
        assert face.exploration.state.inputs["samples"] == 5
        face.looks["samples"].value = 4
        assert face.exploration.look.samples == 4
        assert face.controls["samples"].value == 5


# ----------------------------------------------------------------------------------- which face
def test_missing_ipywidgets_is_named(disc: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        window, "find_spec", lambda name: None if name == "ipywidgets" else found(name)
    )
    with pytest.raises(InputError, match="ipywidgets, which is not installed"):
        medzoo.visualize(disc, ui="notebook")


def test_missing_toolkit_is_named_with_what_brings_it(
    disc: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="No display"):
        medzoo.visualize(disc, ui="window")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(InputError, match="MPLBACKEND=agg draws into files only"):
        medzoo.visualize(disc, ui="window")
    monkeypatch.delenv("MPLBACKEND")
    assert "PyQt6" in window.why_no_window("agg")
    assert "python3-tk" in window.why_no_window("tkagg")
    with pytest.raises(InputError, match="Use window, notebook"):
        medzoo.visualize(disc, ui="paper")


def test_notebook_is_chosen_in_a_kernel(disc: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(window, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    face: Any = medzoo.visualize(disc, seed=2)
    assert shown == [face.box]
    assert face.exploration.state.seed == 2
    assert face.directions  # quick to find, so they are found before
    face.close()
    with pytest.raises(InputError, match="closed"):
        face.exploration.model.generate(1)
