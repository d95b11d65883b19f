"""NIfTI files that contradict themselves, have other units, or hold other than one volume.

SimpleITK reads the same files, where it reads them at all.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medzoo import medical
from medzoo.config.model import Input
from medzoo.errors import InputError, MedzooWarning
from medzoo.inputs import Inputs

VALUES = np.random.default_rng(0).integers(0, 200, (6, 7, 5)).astype(np.int16)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
TURNED = np.diag([-2.0, 2.0, 3.0, 1.0])


def save(
    path: Path,
    values: np.ndarray = VALUES,
    affine: np.ndarray | None = AFFINE,
    change: Callable[[Any], Any] = lambda _: None,
) -> Path:
    image = nib.Nifti1Image(values, affine)
    change(image)
    nib.save(image, path)
    return path


def require_same_as_itk(volume: medical.Volume, path: Path, frame: int | None = None) -> None:
    """Every voxel has the place and the value that SimpleITK gives it."""
    image = sitk.ReadImage(str(path))
    if image.GetDimension() == 4:
        image = image[:, :, :, 0 if frame is None else frame]
    axes = np.reshape(image.GetDirection(), (3, 3)).T  # of x, y, z as stored
    places = np.argwhere(np.ones(volume.voxels.shape)) @ (volume.axes.T * volume.spacing).T
    index = (places + volume.origin - image.GetOrigin()) @ axes.T / image.GetSpacing()
    np.testing.assert_allclose(index, np.rint(index), atol=0.02)
    x, y, z = np.rint(index).astype(int).T
    assert np.array_equal(sitk.GetArrayFromImage(image)[z, y, x], volume.voxels.ravel())


# ---- units and affines


@pytest.mark.parametrize(
    ("unit", "length"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1), ("unknown", 1)]
)
def test_every_unit_becomes_millimetres(tmp_path: Path, unit: str, length: float) -> None:
    affine = np.diag([2 * length, 2 * length, 3 * length, 1])
    affine[:3, 3] = np.array([4, 5, 6]) * length
    path = save(tmp_path / "a.nii", affine=affine, change=lambda i: i.header.set_xyzt_units(unit))
    volume = medical.read_nifti(path)
    assert volume.spacing == pytest.approx((3, 2, 2))
    np.testing.assert_allclose(volume.origin, [-4 - 10, -5 - 12, 6], rtol=1e-6)
    require_same_as_itk(volume, path)


def test_an_unknown_unit_is_told(tmp_path: Path) -> None:
    def unit_5(image: Any) -> None:
        image.header["xyzt_units"] = 5

    path = save(tmp_path / "a.nii", change=unit_5)
    with pytest.warns(MedzooWarning, match="a.nii has the unknown unit 5"):
        assert medical.read_nifti(path).spacing == (3, 2, 2)


def forms(sform: Any, sform_code: int, qform: Any, qform_code: int) -> Callable[[Any], None]:
    def change(image: Any) -> None:
        image.set_sform(sform, code=sform_code)
        image.set_qform(qform, code=qform_code)

    return change


def test_two_affines_that_disagree_are_both_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", change=forms(AFFINE, 1, TURNED, 1))
    says = r"a.nii has an sform \(code 1\) and a qform \(code 1\) that disagree by up to 20: sform "
    says += r"\[\[2, 0, 0, 0\], .*qform \[\[-2, 0, 0, 0\], .*The sform is used\."
    with pytest.warns(MedzooWarning, match=says):
        volume = medical.read_nifti(path)
    require_same_as_itk(volume, path)
    agree = save(tmp_path / "b.nii", change=forms(AFFINE, 4, AFFINE, 1))
    assert medical.read_nifti(agree).spacing == (3, 2, 2)


def test_a_placeholder_is_not_preferred_to_a_qform(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", change=forms(np.eye(4), 2, AFFINE, 1))
    with pytest.warns(MedzooWarning, match="qform is used, since the sform is a placeholder"):
        volume = medical.read_nifti(path)
    assert volume.spacing == (3, 2, 2)
    require_same_as_itk(volume, path)


def sizes(*pixdim: float) -> Callable[[Any], None]:
    def change(image: Any) -> None:
        image.header["pixdim"][1:4] = pixdim
        image.header["qform_code"] = 0

    return change


def save_sizes(path: Path, affine: np.ndarray, *pixdim: float) -> Path:
    """A file with a sform and other voxel sizes, which nibabel would make agree."""
    raw = bytearray(save(path, affine=affine, change=sizes(1, 1, 1)).read_bytes())
    raw[80:92] = np.array(pixdim, "<f4").tobytes()
    path.write_bytes(raw)
    return path


def test_a_sform_and_voxel_sizes_that_disagree_are_both_named(tmp_path: Path) -> None:
    path = save_sizes(tmp_path / "a.nii", np.eye(4), 2, 2, 3)
    says = r"voxels of \[1, 1, 1\] by its sform, of \[2, 2, 3\] by its pixdim, .*The pixdim is used"
    with pytest.warns(MedzooWarning, match=says):
        assert medical.read_nifti(path).spacing == (3, 2, 2)
    path = save_sizes(tmp_path / "b.nii", AFFINE, 2, 2, 4)
    with pytest.warns(MedzooWarning, match=r"of \[2, 2, 4\] by its pixdim, .*The sform is used"):
        assert medical.read_nifti(path).spacing == (3, 2, 2)
    agree = save_sizes(tmp_path / "c.nii", np.diag([1.0, 1.0, 1.0, 1.0]), 1, 1, 1)
    assert medical.read_nifti(agree).spacing == (1, 1, 1)


def test_a_file_without_orientation_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", change=forms(None, 0, None, 0))
    with pytest.warns(MedzooWarning, match="a.nii states no orientation, neither as sform nor as"):
        volume = medical.read_nifti(path)
    assert volume.spacing == (3, 2, 2)
    assert np.array_equal(volume.voxels, VALUES.transpose(2, 1, 0)[:, ::-1])


@pytest.mark.parametrize(
    ("at", "numbers", "says"),
    [
        (280, [np.nan] * 4, r"numbers in its sform that are not finite: \[\[nan, nan, nan, nan\]"),
        (280, [2, 0, 0, np.nan], r"sform that are not finite: \[\[2, 0, 0, nan\]"),
        (280, [np.inf, 0, 0, 0], "sform that are not finite"),
        (80, [2, np.nan, 3], r"pixdim that are not finite: \[2, nan, 3\]"),
        (268, [np.nan, 0, 0], "qform that are not finite"),
        (280, [0, 0, 0, 0], "an affine without volume"),
    ],
)
def test_an_affine_that_is_no_grid_is_refused(
    tmp_path: Path, at: int, numbers: Any, says: str
) -> None:
    path = save(tmp_path / "a.nii", change=forms(AFFINE, 1, AFFINE, 1 if at == 268 else 0))
    raw = bytearray(path.read_bytes())
    raw[at : at + 4 * len(numbers)] = np.array(numbers, "<f4").tobytes()
    path.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MedzooWarning)  # of sform and pixdim that differ
        with pytest.raises(InputError, match=f"a.nii has .*{says}"):
            medical.read_nifti(path)


def test_a_warning_that_is_made_an_error_stays_itself(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", change=forms(None, 0, None, 0))
    with pytest.raises(MedzooWarning, match="states no orientation"):  # pytest makes it an error
        medical.read_nifti(path)


# ---- axes and frames


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 1, 1)])
def test_two_axes_are_one_slice(tmp_path: Path, shape: Any) -> None:
    path = save(tmp_path / "a.nii", VALUES[..., 0].reshape(shape))
    for labels in (False, True):
        volume = medical.read_nifti(path, labels=labels)
        assert volume.voxels.shape == (1, 7, 6)
        assert np.array_equal(volume.voxels[0], VALUES[::-1, ::-1, 0].T)
    assert volume.spacing == (3, 2, 2)


def test_a_slice_without_thickness_is_1_mm_thick(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    raw = bytearray(save(path, VALUES[..., 0], change=sizes(2, 2, 0)).read_bytes())
    raw[312:328] = bytes(16)  # the row of z in the sform
    path.write_bytes(raw)
    assert medical.read_nifti(path).spacing == (1, 2, 2)


def test_one_of_several_volumes_is_chosen_by_frame(tmp_path: Path) -> None:
    def seconds(image: Any) -> None:
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 2

    several = np.stack([VALUES, VALUES + 300, VALUES + 900], -1)
    path = save(tmp_path / "a.nii.gz", several, change=seconds)
    with pytest.raises(
        InputError, match=r"a.nii.gz holds 3 volumes, 2 sec apart\.\nChoose by frame=.* from 0 to 2"
    ):
        medical.read_nifti(path)
    for frame in (0, 2, np.int64(1)):
        volume = medical.read_nifti(path, frame=frame)
        assert volume.voxels.shape == (5, 7, 6)
        assert volume.voxels.min() == several[..., frame].min()
        require_same_as_itk(volume, path, int(frame))
    wrong: Any
    for wrong in (3, -1, 1.0, True, "1"):
        with pytest.raises(InputError, match=r"frame=.* is not one of them"):
            medical.read_nifti(path, frame=wrong)
    alone = save(tmp_path / "b.nii", VALUES[..., None])
    assert np.array_equal(
        medical.read_nifti(alone).voxels, medical.read_nifti(alone, frame=0).voxels
    )
    vectors = save(tmp_path / "c.nii", several[:, :, :, None])  # (x, y, z, 1, 3)
    assert medical.read_nifti(vectors, frame=1).voxels.min() >= 300
    both = save(tmp_path / "d.nii", np.stack([several, several], -1))
    with pytest.raises(InputError, match="holds volumes along 2 axes"):
        medical.read_nifti(both, frame=0)


# ---- voxels


def test_nan_lies_outside_and_infinity_is_refused(tmp_path: Path) -> None:
    values = VALUES.astype(np.float32)
    values[:2] = np.nan
    path = save(tmp_path / "a.nii", values)
    volume = medical.read_nifti(path)
    assert np.isnan(volume.voxels).sum() == 2 * 35  # exact; what resamples counts it as outside
    assert np.isfinite(medical.resample(volume, (1, 1, 1)).voxels).all()
    with pytest.warns(MedzooWarning, match="a.nii has 70 of 210 voxels that are NaN. They get la"):
        labels = medical.read_nifti(path, labels=True).voxels
    assert np.array_equal(labels, np.nan_to_num(volume.voxels))
    values[0, 0, 0] = np.inf
    path = save(tmp_path / "b.nii", values)
    for as_labels, says in (
        (False, "holds infinite values, in 1 of 210 voxels"),
        (True, "fractions"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MedzooWarning)
            with pytest.raises(InputError, match=f"b.nii .*{says}"):
                medical.read_nifti(path, labels=as_labels)
    path = save(tmp_path / "c.nii", VALUES * 1e40)
    with pytest.raises(InputError, match=r"c.nii holds values too large for float32, in"):
        medical.read_nifti(path)
    path = save(tmp_path / "d.nii", VALUES * np.float32(np.nan))
    with pytest.raises(InputError, match=r"d.nii holds no numbers at all, only NaN"):
        medical.read_nifti(path)


def test_whole_numbers_that_float32_rounds_are_told(tmp_path: Path) -> None:
    values = VALUES.astype(np.int32) + 2**24 - 100
    path = save(tmp_path / "a.nii", values)
    rounded = int(((values > 2**24) & (values % 2 == 1)).sum())
    with pytest.warns(MedzooWarning, match=f"a.nii has {rounded} whole numbers above 16777216"):
        medical.read_nifti(path)
    assert np.array_equal(
        medical.read_nifti(path, labels=True).voxels, values.transpose(2, 1, 0)[:, ::-1, ::-1]
    )
    exact = save(tmp_path / "b.nii", VALUES.astype(np.int32) * 2**17)
    assert medical.read_nifti(exact).voxels.max() == VALUES.max() * 2.0**17


def scaled(slope: float, intercept: float) -> Callable[[Any], Any]:
    return lambda image: image.header.set_slope_inter(slope, intercept)


def test_scale_factors_are_applied_and_labels_survive_their_rounding(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", change=scaled(0.5, -100))
    volume = medical.read_nifti(path)
    require_same_as_itk(volume, path)
    assert volume.voxels.min() == VALUES.min() * 0.5 - 100
    path = save(tmp_path / "b.nii", VALUES, change=scaled(1.0000001, 0))
    assert medical.read_nifti(path, labels=True).voxels.sum() == VALUES.sum()
    path = save(tmp_path / "c.nii", change=scaled(1.01, 0))
    with pytest.raises(InputError, match=r"c.nii holds fractions, .*: \d+ of 210 voxels"):
        medical.read_nifti(path, labels=True)


def test_labels_have_the_byte_order_of_this_machine(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES, AFFINE, header=nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "a.nii")
    labels = medical.read_nifti(tmp_path / "a.nii", labels=True).voxels
    assert labels.dtype.isnative
    assert labels.sum() == VALUES.sum()


RGB = np.zeros((4, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (RGB, "Give one grey value or label per voxel"),
        ((VALUES + 1j).astype(np.complex64), "holds complex64"),
        (VALUES[0, 0], r"has the shape \(5,\)"),
    ],
)
def test_what_is_not_grey_is_refused(tmp_path: Path, values: np.ndarray, says: str) -> None:
    path = save(tmp_path / "a.nii", values)
    with pytest.raises(InputError, match=f"(?s)a.nii .*{says}"):
        medical.read_nifti(path)


def test_formats_that_nibabel_reads_too_are_not_nifti(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(VALUES, AFFINE), tmp_path / "a.mgz")
    with pytest.raises(InputError, match=r"a.mgz is not NIfTI, by its name"):
        medical.read_nifti(tmp_path / "a.mgz")
    nib.save(nib.Spm99AnalyzeImage(VALUES, AFFINE), tmp_path / "b.img")
    with pytest.raises(InputError, match=r"b.img is Spm\d+Analyze, not NIfTI"):
        medical.read_nifti(tmp_path / "b.img")


# ---- as inputs of a model


def pictures(given: str | Path, **about: Any) -> np.ndarray:
    """All pictures that a model gets, whose one input takes grey levels from 0 to 255."""
    about = {"kind": "image", "range": (0, 255), **about}
    wanted = Input("image", about.pop("kind"), "A picture.", **about)
    version: Any = SimpleNamespace(inputs={"image": wanted}, outputs={}, call=None)
    inputs = Inputs.of("it", version, given)
    assert inputs is not None
    return np.asarray(inputs.batch(np.arange(inputs.count))["image"])[:, 0]


def test_an_input_names_the_frame(tmp_path: Path) -> None:
    several = np.stack([VALUES * 0 + k for k in range(3)], -1).astype(np.uint8)
    path = save(tmp_path / "a.nii", several)
    assert (pictures(f"{path}#frame=2", kind="mask", range=None) == 2).all()
    with pytest.raises(InputError, match=r"a.nii holds 3 volumes.\n.*As an input: '.*#frame=0'"):
        pictures(path)
    with pytest.raises(InputError, match="frame=3 is not one of them"):
        pictures(f"{path}#frame=3")


def test_an_input_of_two_axes_is_one_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", (VALUES[..., 0] > 90).astype(np.uint8))
    mask = pictures(path, kind="mask", range=None)
    assert np.array_equal(mask, (VALUES[::-1, ::-1, :1] > 90).T)


def test_one_hot_voxel_and_nan_leave_the_greys_of_the_tissue(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(100, 200, (40, 40, 3)).astype(np.float32)
    plain = pictures(save(tmp_path / "a.nii", values))
    values[0, 0, 0] = 1e6
    values[5] = np.nan
    greys = pictures(save(tmp_path / "b.nii", values))
    assert len(np.unique(greys)) > 90
    assert (greys[:, :, 34] == 0).all()  # columns run the other way
    other = np.arange(40) != 34
    assert np.abs(greys[1:, :, other] - plain[1:, :, other]).max() < 8


@pytest.mark.parametrize("offset", [0, 348])
@pytest.mark.parametrize("labels", [False, True])
def test_voxels_that_begin_within_the_header_are_refused(
    tmp_path: Path, offset: int, labels: bool
) -> None:
    file = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), file)
    raw = bytearray(file.read_bytes())
    raw[108:112] = np.float32(offset).tobytes()  # vox_offset
    file.write_bytes(raw)
    with pytest.raises(InputError, match=r"byte 0 \(vox_offset\)|vox offset 348 too low"):
        medical.read_nifti(file, labels=labels)


# ---- damaged files


def damaged(raw: bytes, how: str) -> bytes:
    if how == "checksum":
        return raw[:-8] + bytes([raw[-8] ^ 1]) + raw[-7:]
    if how == "pixels":  # stored without compression, so that every byte means something
        at = len(raw) // 2
        return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    return raw[:-9]


@pytest.mark.parametrize("how", ["checksum", "pixels", "end"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, how: str, parts: int) -> None:
    raw = save(tmp_path / "a.nii", np.repeat(VALUES, 9, 0)).read_bytes()
    first, second = (raw, b"") if parts == 1 else (raw[:300], raw[300:])
    packed = gzip.compress(first, 0) + (gzip.compress(second, 0) if second else b"")
    path = tmp_path / "a.nii.gz"
    path.write_bytes(packed)
    assert np.array_equal(
        medical.read_nifti(path).voxels, medical.read_nifti(tmp_path / "a.nii").voxels
    )
    path.write_bytes(damaged(packed, how))
    with pytest.raises(InputError, match=r"a\.nii\.gz is cut off or damaged"):
        medical.read_nifti(path)


@pytest.mark.parametrize("tail", [bytes(2000), b"\0", b"a note"])
def test_bytes_behind_a_gzip_file_are_ignored(tmp_path: Path, tail: bytes) -> None:
    path = save(tmp_path / "a.nii.gz", np.repeat(VALUES, 99, 0))
    before = medical.read_nifti(path).voxels
    path.write_bytes(path.read_bytes() + tail)
    assert np.array_equal(medical.read_nifti(path).voxels, before)


def test_the_image_of_a_pair_is_checked_too(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(VALUES, AFFINE), tmp_path / "a.img.gz")
    medical.read_nifti(tmp_path / "a.hdr.gz")
    raw = (tmp_path / "a.img.gz").read_bytes()
    (tmp_path / "a.img.gz").write_bytes(damaged(raw, "checksum"))
    with pytest.raises(InputError, match=r"a\.img\.gz is cut off or damaged"):
        medical.read_nifti(tmp_path / "a.hdr.gz")
