"""DICOM files as they come: no file of a folder is dropped, and no header is guessed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from scan_files import circle, series, structures

from medzoo import medical
from medzoo.errors import InputError, MedzooWarning


def hu(shape: tuple[int, int, int] = (5, 8, 6)) -> np.ndarray:
    """Values in HU that differ everywhere, (D, H, W)."""
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.float32)


def without_transfer_syntax(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x02\x00\x10\x00UI")
    length = 8 + int.from_bytes(raw[at + 6 : at + 8], "little")
    del raw[at : at + length]
    group = raw.index(b"\x02\x00\x00\x00UL") + 8
    left = int.from_bytes(raw[group : group + 4], "little") - length
    raw[group : group + 4] = left.to_bytes(4, "little")
    path.write_bytes(raw)


def without_meta(path: Path) -> None:
    """As scanners of the 1990s wrote: the data set alone, implicit VR."""
    ds = pydicom.dcmread(path)
    del ds.file_meta
    pydicom.dcmwrite(path, ds, implicit_vr=True, little_endian=True)


def big_endian_without_meta(path: Path) -> None:
    ds = pydicom.dcmread(path)
    del ds.file_meta
    ds["PixelData"].value = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
    pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=False)


FORMS: dict[str, Callable[[Path], Any]] = {
    "no preamble": lambda path: path.write_bytes(path.read_bytes()[132:]),
    "no transfer syntax": without_transfer_syntax,
    "no meta information": without_meta,
    "no meta information, big endian": big_endian_without_meta,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how_many", [1, 5])
def test_a_file_that_lacks_parts_of_its_head_is_read(
    tmp_path: Path, form: str, how_many: int
) -> None:
    paths = series(tmp_path, hu())
    for path in paths[-how_many:]:
        FORMS[form](path)
    assert np.array_equal(medical.read_series(tmp_path).voxels, hu())
    assert np.array_equal(medical.read_picture(paths[-1]).voxels, hu()[-1:])
    assert medical.scans_in(paths[-1]) == [paths[-1]]
    assert medical.scans_in(tmp_path) == [tmp_path]


def test_compressed_pixels_without_a_transfer_syntax_are_refused(tmp_path: Path) -> None:
    (path,) = series(tmp_path, hu()[:1])
    ds = pydicom.dcmread(path)
    ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    ds.save_as(path)
    without_transfer_syntax(path)
    with pytest.raises(InputError, match=re.escape(path.name)):
        medical.read_series(tmp_path)


def a_transfer_syntax_that_is_none(raw: bytes) -> bytes:
    return raw.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.1\0\0\0")


def an_odd_type_in_the_head(raw: bytes) -> bytes:
    return raw.replace(b"\x02\0\x02\0UI", b"\x02\0\x02\0U\xde")


def an_odd_type_of_an_element(raw: bytes) -> bytes:
    return raw.replace(b"\x28\0\x00\x01US", b"\x28\0\x00\x01U.")


def another_number_for_columns(raw: bytes) -> bytes:
    return raw.replace(b"\x28\0\x11\0US", b"\x28\0\x12\0US")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (a_transfer_syntax_that_is_none, "has a TransferSyntaxUID of 1.2.840.10008.1.1, which"),
        (an_odd_type_in_the_head, "cannot be read: Unknown Value Representation"),
        (an_odd_type_of_an_element, r"cannot be read: element \(0028,0100\) .* type 'U.'"),
        (another_number_for_columns, "has 8 rows, and no Columns"),
    ],
)
def test_a_file_whose_head_is_damaged_is_refused_by_name(
    tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    path = series(tmp_path, hu())[0]
    raw = path.read_bytes()
    path.write_bytes(damage(raw))
    assert path.read_bytes() != raw
    with pytest.raises(InputError, match=f"{path.name} {says}"):
        medical.read_series(tmp_path)


@pytest.mark.parametrize("name", ["a.dcm", "IM0001", "1.2.840.17", "B.DCM"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    series(tmp_path, hu())
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name} is empty"):
        medical.read_series(tmp_path)


def test_a_file_called_dicom_that_is_not_is_refused(tmp_path: Path) -> None:
    paths = series(tmp_path, hu())
    (tmp_path / "a.dcm").write_bytes(b"git-lfs pointer")
    with pytest.raises(InputError, match=r"a.dcm is not DICOM"):
        medical.read_series(tmp_path)
    (tmp_path / "a.dcm").rename(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"a.txt is not DICOM"):
        medical.read_series([*paths, tmp_path / "a.txt"])
    with pytest.raises(InputError, match=r"a.txt is not DICOM"):
        medical.read_picture(tmp_path / "a.txt")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"gone is a link to nothing"):
        medical.read_series(tmp_path)


def test_other_files_are_named_in_one_warning_and_those_of_the_system_are_not(
    tmp_path: Path,
) -> None:
    series(tmp_path, hu())
    for name in ("Thumbs.db", ".DS_Store", "._0.dcm", "DICOMDIR", ".directory"):
        (tmp_path / name).write_bytes(b"x")
    assert len(medical.read_series(tmp_path).voxels) == 5
    for name in ("report.pdf", "notes.txt", "c.json", "d.json"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.warns(
        MedzooWarning,
        match=r"4 files are not DICOM, and not read: c.json, d.json, notes.txt, \.\.\.",
    ):
        assert len(medical.read_series(tmp_path).voxels) == 5


def test_links_are_followed_and_each_file_is_read_once(tmp_path: Path) -> None:
    paths = series(tmp_path / "real" / "ct", hu())
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "ct").symlink_to(tmp_path / "real" / "ct", target_is_directory=True)
    (folder / "again").symlink_to(tmp_path / "real" / "ct", target_is_directory=True)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "one.dcm").symlink_to(paths[0])
    assert np.array_equal(medical.read_series(folder).voxels, hu())
    series(folder / "other", hu(), uid="1.2.4", SeriesDescription="lung")
    with pytest.raises(InputError, match="holds 2 series"):
        medical.read_series(folder)


def test_hidden_dicom_is_read(tmp_path: Path) -> None:
    paths = series(tmp_path, hu())
    paths[-1].rename(tmp_path / ".last")
    assert np.array_equal(medical.read_series(tmp_path).voxels, hu())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PatientID": "y"}, "of different patients: their PatientID differ"),
        ({"frame": "1.2.10"}, "of different frames of reference: their FrameOfReferenceUID differ"),
        ({"Modality": "PT"}, "of different modalities: their Modality differ"),
        ({"RescaleType": "US"}, r"is in HU, .* in no unit that is known"),
    ],
)
def test_slices_of_two_patients_or_frames_are_never_one_volume(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    series(tmp_path / "a", hu(), PatientID="x")
    series(tmp_path / "b", hu(), origin=(-20, -30, 55), **{"PatientID": "x", **changes})
    with pytest.raises(InputError, match=says):
        medical.read_series(tmp_path)


def broken(path: Path, keyword: str, text: bytes) -> None:
    """Write ``text`` into a number of a header, over what is there."""
    tag = pydicom.tag.Tag(keyword)
    raw = bytearray(path.read_bytes())
    at = raw.index(tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little"))
    length = int.from_bytes(raw[at + 6 : at + 8], "little")
    raw[at + 8 : at + 8 + length] = text.ljust(length)[:length]
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("RescaleSlope", "1.00", b"1,"),
        ("RescaleIntercept", "-100", b"x"),
        ("NumberOfFrames", "01", b"1A"),
        ("WindowCenter", "40.0", b"4o"),
        ("WindowWidth", "40.0", b"4,0"),
        ("SliceThickness", "3.00", b"3 mm"),
        ("PixelSpacing", ["0.500", "0.500"], b"0,5\\0,5"),
        ("ImagePositionPatient", ["0.0", "0.0", "0.0"], b"0\\0\\abc"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0], b"1\\0\\0\\a\\b\\c"),
    ],
)
def test_a_number_that_is_none_is_named(
    tmp_path: Path, keyword: str, value: Any, text: bytes
) -> None:
    pair = {"WindowCenter": "40.0", "WindowWidth": "40.0"}
    (path,) = series(tmp_path, hu()[:1], **{**pair, keyword: value})
    assert medical.read_series(tmp_path).voxels.shape == (1, 8, 6)
    broken(path, keyword, text)
    for read in (medical.read_series, medical.read_picture):
        with pytest.raises(InputError, match=rf"{path.name} has .* for {keyword}, which is not"):
            read(path)


def test_a_negative_distance_between_slices_is_taken_as_its_length(tmp_path: Path) -> None:
    series(tmp_path, hu()[:1], SpacingBetweenSlices=-3.0)
    assert medical.read_series(tmp_path).spacing == (3.0, 0.5, 0.75)


@pytest.mark.parametrize(
    ("slope", "intercept", "factor", "added"),
    [
        (None, "-1024", 1, -1024),
        ("", "-1024", 1, -1024),
        ("2.5", None, 2.5, 0),
        ("2.5", "", 2.5, 0),
        ("", "", 1, 0),
        (None, None, 1, 0),
        ("-2", "7", -2, 7),
    ],
)
def test_slope_or_intercept_may_be_missing_or_empty_alone(
    tmp_path: Path, slope: str | None, intercept: str | None, factor: float, added: float
) -> None:
    stored = []
    for path in series(tmp_path, hu((2, 4, 3))):
        ds = pydicom.dcmread(path)
        stored.append(ds.pixel_array)
        for keyword, value in {"RescaleSlope": slope, "RescaleIntercept": intercept}.items():
            delattr(ds, keyword) if value is None else setattr(ds, keyword, value)
        ds.save_as(path)
    volume = medical.read_series(tmp_path)
    assert np.array_equal(volume.voxels, np.array(stored) * factor + added)
    assert volume.unit == ("HU" if intercept else "")
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))  # of the last slice
    assert np.array_equal(volume.voxels[-1], itk[0])


@pytest.mark.parametrize(
    ("slope", "problem"),
    [("0", "has 0 for RescaleSlope"), (["1", "2"], r"has \[1, 2\] for RescaleSlope, and one")],
)
def test_a_slope_that_makes_no_values_is_refused(tmp_path: Path, slope: Any, problem: str) -> None:
    series(tmp_path, hu(), RescaleSlope=slope, RescaleIntercept=0)
    with pytest.raises(InputError, match=problem):
        medical.read_series(tmp_path)


def test_a_table_decides_over_slope_and_intercept_and_its_unit_is_its_own(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, 16], np.array([7, 5, 3, 100], "<u2").tobytes()
    table.ModalityLUTType = "US"
    (file,) = series(tmp_path, np.zeros((1, 2, 2)), PixelRepresentation=0)
    ds = pydicom.dcmread(file)
    ds.PixelData = np.arange(4, dtype="<u2").tobytes()
    ds.ModalityLUTSequence = [table]
    ds.save_as(file)
    volume = medical.read_series(file)
    assert volume.voxels.tolist() == [[[7, 5], [3, 100]]]
    assert volume.unit == ""
    table.LUTDescriptor = None
    ds.save_as(file)
    with pytest.raises(InputError, match="broken ModalityLUTSequence"):
        medical.read_series(file)


@pytest.mark.parametrize("spacing", [[0, 0], [-1, 1], [1]])
def test_a_picture_with_an_impossible_spacing_has_none(tmp_path: Path, spacing: Any) -> None:
    (file,) = series(tmp_path, hu((1, 4, 3)), PixelSpacing=spacing)
    assert np.isnan(medical.read_picture(file).spacing[1:]).all()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", [0, 0, float("nan")]),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, float("inf")]),
        ("PixelSpacing", [float("nan"), 1]),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_place_that_is_not_finite_is_refused(
    tmp_path: Path, keyword: str, value: list[float], count: int
) -> None:
    series(tmp_path, hu((count, 4, 3)), **{keyword: value})
    with pytest.raises(InputError, match=f"for {keyword}, which are not all finite"):
        medical.read_series(tmp_path)


def test_a_thickness_that_is_not_finite_counts_as_unknown(tmp_path: Path) -> None:
    series(tmp_path, hu((1, 4, 3)), SliceThickness=float("nan"), SpacingBetweenSlices="-2")
    assert medical.read_series(tmp_path).spacing[0] == 2
    series(tmp_path / "b", hu((1, 4, 3)), SliceThickness=float("nan"))
    assert medical.read_series(tmp_path / "b").spacing[0] == 1


def test_slices_of_two_echoes_at_places_between_each_other_are_told(tmp_path: Path) -> None:
    values = hu((6, 4, 3))
    echo = {"EchoTime": lambda k: "10" if k % 2 else "90"}
    series(tmp_path / "two", values, Modality="MR", **echo)
    with pytest.warns(MedzooWarning, match="differ in EchoTime: 10, 90") as caught:
        medical.read_series(tmp_path / "two")
    assert len(caught) == 1
    series(tmp_path / "one", values, Modality="MR", EchoTime="10")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        medical.read_series(tmp_path / "one")


# ---- how numbers are stored


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "high"), [(12, 11), (12, 15), (12, 13), (10, 15), (16, 15)])
def test_numbers_lie_where_high_bit_says(
    tmp_path: Path, bits: int, high: int, signed: bool, frames: int, compressed: bool
) -> None:
    """As dcmtk reads them; GDCM ignores HighBit. An overlay may lie in the other bits."""
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.random.default_rng(0).integers(low, low + 2**bits, (frames, 6, 5))
    others = 2**16 - 1 - ((2**bits - 1) << (high + 1 - bits))
    stored = ((values << (high + 1 - bits)) & 0xFFFF & ~others) | (others & 0x9009)
    (file,) = series(tmp_path, np.zeros((1, 6, 5)), PixelRepresentation=int(signed))
    ds = pydicom.dcmread(file)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    ds.BitsStored, ds.HighBit, ds.NumberOfFrames = bits, high, frames
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = stored.astype("<u2").tobytes()
    if compressed:
        ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    ds.save_as(file)
    for frame in range(frames):
        picture = medical.read_picture(file, frame=frame)
        assert np.array_equal(picture.voxels[0], values[frame] - 1024)


def table_of(entries: np.ndarray, first: int, *, signed: bool, as_bytes: bool) -> pydicom.Dataset:
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % 2**16, first, 16])
    if as_bytes:
        table.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    else:
        table.add_new("LUTData", "US", entries.tolist())
    table.ModalityLUTType = "US"
    return table


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(
    ("first", "count", "signed_first", "as_bytes"),
    [
        (-32768, 2**16, True, True),
        (-1000, 30000, True, True),
        (-1000, 30000, True, False),
        (2**16 - 1000, 30000, False, True),
        (2**16 - 1000, 30000, False, False),
    ],
)
def test_a_table_holds_for_every_stored_number(
    tmp_path: Path,
    first: int,
    count: int,
    signed_first: bool,
    frames: int,
    as_bytes: bool,
    implicit: bool,
) -> None:
    values = np.array([-32768, -1001, -1000, -999, 0, 7, 28999, 32767])
    stored = np.stack([np.roll(values, k).reshape(2, 4) for k in range(frames)])
    entries = np.random.default_rng(0).integers(0, 2**16, count)
    lowest = first - 2**16 if first > 0 else first
    (file,) = series(tmp_path, np.zeros((1, 2, 4)), Modality="XA")
    ds = pydicom.dcmread(file)
    ds.NumberOfFrames = frames
    ds.PixelData = stored.astype("<i2").tobytes()
    ds.ModalityLUTSequence = [table_of(entries, first, signed=signed_first, as_bytes=as_bytes)]
    if implicit:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        pydicom.dcmwrite(file, ds, implicit_vr=True, little_endian=True, enforce_file_format=True)
    else:
        ds.save_as(file)
    wanted = entries[np.clip(stored - lowest, 0, count - 1)]
    for frame in range(frames):
        assert np.array_equal(medical.read_picture(file, frame=frame).voxels[0], wanted[frame])


def test_structures_without_a_preamble_are_read(tmp_path: Path) -> None:
    series(tmp_path, hu((5, 64, 64)), spacing=(3.0, 1.0, 1.0))
    rings = [circle(8, (10, 0), 40 + 3.0 * k) for k in range(5)]
    file = structures(tmp_path / "rt.dcm", {"Parotid R": rings})
    whole = medical.read_mask(tmp_path, "Parotid R")[1]
    assert whole.any()
    file.write_bytes(file.read_bytes()[132:])
    assert np.array_equal(medical.read_mask(tmp_path, "Parotid R")[1], whole)
