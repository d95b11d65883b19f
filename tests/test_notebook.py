"""What a notebook shows: pictures with outlines, facts, and nothing that a config could inject."""

from __future__ import annotations

import base64
import html.parser
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import medzoo
from medzoo.config import Output
from medzoo.errors import DatasetError, InputError
from medzoo.registry import card
from medzoo.samples import Samples, raster, shown
from medzoo.samples.pictures import grid, histograms

MOST = 300_000  # characters of a page
EVIL = "<script>alert('x')</script>"
GRAY = Output("images", "image", "uint8", (1, 8, 8), (0.0, 255.0))
MASKS = Output("masks", "mask", "uint8", (1, 8, 8))
VOLUME = Output("volumes", "volume", "int16", (1, 3, 4, 6), (0.0, 100.0), "", (5.0, 2.0, 1.0))
BOXES = Output("boxes", "boxes", "float32", (2, 4))


class Page(html.parser.HTMLParser):
    """The tags of a page, and a check that each one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        elif tag not in {"br", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def pixels(self, k: int) -> Any:
        _, _, data = str(self.images[k]["src"]).partition("base64,")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def page(thing: Any) -> Page:
    text = thing._repr_html_()
    assert len(text) < MOST
    return Page(text)


def samples_of(*outputs: Output, n: int = 2, provenance: Any = None, **columns: Any) -> Samples:
    return Samples(columns, {o.name: o for o in outputs}, np.arange(n), provenance or {})


def volume() -> Any:
    """Two volumes whose voxels say where they are: 20 z + 4 y + x."""
    z, y, x = np.mgrid[:3, :4, :6]
    return np.stack([20 * z + 4 * y + x] * 2)[:, None].astype(np.int16)


# ------------------------------------------------------------------------------------- samples
def test_samples_are_pictures_with_labels(toy: Callable[..., int]) -> None:
    samples = medzoo.generate(toy(), 20, seed=5)
    shown_page = page(samples)
    text = samples._repr_html_()
    assert len(shown_page.images) == 12
    assert "and 8 more" in text
    assert "<b>20 samples</b> of 00901_TOY_MRI_NOISE 1.0.0, seed 5" in text
    assert "not for diagnosis" in text
    assert text.count("<figcaption>benign</figcaption>") == 6
    first = shown_page.pixels(0)
    assert np.array_equal(first[::20, ::20], samples.images[0, 0])  # each pixel became 20 x 20
    assert shown_page.images[1]["alt"] == "sample 1: malignant"
    assert "<details><summary>provenance</summary>" in text
    assert "&quot;seed&quot;: 5" in text


def test_text_from_outside_is_escaped() -> None:
    output = Output(EVIL, "image", "uint8", (1, 8, 8), (0.0, 255.0), EVIL)
    labels = Output("labels", "label", "int64", ())
    table = Output("table", "table", "float32", (2,), columns=(EVIL, "b"))
    samples = samples_of(
        output,
        labels,
        table,
        provenance={"model": EVIL, "seed": EVIL, "label_names": {"labels": {"0": EVIL}}},
        **{EVIL: np.zeros((2, 1, 8, 8), np.uint8), "labels": np.zeros(2, np.int64)},
        table=np.zeros((2, 2), np.float32),
    )
    shown_page = page(samples)
    assert "script" not in shown_page.tags
    assert "&lt;script&gt;" in samples._repr_html_()


def test_config_with_evil_texts_is_escaped(toy: Callable[..., int]) -> None:
    number = toy(architecture=EVIL, license=EVIL, authors=[EVIL])
    for thing in (medzoo.info(number), medzoo.list_models(), medzoo.search("toy")):
        assert "script" not in page(thing).tags
    with medzoo.load(number) as model:
        assert "script" not in page(model).tags
    assert EVIL.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#x27;") in (
        medzoo.info(number)._repr_html_()
    )


def test_large_samples_stay_below_the_limit() -> None:
    big = Output("images", "image", "uint8", (3, 512, 512), (0.0, 255.0))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (12, 3, 512, 512), np.uint8)
    shown_page = page(samples_of(big, n=12, images=noise, provenance={"x": "y" * 10**6}))
    assert 1 <= len(shown_page.images) <= 12
    assert max(shown_page.pixels(0).shape) <= 320


def test_samples_on_disk_are_read_by_their_first_rows(
    toy: Callable[..., int], tmp_path: Path
) -> None:
    medzoo.generate(toy(), 20, seed=5, out=tmp_path / "set")
    samples = medzoo.read(tmp_path / "set")
    for path in (tmp_path / "set").glob("images/00001[2-9]*.png"):
        path.unlink()
    assert len(page(samples).images) == 12
    assert f"in {tmp_path / 'set'}" in samples._repr_html_()


def test_samples_without_pictures_or_rows() -> None:
    labels = Output("labels", "label", "int64", ())
    assert page(samples_of(labels, labels=np.zeros(2, np.int64))).images == []
    assert page(samples_of(GRAY, n=0, images=np.zeros((0, 1, 8, 8), np.uint8))).images == []


def test_a_table_is_histograms_and_says_what_is_missing() -> None:
    table = Output("table", "table", "float32", (14,), columns=("a", "b"))
    values = np.zeros((5, 14), np.float32)
    values[:, 0] = [1, 2, 3, 4, np.nan]
    values[:, 1] = np.nan
    text = samples_of(table, n=5, table=values)._repr_html_()
    assert "1 to 4, 1 missing" in text
    assert "no values" in text
    assert "table.11" in text
    assert "and 2 more columns" in text


# ------------------------------------------------------------------------------------- models
def test_model_info_has_picture_line_and_facts() -> None:
    text = medzoo.info(8)._repr_html_()
    (picture,) = Page(text).images
    assert picture["alt"] == "samples of 00008_C-DCGAN_MMG_MASSES"
    assert "samples = medzoo.generate(8, 4)" in text
    assert "condition = benign | malignant" in text
    assert "trained on: CBIS-DDSM" in text
    assert page(medzoo.info(19)).images == []


def test_every_bundled_model_has_a_small_picture() -> None:
    """`python docs/pictures/thumbnails.py` writes them."""
    models = medzoo.list_models()
    bundled = {model.id for model in models if model.default.scheme == "bundled"}
    assert {path.stem for path in card.THUMBNAILS.glob("*.jpg")} == bundled
    for path in card.THUMBNAILS.glob("*.jpg"):
        assert path.stat().st_size <= 15_000
    assert len(page(models).images) == len(bundled)


def test_list_and_search_are_tables(toy: Callable[..., int]) -> None:
    toy()
    models = medzoo.list_models()
    assert isinstance(models, list)
    assert page(models).tags.count("tr") == len(models) + 1
    assert "00901_TOY_MRI_NOISE" in models._repr_html_()  # type: ignore[attr-defined]
    results = page(medzoo.search("brain"))
    assert results.tags.count("tr") == len(medzoo.search("brain")) + 1
    assert results.images


def test_own_package_does_not_take_the_picture_of_a_bundled_one(tmp_path: Path) -> None:
    folder = medzoo.copy(8, tmp_path / "mine")
    config = medzoo.info(folder)
    assert page(config).images == []
    assert "trust=True" in config._repr_html_()


def test_data_set_is_shown_without_making_a_sample(toy: Callable[..., int]) -> None:
    number = toy("raise RuntimeError('loaded')")
    text = medzoo.dataset(number, 100, seed=3)._repr_html_()
    assert "SyntheticDataset of 100 samples, seed 3, blocks of 4" in text
    assert "of endless samples" in medzoo.iterable_dataset(number, seed=3)._repr_html_()


def test_verification_is_shown(toy: Callable[..., int], tmp_path: Path) -> None:
    medzoo.generate(toy(), 4, seed=5, out=tmp_path / "set")
    assert "✓" in medzoo.verify(tmp_path / "set")._repr_html_()
    (tmp_path / "set" / "images" / "000000_benign.png").write_bytes(b"")
    text = medzoo.verify(tmp_path / "set")._repr_html_()
    assert "✗" in text
    assert "000000_benign.png" in text
    Page(text)


# ------------------------------------------------------------------------------------- sections
def test_sections_of_a_volume_are_those_that_their_planes_name() -> None:
    values = volume()[0]
    assert np.array_equal(shown.section(values, "axial", 2)[0], values[0, 2])
    coronal = shown.section(values, "coronal", 1)[0]  # (D, W), the last slice at the top
    assert np.array_equal(coronal, values[0, ::-1, 1, :])
    sagittal = shown.section(values, "sagittal", 5)[0]
    assert np.array_equal(sagittal, values[0, ::-1, :, 5])
    assert np.array_equal(shown.section(values)[0], values[0, 1])


def test_volume_is_plotted_in_three_planes_of_one_scale() -> None:
    figure = grid(samples_of(VOLUME, volumes=volume()))
    assert [axes.get_title() for axes in figure.axes] == [
        *("sample 0", "coronal", "sagittal"),
        *("sample 1", "coronal", "sagittal"),
    ]
    sizes = [axes.get_window_extent() for axes in figure.axes[:3]]
    mm = [(8, 6), (15, 6), (15, 8)]  # height and width of each plane
    for box, (high, wide) in zip(sizes, mm, strict=True):
        assert box.height / box.width == pytest.approx(high / wide)
        assert box.width / sizes[0].width == pytest.approx(wide / 6)
    shown_values = figure.axes[1].images[0].get_array()
    assert np.allclose(shown_values, volume()[0, 0, ::-1, 2] / 100)


# ------------------------------------------------------------------------------------- boxes
def boxed() -> Samples:
    rows = np.full((2, 2, 4), np.nan, np.float32)
    rows[0, 0] = [0.5, 0.5, 0.5, 0.25]  # columns 2 to 5, rows 3 and 4
    images = np.full((2, 1, 8, 8), 100, np.uint8)
    return samples_of(GRAY, BOXES, images=images, boxes=rows)


def test_boxes_are_drawn_on_plots_and_tiles() -> None:
    samples = boxed()
    first, second = grid(samples).axes
    (rectangle,) = first.patches
    assert rectangle.get_bbox().extents.tolist() == [1.5, 2.5, 5.5, 4.5]
    assert not second.patches
    pixels = raster.tile(samples, 0)
    coloured = (pixels != 100).any(axis=2)
    expected = np.zeros((8, 8), bool)
    expected[3:5, 2:6] = True
    assert np.array_equal(coloured, expected)
    assert raster.tile(samples, 1).shape == (8, 8)


# ------------------------------------------------------------------------------------- rasters
def test_tile_outlines_the_inner_edge_of_a_mask() -> None:
    masks = np.zeros((2, 1, 8, 8), np.uint8)
    masks[0, 0, 1:4, 2:6] = 1
    images = np.full((2, 1, 8, 8), 100, np.uint8)
    samples = samples_of(GRAY, MASKS, images=images, masks=masks)
    edge = masks[0, 0].astype(bool)
    edge[2, 3:5] = False
    assert np.array_equal((raster.tile(samples, 0) != 100).any(axis=2), edge)
    both = raster.tile(samples, 0, masks="beside")
    assert both.shape == (8, 16, 3)
    assert (both[:, :8] == 100).all()
    assert np.array_equal(both[:, 8:].any(axis=2), masks[0, 0].astype(bool))
    plain = raster.tile(samples, 0, masks="none", scale=3)
    assert np.array_equal(plain, np.full((24, 24), 100))


def test_montage_is_pixel_for_pixel(toy: Callable[..., int]) -> None:
    samples = medzoo.generate(toy(), 5, seed=5)
    picture = samples.montage(columns=3)
    assert (picture.size, picture.mode) == ((3 * 8 + 4, 2 * 8 + 2), "L")
    pixels = np.asarray(picture)
    for k in range(5):
        y, x = k // 3 * 10, k % 3 * 10
        assert np.array_equal(pixels[y : y + 8, x : x + 8], samples.images[k, 0])
    assert not pixels[10:, 20:].any()


def test_montage_of_volumes_stretches_to_square_millimetres() -> None:
    picture = samples_of(VOLUME, n=1, volumes=volume()[:1]).montage()
    # axial 6 x 8, coronal 6 x 15, sagittal 8 x 15 mm
    assert picture.size == (6 + 2 + 6 + 2 + 8, 15)


def test_montage_window_is_that_of_the_column() -> None:
    ct = Output("images", "image", "int16", (1, 1, 4), (-1000.0, 3000.0), "HU", window=(40, 400))
    values = np.array([[[[-1000, -160, 40, 3000]]]], np.int16)
    assert np.asarray(samples_of(ct, n=1, images=values).montage()).tolist() == [[0, 0, 128, 255]]


def test_gif_has_the_samples_as_its_frames(toy: Callable[..., int], tmp_path: Path) -> None:
    samples = medzoo.generate(toy(), 5, seed=5)
    path = samples.to_gif(tmp_path / "toy.gif", n=4, fps=10)
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames") == 4  # noqa: B009
        assert picture.info["duration"] == 100
        assert b"Not for diagnosis" in picture.info["comment"]
        for k in range(4):
            picture.seek(k)
            assert np.array_equal(np.asarray(picture.convert("L")), samples.images[k, 0])


def test_gif_of_a_volume_runs_through_its_sections(tmp_path: Path) -> None:
    path = samples_of(VOLUME, n=1, volumes=volume()[:1]).to_gif(tmp_path / "v.gif")
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames") == 3  # noqa: B009
        assert picture.size == (6, 8)  # rows are 2 mm apart
        picture.seek(2)
        assert np.asarray(picture.convert("L"))[0, 5] == round(45 * 2.55)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": "red"}, "Use outline, beside, none"),
        ({"scale": 0}, "scale=0"),
        ({"scale": 17}, "scale=17"),
        ({"n": 0}, "n=0"),
        ({"columns": 0}, "columns=0"),
        ({"size": 3}, "montage takes no 'size'"),
    ],
)
def test_montage_refuses(arguments: Any, message: str) -> None:
    samples = samples_of(GRAY, images=np.zeros((2, 1, 8, 8), np.uint8))
    with pytest.raises(InputError, match=re.escape(message)):
        samples.montage(**arguments)


def test_montage_that_would_not_fit_into_memory_is_refused() -> None:
    big = Output("images", "image", "uint8", (1, 4096, 4096), (0.0, 255.0))
    samples = samples_of(big, n=1, images=np.zeros((1, 1, 4096, 4096), np.uint8))
    with pytest.raises(InputError, match="at most"):
        samples.montage(scale=4)


def test_gif_refuses(tmp_path: Path) -> None:
    samples = samples_of(GRAY, images=np.zeros((2, 1, 8, 8), np.uint8))
    with pytest.raises(InputError, match="must end in"):
        samples.to_gif(tmp_path / "a.png")
    for fps in (0, 1000, "x"):
        with pytest.raises(InputError, match="fps="):
            samples.to_gif(tmp_path / "a.gif", fps=fps)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="could not be written"):
        samples.to_gif(tmp_path / "file" / "a.gif")
    with pytest.raises(InputError, match="no samples"):
        samples_of(GRAY, n=0, images=np.zeros((0, 1, 8, 8), np.uint8)).to_gif(tmp_path / "a.gif")


# ------------------------------------------------------------------------------------- histograms
def test_table_is_plotted_as_histograms_by_label() -> None:
    table = Output("table", "table", "float32", (3,), columns=("a", "b", "c"))
    labels = Output("labels", "label", "int64", ())
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    values[3, 1] = np.nan
    samples = samples_of(
        table, labels, n=20, table=values, labels=np.arange(20) % 2,
        provenance={"label_names": {"labels": {"0": "benign", "1": "malignant"}}},
    )  # fmt: skip
    figure = samples.plot(2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b, 1 missing"]
    assert [text.get_text() for text in figure.texts[:2]] == ["benign", "malignant"]
    assert len(figure.axes[0].patches) == 2  # a line per label
    heights = [patch.get_xy()[:, 1].max() for patch in figure.axes[0].patches]
    assert min(heights) >= 1
    assert len(histograms(samples).axes) == 3
