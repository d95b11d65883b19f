"""Every data file in the wheel of nibabel, read by medzoo and by SimpleITK.

`TABLE` says for each file what becomes of it, and who is right where the two differ. A file that is
not in it, of another version of nibabel, must be equal or refused.
"""

from __future__ import annotations

import warnings
from importlib.metadata import files
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medzoo import medical
from medzoo.errors import InputError, MedzooWarning

EQUAL = "equal"  # voxel by voxel: place and value
REFUSED = "refused"  # by both
NAN = "different where it is NaN"
MEDZOO, SIMPLEITK = "medzoo alone", "SimpleITK alone"  # reads it
OTHER_FORMATS = {  # refused by both, but for the rows of `TABLE`
    ".HEAD": "AFNI",
    ".BRIK": "AFNI",
    ".BRIK.gz": "AFNI",
    ".PAR": "PAR/REC",
    ".REC": "PAR/REC",
    ".mgz": "MGH",
    ".mnc": "MINC",
    ".v": "ECAT",
    ".nc": "NetCDF",
    ".gii": "GIFTI, a surface",
    ".gii.gz": "GIFTI, a surface",
    ".gii.bz2": "GIFTI, a surface",
    ".dat": "a part of GIFTI",
    ".tck": "fibres",
    ".trk": "fibres",
    ".bin": "a part of a header",
    ".bin.gz": "a part of a header",
    ".txt": "text",
    ".rst": "text",
    ".gitignore": "text",
}
MINC = "MINC is not a format that medzoo reads: refused, and SimpleITK reads it rightly"


class Row(NamedTuple):
    """What becomes of a file, in how many volumes, and why."""

    result: str
    frames: int = 1
    reason: str = ""


TABLE = {
    "tests/data/anatomical.nii": Row(EQUAL),
    "tests/data/standard.nii.gz": Row(EQUAL),
    "tests/data/reoriented_anat_moved.nii": Row(EQUAL),
    "tests/data/resampled_anat_moved.nii": Row(
        NAN, reason="medzoo is right: 153 voxels are NaN in the file, which SimpleITK makes 0"
    ),
    "tests/data/example4d.nii.gz": Row(EQUAL, frames=2),
    "tests/data/functional.nii": Row(EQUAL, frames=20),
    "tests/data/example_nifti2.nii.gz": Row(
        MEDZOO, 2, "medzoo is right: it is valid NIfTI-2, and ITK 5.4 reads NIfTI-1 alone"
    ),
    "tests/data/row_major.dconn.nii": Row(REFUSED, reason="CIFTI: a matrix, not a picture"),
    "tests/data/nifti1.hdr": Row(REFUSED, reason="the .img of the pair is not in the wheel"),
    "tests/data/nifti2.hdr": Row(REFUSED, reason="the .img of the pair is not in the wheel"),
    "tests/data/analyze.hdr": Row(REFUSED, reason="Analyze, which states no orientation"),
    "tests/data/0.dcm": Row(EQUAL),
    "tests/data/1.dcm": Row(EQUAL),
    "nicom/tests/data/0.dcm": Row(EQUAL),
    "nicom/tests/data/1.dcm": Row(EQUAL),
    "nicom/tests/data/slicethickness_empty_string.dcm": Row(EQUAL),
    "nicom/tests/data/decimal_rescale.dcm": Row(EQUAL),
    "nicom/tests/data/csa_slice_norm.dcm": Row(REFUSED, reason="it has no pixels"),
    "nicom/tests/data/siemens_dwi_0.dcm.gz": Row(REFUSED, reason="DICOM is not compressed so"),
    "nicom/tests/data/siemens_dwi_1000.dcm.gz": Row(REFUSED, reason="DICOM is not compressed so"),
    "nicom/tests/data/philips_mprage.dcm.gz": Row(REFUSED, reason="DICOM is not compressed so"),
    "tests/data/small.mnc": Row(SIMPLEITK, reason=MINC),
    "tests/data/minc2_1_scale.mnc": Row(SIMPLEITK, reason=MINC),
    "tests/data/minc2_4d.mnc": Row(SIMPLEITK, reason=MINC),
    "tests/data/minc2-4d-d.mnc": Row(SIMPLEITK, reason=MINC),
    "tests/data/minc2-no-att.mnc": Row(SIMPLEITK, reason=MINC),
}


def row_of(name: str) -> Row:
    """What the table says of a file."""
    endings = [ending for ending in OTHER_FORMATS if name.endswith(ending)]
    if name in TABLE or not endings:
        return TABLE.get(name, Row(""))
    return Row(REFUSED, reason=OTHER_FORMATS[max(endings, key=len)])


def wheel() -> dict[str, Path]:
    """The data files of nibabel, by their path in it."""
    listed = [f for f in files("nibabel") or [] if f.parts[0] == "nibabel" and "data" in f.parts]
    data = {"/".join(f.parts[1:]): Path(str(f.locate())) for f in listed}
    return {name: path for name, path in data.items() if path.suffix not in {".py", ".pyc", ".m"}}


WHEEL = wheel()


def read_by_medzoo(path: Path, frame: int | None = None) -> medical.Volume:
    dicom = path.suffix == ".dcm" or path.name.endswith(".dcm.gz")
    return medical.read_picture(path) if dicom else medical.read_nifti(path, frame=frame)


def read_by_itk(path: Path) -> sitk.Image | None:
    """What SimpleITK reads, or None where it refuses."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError:
        return None


def require_equal(volume: medical.Volume, image: sitk.Image, nan: int = 0) -> None:
    """Every voxel has one place and one value for both; so many are NaN, and 0 for SimpleITK."""
    assert sorted(volume.voxels.shape) == sorted(image.GetSize())
    directions = np.reshape(image.GetDirection(), (3, 3))
    far = np.array(volume.voxels.shape) - 1
    assert volume.voxels.size == np.prod(image.GetSize())
    steps = volume.axes * np.array(volume.spacing)[:, None]
    into = (steps @ directions) / image.GetSpacing()  # of z, y, x to indices of SimpleITK
    if volume.voxels.shape[0] == 1:  # the thickness of one picture is not part of its grid
        into[0] /= np.linalg.norm(into[0])
    first = (volume.origin - image.GetOrigin()) @ directions / image.GetSpacing()
    corners = np.array([first, first + far @ into])
    np.testing.assert_allclose(into, np.rint(into), atol=1e-4)
    np.testing.assert_allclose(corners, np.rint(corners), atol=0.02)
    places = np.argwhere(np.ones(volume.voxels.shape)) @ np.rint(into) + np.rint(first)
    x, y, z = places.astype(int).T
    assert min(x.min(), y.min(), z.min()) == 0
    theirs, ours = sitk.GetArrayFromImage(image)[z, y, x].astype(np.float32), volume.voxels.ravel()
    if nan:
        assert np.isnan(ours).sum() == nan
        assert (theirs[np.isnan(ours)] == 0).all()
        theirs[np.isnan(ours)] = np.nan
    np.testing.assert_array_max_ulp(theirs, ours, maxulp=1)


def require_as_nibabel(volumes: list[medical.Volume], path: Path) -> None:
    """Voxels as nibabel turns them: from left to right and from back to front, where ours are not."""
    canonical = nib.as_closest_canonical(nib.load(path))
    for k, volume in enumerate(volumes):
        theirs = canonical.get_fdata()[..., k].transpose(2, 1, 0)[:, ::-1, ::-1]
        assert np.array_equal(volume.voxels, theirs)
        assert volume.spacing == pytest.approx(canonical.header.get_zooms()[2::-1])


@pytest.mark.parametrize("name", WHEEL)
def test_a_file_is_read_as_simpleitk_reads_it_or_refused(name: str) -> None:
    path, row = WHEEL[name], row_of(name)
    image = read_by_itk(path)
    frames = [None] if row.frames == 1 else list(range(row.frames))
    refusal, volumes = "", []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MedzooWarning)
            volumes = [read_by_medzoo(path, frame) for frame in frames]
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert str(path) in refusal
        assert row.result in {REFUSED, SIMPLEITK, ""}
        assert row.result == "" or (image is not None) == (row.result == SIMPLEITK)
        return
    if row.result == MEDZOO:
        assert image is None
        require_as_nibabel(volumes, path)
        return
    assert row.result in {EQUAL, NAN, ""}
    assert image is not None
    if row.frames == 1:
        require_equal(volumes[0], image, 153 if row.result == NAN else 0)
        return
    assert image.GetSize()[3] == row.frames
    for k, volume in enumerate(volumes):
        require_equal(volume, image[:, :, :, k])


def test_every_file_has_a_row_and_every_difference_a_reason() -> None:
    assert all(row_of(name).reason for name in WHEEL if row_of(name).result not in {EQUAL, ""})
    assert {row_of(name).result for name in WHEEL} >= {EQUAL, REFUSED, MEDZOO, SIMPLEITK}
