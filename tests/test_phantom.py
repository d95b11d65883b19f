"""Model 109: masks are exact, the truth can be measured in the pictures, and conditions and options do what they say."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import medzoo
from medzoo._worker.imports import import_package
from medzoo.registry import resolve
from medzoo.samples import Samples
from medzoo.seeds import Stream

N = 96
FOLDER = ROOT / "starter_models" / "00109_PHANTOM_MMG_MASSES"
VERSION = resolve(109).default
TRUTH = VERSION.outputs["truth"].columns
SPACING = 0.4


@pytest.fixture(scope="module")
def code() -> ModuleType:
    return import_package(FOLDER)


def make(n: int = N, **options: Any) -> Samples:
    return medzoo.generate(109, n, **{"seed": 1, **options})


def truth(samples: Samples, column: str) -> np.ndarray:
    return samples.truth[:, TRUTH.index(column)]


def changed(**options: Any) -> tuple[Samples, np.ndarray, np.ndarray]:
    """Samples without noise, the gray levels that the lesions add (n, H, W), and where these are not cut off at white."""
    there, none = make(noise=0, **options), make(noise=0, lesions=False)
    assert not none.masks.any()
    assert not none.calcifications.any()
    rise = there.images[:, 0].astype(float) - none.images[:, 0]
    return there, rise, there.images[:, 0] < 255


def inner(mask: np.ndarray) -> np.ndarray:
    """The pixels (n, H, W) of a mask whose four neighbours are in it as well."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    return (
        mask
        & padded[:, 2:, 1:-1]
        & padded[:, :-2, 1:-1]
        & padded[:, 1:-1, 2:]
        & padded[:, 1:-1, :-2]
    )


def test_a_mask_is_where_its_lesion_was_added_and_nowhere_else() -> None:
    samples, rise, dark = changed(contrast=3)
    lesion = (samples.masks | samples.calcifications)[:, 0] > 0
    assert not rise[~lesion].any()
    assert (rise >= 0).all()
    mass = samples.masks[:, 0] > 0
    # Within the mask every pixel is brighter, but for a rim where less than one gray level was added.
    assert (rise > 0)[inner(inner(mass)) & dark].all()
    assert (rise > 0)[mass & dark].mean() > 0.97
    only = (samples.calcifications[:, 0] > 0) & ~mass & dark
    assert only.any()
    assert (rise > 0)[only].mean() > 0.8


def test_the_noise_is_the_same_with_and_without_a_lesion() -> None:
    there, none = make(), make(lesions=False)
    outside = (there.masks | there.calcifications) == 0
    assert np.array_equal(there.images[outside], none.images[outside])
    assert (make(noise=0).images != there.images).mean() > 0.5
    assert np.array_equal(truth(there, "glandular_percent"), truth(none, "glandular_percent"))
    assert not none.truth[:, :-1].any()


def test_the_contrast_in_the_truth_is_what_the_mass_adds_on_average() -> None:
    for factor in (0.5, 1.5):
        samples, rise, dark = changed(contrast=factor)
        for i in range(N):
            mass = samples.masks[i, 0] > 0
            if dark[i].all() and not samples.calcifications[i].any():
                assert rise[i][mass].mean() == pytest.approx(
                    truth(samples, "contrast_gray_levels")[i], abs=0.5
                )
    ratio = truth(samples, "contrast_gray_levels") / truth(
        make(contrast=0.5), "contrast_gray_levels"
    )
    assert ratio == pytest.approx(3, rel=1e-3)


def test_diameter_centre_and_elongation_are_found_again_in_the_mask() -> None:
    samples = make(condition="benign")
    centres = (np.arange(128) + 0.5) * SPACING
    for mask, row in zip(samples.masks[:, 0] > 0, samples.truth, strict=True):
        diameter, x, y, elongation = row[:4]
        area = mask.sum() * SPACING**2
        assert 2 * np.sqrt(area / np.pi) == pytest.approx(diameter, abs=0.35)
        points = np.stack(np.broadcast_arrays(centres[None], centres[:, None]))[
            :, mask
        ]  # (2, pixels)
        assert points.mean(axis=1) == pytest.approx([x, y], abs=float(0.02 * diameter + 0.15))
        low, high = np.linalg.eigvalsh(np.cov(points))
        assert np.sqrt(high / low) == pytest.approx(elongation, rel=0.1)


def test_the_window_around_a_mass_holds_all_of_it(code: ModuleType) -> None:
    for shape in (code.smooth, code.spiculated):
        for i in range(200):
            stream = Stream(7, i)
            share, chance = (
                stream.uniforms(code.LATENT).astype(float).tolist(),
                stream.uniforms(256),
            )
            (rows, columns), thickness, _ = shape(share, chance, 3.5 + 7.5 * share[code.DIAMETER])
            sides = {
                rows.start: thickness[0],
                code.SIZE - rows.stop: thickness[-1],
            }  # 0 where the patch ends
            sides |= {
                columns.start + 0.5: thickness[:, 0],
                code.SIZE - columns.stop + 0.5: thickness[:, -1],
            }
            assert not any(side.any() for room, side in sides.items() if room >= 1)


def test_malignant_masses_have_spicules_and_benign_ones_do_not() -> None:
    benign, malignant = (make(condition=c) for c in ("benign", "malignant"))

    def outline(samples: Samples) -> np.ndarray:
        """Perimeter by area, of a circle 1."""
        mass = samples.masks[:, 0] > 0
        edge = (mass & ~inner(mass)).sum(axis=(1, 2))
        return edge / np.sqrt(4 * np.pi * mass.sum(axis=(1, 2)))

    assert not truth(benign, "spicules").any()
    assert truth(malignant, "spicules").min() >= 8
    assert np.quantile(outline(benign), 0.95) < np.quantile(outline(malignant), 0.05)
    assert (
        np.corrcoef(
            truth(malignant, "calcifications"), malignant.calcifications.sum(axis=(1, 2, 3))
        )[0, 1]
        > 0.8
    )
    counts = truth(benign, "calcifications")
    assert ((counts > 0) == benign.calcifications.any(axis=(1, 2, 3))).all()


def test_denser_breasts_have_more_glandular_tissue_and_are_brighter() -> None:
    found = [make(64, density=d, lesions=False) for d in "abcd"]
    percent = [float(truth(s, "glandular_percent").mean()) for s in found]
    assert percent == sorted(percent)
    assert percent[0] < 25 < 50 < percent[3]
    levels = [np.median(s.images) for s in found]
    assert levels == sorted(levels)


def test_every_combination_of_the_two_conditions_has_its_turn() -> None:
    samples = make(16)
    pairs = list(zip(samples.labels.tolist(), samples.density.tolist(), strict=True))
    assert pairs[:3] == [(0, 0), (1, 0), (0, 1)]
    assert pairs[:8] == pairs[8:]
    assert len(set(pairs)) == 8
    assert make(4, condition="malignant").density.tolist() == [0, 1, 2, 3]
    assert make(4, density=["d", "c", "b", "a"]).labels.tolist() == [0, 1, 0, 1]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-40, 40, width=32), min_size=13, max_size=13))
def test_any_latents_make_a_patch_with_its_mass_inside(latents: list[float]) -> None:
    samples = make(2, latents=[latents] * 2, noise=0)
    none = make(2, latents=[latents] * 2, noise=0, lesions=False)
    assert np.isfinite(samples.truth).all()
    low, high = VERSION.outputs["truth"].range or (0, 0)
    assert low <= samples.truth.min() <= samples.truth.max() <= high
    for image, without, mask in zip(samples.images, none.images, samples.masks, strict=True):
        assert mask.sum() * SPACING**2 > 30  # mm2: at least 7 mm across, and not lost in the air
        assert image[mask > 0].mean() > without[mask > 0].mean()


def test_pictures_on_disk_come_with_masks_and_a_table(tmp_path: Any) -> None:
    samples = make(4, out=tmp_path / "set")
    assert samples.provenance["format"] == "png"
    assert sorted(p.name for p in (tmp_path / "set").iterdir() if p.is_dir()) == [
        "calcifications",
        "images",
        "masks",
    ]
    assert (
        sorted(p.name for p in (tmp_path / "set" / "masks").iterdir())[1]
        == "000001_malignant_a.png"
    )
    head = (tmp_path / "set" / "samples.csv").read_text().splitlines()[0]
    assert (
        head
        == "index,labels,density,diameter_mm,x_mm,y_mm,elongation,contrast_gray_levels,spicules,calcifications,glandular_percent"
    )
    memory = make(4)
    assert all(np.array_equal(getattr(samples, c), getattr(memory, c)) for c in memory.columns)
    assert samples.outputs["images"].spacing == (SPACING, SPACING)


def test_opposite_edges_of_a_patch_do_not_belong_together() -> None:
    """Fields made by a Fourier transform repeat themselves; a patch is cut from a larger one so that nobody sees it."""
    images = make(64, lesions=False, noise=0).images[:, 0].astype(float)
    images -= images.mean(axis=(1, 2), keepdims=True)

    def likeness(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    assert likeness(images[:, :, 0], images[:, :, 1]) > 0.9
    assert abs(likeness(images[:, :, 0], images[:, :, -1])) < 0.35
