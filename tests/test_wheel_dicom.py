"""Every picture in pydicom's wheel, read by medzoo and by SimpleITK: equal, refused, or different and why.

`EQUAL` and `TOLD` list them. A file that neither has, of a newer pydicom, must be equal.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medzoo import medical
from medzoo.errors import InputError
from medzoo.medical.scans import contents_of

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


class Told(NamedTuple):
    """What is not plainly equal."""

    kind: str  # refused, different, or slow
    who_is_right: str
    says: str = ""  # of an error
    itk_fails: bool = False


EQUAL = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG-lossy.dcm",
    "JPGExtended.dcm",
    "JPEG2000.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "examples_overlay.dcm",
    "image_dfl.dcm",
    "dicomdirtests/77654033/CR1/6154",
    "dicomdirtests/77654033/CR2/6247",
    "dicomdirtests/77654033/CR3/6278",
    "dicomdirtests/77654033/CT2/17106",
    "dicomdirtests/77654033/CT2/17136",
    "dicomdirtests/77654033/CT2/17166",
    "dicomdirtests/77654033/CT2/17196",
    "dicomdirtests/98892001/CT2N/6293",
    "dicomdirtests/98892001/CT2N/6924",
    "dicomdirtests/98892001/CT5N/2062",
    "dicomdirtests/98892001/CT5N/2392",
    "dicomdirtests/98892001/CT5N/2693",
    "dicomdirtests/98892001/CT5N/3023",
    "dicomdirtests/98892001/CT5N/3353",
    "dicomdirtests/98892003/MR1/15820",
    "dicomdirtests/98892003/MR1/4919",
    "dicomdirtests/98892003/MR1/5641",
    "dicomdirtests/98892003/MR2/15970",
    "dicomdirtests/98892003/MR2/4950",
    "dicomdirtests/98892003/MR2/4981",
    "dicomdirtests/98892003/MR2/5011",
    "dicomdirtests/98892003/MR2/6273",
    "dicomdirtests/98892003/MR2/6605",
    "dicomdirtests/98892003/MR2/6935",
    "dicomdirtests/98892003/MR700/4467",
    "dicomdirtests/98892003/MR700/4528",
    "dicomdirtests/98892003/MR700/4558",
    "dicomdirtests/98892003/MR700/4588",
    "dicomdirtests/98892003/MR700/4618",
    "dicomdirtests/98892003/MR700/4648",
    "dicomdirtests/98892003/MR700/4678",
    "ExplVR_BigEnd.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_jpeg2k.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
]

DOSE = "medzoo: a dose is the stored number times DoseGridScaling, which SimpleITK leaves out"
ONE_OF_THREE = (
    "medzoo: the file has one frame and describes three; SimpleITK does not look at that, and makes "
    "255 of a pixel of one bit"
)
RLE_16 = "medzoo: the picture is that of SC_rgb_rle.dcm times 257, GDCM mixes up its bytes"
RLE_32 = "medzoo: the picture is that of SC_rgb_rle.dcm times 16843009, GDCM mixes up its bytes"
TOLD = {
    "JPEG2000-embedded-sequence-delimiter.dcm": Told(
        "refused", "both refuse it", "cannot be decoded", itk_fails=True
    ),
    "MR_truncated.dcm": Told("refused", "both refuse it", "cannot be decoded", itk_fails=True),
    "badVR.dcm": Told(
        "refused",
        "medzoo: NumberOfFrames is '1A', which SimpleITK takes for 1",
        "b'1A' for NumberOfFrames",
    ),
    "liver_1frame.dcm": Told("refused", ONE_OF_THREE, "says where 3 of them lie"),
    "liver_expb_1frame.dcm": Told("refused", ONE_OF_THREE, "says where 3 of them lie"),
    "SC_rgb_jpeg.dcm": Told("slow", "both, but GDCM takes 15 seconds: it is SC_rgb_jpeg_dcmd.dcm"),
    "rtdose.dcm": Told("different", DOSE),
    "rtdose_1frame.dcm": Told("different", DOSE, itk_fails=True),
    "rtdose_expb.dcm": Told("different", DOSE + "; it also leaves the bytes of 32 bits swapped"),
    "rtdose_expb_1frame.dcm": Told("different", DOSE, itk_fails=True),
    "rtdose_rle.dcm": Told("different", DOSE),
    "rtdose_rle_1frame.dcm": Told("different", DOSE, itk_fails=True),
    "SC_rgb_rle_16bit.dcm": Told("different", RLE_16),
    "SC_rgb_rle_16bit_2frame.dcm": Told("different", RLE_16),
    "SC_rgb_rle_32bit.dcm": Told("different", RLE_32),
    "SC_rgb_rle_32bit_2frame.dcm": Told("different", RLE_32),
}


def pictures() -> list[str]:
    """The names of all files in the wheel that hold a picture."""
    names = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are broken on purpose
        for path in sorted(FOLDER.rglob("*")):
            if not path.is_file() or path.suffix in {".gz", ".json", ".txt", ".zip"}:
                continue
            try:
                ds = pydicom.dcmread(path, force=True, specific_tags=["Rows"])
            except Exception:
                continue
            if "Rows" in ds:
                names.append(path.relative_to(FOLDER).as_posix())
    return names


def by_medzoo(path: Path) -> np.ndarray:
    """All frames (n, H, W) or (n, H, W, 3)."""
    held = contents_of(path)
    numbers = range(held.frames)
    if held.colour:
        return np.stack([medical.read_colour(path, frame=k) for k in numbers])
    return np.concatenate([medical.read_picture(path, frame=k).voxels for k in numbers])


def by_simpleitk(path: Path) -> sitk.Image:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")  # whatever the file is called
    reader.SetFileName(str(path))
    return reader.Execute()


def same_place(path: Path, image: sitk.Image) -> None:
    """Both put the first and the last voxel at the same place in the patient."""
    volume = medical.read_series(path)
    for index in [(0, 0, 0), tuple(n - 1 for n in image.GetSize())]:
        point = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.voxels_at(np.array([point])), [index[::-1]], atol=1e-3)


def dose(path: Path) -> np.ndarray:
    ds = pydicom.dcmread(path)
    return ds.pixel_array.reshape(-1, ds.Rows, ds.Columns) * float(ds.DoseGridScaling)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", pictures())
def test_a_file_of_the_wheel(name: str) -> None:
    path, told = FOLDER / name, TOLD.get(name)
    if told is not None and told.itk_fails:
        with pytest.raises(RuntimeError):
            by_simpleitk(path)
    if told is not None and told.kind == "refused":
        with pytest.raises(InputError, match=re.escape(told.says)):
            by_medzoo(path)
        return
    found = by_medzoo(path)
    if told is not None and told.kind == "slow":
        assert np.array_equal(found, by_medzoo(FOLDER / "SC_rgb_jpeg_dcmd.dcm"))
        return
    if told is None:
        image = by_simpleitk(path)
        assert np.array_equal(found, sitk.GetArrayFromImage(image).astype(found.dtype))
        if contents_of(path).placed:
            same_place(path, image)
        return
    if not told.itk_fails:
        other = sitk.GetArrayFromImage(by_simpleitk(path))
        assert other.shape == found.shape
        assert not np.array_equal(found, other)
    # that medzoo is right, by another way
    if told.who_is_right in {RLE_16, RLE_32}:
        factor = 257 if told.who_is_right == RLE_16 else 16843009
        eight_bits = by_medzoo(FOLDER / name.replace("_16bit", "").replace("_32bit", ""))
        assert np.array_equal(found, eight_bits.astype(np.int64) * factor)
    else:
        assert told.who_is_right.startswith(DOSE)
        np.testing.assert_allclose(found, dose(path), rtol=1e-6)
        np.testing.assert_allclose(found, dose(FOLDER / "rtdose.dcm")[: len(found)], rtol=1e-6)


def test_the_table_has_each_file_once() -> None:
    assert len(EQUAL) == len(set(EQUAL))
    assert not set(EQUAL) & set(TOLD)
    assert set(pictures()) <= set(EQUAL) | set(TOLD), "of a newer pydicom? add them to the table"
