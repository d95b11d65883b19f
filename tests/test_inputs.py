"""Pictures of the user's own: what may be given, how it is read, and what is said of what does not fit."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import medzoo
from medzoo._worker.input_files import PICTURES
from medzoo.config.model import Input
from medzoo.errors import InputError, MedzooWarning
from medzoo.generation.request import Request
from medzoo.inputs import Inputs
from medzoo.inputs import pictures as readers
from medzoo.registry import resolve

Toy = Callable[..., int]
MASK = {"mask": {"kind": "mask", "help": "Where the gland is.", "shape": [1, 4, 6]}}
ANY = {"image": {"kind": "image", "help": "A mammogram."}}
ECHO = """
import numpy as np

class Model:
    def sample(self, batch):
        given = batch.inputs.get("mask")
        if given is None:
            given = np.full((batch.n, 1, 4, 6), 99, np.uint8)
        assert given.shape == (batch.n, 1, 4, 6), given.shape
        return {"images": given.astype(np.float32)}

def load(weights_dir, device):
    return Model()
"""
OUTPUTS = {"images": {"kind": "image", "dtype": "float32", "shape": [1, 4, 6], "range": [0, 65535]}}


@pytest.fixture
def version(toy: Toy) -> Callable[..., Any]:
    """``version(inputs)``: the version of a native toy model with these inputs."""

    def make(inputs: dict[str, Any], **changes: Any) -> Any:
        return resolve(toy(inputs=inputs, **changes)).default

    return make


def counted(n: int, kind: str = "uint8", shape: tuple[int, ...] = (4, 6)) -> np.ndarray:
    """Pictures (n, *shape), number k of the value k."""
    return (np.zeros((n, *shape)) + np.arange(n).reshape(-1, *[1] * len(shape))).astype(kind)


def read_all(found: Inputs | None, n: int | None = None, name: str = "mask") -> np.ndarray:
    assert found is not None
    return found.batch(np.arange(found.count if n is None else n))[name]


def test_a_native_package_gets_the_pictures_of_its_samples(toy: Toy, tmp_path: Path) -> None:
    number = toy(ECHO, inputs=MASK, outputs=OUTPUTS, conditions=None, options=None)
    masks = counted(5)
    whole = medzoo.generate(number, 5, seed=0, inputs=masks)
    assert whole.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    with medzoo.load(number) as model:
        assert np.array_equal(model(5, inputs={"mask": masks}, batch_size=2).images, whole.images)
        later = np.concatenate([b.images for b in model.stream(3, inputs=masks, first=2)])
    assert np.array_equal(later, whole.images[2:])


def test_fewer_pictures_than_samples_go_round_and_one_warning_says_so(toy: Toy) -> None:
    number = toy(ECHO, inputs=MASK, outputs=OUTPUTS, conditions=None, options=None)
    with pytest.warns(
        MedzooWarning,
        match="00901_TOY_MRI_NOISE has 3 pictures to work on: from sample 3 on they are used",
    ) as said:
        found = medzoo.generate(number, 8, inputs=counted(3))
    assert len(said) == 1
    assert found.images[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert len(medzoo.generate(number, 3, inputs=counted(3))) == 3  # without one


def test_the_loader_takes_them_too(toy: Toy) -> None:
    number = toy(ECHO, inputs=MASK, outputs=OUTPUTS, conditions=None, options=None)
    data = medzoo.dataset(number, 4, inputs=counted(4, "uint16") * 10000)
    np.testing.assert_allclose(
        [float(item["images"][0, 0, 0]) * 65535 for item in data],
        [0, 10000, 20000, 30000],
        atol=0.1,
    )


def test_what_was_given_is_recorded_by_number_and_digest(toy: Toy, tmp_path: Path) -> None:
    number = toy(ECHO, inputs=MASK, outputs=OUTPUTS, conditions=None, options=None)
    record = medzoo.generate(number, 1, inputs=counted(2)).provenance["options"]["inputs"]
    assert record["mask"]["count"] == 2
    assert (
        record != medzoo.generate(number, 1, inputs=counted(2) + 1).provenance["options"]["inputs"]
    )
    assert (
        record
        == medzoo.generate(number, 1, inputs=np.asfortranarray(counted(2))).provenance["options"][
            "inputs"
        ]
    )
    paths = [save(tmp_path / f"{k}.png", counted(3)[k]) for k in range(3)]
    found = Inputs.of("it", resolve(number).default, paths)
    total = hashlib.sha256(
        b"".join(hashlib.sha256(p.read_bytes()).digest() for p in paths)
    ).hexdigest()
    assert found is not None
    assert found.record == {"mask": {"count": 3, "sha256": total}}


def test_a_set_made_of_other_inputs_is_another_set(toy: Toy, tmp_path: Path) -> None:
    number = toy(ECHO, inputs=MASK, outputs=OUTPUTS, conditions=None, options=None)
    medzoo.generate(number, 2, seed=0, inputs=counted(2), out=tmp_path / "set")
    medzoo.generate(number, 2, seed=0, inputs=counted(2), out=tmp_path / "set")  # done already
    with pytest.raises(medzoo.errors.DatasetError):
        medzoo.generate(number, 2, seed=0, inputs=counted(2) + 1, out=tmp_path / "set")


def save(path: Path, picture: np.ndarray, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **how)
    return path


def test_every_way_to_give_pictures_gives_the_same(
    version: Callable[..., Any], tmp_path: Path
) -> None:
    import torch

    chosen, masks = version(MASK), counted(12)
    for k in range(12):  # 10 comes after 9
        save(
            tmp_path / "folder" / f"case {k}.{['png', 'PNG', 'bmp', 'tif', 'tiff'][k % 5]}",
            masks[k],
        )
    (tmp_path / "folder" / "notes.txt").write_text("no picture")
    (tmp_path / "folder" / ".hidden.png").write_text("no picture")
    np.save(tmp_path / "stack.npy", masks)
    paths = [
        str(tmp_path / "folder" / f"case {k}.{['png', 'PNG', 'bmp', 'tif', 'tiff'][k % 5]}")
        for k in range(12)
    ]
    ways = [
        tmp_path / "folder",
        str(tmp_path / "folder"),
        paths,
        tuple(map(Path, paths)),
        masks,
        masks[:, None],
        list(masks),
        masks.tolist(),
        torch.tensor(masks),
        tmp_path / "stack.npy",
        {"mask": masks},
        {"mask": paths},
        np.asfortranarray(masks),
    ]
    for way in ways:
        found = read_all(Inputs.of("it", chosen, way))
        assert found.shape == (12, 1, 4, 6)
        assert (found == masks[:, None]).all(), way
    for way in (paths[3], masks[3], masks[3][None], [masks[3]]):
        assert (read_all(Inputs.of("it", chosen, way)) == masks[3]).all()


def test_a_home_folder_is_understood(
    version: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(tmp_path / "mine" / "a.png", counted(1)[0])
    assert read_all(Inputs.of("it", version(MASK), "~/mine")).shape == (1, 1, 4, 6)


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [
        ("bool", "uint8"),
        ("uint8", "uint8"),
        ("uint16", "uint16"),
        ("int16", "int16"),
        ("int64", "int64"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float32"),
        (">i2", "int16"),
    ],
)
def test_arrays_keep_their_type_and_floats_are_float32(
    version: Callable[..., Any], kind: str, becomes: str
) -> None:
    found = read_all(Inputs.of("it", version(MASK), counted(2, kind)))
    assert found.dtype == becomes
    assert found[1, 0, 0, 0] == 1


def test_files_keep_the_type_that_they_store(version: Callable[..., Any], tmp_path: Path) -> None:
    gray16 = (counted(2, "uint16") + 300) * 100
    paths = [save(tmp_path / f"{k}.png", gray16[k]) for k in range(2)]
    found = read_all(Inputs.of("it", version(MASK), paths))
    assert found.dtype == np.uint16
    assert (found[:, 0] == gray16).all()
    np.save(tmp_path / "a.npy", counted(1, "float64")[0] - 0.5)
    assert (
        read_all(Inputs.of("it", version(ANY), [tmp_path / "a.npy"]), name="image")
        == np.float32(-0.5)
    ).all()


@pytest.mark.parametrize("value", [-1, 0.5])
def test_masks_of_fractions_or_numbers_below_zero_are_refused(
    version: Callable[..., Any], tmp_path: Path, value: float
) -> None:
    mask = np.where(np.eye(4, 6), value, 0)
    np.save(tmp_path / "mask.npy", mask)
    for given_ in (mask, [tmp_path / "mask.npy"]):
        found = Inputs.of("it", version(MASK), given_)
        with pytest.raises(InputError, match="labels are whole numbers from 0"):
            read_all(found)


def test_grey_saved_in_colour_or_with_an_opaque_alpha_is_grey(
    version: Callable[..., Any], tmp_path: Path
) -> None:
    gray = (np.arange(24).reshape(4, 6) * 10).astype(np.uint8)
    opaque = np.full_like(gray, 255)
    ways = [
        np.stack([gray] * 3, -1),
        np.stack([gray] * 3 + [opaque], -1),
        np.stack([gray, opaque], -1),
    ]
    for k, picture in enumerate(ways):
        path = save(tmp_path / f"{k}.png", picture)
        assert (read_all(Inputs.of("it", version(MASK), path))[0, 0] == gray).all()


def test_a_palette_is_colours_in_an_image_and_numbers_in_a_mask(
    version: Callable[..., Any], tmp_path: Path
) -> None:
    indexed = Image.fromarray((np.arange(24).reshape(4, 6) % 3).astype(np.uint8), "P")
    indexed.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
    indexed.save(tmp_path / "a.png")
    assert (
        read_all(Inputs.of("it", version(MASK), tmp_path / "a.png"))
        == np.arange(24).reshape(4, 6) % 3
    ).all()
    colours = read_all(Inputs.of("it", version(ANY), tmp_path / "a.png"), name="image")
    assert colours.shape == (1, 3, 4, 6)
    assert colours[0, :, 0, 1].tolist() == [250, 0, 0]


def test_colours_come_channels_first_and_sizes_are_free_where_the_config_says_none(
    version: Callable[..., Any], tmp_path: Path
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    found = read_all(Inputs.of("it", version(ANY), save(tmp_path / "a.png", picture)), name="image")
    assert np.array_equal(found[0], np.moveaxis(picture, -1, 0))
    with pytest.raises(
        InputError, match=r"image mixes pictures of uint8 \(1, 4, 6\) and uint8 \(3, 5, 7\)"
    ):
        read_all(
            Inputs.of(
                "it", version(ANY), [tmp_path / "a.png", save(tmp_path / "b.png", counted(1)[0])]
            ),
            name="image",
        )


def test_volumes_are_arrays_or_tiffs_with_pages(
    version: Callable[..., Any], tmp_path: Path
) -> None:
    inputs = {"ct": {"kind": "volume", "help": "A CT.", "shape": [1, 3, 4, 6]}}
    volume = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)
    pages = [Image.fromarray(page) for page in volume]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.save(tmp_path / "a.npy", volume[None])
    for way in (
        volume,
        volume[None],
        volume[None, None],
        tmp_path / "a.tif",
        tmp_path / "a.npy",
        [tmp_path / "a.npy"],
    ):
        assert np.array_equal(
            read_all(Inputs.of("it", version(inputs), way), name="ct"), volume[None, None]
        )


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 7), numbers=st.lists(st.integers(0, 10**12), min_size=1, max_size=9))
def test_sample_i_gets_picture_i_modulo_their_number(count: int, numbers: list[int]) -> None:
    takes_a_mask: Any = SimpleNamespace(
        inputs={"mask": Input("mask", "mask", "A mask.")}, outputs={}, call=None
    )
    found = Inputs.of("it", takes_a_mask, counted(count))
    assert found is not None
    if count in numbers:
        with pytest.warns(MedzooWarning):
            pictures = found.batch(np.array(numbers))["mask"]
    else:
        pictures = found.batch(np.array(numbers))["mask"]
    assert pictures[:, 0, 0, 0].tolist() == [i % count for i in numbers]


OWN = {
    name: {"kind": "image", "help": name, "required": False, "default": f"images/{name}"}
    for name in ("t1", "t2", "t3")
}
ONE_OF_TWO = {
    "a": {"kind": "image", "help": "A."},
    "b": {"kind": "image", "help": "B.", "required": False},
}


@pytest.mark.parametrize(
    ("inputs", "given_", "says"),
    [
        ({}, np.zeros((1, 4, 6)), "it does not take pictures as inputs"),
        (
            MASK,
            None,
            "it works on your pictures and needs mask: Where the gland is(.|\n)*Give a folder",
        ),
        (MASK, {}, "needs mask"),
        (MASK, {"mask": None}, "needs mask"),
        (
            MASK,
            {"masks": np.zeros((1, 4, 6))},
            "it has no input 'masks'.\nIt has mask: Where the gland is",
        ),
        (
            ONE_OF_TWO,
            np.zeros((1, 4, 6)),
            "it has 2 inputs.\nGive a mapping of their names to pictures. a: A.; b: B.",
        ),
        (ONE_OF_TWO, {"b": np.zeros((1, 4, 6))}, "needs a: A."),
        (
            ONE_OF_TWO,
            {"a": np.zeros((2, 4, 6)), "b": np.zeros((3, 4, 6))},
            "inputs: 2 for a, 3 for b.\nThey go together one by one",
        ),
        (
            OWN,
            {"t2": np.zeros((1, 4, 6))},
            "it brings its own pictures for t1, t3, which do not match yours.\nGive all inputs or none: t1",
        ),
        (MASK, "nowhere", "inputs: 'nowhere' is neither a file nor a folder.\nGive a folder"),
        (MASK, "empty", r"inputs: 'empty' holds none of .bmp .jpeg .jpg .npy .png .tif .tiff"),
        (MASK, ["nowhere.png"], r"there is no file '.*nowhere.png'"),
        (MASK, ["a.dcm"], r"inputs: .*a.dcm does not fit: a.dcm is none of .bmp .* .tiff"),
        (MASK, "broken.png", "broken.png does not fit: broken.png cannot be read: cannot identify"),
        (MASK, ["broken.npy"], "broken.npy does not fit: broken.npy cannot be read"),
        (MASK, "broken.npy", "broken.npy does not fit: broken.npy cannot be read"),
        (
            MASK,
            "no.npy",
            "no.npy does not fit: no.npy cannot be read: No data left in file.\nmask is a mask",
        ),
        (MASK, ["pickle.npy"], "pickle.npy cannot be read: .*Python objects"),
        (
            MASK,
            "large.png",
            r"large.png does not fit: it has the shape \(1, 8, 6\).\nmask is a mask of shape \(1, 4, 6\). Where the gland",
        ),
        (
            MASK,
            np.zeros((2, 4, 5)),
            r"a picture of the array does not fit: it has the shape \(4, 5\)",
        ),
        (MASK, np.zeros(3), r"inputs: mask has the shape \(3,\)"),
        (MASK, np.zeros((0, 4, 6)), r"inputs: mask has the shape \(0, 4, 6\)"),
        (MASK, np.zeros((1, 1, 1, 4, 6)), r"inputs: mask has the shape"),
        (MASK, [], "inputs: mask is of type list, not pictures"),
        (MASK, 5, r"inputs: mask has the shape \(\)"),
        (MASK, object(), "inputs: mask is of type object, not pictures: object holds no numbers"),
        (MASK, np.array([["a"]]), "inputs: mask is of type ndarray, not pictures"),
        (
            MASK,
            [np.zeros((4, 6)), np.zeros((5, 6))],
            "inputs: mask is of type list, not pictures: all input arrays must have the same shape",
        ),
        (MASK, ["a.png", 5], "inputs: mask is of type list, not pictures"),
        (MASK, "a\0b", "is not a valid path"),
    ],
)
def test_what_cannot_be_given_says_what_can(
    version: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: Any,
    given_: Any,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("broken.png", "a.dcm", "broken.npy"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    (tmp_path / "no.npy").touch()
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    save(tmp_path / "large.png", counted(1, shape=(8, 6))[0])
    with pytest.raises(InputError, match=says):
        Inputs.of("it", version(inputs), given_)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda p: save(
                p, np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
            ),
            r"it has the shape \(3, 4, 6\)",
        ),
        (
            lambda p: p.write_bytes(
                save(
                    p, np.random.default_rng(0).integers(0, 256, (4, 6)).astype(np.uint8)
                ).read_bytes()[:60]
            ),
            "cannot be read",
        ),
    ],
)
def test_a_file_that_turns_out_wrong_when_it_is_read_is_named(
    version: Callable[..., Any], tmp_path: Path, make: Callable[[Path], Any], says: str
) -> None:
    make(tmp_path / "a.png")
    found = Inputs.of("it", version(MASK), tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"a.png does not fit: .*{says}"):
        read_all(found)


def test_values_that_are_not_finite_are_named(version: Callable[..., Any]) -> None:
    bad = np.zeros((3, 4, 6))
    bad[1, 0, 0] = np.nan
    with pytest.raises(
        InputError, match="picture 1 of the array does not fit: it holds values that are not finite"
    ):
        read_all(Inputs.of("it", version(MASK), bad))


def test_an_input_that_is_not_required_may_be_left_out(toy: Toy) -> None:
    inputs = {"mask": {**MASK["mask"], "required": False}}
    number = toy(ECHO, inputs=inputs, outputs=OUTPUTS, conditions=None, options=None)
    assert (medzoo.generate(number, 2).images == 99).all()
    assert (medzoo.generate(number, 2, inputs=counted(2)).images < 2).all()


def test_memory_does_not_grow_with_the_number_of_pictures(
    version: Callable[..., Any], tmp_path: Path
) -> None:
    big = {"image": {**ANY["image"], "shape": [1, 256, 256]}}
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)).save(
        buffer, "BMP"
    )
    for k in range(100):
        (tmp_path / f"{k}.bmp").write_bytes(buffer.getvalue())
    stack = np.lib.format.open_memmap(tmp_path / "stack.npy", "w+", np.uint8, (100, 256, 256))
    stack.flush()
    chosen = version(big)
    for way in ([str(tmp_path / f"{k}.bmp") for k in range(100)], tmp_path / "stack.npy"):
        tracemalloc.start()
        found = Inputs.of("it", chosen, way)
        assert found is not None
        for start in range(0, 100, 10):
            assert found.batch(np.arange(start, start + 10))["image"].shape == (10, 1, 256, 256)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 * 256 * 256 / 4  # ten pictures, and what reading takes


# ---- what packages of the medigan contract get: files


@pytest.fixture
def to_files(toy: Toy) -> Callable[..., Any]:
    """The version of a medigan model that takes one image; its package is never run."""

    def make(**about: Any) -> Any:
        call = {"weights": "w", "returns": "images"}
        return resolve(
            toy(inputs={"image": {**ANY["image"], **about}}, contract="medigan", call=call)
        ).default

    return make


def staged(found: Inputs | None, n: int | None = None) -> list[Path]:
    return [Path(p) for p in read_all(found, n, "image")]


def test_the_users_own_files_are_handed_over_as_they_are(
    to_files: Callable[..., Any], tmp_path: Path
) -> None:
    paths = [
        save(tmp_path / name, counted(1)[0])
        for name in ("a.PNG", "b.jpg", "c.jpeg", "d.tif", "e.tiff")
    ]
    assert staged(Inputs.of("it", to_files(), paths)) == paths


def test_anything_else_becomes_png(to_files: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gray, colour = (
        rng.integers(0, 256, (4, 6)).astype(np.uint8),
        rng.integers(0, 256, (3, 4, 6)).astype(np.uint8),
    )
    np.save(tmp_path / "a.npy", gray)
    ways: list[tuple[Any, np.ndarray]] = [
        (gray, gray),
        (save(tmp_path / "a.bmp", gray), gray),
        ([tmp_path / "a.npy"], gray),
        (gray.astype(np.int64), gray),
        (gray.astype(np.float64) / 255, gray),
        (gray > 100, (gray > 100).astype(np.uint8) * 255),
        (colour[None], np.moveaxis(colour, 0, -1)),
    ]
    for way, expected in ways:
        found = Inputs.of("it", to_files(), way)
        (path,) = staged(found)
        assert path.suffix == ".png"
        written = np.asarray(Image.open(path))
        assert written.dtype == expected.dtype
        assert np.array_equal(written, expected)


@pytest.mark.parametrize(
    "values",
    [np.full((4, 6), -1), np.full((4, 6), 1.5), np.full((1, 2, 4, 6), 1)],
)
def test_what_makes_no_png_says_what_would(
    to_files: Callable[..., Any], values: np.ndarray
) -> None:
    with pytest.raises(
        InputError,
        match=r"picture 0 of the array cannot be saved as PNG.*\nGive 0 to 255, floats from 0 to 1, or files",
    ):
        staged(Inputs.of("it", to_files(), values))


def test_a_picture_is_written_once_and_removed_with_its_request(
    to_files: Callable[..., Any], toy: Toy
) -> None:
    import gc

    found = Inputs.of("it", to_files(), counted(2))
    assert found is not None
    with pytest.warns(MedzooWarning):
        paths = staged(found, 6)
    assert len(set(paths)) == 2
    assert all(p.is_file() for p in paths)
    again = pickle.loads(pickle.dumps(found))
    other = staged(again)
    assert not set(other) & set(paths)  # another process has its own
    del found
    gc.collect()
    assert not any(p.exists() for p in paths)
    assert all(p.is_file() for p in other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_a_folder_of_its_own(to_files: Callable[..., Any]) -> None:
    found = Inputs.of("it", to_files(), counted(2))
    ours = staged(found)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # that other threads of pytest may hold locks
        child = os.fork()
    if child == 0:
        try:
            theirs = staged(found)
            os.write(writing, "\n".join(str(p) for p in theirs if p.is_file()).encode())
            del found
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:  # noqa: PTH123
        theirs = [Path(p) for p in file.read().splitlines()]
    os.waitpid(child, 0)
    assert len(theirs) == 2
    assert not set(ours) & set(theirs)
    assert not any(p.exists() for p in theirs)  # removed with theirs
    assert all(p.is_file() for p in ours)


def test_a_request_with_inputs_can_go_to_another_process(toy: Toy) -> None:
    config = resolve(toy(inputs=MASK))
    request = Request.of(config, config.default, 3, seed=0, options={}, inputs=counted(3))
    again = pickle.loads(pickle.dumps(request))
    assert np.array_equal(again.batch([2, 0]).inputs["mask"], request.batch([2, 0]).inputs["mask"])
    assert again.record["inputs"] == request.record["inputs"]


def test_every_format_has_its_reader() -> None:
    assert set(readers.READERS) == set(PICTURES)


@pytest.mark.parametrize("suffix", [s for s in PICTURES if s != ".npy"])
def test_the_header_tells_the_shape_that_reading_gives(tmp_path: Path, suffix: str) -> None:
    for k, picture in enumerate((counted(1)[0], np.zeros((4, 6, 3), np.uint8))):
        path = save(tmp_path / f"{k}{suffix}", picture)
        assert readers.shape(path) == readers.read(path).shape
