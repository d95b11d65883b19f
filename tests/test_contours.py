"""Contours of an RTSTRUCT to masks: planes, holes, islands, copies, frames, damaged structures."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scan_files import circle, series, structures

import medzoo
from medzoo import medical
from medzoo.errors import InputError, MedzooWarning
from medzoo.medical.contours import filled
from medzoo.medical.folders import split_structure


def square(x0: float, x1: float, y0: float, y1: float, z: float) -> np.ndarray:
    return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]], float)


def moved(contour: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    return contour + np.array([x, y, z])


A = square(5.5, 15.5, 5.5, 15.5, 6)  # 10 x 10 pixels in slice 2 of 3 mm, in slice 6 of 1 mm


def turned(degrees: tuple[float, float] = (17, 11)) -> np.ndarray:
    """The axes of an oblique volume: directions of slices, rows and columns."""
    a, b = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    x, y, z = (about_x @ about_y).T
    return np.stack([z, y, x])


def grid(
    shape: tuple[int, int, int] = (9, 40, 40), step: float = 3.0, axes: Any = None, **more: Any
) -> medical.Volume:
    """A volume with pixels of 1 mm, of the series and frame that `structures` writes."""
    axes = np.eye(3)[::-1].copy() if axes is None else axes
    more = {"series": "1.2.3", "frame": "1.2.9", "origin": np.zeros(3), **more}
    return medical.Volume(np.zeros(shape, np.float32), (step, 1.0, 1.0), axes=axes, **more)


def drawn(
    path: Path, contours: list[np.ndarray], kind: str = "CLOSED_PLANAR"
) -> medical.Structures:
    return medical.read_structures(structures(path / "rt.dcm", {"GTV": contours}, kind=kind))


def masked(path: Path, contours: list[np.ndarray], volume: Any = None, **more: Any) -> np.ndarray:
    return drawn(path, contours, **more).mask(volume or grid(), "GTV")


# ---- planes


@pytest.mark.parametrize(
    ("step", "off"), [(1.0, 0.01), (1.0, 0.24), (3.0, 0.1), (3.0, 0.74), (3.0, 0.0151)]
)
def test_islands_and_holes_a_little_off_the_slice_belong_to_it(
    tmp_path: Path, step: float, off: float
) -> None:
    volume = grid(step=step)
    island, hole = moved(A, 20, 0, off), square(7.5, 10.5, 7.5, 10.5, 6 - off / 2)
    mask = masked(tmp_path, [A, island], volume)
    assert mask[round(6 / step)].sum() == mask.sum() == 200
    assert masked(tmp_path, [A, hole], volume).sum() == 91


def test_a_gap_of_more_than_a_quarter_starts_a_new_plane(tmp_path: Path) -> None:
    mask = masked(tmp_path, [A, moved(A, 20, 0, 0.76)])  # the nearest plane alone counts
    assert mask.sum() == 100


@pytest.mark.parametrize(
    "heights",
    [
        [2.0, 4.01, 5.99, 8.0],  # every second slice, with rounding: none is left out between
        [2.02, 3.98, 6.02, 7.98],
    ],
)
def test_rounded_heights_leave_no_slice_out(tmp_path: Path, heights: list[float]) -> None:
    mask = masked(tmp_path, [moved(A, 0, 0, h - 6) for h in heights], grid((12, 40, 40), 1.0))
    assert np.flatnonzero(mask.any((1, 2))).tolist() == list(range(1, 9))
    assert mask.sum() == 800


def test_slices_between_planes_that_stay_empty_are_told(tmp_path: Path) -> None:
    contours = [moved(A, 0, 0, 3 * k - 6) for k in (0, 2, 4, 5, 6, 8)]
    with pytest.warns(MedzooWarning, match="3 of the 5 gaps between its planes are wider"):
        mask = masked(tmp_path, contours)
    assert np.flatnonzero(mask.any((1, 2))).tolist() == [0, 2, 4, 5, 6, 8]


@pytest.mark.parametrize(
    ("slices", "apart", "held"),
    [
        ([1, 6], "5 slices apart", range(9)),  # two nodes, of one slice each
        ([2, 4], "2 slices apart", range(1, 5)),
        ([0, 3, 6], "3 slices apart", range(8)),
    ],
)
def test_planes_that_may_be_separate_parts_are_told_and_of_a_finer_series_they_are_not(
    tmp_path: Path, slices: list[int], apart: str, held: range
) -> None:
    contours = [moved(A, 0, 0, 3 * (k - 2)) for k in slices]
    with pytest.warns(MedzooWarning, match=apart) as caught:
        mask = masked(tmp_path, contours)
    assert len(caught) == 1
    assert np.flatnonzero(mask.any((1, 2))).tolist() == list(held)
    other = grid((27, 40, 40), 1.0)
    finer = replace(other, series="1.2.4", frame=other.frame)
    read = medical.read_structures(tmp_path)
    assert read.mask(finer, "GTV").any()  # without a warning, which would be an error here


@pytest.mark.parametrize(
    ("heights", "says", "held"),
    [
        ([-30.0], "1 of its 1 planes lie outside", []),
        ([-3.0, 0.0, 3.0], "1 of its 3 planes lie outside", [0, 1]),
        ([18.0, 21, 24, 27, 30], "2 of its 5 planes lie outside", [6, 7, 8]),
    ],
)
def test_planes_outside_of_the_volume_are_counted(
    tmp_path: Path, heights: list[float], says: str, held: list[int]
) -> None:
    with pytest.warns(MedzooWarning, match=f"'GTV' of .*rt.dcm is not whole: {says}"):
        mask = masked(tmp_path, [moved(A, 0, 0, h - 6) for h in heights])
    assert np.flatnonzero(mask.any((1, 2))).tolist() == held


def test_a_contour_beyond_the_borders_is_told_and_one_on_them_is_not(tmp_path: Path) -> None:
    assert masked(tmp_path, [square(-0.9, 39.9, -0.9, 39.9, 6)]).sum() == 1600
    with pytest.warns(MedzooWarning, match="1 of its 1 planes reach beyond the volume's borders"):
        assert masked(tmp_path, [square(-10.5, 9.5, 5.5, 15.5, 6)]).sum() == 100


# ---- what a plane encloses


def test_copies_count_once(tmp_path: Path) -> None:
    other_way = A[[2, 1, 0, 3]]
    assert masked(tmp_path, [A, A, other_way]).sum() == 100
    hole = square(7.5, 10.5, 7.5, 10.5, 6)
    assert masked(tmp_path, [hole, A, moved(hole, 0.01, 0, 0.01), A]).sum() == 91


def test_overlaps_are_united_and_xor_is_for_its_own_type_alone(tmp_path: Path) -> None:
    b = moved(A, 5, 0, 0)
    assert masked(tmp_path, [A, b]).sum() == 150
    assert masked(tmp_path, [A, b], kind="CLOSEDPLANAR_XOR").sum() == 100
    assert masked(tmp_path, [A, A], kind="CLOSEDPLANAR_XOR").sum() == 0
    assert (
        masked(tmp_path, [A, moved(A, 0.3, 0, 0)]).sum() == 100
    )  # not nested, though within a pixel


def test_holes_islands_and_what_lies_in_two_contours(tmp_path: Path) -> None:
    nested = [square(k - 0.5, 39.5 - k, k - 0.5, 39.5 - k, 6) for k in (2, 5, 8, 11)]
    widths = [40 - 2 * k for k in (2, 5, 8, 11)]
    assert masked(tmp_path, nested).sum() == sum((-1) ** k * w**2 for k, w in enumerate(widths))
    wide, high = square(0.5, 30.5, 10.5, 20.5, 6), square(10.5, 20.5, 0.5, 30.5, 6)
    hole = square(13.5, 17.5, 13.5, 17.5, 6)  # within both of a cross
    assert masked(tmp_path, [wide, hole, high]).sum() == 500 - 16
    two_holes = [A, square(6.5, 10.5, 6.5, 10.5, 6), square(8.5, 12.5, 8.5, 12.5, 6)]
    assert masked(tmp_path, two_holes).sum() == 100 - (16 + 16 - 4)


def test_a_hole_may_touch_the_border_by_rounding(tmp_path: Path) -> None:
    hole = square(5.4, 10.5, 7.5, 10.5, 6)  # 0.1 mm beyond: one decimal
    assert masked(tmp_path, [A, hole]).sum() == 100 - 15


def test_a_keyhole_beside_an_island_and_a_contour_that_crosses_itself(tmp_path: Path) -> None:
    inner = square(7.5, 10.5, 7.5, 10.5, 6)
    keyhole = np.concatenate([A, A[:1], inner, inner[:1]])
    assert masked(tmp_path, [keyhole, moved(A, 20, 0, 0)]).sum() == 191
    assert masked(tmp_path, [keyhole, square(8.5, 9.5, 8.5, 9.5, 6)]).sum() == 92
    bow = moved(A[[0, 2, 1, 3]], 20, 0, 0)
    expected = 100 + filled([bow[:, 1::-1]], (40, 40)).sum()
    assert masked(tmp_path, [A, bow]).sum() == expected


def test_a_line_and_a_point_enclose_nothing_beside_a_contour(tmp_path: Path) -> None:
    with pytest.warns(MedzooWarning, match="2 of its contours are points or lines, and enclose"):
        assert masked(tmp_path, [A, A[[0, 1, 0]], A[:1], A[:2]]).sum() == 100


# ---- random structures, each contour drawn alone by Pillow on a far finer grid


def circle_of(island: tuple[float, float, float], height: float) -> np.ndarray:
    x, y, radius = island
    return circle(radius, (x, y), height, 60)


PLACES = [(10.0, 10.0), (29.0, 10.0), (10.0, 29.0), (29.0, 29.0)]
ISLANDS = st.lists(
    st.tuples(
        st.sampled_from(PLACES), st.floats(4, 8), st.sampled_from(["solid", "ring", "island"])
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda island: island[0],
)


def contours_of(islands: Any, height: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Contours of one plane that are filled, and those that are holes in them."""
    solid, holes = [], []
    for (x, y), radius, kind in islands:
        solid.append(circle_of((x, y, radius), height))
        if kind != "solid":
            holes.append(circle_of((x + 0.4, y, radius * 0.7), height))
        if kind == "island":
            solid.append(circle_of((x, y + 0.2, radius * 0.3), height))
    return solid, holes


def by_hand(islands: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels each contour alone holds, and which are too near to a border to tell."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside, unsure = np.zeros(shape, bool), np.zeros(shape, bool)
    for (x, y), radius, kind in islands:  # from outside to inside: each decides within itself
        circles = [(x, y, radius, True)]
        circles += [(x + 0.4, y, radius * 0.7, False)] * (kind != "solid")
        circles += [(x, y + 0.2, radius * 0.3, True)] * (kind == "island")
        for cx, cy, r, value in circles:
            distance = np.hypot(columns - cx, rows - cy)
            inside[distance < r] = value
            unsure |= np.abs(distance - r) < 0.25
    return inside, unsure


@settings(max_examples=40, deadline=None)
@given(
    planes=st.lists(ISLANDS, min_size=2, max_size=4),
    step=st.sampled_from([1.0, 3.0]),
    decimals=st.integers(1, 4),
    noise=st.floats(0, 0.05),
    angles=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    shift=st.floats(-0.4, 0.4),
    order=st.randoms(use_true_random=False),
)
def test_random_islands_and_holes_on_oblique_and_second_grids(
    tmp_path_factory: Any,
    planes: Any,
    step: float,
    decimals: int,
    noise: float,
    angles: Any,
    shift: float,
    order: Any,
) -> None:
    axes = turned(angles)
    contours = []
    for k, islands in enumerate(planes, 2):
        for number, contour in enumerate(chain(*contours_of(islands, 0.0))):
            height = (k + noise * (number % 3 - 1)) * step
            flat = np.c_[np.full(len(contour), height), contour[:, 1], contour[:, 0]]
            contours.append(np.round(flat @ axes, decimals))
    order.shuffle(contours)
    folder = tmp_path_factory.mktemp("random")
    made = drawn(folder, contours)
    own = grid((8, 40, 40), step, axes)
    second = replace(own, origin=axes[0] * shift * step, series="1.5")
    for volume in (own, second):
        mask = made.mask(volume, "GTV")
        for k in range(8):
            if not 0 <= k - 2 < len(planes):
                assert not mask[k].any()
                continue
            inside, unsure = by_hand(planes[k - 2], (40, 40))
            assert np.array_equal(mask[k][~unsure], inside[~unsure])


@settings(max_examples=30, deadline=None)
@given(
    polygons=st.lists(
        st.lists(st.tuples(st.floats(1, 38), st.floats(1, 38)), min_size=3, max_size=6),
        min_size=2,
        max_size=4,
    ),
)
def test_random_polygons_that_overlap_are_the_union_of_each_alone(
    tmp_path_factory: Any, polygons: Any
) -> None:
    hulls = [shapely.convex_hull(shapely.MultiPoint(np.round(p, 2))) for p in polygons]
    corners = [np.array(h.exterior.coords)[:-1] for h in hulls if h.geom_type == "Polygon"]
    areas = [shapely.Polygon(c) for c in corners]
    if not corners or any(a is not b and a.buffer(0.3).covers(b) for a in areas for b in areas):
        return
    contours = [np.c_[c, np.full(len(c), 6.0)] for c in corners]
    alone = [masked(tmp_path_factory.mktemp("alone"), [c]) for c in contours]
    together = masked(tmp_path_factory.mktemp("all"), contours)
    assert np.array_equal(together, np.any(alone, axis=0))


def test_one_contour_is_what_pillow_draws_on_a_finer_grid(tmp_path: Path) -> None:
    star = np.array(
        [
            [20.3 + r * np.sin(a), 19.8 + r * np.cos(a), 6]
            for r, a in zip([15.3, 6.2] * 5, np.linspace(0, 2 * np.pi, 11)[:-1], strict=True)
        ]
    )
    image = Image.new("1", (4000, 4000))
    ImageDraw.Draw(image).polygon([((x + 0.5) * 100, (y + 0.5) * 100) for x, y, _ in star], fill=1)
    assert np.array_equal(masked(tmp_path, [star])[2], np.asarray(image)[50::100, 50::100])


@pytest.mark.parametrize(("fine", "coarse"), [(1.0, 5.0), (1.0, 3.0), (2.0, 10.0), (1.0, 4.0)])
def test_a_ball_on_a_coarser_grid_takes_the_nearest_planes(
    tmp_path: Path, fine: float, coarse: float
) -> None:
    heights = np.arange(-9, 10) * fine + 20
    radii = np.sqrt(100 - ((heights - 20) / fine) ** 2)
    ball = [circle(r, (19.5, 19.5), h, 90) for r, h in zip(radii, heights, strict=True)]
    volume = grid((12, 40, 40), coarse, series="1.5")  # another series of the same frame
    mask = masked(tmp_path, ball, volume)
    for k in np.flatnonzero(mask.any((1, 2))):
        radius = radii[np.argmin(np.abs(heights - k * coarse))]
        assert mask[k].sum() == pytest.approx(np.pi * radius**2, rel=0.1)
    two = masked(tmp_path, ball[8:10], volume)  # two planes are no ring either
    assert two.sum((1, 2)).max() > 200


@pytest.mark.parametrize(("step", "decimals"), [(1.0, 3), (1.0, 2), (3.0, 2), (3.0, 1)])
def test_an_oblique_series_with_rounded_coordinates_is_read(
    tmp_path: Path, step: float, decimals: int
) -> None:
    axes = turned()
    contours = []
    for k in (1, 2, 3):
        for x in (12, 28):
            ring = circle(6, (x, 20), k * step, 80)[:, ::-1]  # height, y, x in the volume's axes
            contours.append(np.round(ring @ axes, decimals))
    mask = masked(tmp_path, contours, grid(step=step, axes=axes))
    exact = masked(tmp_path, [circle(6, (x, 20), 6.0, 80) for x in (12, 28)])[2]
    assert mask.any((1, 2)).tolist() == [False, True, True, True] + [False] * 5
    assert (mask[1:4] ^ exact).sum() <= 0.03 * 3 * exact.sum()


def test_a_contour_that_leaves_its_slice_by_more_than_a_quarter_is_refused(tmp_path: Path) -> None:
    slope = np.array([0, 0, 0, 1.0])[:, None] * [0, 0, 0.7]
    assert masked(tmp_path, [A + slope]).sum() == 100
    with pytest.raises(InputError, match=r"leave the volume's slices by up to 0.27 of their dist"):
        masked(tmp_path, [A + slope * 1.15])


# ---- frames of reference and series


def changed(path: Path, change: Callable[[Any], Any]) -> Path:
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return path


def test_the_frame_of_reference_belongs_to_the_structure(tmp_path: Path) -> None:
    path = structures(tmp_path / "rt.dcm", {"GTV CT": [A], "GTV MR": [A]})

    def other_frame(ds: Any) -> None:
        ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.8888"

    made = medical.read_structures(changed(path, other_frame))
    assert made.mask(grid(), "GTV CT").sum() == 100
    with pytest.raises(
        InputError, match=r"'GTV MR' of .*rt.dcm, in the frame of reference 1.2.8888, was drawn on"
    ):
        made.mask(grid(), "GTV MR")
    assert made.mask(grid(series="1.7", frame="1.2.8888"), "GTV MR").sum() == 100


def test_a_frame_that_the_file_itself_ties_to_the_series_is_right(tmp_path: Path) -> None:
    path = structures(tmp_path / "rt.dcm", {"GTV": [A]}, frame="1.2.777")  # as rt-utils writes
    made = medical.read_structures(path)
    assert made.mask(grid(), "GTV").sum() == 100
    with pytest.raises(InputError, match="was drawn on another series"):
        made.mask(grid(series="1.5"), "GTV")


def test_a_structure_that_refers_to_two_series_asks_which(tmp_path: Path) -> None:
    values = np.zeros((4, 20, 30), np.float32)
    series(tmp_path / "ct", values, origin=(0, 0, 0))
    mr = series(tmp_path / "mr", values + 5, origin=(0, 0, 0), uid="1.2.10", Modality="MR")
    path = structures(tmp_path / "rt.dcm", {"GTV": [circle(4, (8, 5), 6.0)]})

    def two_series(ds: Any) -> None:
        study = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        other = pydicom.Dataset()
        other.SeriesInstanceUID = "1.2.10"
        study.RTReferencedSeriesSequence.append(other)

    changed(path, two_series)
    asks = r"'GTV' of .*rt.dcm refers to 2 series of .*\n.*MR 'head and neck', 1.2.10; CT 'head"
    with pytest.raises(InputError, match=asks):
        medical.read_mask(tmp_path, "GTV")
    with pytest.raises(InputError, match="refers to 2 series"):
        medzoo.generate(104, 1, inputs=f"{tmp_path}#GTV")
    with pytest.warns(MedzooWarning, match="rt.dcm is skipped: it refers to 2 series that are"):
        assert not list(medical.cases(tmp_path))
    volume, mask = medical.read_mask(tmp_path, "gtv", series="1.2.10")
    assert volume.series == "1.2.10"
    assert mask.any((1, 2)).tolist() == [False, False, True, False]
    for file in mr:  # one of the two alone is no question
        file.unlink()
    assert medical.read_mask(tmp_path, "gtv")[0].series == "1.2.3"
    assert len(list(medical.cases(tmp_path))) == 1


@pytest.mark.parametrize("name", ["GTV#1", "Lymph node #2", "#", "GTV [1]", "PTV+5mm", "GTV|CTV"])
def test_a_structure_of_any_name_is_found_in_a_folder_of_any_name(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "patient #7"
    path = structures(folder / "rt.dcm", {name: [A], "Cord": [A]})

    def exact_name(ds: Any) -> None:  # `structures` strips "#"
        ds.StructureSetROISequence[0].ROIName = name

    changed(path, exact_name)
    assert split_structure(f"{folder}#{name}") == (folder, name)
    assert medical.read_structures(folder).mask(grid(), name).sum() == 100
    assert split_structure(f"{tmp_path / 'other'}#{name}") is None


# ---- damaged structures


def contour_data(*values: str) -> Callable[[Any], None]:
    def change(ds: Any) -> None:
        contour = ds.ROIContourSequence[1].ContourSequence[0]
        contour.add_new("ContourData", "LO", list(values))

    return change


def no_type(ds: Any) -> None:
    del ds.ROIContourSequence[1].ContourSequence[0].ContourGeometricType


def mixed(ds: Any) -> None:
    sequence = ds.ROIContourSequence[1].ContourSequence
    sequence.append(deepcopy(sequence[0]))
    sequence[1].ContourGeometricType = "CLOSEDPLANAR_XOR"


DAMAGED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "eleven": (contour_data(*["1"] * 11), "has 11 coordinates, which is not a multiple of 3"),
    "empty": (contour_data("1", "2", "", *"567890"), "has the coordinate '', which is not a numb"),
    "comma": (contour_data("20,5", *"23456789"), "has the coordinate '20,5', which is not a numb"),
    "nan": (contour_data("nan", *"23456789"), "has coordinates that are not finite"),
    "inf": (contour_data("1e999", *"23456789"), "has coordinates that are not finite"),
    "cut off": (contour_data(*"123456789"), "has 3 points, and states 4"),
    "no data": (contour_data(), "has 0 points, and states 4"),
    "no type": (no_type, "has the unknown ContourGeometricType ''"),
    "two types": (mixed, "it has contours of both CLOSED_PLANAR and CLOSEDPLANAR_XOR"),
    "no number": (lambda ds: ds.StructureSetROISequence[1].pop("ROINumber"), "has no ROINumber"),
    "no reference": (
        lambda ds: ds.ROIContourSequence[1].pop("ReferencedROINumber"),
        "its contours are not there, and others have no ReferencedROINumber",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_structure_is_refused_alone(tmp_path: Path, damage: str) -> None:
    series(tmp_path, np.zeros((4, 40, 40), np.float32), origin=(0, 0, 0), spacing=(3.0, 1.0, 1.0))
    path = structures(tmp_path / "rt.dcm", {"GTV": [A], "Cord": [A]})
    change, says = DAMAGED[damage]
    changed(path, change)
    volume, mask = medical.read_mask(tmp_path, "GTV")
    assert mask.sum() == 100
    with pytest.raises(InputError, match=f"'Cord' of .*rt.dcm cannot be used: .*{says}"):
        medical.read_structures(tmp_path).mask(volume, "cord")
    with pytest.warns(MedzooWarning, match=f"'Cord' of .*rt.dcm is skipped: .*{says}"):
        (case,) = medical.cases(tmp_path)
    assert list(case.structures.contours) == ["GTV"]
    assert case.structures.mask(case.volume, "GTV").sum() == 100


def test_two_structures_of_one_number_are_both_refused(tmp_path: Path) -> None:
    path = structures(tmp_path / "rt.dcm", {"GTV": [A], "Cord": [A], "Eye": [A]})

    def one_number(ds: Any) -> None:
        ds.StructureSetROISequence[1].ROINumber = 1

    made = medical.read_structures(changed(path, one_number))
    assert list(made.contours) == ["Eye"]
    for name in ("GTV", "Cord"):
        with pytest.raises(InputError, match="2 structures have its ROINumber, 1"):
            made.mask(grid(), name)


def test_a_set_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    for k in (1, 2):
        series(tmp_path / str(k), np.zeros((4, 40, 40), np.float32), origin=(0, 0, 0), uid=f"1.{k}")
        structures(tmp_path / f"rt{k}.dcm", {"GTV": [A * [0.7, 0.4, 1]]}, uid=f"1.{k}")

    def no_sequence(ds: Any) -> None:
        ds.ReferencedFrameOfReferenceSequence = []

    changed(tmp_path / "rt1.dcm", no_sequence)
    with pytest.warns(MedzooWarning, match="rt1.dcm is skipped: the series that it was drawn"):
        assert [case.volume.series for case in medical.cases(tmp_path)] == ["1.2"]


def test_a_volume_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The place of the volume in the patient is unknown"):
        masked(tmp_path, [A], grid(origin=np.full(3, np.nan)))


@pytest.mark.parametrize(("size", "corners", "held"), [(3, [8, 10], 4), (5, [8, 12], 16)])
def test_contours_of_rt_utils_run_through_the_centres_of_voxels(
    tmp_path: Path, size: int, corners: list[int], held: int
) -> None:
    """What rt-utils 1.2.7 writes of a square of voxels from 8 on; docs/medical.md warns of it."""
    low, high = corners
    contour = np.array([[low, low, 6], [low, high, 6], [high, high, 6], [high, low, 6]], float)
    assert high - low + 1 == size
    assert masked(tmp_path, [contour]).sum() == held
    with pytest.raises(InputError, match="has no closed contours"):
        masked(tmp_path, [contour[:1]])  # of a single voxel
    with pytest.raises(InputError, match="has no closed contours"):
        masked(tmp_path, [contour[:2]])  # of one voxel in width


def test_a_file_that_was_cut_off_gives_whole_structures_or_none(tmp_path: Path) -> None:
    contours = [moved(A, 0, 0, 3 * k - 6) for k in range(6)]
    path = structures(tmp_path / "rt.dcm", {"GTV": contours, "Cord": contours})
    whole = path.read_bytes()
    sizes = set()
    for length in range(200, len(whole), 97):
        path.write_bytes(whole[:length])
        sizes |= {size_or_refusal(path, name) for name in ("GTV", "Cord")}
    assert sizes == {"refused", 600}


def size_or_refusal(path: Path, name: str) -> Any:
    try:
        return medical.read_structures(path).mask(grid(), name).sum()
    except InputError:
        return "refused"
