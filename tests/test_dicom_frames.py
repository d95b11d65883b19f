"""Multi-frame DICOM, and series with several pictures of one place: the right frames, or a choice."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from frame_files import ENHANCED_MR, item, multi_frame, segmentation
from pydicom.data import get_testdata_file
from scan_files import AXIAL, CORONAL, SAGITTAL, series

from medzoo import medical
from medzoo.config.model import Input
from medzoo.errors import InputError, MedzooWarning
from medzoo.inputs import Inputs

OBLIQUE = (0.8, 0.6, 0, 0, 0, -1)
SHUFFLED = [3, 0, 4, 1, 2]


def numbers(shape: tuple[int, ...] = (5, 8, 6), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.float32)


def inputs(what: Any, about: Input) -> np.ndarray:
    """All pictures (n, H, W) that a package gets."""
    version: Any = SimpleNamespace(inputs={about.name: about}, outputs={}, call=None)
    found = Inputs.of("it", version, what)
    assert found is not None
    return np.asarray(found.batch(np.arange(found.count))[about.name])[:, 0]


# ---- one file of several frames


def test_an_element_of_an_unknown_type_within_a_frame_is_refused(tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "ct.dcm", numbers(), range(5))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"\x20\0\x32\0DS", b"\x20\0\x32\0ZZ"))
    assert path.read_bytes() != raw
    with pytest.raises(InputError, match=r"cannot be read: .*\(0020,0032\)"):
        medical.read_series(path)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
def test_frames_are_a_volume_in_the_order_of_their_positions(
    tmp_path: Path, orientation: Any
) -> None:
    values = numbers()
    rescaled = (values[SHUFFLED] + 100) * np.array([1, 2, 1, 2, 1])[:, None, None]
    path = multi_frame(
        tmp_path / "ct.dcm",
        rescaled,
        SHUFFLED,
        orientation=orientation,
        groups=lambda k: {
            "PixelValueTransformationSequence": item(
                RescaleSlope=[1, 0.5][k % 2], RescaleIntercept=-100, RescaleType="HU"
            ),
            "FrameVOILUTSequence": item(WindowCenter=[40, 300], WindowWidth=[400, 2000]),
        },
    )
    one_per_file = medical.read_series(series(tmp_path / "ct", values, orientation=orientation))
    for where in (path, tmp_path, [path]):
        found = medical.read_series(where, series="1.2.5")
        assert np.array_equal(found.voxels, values)
        assert (found.unit, found.window, found.frame) == ("HU", (40, 400), "1.2.9")
        assert found.spacing == pytest.approx((3.0, 0.5, 0.75))
        np.testing.assert_allclose(found.affine, one_per_file.affine, atol=1e-6)
    for k in range(5):
        assert np.array_equal(medical.read_picture(path, frame=k).voxels[0], values[SHUFFLED[k]])


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_simpleitk_reads_the_same_values_at_the_same_places(
    tmp_path: Path, orientation: Any
) -> None:
    values = numbers()
    scale = item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")
    path = multi_frame(
        tmp_path / "mr.dcm",
        values,
        range(5),
        orientation=orientation,
        shared={"PixelValueTransformationSequence": scale},
        SOPClassUID=ENHANCED_MR,
        Modality="MR",
    )
    image, found = sitk.ReadImage(str(path)), medical.read_series(path)
    assert np.array_equal(sitk.GetArrayFromImage(image), found.voxels)
    for index in [(0, 0, 0), (5, 7, 4)]:
        point = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(found.voxels_at(np.array([point])), [index[::-1]], atol=1e-4)


def test_a_series_of_one_frame_and_of_two_files_of_frames(tmp_path: Path) -> None:
    values = numbers((6, 8, 6))
    multi_frame(tmp_path / "a.dcm", values[:2], [0, 1])
    multi_frame(tmp_path / "b.dcm", values[2:5], [2, 3, 4])
    multi_frame(tmp_path / "c.dcm", values[5:], [5])
    assert np.array_equal(medical.read_series(tmp_path).voxels, values)
    assert np.array_equal(medical.read_series(tmp_path / "c.dcm").voxels, values[5:])
    assert np.array_equal(medical.read_picture(tmp_path / "c.dcm").voxels, values[5:])


def test_frames_that_are_missing_or_turned_are_an_error(tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "a.dcm", numbers(), [0, 1, 2, 4, 5])
    with pytest.raises(
        InputError, match=r"From a.dcm \(frame 2\) to a.dcm \(frame 3\) it is 6 mm, elsewhere 3 mm"
    ):
        medical.read_series(path)
    for k in (-1, 5):
        with pytest.raises(InputError, match=rf"has no frame {k}: it holds 5"):
            medical.read_picture(path, frame=k)
    with pytest.raises(InputError, match=r"holds 5 frames.\nChoose one by frame=, from 0 to 4"):
        medical.read_picture(path)
    for wrong in ("1", 1.0, True):
        with pytest.raises(InputError, match="is not a whole number"):
            medical.read_picture(path, frame=wrong)  # type: ignore[arg-type]
    ds = pydicom.dcmread(path)
    del ds.PerFrameFunctionalGroupsSequence[4]
    ds.save_as(path)
    with pytest.raises(InputError, match="has 5 frames, and says where 4 of them lie"):
        medical.read_series(path)


def test_frames_without_places_are_read_one_by_one(tmp_path: Path) -> None:
    values = numbers()
    (path,) = series(
        tmp_path,
        numbers((1, 40, 6)),
        NumberOfFrames=5,
        Rows=8,
        RescaleSlope=1,
        RescaleIntercept=0,
        PixelData=values.astype("<i2").tobytes(),
    )
    with pytest.raises(
        InputError,
        match=r"(?s)no ImagePositionPatient of each.*`read_picture` reads one: frame=0 to 4",
    ):
        medical.read_series(path)
    for k in range(5):
        assert np.array_equal(medical.read_picture(path, frame=k).voxels[0], values[k])
    plain = Input("image", "image", "CT.")
    with pytest.raises(InputError, match=r"(?s)holds 5 frames.*As an input: '.*0.dcm#frame=0'"):
        inputs(path, plain)
    assert np.array_equal(inputs(f"{path}#frame=3", plain), values[3:4])


def test_a_dose_is_a_volume_in_gray(tmp_path: Path) -> None:
    path = tmp_path / "dose.dcm"
    ds = pydicom.dcmread(get_testdata_file("rtdose.dcm"))
    ds.DoseUnits = "GY"
    ds.save_as(path)
    found = medical.read_series(path)
    assert (found.unit, found.voxels.shape) == ("Gy", (15, 10, 10))
    np.testing.assert_allclose(found.voxels, ds.pixel_array * float(ds.DoseGridScaling), rtol=1e-6)
    steps = np.diff(np.array(ds.GridFrameOffsetVector, float))
    assert found.spacing == pytest.approx((steps[0], *map(float, ds.PixelSpacing)))
    np.testing.assert_allclose(found.origin, np.array(ds.ImagePositionPatient, float))
    relative = medical.read_series(get_testdata_file("rtdose.dcm"))
    assert relative.unit == ""
    assert np.array_equal(relative.voxels, found.voxels)


@pytest.mark.parametrize("orientation", [AXIAL, (-1, 0, 0, 0, 1, 0), (1, 0, 0, 0, -1, 0)])
@pytest.mark.parametrize("states_z", [False, True])
@pytest.mark.parametrize("step", [3.0, -3.0])
def test_planes_of_a_dose_lie_where_the_file_says(
    tmp_path: Path, orientation: Any, states_z: bool, step: float
) -> None:
    ds = pydicom.dcmread(get_testdata_file("rtdose.dcm"))
    x, y, z = map(float, ds.ImagePositionPatient)
    ds.ImageOrientationPatient = list(orientation)
    offsets = step * np.arange(15)  # along the normal
    heights = offsets * np.cross(orientation[:3], orientation[3:])[2] + z
    if states_z:
        heights = offsets + z
        offsets = heights
    ds.GridFrameOffsetVector = offsets.tolist()
    ds.save_as(tmp_path / "dose.dcm")
    volume = medical.read_series(tmp_path / "dose.dcm")
    values = ds.pixel_array * float(ds.DoseGridScaling)
    for plane, height in zip(values, heights, strict=True):
        slice_, row, column = volume.voxels_at([[x, y, height]])[0]
        assert (row, column) == pytest.approx((0, 0), abs=1e-6)
        np.testing.assert_allclose(volume.voxels[round(slice_)], plane, rtol=1e-6)


def test_a_dose_whose_planes_begin_elsewhere_is_refused(tmp_path: Path) -> None:
    ds = pydicom.dcmread(get_testdata_file("rtdose.dcm"))
    ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    ds.GridFrameOffsetVector = (5 + 3.0 * np.arange(15)).tolist()
    ds.save_as(tmp_path / "dose.dcm")
    with pytest.raises(InputError, match="begins with 5, which is neither 0 nor the z"):
        medical.read_series(tmp_path / "dose.dcm")


# ---- several pictures of one place


def times(name: str, values: list[Any]) -> dict[str, Any]:
    return {name: lambda k: values[k % len(values)]}


@pytest.mark.parametrize(
    ("group", "keyword", "values", "label"),
    [
        ("MREchoSequence", "EffectiveEchoTime", [90.0, 10.0], "EffectiveEchoTime 10.0"),
        ("MRDiffusionSequence", "DiffusionBValue", [1000.0, 50.0], "DiffusionBValue 50.0"),
        ("FrameContentSequence", "TemporalPositionIndex", [2, 1], "TemporalPositionIndex 1"),
        ("FrameContentSequence", "FrameAcquisitionNumber", [2, 1], "FrameAcquisitionNumber 1"),
        ("MRImageFrameTypeSequence", "ComplexImageComponent", ["PHASE", "MAGNITUDE"], "MAGNITUDE"),
    ],
)
def test_frames_of_two_times_are_a_choice(
    tmp_path: Path, group: str, keyword: str, values: list[Any], label: str
) -> None:
    stored = numbers((10, 8, 6))
    path = multi_frame(
        tmp_path / "mr.dcm",
        stored,
        [k // 2 for k in range(10)],
        groups=lambda k: {group: item(**{keyword: values[k % 2]})},
        SOPClassUID=ENHANCED_MR,
        Modality="MR",
    )
    with pytest.raises(
        InputError,
        match=rf"(?s)has 2 pictures of each place.*frame=0: .*{label} \(5 slices\); frame=1",
    ):
        medical.read_series(path)
    assert np.array_equal(medical.read_series(path, frame=0).voxels, stored[1::2])
    assert np.array_equal(medical.read_series(path, frame=1).voxels, stored[::2])
    with pytest.raises(InputError, match=r"has no frame=2: it has 2 of each place"):
        medical.read_series(path, frame=2)
    plain = Input("image", "image", "MR.")
    assert np.array_equal(inputs(f"{path}#frame=1", plain), stored[::2])
    with pytest.raises(InputError, match=r"As an input: '.*mr.dcm#frame=0'"):
        inputs(path, plain)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", [10, 90]),
        ("TemporalPositionIdentifier", [1, 2]),
        ("DiffusionBValue", [50.0, 1000.0]),
        ("AcquisitionNumber", [9, 10]),
        ("ImageType", [["ORIGINAL", "M"], ["ORIGINAL", "P"]]),
    ],
)
def test_files_of_two_times_are_a_choice(tmp_path: Path, keyword: str, values: list[Any]) -> None:
    first, second = numbers(seed=1), numbers(seed=2)
    series(tmp_path / "b", first, Modality="MR", **{keyword: values[0]})
    series(tmp_path / "a", second, Modality="MR", **{keyword: values[1]})
    with pytest.raises(InputError, match=rf"has 2 pictures of each place.\nChoose.*{keyword} "):
        medical.read_series(tmp_path)
    assert np.array_equal(medical.read_series(tmp_path, frame=0).voxels, first)
    assert np.array_equal(medical.read_series(tmp_path, frame=1).voxels, second)
    plain = Input("image", "image", "MR.")
    assert np.array_equal(inputs(f"{tmp_path}#frame=1", plain), second)


def test_b_values_with_directions_are_each_a_choice(tmp_path: Path) -> None:
    kinds = [(0.0, None), (1000.0, [1.0, 0.0, 0.0]), (1000.0, [0.0, 1.0, 0.0])]
    stacks = [numbers(seed=k) for k in range(3)]
    for k, (value, direction) in enumerate(kinds):
        more = {} if direction is None else {"DiffusionGradientOrientation": direction}
        series(tmp_path / str(k), stacks[k], Modality="MR", DiffusionBValue=value, **more)
    with pytest.raises(InputError, match=r"has 3 pictures of each place") as said:
        medical.read_series(tmp_path)
    assert "1000.0, DiffusionGradientOrientation 0.0\\1.0\\0.0" in said.value.hint
    found = [medical.read_series(tmp_path, frame=k).voxels for k in range(3)]
    assert np.array_equal(found[0], stacks[0])
    assert np.array_equal(found[1], stacks[2])  # sorted by b-value and direction
    assert np.array_equal(found[2], stacks[1])


def test_stacks_of_other_directions_in_one_file_are_a_choice(tmp_path: Path) -> None:
    stored = numbers((6, 8, 6))
    directions = [AXIAL, SAGITTAL]
    path = multi_frame(
        tmp_path / "mr.dcm",
        stored,
        range(6),
        groups=lambda k: {
            "FrameContentSequence": item(StackID=str(k // 3)),
            "PlaneOrientationSequence": item(ImageOrientationPatient=list(directions[k // 3])),
            "PlanePositionSequence": item(
                ImagePositionPatient=[[0, 0, 3.0 * k], [-3.0 * k, 0, 0]][k // 3]
            ),
        },
    )
    with pytest.raises(InputError, match=r"StackID 0 \(3 slices\); frame=1: StackID 1"):
        medical.read_series(path)
    flat = medical.read_series(path, frame=1)
    assert np.array_equal(flat.voxels, stored[3:])  # its normal points to the patient's right
    assert np.array_equal(medical.read_series(path, frame=0).voxels, stored[:3])


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "a", numbers(seed=1))
    series(tmp_path / "b", numbers(seed=2))
    with pytest.raises(InputError, match="lie at the same place, and 4 more pairs"):
        medical.read_series(tmp_path)
    series(tmp_path / "c", numbers(), uid="1.7")
    with pytest.raises(InputError, match="has no frame=1: it has one picture of each place"):
        medical.read_series(tmp_path / "c", frame=1)
    assert np.array_equal(medical.read_series(tmp_path / "c", frame=0).voxels, numbers())


# ---- segmentations


def blobs() -> dict[str, np.ndarray]:
    liver, spleen = np.zeros((5, 9, 7), bool), np.zeros((5, 9, 7), bool)
    liver[1:5, 2:8, 1:5] = True
    liver[2] = False  # a slice that the file leaves out
    spleen[0, 0, 0] = spleen[2, 4, 3] = True
    return {"Liver": liver, "Spleen": spleen}


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_a_segment_is_a_mask(tmp_path: Path, kind: str) -> None:
    path = segmentation(tmp_path / "seg.dcm", blobs(), kind=kind)
    for choice in ("Liver", "liver", 1, "1"):
        found = medical.read_segmentation(path, choice)
        assert found.voxels.dtype == bool
        assert np.array_equal(found.voxels, blobs()["Liver"])
    assert found.spacing == pytest.approx((3.0, 0.5, 0.75))
    assert found.origin.tolist() == [-20, -30, 40]
    assert np.array_equal(medical.read_segmentation(path, 2).voxels, blobs()["Spleen"])
    with pytest.raises(InputError, match=r"holds 2 segments.\nChoose .*: 1: Liver; 2: Spleen"):
        medical.read_segmentation(path)
    with pytest.raises(InputError, match=r"has no segment 3"):
        medical.read_segmentation(path, 3)
    with pytest.raises(InputError, match=r"holds a segmentation, and no DICOM pictures"):
        medical.read_series(path)


def test_a_segmentation_lies_on_the_series_it_was_made_of(tmp_path: Path) -> None:
    ct = medical.read_series(series(tmp_path / "ct", numbers((7, 9, 7)), origin=(-20, -30, 37)))
    path = segmentation(tmp_path / "ct" / "seg.dcm", blobs())
    mask = medical.read_segmentation(path, "Spleen", like=ct)
    assert np.array_equal(mask.voxels[1:6], blobs()["Spleen"])
    assert not mask.voxels[[0, 6]].any()
    short = medical.read_series(series(tmp_path / "b", numbers((3, 9, 7))))
    with pytest.warns(MedzooWarning, match=r"48 of 72 voxels of the segment lie outside"):
        medical.read_segmentation(path, "Liver", like=short)
    for wrong in (
        {"spacing": (3.0, 0.5, 0.5)},
        {"origin": (-20, -30, 38.5)},
        {"orientation": CORONAL},
    ):
        other = medical.read_series(series(tmp_path / "c", numbers((7, 9, 7)), **wrong))  # type: ignore[arg-type]
        with pytest.raises(InputError, match="lies on another grid than the volume"):
            medical.read_segmentation(path, "Liver", like=other)
    other = medical.read_series(series(tmp_path / "d", numbers(), frame="1.2.10"))
    with pytest.raises(InputError, match="in another frame of reference"):
        medical.read_segmentation(path, "Liver", like=other)


def test_frames_of_one_bit_may_begin_within_a_byte(tmp_path: Path) -> None:
    masks = {str(n): np.zeros((9, 7, 9), bool) for n in range(9)}  # frames of 63 bits
    for k, mask in enumerate(masks.values()):
        mask[k] = np.random.default_rng(k).random((7, 9)) > 0.5
    path = segmentation(tmp_path / "seg.dcm", masks)
    for k, (label, mask) in enumerate(masks.items()):
        # A text is the label "1" before it is the number 1, which has the label "0".
        assert np.array_equal(medical.read_segmentation(path, label).voxels, mask)
        assert np.array_equal(medical.read_segmentation(path, k + 1).voxels, mask)
        assert np.array_equal(medical.read_picture(path, frame=k).voxels[0], mask[k])


@pytest.mark.parametrize("held", [[1, 5], [0, 2, 4], [0, 3, 5]])
def test_slices_left_out_of_a_segmentation_come_from_its_series(
    tmp_path: Path, held: list[int]
) -> None:
    mask = np.zeros((6, 7, 9), bool)
    mask[held] = np.random.default_rng(0).random((len(held), 7, 9)) > 0.5
    path = segmentation(tmp_path / "seg.dcm", {"Liver": mask})
    ds = pydicom.dcmread(path)
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    ds.save_as(path)
    ct = medical.read_series(series(tmp_path / "ct", numbers((6, 7, 9))))
    found = medical.read_segmentation(path, like=ct)
    assert np.array_equal(found.voxels, mask)
    if held == [0, 3, 5]:  # 9 and 6 mm apart, so that nothing says how thick a slice is
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MedzooWarning)
            with pytest.raises(InputError, match="do not form an even stack"):
                medical.read_segmentation(path)
        return
    with pytest.warns(MedzooWarning, match="of 3 mm: slices between them may be left out"):
        medical.read_segmentation(path)


@pytest.mark.parametrize("read", [medical.read_series, lambda file: medical.read_pictures([file])])
def test_a_mosaic_is_no_slice(tmp_path: Path, read: Any) -> None:
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    (file,) = series(tmp_path, numbers((1, 8, 8)), Modality="MR", ImageType=kind)
    with pytest.raises(InputError, match="is a mosaic: the slices of a volume side by side"):
        read(file)
    assert medical.read_picture(file).voxels.shape == (1, 8, 8)  # a picture it is


@pytest.mark.parametrize("at", [[-20, -30, 81.5], [-20, -30, 80.0], [-18, -30, 79]])
def test_frames_of_a_segment_that_make_no_even_stack_are_refused(
    tmp_path: Path, at: list[float]
) -> None:
    path = segmentation(tmp_path / "seg.dcm", {"Liver": np.ones((20, 5, 6), bool)})
    ds = pydicom.dcmread(path)
    ds.PerFrameFunctionalGroupsSequence[13].PlanePositionSequence[0].ImagePositionPatient = at
    ds.save_as(path)
    with pytest.raises(InputError, match=r"seg.dcm has frames that do not form an even stack"):
        medical.read_segmentation(path)


def test_labels_and_fractions(tmp_path: Path) -> None:
    fractions = np.zeros((2, 4, 4), np.uint8)
    fractions[:, 1:3, 1:3] = [[60, 255], [255, 0]]
    path = segmentation(
        tmp_path / "f.dcm", {"A": fractions}, kind="FRACTIONAL", MaximumFractionalValue=255
    )
    with pytest.raises(InputError, match="holds fractions of voxels, but a mask is needed"):
        medical.read_segmentation(path)
    assert medical.read_picture(path, frame=0).voxels.max() == 255
    labels = np.array([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])
    path = segmentation(tmp_path / "l.dcm", {"A": labels}, kind="LABELMAP")
    ds = pydicom.dcmread(path)
    ds.SegmentSequence = [item(SegmentNumber=n, SegmentLabel=f"S{n}")[0] for n in (1, 2)]
    ds.save_as(path)
    for n in (1, 2):
        assert np.array_equal(medical.read_segmentation(path, f"s{n}").voxels, labels == n)
    ds.PhotometricInterpretation = (
        "PALETTE COLOR"  # as label maps may be, so that viewers show them
    )
    ds.save_as(path)
    assert np.array_equal(medical.read_segmentation(path, 2).voxels, labels == 2)


def test_segments_are_given_as_masks(tmp_path: Path) -> None:
    values = numbers((5, 9, 7))
    series(tmp_path / "ct", values)
    path = segmentation(tmp_path / "ct" / "seg.dcm", blobs())
    mask, image = Input("mask", "mask", "An organ."), Input("image", "image", "CT.")
    held = [1, 3, 4]
    assert np.array_equal(inputs(f"{path}#liver", mask), blobs()["Liver"][held])
    assert np.array_equal(inputs(f"{tmp_path / 'ct'}#liver", mask), blobs()["Liver"][held])
    assert np.array_equal(inputs(f"{tmp_path / 'ct'}#liver", image), values[held])
    with pytest.raises(InputError, match="holds 2 segments"):
        inputs(path, mask)
    with pytest.raises(InputError, match="is a segmentation, and image is a picture"):
        inputs(path, image)
    segmentation(tmp_path / "ct" / "other.dcm", blobs(), uid="1.2.67")
    with pytest.raises(InputError, match=r"holds 2 segmentations: other.dcm, seg.dcm"):
        inputs(f"{tmp_path / 'ct'}#liver", mask)
