"""CT and MR from files written here: their order, values and geometry, contours to masks, and models that work on them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scan_files import AXIAL, CORONAL, SAGITTAL, circle, series, structures

import medzoo
from medzoo import medical
from medzoo.config.model import Input
from medzoo.errors import InputError, MedzooWarning
from medzoo.inputs import Inputs
from medzoo.medical.contours import filled
from medzoo.medical.grids import Place
from medzoo.medical.pictures import pictures_of

OBLIQUE = (
    np.cos(0.3),
    np.sin(0.3),
    0,
    -np.sin(0.3) * np.cos(0.2),
    np.cos(0.3) * np.cos(0.2),
    np.sin(0.2),
)
REAL = Path(
    os.environ.get("MEDZOO_TEST_DATA", "nowhere")
)  # files that the repository has no room for


def hu(shape: tuple[int, int, int] = (6, 20, 30), seed: int = 0) -> np.ndarray:
    """Values in HU that differ everywhere, (D, H, W)."""
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.float32)


def volume(
    voxels: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), **more: Any
) -> medical.Volume:
    return medical.Volume(voxels, spacing, np.zeros(3), np.eye(3)[::-1].copy(), **more)


# ---- series


@pytest.mark.parametrize(
    "orientation",
    [AXIAL, CORONAL, SAGITTAL, OBLIQUE],
    ids=["axial", "coronal", "sagittal", "oblique"],
)
def test_slices_come_in_the_order_of_their_positions_and_values_are_rescaled(
    tmp_path: Path, orientation: Any
) -> None:
    values = hu()
    series(
        tmp_path, values, orientation=orientation, name="deep/er/IM{:04d}"
    )  # no suffix; names say nothing of the order
    (tmp_path / "notes.txt").write_text("no DICOM")
    series(
        tmp_path / "dose",
        hu()[:2],
        uid="1.8",
        Modality="RTDOSE",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2",
    )
    with pytest.warns(MedzooWarning, match=r"1 file is not DICOM, and not read: notes.txt"):
        found = medical.read_series(tmp_path)
    assert np.array_equal(found.voxels, values)
    assert (found.voxels.dtype, found.unit, found.series) == (np.float32, "HU", "1.2.3")
    assert found.spacing == pytest.approx((3.0, 0.5, 0.75))
    k, j, i = 4, 7, 11
    row, column = np.reshape(orientation, (2, 3))
    place = (
        np.array([-20.0, -30, 40])
        + k * 3 * np.cross(row, column)
        + j * 0.5 * np.array(column)
        + i * 0.75 * np.array(row)
    )
    np.testing.assert_allclose(found.affine @ [k, j, i, 1], [*place, 1], atol=1e-6)
    np.testing.assert_allclose(found.voxels_at(place[None]), [[k, j, i]], atol=1e-6)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE, (-1, 0, 0, 0, -1, 0)])
def test_turned_to_axial_every_voxel_stays_where_it_is_in_the_patient(
    tmp_path: Path, orientation: Any
) -> None:
    series(tmp_path, hu(), orientation=orientation)
    found = medical.read_series(tmp_path)
    turned = found.axial()
    assert (
        np.diag(turned.axes[:, ::-1]) > 0.7
    ).all()  # z, y and x grow along slices, rows and columns
    there = np.argwhere(np.ones(turned.voxels.shape))
    place = (turned.affine @ np.c_[there, np.ones(len(there))].T).T[:, :3]
    before = found.voxels_at(place)
    np.testing.assert_allclose(before, np.rint(before), atol=1e-5)
    assert np.array_equal(found.voxels[tuple(np.rint(before).astype(int).T)], turned.voxels.ravel())


def test_a_single_slice_and_a_list_of_files_are_series_too(tmp_path: Path) -> None:
    paths, values = series(tmp_path, hu()), hu()
    one = medical.read_series(paths[2])
    assert np.array_equal(one.voxels, values[2:3])
    assert one.spacing == (3.0, 0.5, 0.75)
    assert np.array_equal(medical.read_series([str(p) for p in paths[3:0:-1]]).voxels, values[1:4])


def test_of_several_series_one_is_chosen_by_name(tmp_path: Path) -> None:
    series(tmp_path, hu(seed=1))
    series(tmp_path / "b", hu(seed=2)[:2], uid="1.2.4", SeriesDescription="Neck, late phase")
    with pytest.raises(
        InputError, match=r"holds 2 series.\nChoose by series=.*CT 'Neck, late phase' of 2, 1.2.4"
    ) as said:
        medical.read_series(tmp_path)
    assert "CT 'head and neck' of 6, 1.2.3" in str(said.value)
    for choice in ("1.2.4", "LATE"):
        assert np.array_equal(medical.read_series(tmp_path, series=choice).voxels, hu(seed=2)[:2])
    with pytest.raises(InputError, match=r"holds 2 series that match 'neck'"):
        medical.read_series(tmp_path, series="neck")


def shifted(k: int) -> list[float]:
    return [-20.0, -30.0 + 0.8 * k, 40.0 + 3 * k]


@pytest.mark.parametrize(
    ("changes", "remove", "says"),
    [
        (
            {},
            3,
            r"From .*.dcm to .*.dcm it is 6 mm, elsewhere 3 mm; 1 of 4 distances between slices are odd",
        ),
        (
            {"ImagePositionPatient": lambda k: [0, 0, 3.0 * max(k, 1)]},
            None,
            "lie at the same place, and 0 more pairs",
        ),
        (
            {"ImagePositionPatient": lambda k: [0, 0, 3.0 * k + 0.4 * (k == 5)]},
            None,
            r"it is 3.4 mm, elsewhere 3 mm",
        ),
        ({"ImagePositionPatient": shifted}, None, r"gantry tilted by 14.9 degrees"),
        (
            {"ImageOrientationPatient": lambda k: list(AXIAL if k else CORONAL)},
            None,
            "differ in ImageOrientationPatient",
        ),
        ({"PixelSpacing": lambda k: [0.5, 0.75 + (k == 3)]}, None, "differ in PixelSpacing"),
        (
            {"Rows": lambda k: 20 - 10 * (k == 3), "Columns": lambda k: 30 + 30 * (k == 3)},
            None,
            "10 x 60 pixels",
        ),
        (
            {"ImagePositionPatient": lambda k: [0, 0, k] if k else None},
            None,
            "has no ImagePositionPatient",
        ),
        ({"NumberOfFrames": 2, "Rows": 10}, None, "several pictures in one file"),
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
            None,
            r"has colours \(RGB\), and grey levels are wanted",
        ),
        ({"PixelData": b"\0\0"}, None, "cannot be decoded.*\nExport or copy it again"),
        ({"PixelSpacing": [0, 1]}, None, r"PixelSpacing of \[0"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, None, "Two directions at right angles"),
        ({"ImagePositionPatient": [1, 0]}, None, "has no 3 numbers for ImagePositionPatient"),
    ],
)
def test_what_makes_no_even_grid_is_an_error(
    tmp_path: Path, changes: Any, remove: int | None, says: str
) -> None:
    paths = series(tmp_path, hu(), **changes)
    if remove is not None:
        paths[remove].unlink()
    with pytest.raises(InputError, match=f"(?s){says}"):
        medical.read_series(tmp_path)


def test_headers_that_are_rounded_are_no_error(tmp_path: Path) -> None:
    series(
        tmp_path,
        hu(),
        ImagePositionPatient=lambda k: [0, 0, round(0.625 * k, 2)],
        spacing=(0.625, 1, 1),
    )
    assert medical.read_series(tmp_path).spacing[0] == pytest.approx(0.625, rel=0.01)


def test_compression_that_nothing_here_decodes_says_what_would(tmp_path: Path) -> None:
    (path, *_) = series(tmp_path, hu()[:1])
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"  # JPEG-LS
    ds.PixelData = pydicom.encaps.encapsulate([b"no picture"])
    ds["PixelData"].VR = "OB"
    ds.save_as(path)
    with pytest.raises(
        InputError,
        match=r"(?s)\(JPEG-LS Lossless.*cannot be decoded.*pip install medzoo\[medical\]",
    ):
        medical.read_series(path)


def test_no_series_says_so(tmp_path: Path) -> None:
    for says in ("There is no '", "holds no DICOM pictures"):
        with pytest.raises(InputError, match=says):
            medical.read_series(tmp_path / "a.dcm")
        (tmp_path / "a.dcm").touch()


def test_a_file_that_was_cut_off_is_never_read_as_less(tmp_path: Path) -> None:
    paths = series(tmp_path, hu((2, 4, 5)))
    whole = paths[1].read_bytes()
    for length in range(132, len(whole), 4):
        paths[1].write_bytes(whole[:length])
        with pytest.raises(InputError, match=re.escape(paths[1].name)):
            medical.read_series(tmp_path)


def test_a_picture_needs_no_place_and_dark_is_dark(tmp_path: Path) -> None:
    mg: dict[str, Any] = {
        "Modality": "MG",
        "PhotometricInterpretation": "MONOCHROME1",
        "WindowCenter": 500,
        "WindowWidth": 200,
    }
    (path,) = series(
        tmp_path,
        hu()[:1],
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        **mg,
    )
    found = medical.read_picture(path)
    # the lowest and the highest of 16 bits, -32768 * 0.5 - 100 and 32767 * 0.5 - 100, change places
    assert np.array_equal(found.voxels[0], -200.5 - hu()[0])
    assert np.isnan(found.spacing[1:]).all()
    assert (found.unit, found.window) == ("", (-700.5, 200))
    with pytest.raises(InputError, match="The spacing of the volume is unknown"):
        medical.resample(found, (None, 1.0, 1.0))


def test_what_reads_comes_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(tmp_path, hu())
    for module, act in (
        ("pydicom", medical.read_series),
        ("nibabel", medical.read_nifti),
        ("pydicom", medical.read_structures),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            InputError,
            match=rf"{module}, which reads .*\n`pip install medzoo\[medical\]` brings it",
        ):
            act(tmp_path)
    code = "import medzoo.medical, sys; print({'pydicom', 'nibabel', 'torch'} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout
        == "set()\n"
    )


# ---- NIfTI


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations([0, 1, 2]),
    signs=st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3),
    tilt=st.floats(-0.5, 0.5),
    labels=st.booleans(),
)
def test_nifti_comes_axial_however_its_axes_are_stored(
    tmp_path_factory: pytest.TempPathFactory, order: Any, signs: Any, tilt: float, labels: bool
) -> None:
    values = hu((3, 4, 5)).astype(np.int16)  # (z, y, x) in DICOM's directions
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine = np.eye(4)  # (x, y, z) of `values` to NIfTI's millimetres
    affine[:3, :3] = np.diag([-1, -1, 1]) @ turn * [0.5, 0.75, 3]
    affine[:3, 3] = [9, 8, 7]
    stored = values.transpose(2, 1, 0).transpose(order)[tuple(slice(None, None, s) for s in signs)]
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        change[source, axis] = sign
        change[source, 3] = 0 if sign > 0 else stored.shape[axis] - 1
    path = tmp_path_factory.mktemp("nifti") / "a.nii.gz"
    nib.save(nib.Nifti1Image(stored, affine @ change), path)
    found = medical.read_nifti(path, labels=labels)
    assert np.array_equal(found.voxels, values)
    assert found.voxels.dtype == (np.int16 if labels else np.float32)
    assert found.spacing == pytest.approx((3, 0.75, 0.5), rel=1e-5)
    np.testing.assert_allclose(found.origin, [-9, -8, 7], atol=1e-4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p.write_bytes(b"nothing"), "cannot be read as NIfTI"),
        (
            lambda p: nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4)), p),
            r"holds 3 volumes.\nChoose by frame= of .*read_nifti, from 0 to 2",
        ),
        (
            lambda p: nib.save(nib.Nifti1Image(np.full((2, 2, 2), 0.5, np.float32), np.eye(4)), p),
            "holds fractions, and labels",
        ),
        (
            lambda p: nib.save(
                nib.Nifti1Image(
                    np.zeros((2, 2, 2), np.int16), np.eye(4) + np.eye(4, k=1) * [0, 1, 0, 0]
                ),
                p,
            ),
            "at right angles",
        ),
    ],
)
def test_nifti_that_is_no_volume_says_so(
    tmp_path: Path, make: Callable[[Path], Any], says: str
) -> None:
    make(tmp_path / "a.nii")
    with pytest.raises(InputError, match=says):
        medical.read_nifti(tmp_path / "a.nii", labels=True)


# ---- contours


def crossings(corners: np.ndarray, row: int, column: int) -> bool:
    """Whether a point lies within a polygon, by a ray upwards, where `filled` looks along rows."""
    inside = False
    for (r0, c0), (r1, c1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if (c0 > column) != (c1 > column) and row > r0 + (column - c0) / (c1 - c0) * (r1 - r0):
            inside = not inside
    return inside


POLYGON = st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 10)), min_size=3, max_size=7)


@settings(max_examples=30, deadline=None)
@given(st.lists(POLYGON, min_size=1, max_size=3), st.floats(0.001, 0.4))
def test_a_pixel_belongs_to_what_encloses_its_centre_an_odd_number_of_times(
    polygons: Any, off: float
) -> None:
    away = np.array([off, off / 3])  # from most pixel centres; they cross themselves as they like
    corners = [np.round(np.array(p), 1) + away for p in polygons]
    expected = [
        [sum(crossings(c, j, i) for c in corners) % 2 == 1 for i in range(7)] for j in range(9)
    ]
    near = [
        [any(edge_distance(c, j, i) < 1e-4 for c in corners) for i in range(7)] for j in range(9)
    ]
    assert (np.array(expected) == filled(corners, (9, 7)))[~np.array(near)].all()


def edge_distance(corners: np.ndarray, row: int, column: int) -> float:
    start, along = corners, np.roll(corners, -1, 0) - corners
    at = ((np.array([row, column]) - start) * along).sum(1) / np.maximum((along**2).sum(1), 1e-12)
    return float(
        np.linalg.norm(start + np.clip(at, 0, 1)[:, None] * along - [row, column], axis=1).min()
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 11), st.integers(1, 8), st.integers(0, 12), st.integers(0, 9))
def test_polygons_with_a_common_border_share_no_pixel_and_leave_none_out(
    a: int, b: int, c: int, d: int
) -> None:
    # the corners of a rectangle to a point of the grid: all borders run through pixel centres
    frame = np.array([[0, 0], [0, 9], [12, 9], [12, 0]])
    parts = [filled([np.array([frame[k], frame[(k + 1) % 4], [a, b]])], (13, 10)) for k in range(4)]
    assert np.array_equal(np.sum(parts, 0), filled([frame], (13, 10)).astype(int))
    assert (
        filled([frame], (13, 10)).sum() == 12 * 9
    )  # what is above and left belongs to it, what is below and right does not
    assert filled([frame, frame], (13, 10)).sum() == 0
    assert filled([np.array([[c, d], [a, b], [c, d]])], (13, 10)).sum() == 0


def test_a_keyhole_is_a_hole() -> None:
    outer, inner = circle(40, (50, 50), 0)[:, :2], circle(17, (52, 47), 0)[:, :2]
    keyhole = np.concatenate(
        [outer, outer[:1], inner, inner[:1]]
    )  # in by a channel, round, and out again
    ring = filled([keyhole], (100, 100))
    assert np.array_equal(ring, filled([outer, inner], (100, 100)))
    assert ring.sum() == pytest.approx(np.pi * (40**2 - 17**2), rel=0.005)


@pytest.mark.parametrize("orientation", [AXIAL, (-1, 0, 0, 0, -1, 0), OBLIQUE])
def test_a_ring_has_its_area_in_the_plane_that_it_was_drawn_in(
    tmp_path: Path, orientation: Any
) -> None:
    spacing = (3.0, 0.5, 0.75)
    series(tmp_path, hu((5, 120, 80)), orientation=orientation, origin=(0, 0, 0), spacing=spacing)
    row, column = np.reshape(orientation, (2, 3)).astype(float)
    plane = np.stack([row, column, np.cross(row, column)])  # of x, y and height in it
    rings = [circle(r, (30, 28), 3.0 * k) @ plane for k in (1, 2) for r in (20, 9)]
    structures(tmp_path / "rt.dcm", {"Ring": rings})
    mask = medical.read_structures(tmp_path).mask(medical.read_series(tmp_path), "ring")
    assert mask.any((1, 2)).tolist() == [False, True, True, False, False]
    assert mask[1].sum() * 0.5 * 0.75 == pytest.approx(np.pi * (20**2 - 9**2), rel=0.01)
    middle = np.argwhere(mask[1]).mean(0) * spacing[1:]
    np.testing.assert_allclose(middle, [28, 30], atol=0.1)  # rows along y, columns along x


def test_a_mask_turns_with_its_volume(tmp_path: Path) -> None:
    series(tmp_path, hu((5, 40, 60)), orientation=SAGITTAL, origin=(0, 0, 0))
    row, column = np.reshape(SAGITTAL, (2, 3)).astype(float)
    plane = np.stack([row, column, np.cross(row, column)])
    structures(tmp_path / "rt.dcm", {"Eye": [circle(7, (20, 12), 6.0) @ plane]})
    found, drawn = medical.read_series(tmp_path), medical.read_structures(tmp_path)
    mask = drawn.mask(found, "eye")
    assert mask.any((1, 2)).tolist() == [False, False, True, False, False]
    turned = found.axial()
    again = drawn.mask(turned, "eye")  # now across the slices
    assert again.sum() == pytest.approx(
        mask.sum(), abs=12
    )  # centres on the border belong to the other side of a turned grid
    values = turned.voxels[again & (turned.voxels != 0)]
    assert np.isin(values, found.voxels[mask]).mean() > 0.95


@pytest.mark.parametrize(
    ("planes", "held"),
    [
        ([6.0, 9.0, 12.0], [2, 3, 4]),
        ([7.0, 10.0, 13.0], [2, 3, 4]),  # a third of a slice off
        ([6.0, 12.0, 18.0], [1, 2, 3, 4, 5, 6]),  # every second slice: each stands for two
        ([6.0, 9.0, 15.0], [2, 3, 5]),  # one left out stays out
        (
            [6.0, 7.5, 9.0, 10.5],
            [2, 3],
        ),  # finer than the slices: the nearest; the last is half a slice below the next
        ([10.4], [3]),
    ],
)
def test_contours_between_slices_go_to_the_slices_that_they_stand_for(
    tmp_path: Path, planes: list[float], held: list[int]
) -> None:
    series(tmp_path, hu((8, 60, 60)), origin=(0, 0, 0))
    structures(tmp_path / "rt.dcm", {"Gland": [circle(5 + h / 10, (15, 15), h) for h in planes]})
    mask = medical.read_structures(tmp_path).mask(medical.read_series(tmp_path), "gland")
    assert np.flatnonzero(mask.any((1, 2))).tolist() == held
    nearest = [min(planes, key=lambda h, k=k: (abs(h - 3 * k), -h)) for k in held]
    areas = [mask[k].sum() * 0.5 * 0.75 for k in held]
    assert areas == pytest.approx([np.pi * (5 + h / 10) ** 2 for h in nearest], rel=0.05)


def test_what_a_mask_cannot_be_made_of_says_why(tmp_path: Path) -> None:
    series(tmp_path, hu(), origin=(0, 0, 0))
    found = medical.read_series(tmp_path)
    ring, slanted = (
        circle(3, (8, 5), 6.0),
        circle(3, (8, 5), 6.0) + np.linspace(0, 4, 400)[:, None] * [0, 0, 1],
    )
    structures(
        tmp_path / "rt.dcm",
        {
            "Lens L": [],
            "Slanted": [slanted],
            "Parotid R": [ring],
            "R_Parotid": [ring],
            "Lens L#": [ring],
        },
    )
    drawn = medical.read_structures(tmp_path)
    assert list(drawn.contours) == ["Lens L (1)", "Slanted", "Parotid R", "R_Parotid", "Lens L (5)"]
    for pattern, says in (
        ("Lens L (1)", "has no closed contours"),
        ("slanted", r"leave the volume's slices by up to 1.3"),
        ("parotid r|r parotid", r"2 structures match .*: Parotid R, R_Parotid"),
        ("liver", r"No structure is 'liver'.\nName one of Lens L \(1\), Slanted, Parotid R"),
    ):
        with pytest.raises(InputError, match=says):
            drawn.mask(found, pattern)
    other = volume(found.voxels, found.spacing, series="1.9", frame="1.8")
    with pytest.raises(
        InputError,
        match=r"drawn on another series than this one, 1.9.\nRead that series instead: 1.2.3",
    ):
        drawn.mask(other, "R_Parotid")
    assert drawn.mask(
        volume(found.voxels, found.spacing, series="1.9", frame="1.2.9"), "R_Parotid"
    ).any()  # the same frame
    structures(tmp_path / "second.dcm", {"a": []}, uid="1.7")
    with pytest.raises(
        InputError,
        match=r"has 2 RTSTRUCT files, but only one is allowed.\nGive its file. There are .*rt.dcm, .*second.dcm",
    ):
        medical.read_structures(tmp_path)
    assert list(medical.read_structures(tmp_path, series="1.7").contours) == ["a"]
    structures(tmp_path / "points.dcm", {"Marker": [ring]}, kind="POINT")
    assert medical.read_structures(tmp_path / "points.dcm").contours == {"Marker": []}


@pytest.mark.parametrize(
    "name", ["Parotid R", "PAROTID_R", "parotid-r", "R parotid", "rt. Parotid", "ParotidR"]
)
def test_a_pattern_fits_a_name_however_it_is_written(name: str) -> None:
    assert medical.find_roi(["Cord", name, name + " PRV"], "R parotid|Parotid R|Rt Parotid") == name
    assert medical.find_roi(["Cord", name], "*parotid*") == name


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=6, unique=True), st.data())
def test_a_name_in_full_is_always_found(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    assert medical.find_roi(names, name) == name


# ---- for training


def test_a_window_maps_its_ends_to_0_and_1() -> None:
    found = medical.window(np.array([-1000, -160, 40, 240, 3000]), 40, 400)
    assert (found.dtype, found.tolist()) == (np.float32, [0, 0, 0.5, 1, 1])
    with pytest.raises(InputError, match="not above 0"):
        medical.window(found, 40, 0)


@settings(max_examples=40, deadline=None)
@given(
    spacing=st.lists(st.floats(0.4, 3), min_size=3, max_size=3),
    size=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    centre=st.lists(st.floats(6, 9), min_size=3, max_size=3),
)
def test_a_plane_stays_a_plane_on_any_grid_and_voxels_stay_in_place(
    spacing: Any, size: Any, centre: Any
) -> None:
    slope = np.array([2.0, -3.0, 5.0])
    places = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"), -1) * [1.5, 1.0, 0.75]
    ramp = volume((places @ slope).astype(np.float32), (1.5, 1.0, 0.75))
    made = medical.resample(ramp, spacing, size, centre, fill=-999)
    assert made.voxels.shape == tuple(size)
    assert made.spacing == pytest.approx(spacing, rel=2e-5)
    at = np.argwhere(np.ones(size))
    old = ramp.voxels_at((made.affine @ np.c_[at, np.ones(len(at))].T).T[:, :3])
    np.testing.assert_allclose((old.min(0) + old.max(0)) / 2, centre, atol=1e-9)
    outside = ((old < -0.5) | (old > 15.5)).any(1)
    reach = np.maximum(1, np.array(spacing) / ramp.spacing)
    inner = ((old >= reach) & (old <= 15 - reach)).all(1)
    found = made.voxels.reshape(-1)
    assert (found[outside] == -999).all()
    # a triangle over a grid that it does not fit in whole numbers leans by a fraction of a voxel
    np.testing.assert_allclose(found[inner], (old * ramp.spacing @ slope)[inner], atol=4.0)
    fine = inner & (reach == 1).all()
    np.testing.assert_allclose(found[fine], (old * ramp.spacing @ slope)[fine], atol=1e-2)


def test_a_part_is_a_part_and_a_margin_is_filled() -> None:
    ct = volume(hu((4, 9, 11)))
    part = medical.resample(ct, size=(None, 5, 3), centre=(None, 3, 8))
    assert np.array_equal(part.voxels, ct.voxels[:, 1:6, 7:10])
    wide = medical.resample(ct, size=(None, 13, None))
    assert np.array_equal(wide.voxels[:, 2:11], ct.voxels)
    assert (wide.voxels[:, :2] == ct.voxels.min()).all()
    coarse = medical.resample(volume(np.full((2, 8, 8), 7, np.float32)), (None, 2, 4))
    assert np.array_equal(coarse.voxels, np.full((2, 4, 2), 7))
    for bad in ({"spacing": (1, 0, 1)}, {"size": (None, 0, None)}):
        with pytest.raises(InputError, match="not all are above 0"):
            medical.resample(ct, **bad)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.4, 2), st.floats(8, 14), st.floats(18, 22), st.floats(18, 22))
def test_a_mask_keeps_its_area_and_labels_stay_labels(
    spacing: float, radius: float, y: float, x: float
) -> None:
    mask = filled([circle(radius, (y, x), 0)[:, :2]], (40, 40))[None]
    made = medical.resample(volume(mask), (None, spacing, spacing)).voxels
    assert made.dtype == bool
    assert made.sum() * spacing**2 == pytest.approx(np.pi * radius**2, rel=0.15)
    labels = mask * np.uint8(3) + filled([circle(radius / 2, (y, x), 0)[:, :2]], (40, 40))[
        None
    ] * np.uint8(4)
    assert set(np.unique(medical.resample(volume(labels), (None, spacing, spacing)).voxels)) <= {
        0,
        3,
        7,
    }


def test_slices_with_a_mask_are_cut_around_it() -> None:
    ct = volume(hu((5, 50, 60)), (3.0, 0.5, 0.5))
    mask = np.zeros(ct.voxels.shape, bool)
    mask[1, 10:21, 30:41], mask[3, 0:5, 55:60] = True, True
    images, masks = medical.slices_with(ct, mask, 21)
    assert images.shape == masks.shape == (2, 21, 21)
    assert np.array_equal(images[0], ct.voxels[1, 5:26, 25:46])
    assert np.array_equal(masks[0], mask[1, 5:26, 25:46])
    assert masks[1].sum() == 25
    assert (images[1][:8] == ct.voxels.min()).all()  # beyond the border
    images, masks = medical.slices_with(ct, mask, (12, 10), spacing=1.0)
    assert (images.shape, images.dtype, masks.dtype) == ((2, 12, 10), np.float32, bool)
    assert masks[0].sum() * 1.0 == pytest.approx(mask[1].sum() * 0.25, rel=0.25)
    assert medical.slices_with(ct, mask)[0].shape == (2, 50, 60)
    for bad, says in ((mask[:2], "The mask has the shape"), (mask & False, "The mask is empty")):
        with pytest.raises(InputError, match=says):
            medical.slices_with(ct, bad, 8)


def test_cases_goes_through_a_cohort_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    for k in range(3):
        slices = series(
            tmp_path / f"p{k}" / "ct", hu(seed=k), uid=f"1.{k}", frame=f"2.{k}", origin=(0, 0, 0)
        )
        structures(
            tmp_path / f"p{k}" / "rt.dcm",
            {"Gland": [circle(3, (8, 5), 6.0)]},
            uid=f"1.{k}",
            frame=f"2.{k}",
        )
    series(
        tmp_path / "p1" / "scout", hu(seed=7)[:1], uid="1.77", orientation=CORONAL
    )  # nobody drew on it
    found = list(medical.cases(tmp_path))
    assert [np.array_equal(c.volume.voxels, hu(seed=k)) for k, c in enumerate(found)] == [True] * 3
    assert all(c.structures.mask(c.volume, "gland").sum() > 50 for c in found)
    structures(tmp_path / "lost.dcm", {}, uid="1.99")
    slices[3].unlink()
    with pytest.warns(MedzooWarning) as said:
        assert [c.volume.series for c in medical.cases(tmp_path)] == ["1.0", "1.1"]
    told = " ".join(sorted(str(s.message) for s in said))
    assert re.search(
        "lost.dcm is skipped: the series that it was drawn on is not there.* it is 6 mm, elsewhere 3 mm",
        told,
    )
    assert len(said) == 2
    with pytest.raises(InputError, match="holds no RTSTRUCT"):
        list(medical.cases(tmp_path / "p1" / "ct"))


# ---- inputs of models


def given_to(about: Input, what: Any, *, files: bool = False) -> np.ndarray:
    """All pictures that a package with the one input ``about`` gets."""
    version: Any = SimpleNamespace(
        inputs={about.name: about}, outputs={}, call=object() if files else None
    )
    found = Inputs.of("it", version, what)
    assert found is not None
    pictures = found.batch(np.arange(found.count))[about.name]
    return (
        np.stack([np.asarray(Image.open(path)) for path in pictures])
        if files
        else np.asarray(pictures)
    )


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """Six slices of 0.5 mm, with a gland in the slices 2 and 3 around (x, y) = (10, 20) mm."""
    series(
        tmp_path / "ct",
        hu((6, 100, 80)),
        spacing=(3.0, 0.5, 0.5),
        origin=(0, 0, 0),
        WindowCenter=[40, 300],
        WindowWidth=[400, 2000],
    )
    structures(
        tmp_path / "ct" / "rt.dcm",
        {"PAROTID_R": [circle(6, (10, 20), h) for h in (6.0, 9.0)], "Cord": []},
    )
    return tmp_path / "ct"


def test_a_series_is_given_slice_by_slice(patient: Path) -> None:
    plain = Input("image", "image", "A CT.")
    values = hu((6, 100, 80))
    found = given_to(plain, patient)
    assert (found.dtype, found.shape) == (np.float32, (6, 1, 100, 80))
    assert np.array_equal(found[:, 0], values)
    one = next(p for p in patient.iterdir() if p.name == "0.dcm")
    row = [k for k in range(6) if np.array_equal(given_to(plain, one)[0, 0], values[k])]
    assert len(row) == 1
    assert np.array_equal(given_to(plain, [one, one])[:, 0], values[row * 2])
    assert np.array_equal(
        given_to(Input("ct", "volume", "A CT.", (1, 6, 100, 80)), patient)[0, 0], values
    )


FEET_FIRST = (-1, 0, 0, 0, 1, 0)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, FEET_FIRST])
@pytest.mark.parametrize("listed", [False, True])
def test_a_volume_is_the_same_from_dicom_and_nifti(
    tmp_path: Path, orientation: Any, listed: bool
) -> None:
    """A brain that was acquired in sagittal slices does not lie on its side in a model."""
    files = series(tmp_path / "mr", hu((4, 5, 6)), orientation=orientation, Modality="MR")
    given: Any = files[::-1] if listed else tmp_path / "mr"
    volume = medical.read_series(tmp_path / "mr")
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine @ np.eye(4)[[2, 1, 0, 3]]
    nib.save(nib.Nifti1Image(volume.voxels.T, affine), tmp_path / "mr.nii.gz")
    for config in (
        Input("mr", "volume", "An MR."),
        Input("mr", "volume", "An MR.", (1, 8, 8, 8), spacing=(1.0, 1.0, 1.0)),
    ):
        found = given_to(config, given)
        assert np.array_equal(found, given_to(config, tmp_path / "mr.nii.gz"))
    pictures = given_to(Input("mr", "image", "An MR."), tmp_path / "mr")
    assert np.array_equal(pictures[:, 0], volume.voxels)  # slices stay as they were acquired


def test_files_of_two_series_in_one_list_are_two_volumes(tmp_path: Path) -> None:
    first = series(tmp_path / "a", hu((5, 5, 6)), uid="1.2.3")
    second = series(tmp_path / "b", hu((5, 5, 6)) + 1, uid="1.2.4")
    mixed = [file for pair in zip(second, first, strict=True) for file in pair]
    found = given_to(Input("ct", "volume", "A CT."), mixed)
    assert np.array_equal(found[:, 0], [hu((5, 5, 6)) + 1, hu((5, 5, 6))])
    with pytest.raises(InputError, match="it is 6 mm, elsewhere 3 mm"):
        given_to(Input("ct", "volume", "A CT."), [*second, first[0], *first[2:]])


def test_a_volume_and_its_structure_are_turned_alike(tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    series(folder, hu((9, 20, 20)), spacing=(1.0, 1.0, 1.0), origin=(0, 0, 0), orientation=SAGITTAL)
    volume = medical.read_series(folder).axial()
    _, y, x = volume.affine[:3, 3][::-1]
    left, right, front, back = x + 1.5, x + 5.5, y + 3.5, y + 9.5
    square = [[left, front, 0], [right, front, 0], [right, back, 0], [left, back, 0]]
    contours = [np.add(square, (0, 0, -12.0 + k)) for k in range(3)]
    structures(folder / "rt.dcm", {"Gland": contours})
    config = Input("ct", "volume", "A CT.", (1, 3, 6, 4), spacing=(1.0, 1.0, 1.0))
    found = given_to(config, f"{folder}#Gland")
    mask = medical.read_structures(folder).mask(volume, "Gland")
    assert mask.sum() == 3 * 6 * 4
    assert np.array_equal(found[0, 0].ravel(), volume.voxels[mask])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_thick_slice_of_any_direction_stays_one(tmp_path: Path, axis: int) -> None:
    shape, spacing = [6, 7, 8], [1.0, 1.0, 1.0]
    shape[axis], spacing[axis] = 1, 5.0
    nib.save(
        nib.Nifti1Image(np.ones(shape, np.float32), np.diag([*spacing, 1])), tmp_path / "a.nii"
    )
    config = Input("mr", "volume", "An MR.", spacing=(1.0, 1.0, 1.0))
    assert given_to(config, tmp_path / "a.nii").shape[2:] == tuple(shape[::-1])


def test_values_become_what_the_config_says(patient: Path, tmp_path: Path) -> None:
    values = hu((6, 100, 80))
    in_hu = Input("image", "image", "A CT.", range=(-160, 240), unit="HU")
    assert np.array_equal(given_to(in_hu, patient)[:, 0], np.clip(values, -160, 240))
    shown = np.rint(np.clip((values + 160) / 400, 0, 1) * 255)  # the file's first window
    grey = given_to(Input("image", "image", "A CT.", range=(0, 255)), patient)[:, 0]
    assert grey.dtype == np.uint8
    assert np.array_equal(grey, shown)
    signed = given_to(Input("image", "image", "A CT.", range=(-1, 1)), patient)[:, 0]
    np.testing.assert_allclose(signed, np.clip((values + 160) / 200 - 1, -1, 1), atol=1e-6)
    assert np.array_equal(given_to(Input("image", "image", "A CT."), patient, files=True), shown)
    series(tmp_path / "mr", values, Modality="MR")
    with pytest.raises(InputError, match="is in no unit that is known, not in HU"):
        given_to(in_hu, tmp_path / "mr")
    full = given_to(
        Input("image", "image", "MR.", range=(0, 1)), tmp_path / "mr"
    )  # no window: from darkest to brightest
    assert (full.min(), full.max()) == (0, 1)


def test_a_structure_is_a_mask_or_picks_the_slices_of_an_image(patient: Path) -> None:
    text = f"{patient}#R parotid|Parotid R"
    mask = Input("mask", "mask", "A gland.", (1, 32, 32), spacing=(1.0, 1.0))
    found = given_to(mask, text)
    assert (found.dtype, found.shape) == (np.uint8, (2, 1, 32, 32))
    assert found.sum((1, 2, 3)) == pytest.approx([np.pi * 36] * 2, rel=0.05)
    np.testing.assert_allclose(
        np.argwhere(found[0, 0]).mean(0), [15.5, 15.5], atol=0.3
    )  # in the middle
    image = given_to(Input("image", "image", "CT.", (1, 32, 32), spacing=(1.0, 1.0)), text)
    assert image.shape == found.shape
    aside = given_to(
        Input("mask", "mask", "A gland.", (1, 32, 32), spacing=(1.0, 1.0), at=(20.0, 9.0)), text
    )
    np.testing.assert_allclose(np.argwhere(aside[0, 0]).mean(0), [20, 9], atol=0.5)
    whole = given_to(Input("mask", "mask", "A gland."), text)
    assert whole.shape == (2, 1, 100, 80)
    np.testing.assert_allclose(np.argwhere(whole[0, 0]).mean(0) * 0.5, [20, 10], atol=0.3)
    with pytest.raises(InputError, match="which numbers the package reads"):
        given_to(Input("mask", "mask", "A gland."), text, files=True)
    masks = given_to(Input("mask", "mask", "A gland.", range=(0, 255)), text, files=True)
    assert np.array_equal(masks, whole[:, 0] * 255)
    solid = given_to(Input("mask", "volume", "CT.", (1, 4, 20, 20), spacing=(3, 1, 1)), text)
    assert solid.shape == (1, 1, 4, 20, 20)


def taken_around(patient: Path, about: Input) -> tuple[np.ndarray, Place]:
    """The volume that a package gets of a structure, (D, H, W), and its place."""
    (stack,), _ = pictures_of(about, [(patient, "PAROTID_R")], to_files=False)
    assert stack.places[0] is not None
    return np.asarray(stack.pictures[0]), stack.places[0]


@pytest.mark.parametrize("size", [(4, 31, 32), (3, 40, 25), (9, 120, 33)])
def test_a_volume_cut_around_a_structure_keeps_its_voxels(patient: Path, size: Any) -> None:
    about = Input("ct", "volume", "A CT.", (1, *size), spacing=(3.0, 0.5, 0.5))
    ct = medical.read_series(patient)
    found, place = taken_around(patient, about)
    corner = ct.voxels_at(place.own.affine[:3, 3] * [-1, -1, 1])
    first = np.rint(corner).astype(int)
    np.testing.assert_allclose(corner, first, atol=1e-6)
    padded = np.pad(ct.voxels, 60, constant_values=ct.voxels.min())
    cut = tuple(slice(k + 60, k + 60 + n) for k, n in zip(first, size, strict=True))
    assert np.array_equal(found, padded[cut])
    assert np.array_equal(place.back(found[None], labels=False)[0], found)


@pytest.mark.parametrize("spacing", [(), (3.0, 0.5, 0.5), (3.0, 1.0, 1.0)])
def test_a_structure_does_not_move_a_volume_that_is_not_cut(patient: Path, spacing: Any) -> None:
    about = Input("ct", "volume", "A CT.", spacing=spacing)
    (whole,), _ = pictures_of(about, [(patient, None)], to_files=False)
    found, place = taken_around(patient, about)
    assert np.array_equal(found, whole.pictures[0])
    assert place.taken.is_at(whole.places[0].taken)


@pytest.mark.parametrize("kind", ["image", "volume"])
def test_a_structure_outside_of_the_scan_is_refused(patient: Path, kind: str) -> None:
    structures(patient / "rt.dcm", {"PAROTID_R": [circle(6, (10, 20), h) for h in (60.0, 63.0)]})
    shape = (1, 4, 32, 32) if kind == "volume" else (1, 32, 32)
    about = Input("ct", kind, "A CT.", shape, spacing=(3.0, 0.5, 0.5)[3 - len(shape[1:]) :])
    with (
        pytest.warns(MedzooWarning, match="planes lie outside of the volume"),
        pytest.raises(InputError, match="The mask is empty"),
    ):
        given_to(about, f"{patient}#Parotid R")


def test_nifti_is_given_slice_by_slice_or_whole(tmp_path: Path) -> None:
    values = (hu((3, 10, 8)) > 0) * 2
    for k in (2, 10):
        nib.save(
            nib.Nifti1Image(values.transpose(2, 1, 0).astype(np.uint8), np.diag([-1, -1, 2, 1])),
            tmp_path / f"{k}.nii.gz",
        )
    for way, n in (
        (tmp_path / "2.nii.gz", 1),
        (tmp_path, 2),
        ([tmp_path / "2.nii.gz", tmp_path / "10.nii.gz"], 2),
    ):
        masks = given_to(Input("mask", "mask", "A mask."), way)
        assert masks.dtype == np.uint8
        assert np.array_equal(masks[:, 0], np.concatenate([values] * n))
        assert given_to(Input("ct", "volume", "A CT."), way).shape == (n, 1, 3, 10, 8)
    grey = given_to(Input("image", "image", "MR.", range=(0, 1)), tmp_path / "2.nii.gz")
    assert np.array_equal(grey[:, 0], values / 2)


@pytest.mark.parametrize(
    ("about", "what", "says"),
    [
        (
            Input("mask", "mask", "A gland."),
            "ct",
            "other than whole numbers from 0, but a mask is needed.\nFor a series with an RTSTRUCT, name",
        ),
        (
            Input("mask", "mask", "A gland."),
            "ct#",
            r"No structure is ''.\nName one of PAROTID_R, Cord",
        ),
        (Input("mask", "mask", "A gland."), "ct#liver", r"No structure is 'liver'"),
        (
            Input("mask", "mask", "A gland."),
            "cts#liver",
            r"inputs: 'cts#liver' is neither a file nor a folder",
        ),
        (
            Input("image", "image", "A CT.", (1, 32, 32)),
            "ct",
            r"inputs: a picture of ct does not fit: it has the shape \(100, 80\)",
        ),
        (
            Input("image", "image", "A CT."),
            ["a.png", "ct"],
            "inputs: 'a.png' is neither DICOM nor NIfTI, but other files are",
        ),
        (
            Input("image", "image", "A CT."),
            ["ct", "other"],
            r"inputs: image mixes slices of \(100, 80\) and \(20, 30\)",
        ),
    ],
)
def test_what_scans_cannot_be_given_says_why(
    patient: Path, monkeypatch: pytest.MonkeyPatch, about: Input, what: Any, says: str
) -> None:
    monkeypatch.chdir(patient.parent)
    series(patient.parent / "other", hu())
    Image.fromarray(np.zeros((4, 4), np.uint8)).save("a.png")
    with pytest.raises(InputError, match=says):
        given_to(about, what)


def test_pictures_in_a_folder_beside_scans_are_asked_about(patient: Path) -> None:
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(patient / "a.png")
    with pytest.raises(InputError, match=r"holds pictures \(a.png\) and DICOM"):
        given_to(Input("image", "image", "A CT."), patient)
    assert given_to(Input("image", "image", "A CT."), [patient / "a.png"]).shape == (1, 1, 4, 4)


def test_generate_and_its_record_take_a_structure(toy: Callable[..., int], patient: Path) -> None:
    code = "class Model:\n    def sample(self, batch):\n        return {'images': batch.inputs['mask'].astype('uint8')}\n\ndef load(weights_dir, device):\n    return Model()\n"
    inputs = {"mask": {"kind": "mask", "help": "A gland.", "shape": [1, 32, 32], "spacing": [1, 1]}}
    outputs = {
        "images": {"kind": "image", "dtype": "uint8", "shape": [1, 32, 32], "range": [0, 255]}
    }
    number = toy(code, inputs=inputs, outputs=outputs, conditions=None, options=None)
    made = medzoo.generate(number, 2, inputs=f"{patient}#parotid r")
    assert made.images.sum((1, 2, 3)) == pytest.approx([np.pi * 36] * 2, rel=0.05)
    assert made.provenance["options"]["inputs"]["mask"]["count"] == 2


# ---- real files


@pytest.mark.skipif(
    not (REAL / "dicom_rt").is_dir(), reason="MEDZOO_TEST_DATA names no folder with dicom_rt in it"
)
def test_real_dicom_of_two_planning_systems(tmp_path: Path) -> None:
    phantom, breast = sorted(
        medical.cases(REAL / "dicom_rt"), key=lambda case: len(case.structures.contours)
    )
    assert (phantom.volume.voxels.shape, phantom.volume.spacing) == (
        (2, 512, 512),
        (5.0, 0.488281, 0.488281),
    )
    assert phantom.volume.origin.tolist() == [-125, -125, 60]
    ring = phantom.structures.mask(
        phantom.volume, "roi 1"
    )  # a square of 24 mm without one of 15 mm
    assert ring.any((1, 2)).tolist() == [True, False]
    assert ring.sum() * 0.488281**2 == pytest.approx(24**2 - 15**2, rel=0.05)
    assert breast.volume.unit == "HU"
    assert {"BODY", "Lt Lung", "Tumor Bed"} <= set(breast.structures.contours)
    with pytest.warns(MedzooWarning, match="97 of its 98 planes lie outside of the volume"):
        body = breast.structures.mask(breast.volume, "body")  # one slice of the series is here
    assert (breast.volume.voxels[body] > -300).mean() > 0.95
    assert (breast.volume.voxels[~body] > -300).mean() < 0.03
    for file in (REAL / "dicom_rt").glob("rtutils*"):
        shutil.copy(file, tmp_path)
    masks = given_to(
        Input("mask", "mask", "A ring.", (1, 64, 64), spacing=(0.5, 0.5)), f"{tmp_path}#ROI-1"
    )
    assert masks.sum() * 0.25 == pytest.approx(24**2 - 15**2, rel=0.05)


@pytest.mark.skipif(
    not (REAL / "sct_t2").is_dir(), reason="MEDZOO_TEST_DATA names no folder with sct_t2 in it"
)
def test_real_nifti_of_a_spinal_cord() -> None:
    image = medical.read_nifti(REAL / "sct_t2" / "t2.nii.gz")
    cord = medical.read_nifti(REAL / "sct_t2" / "t2_seg-manual.nii.gz", labels=True)
    np.testing.assert_allclose(image.affine, cord.affine, atol=1e-3)
    images, masks = medical.slices_with(image, cord.voxels, 64, spacing=0.5)
    assert len(images) == len(image.voxels)  # it runs through all axial slices
    assert images[masks].mean() > 1.2 * images[~masks].mean()
