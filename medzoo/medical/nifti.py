"""NIfTI files as volumes: the right affine, its unit, and the frame that is asked for.

A NIfTI file may state its grid three times: as sform, as qform, and as voxel sizes alone (pixdim).
The sform is used first, as in most programs, unless it is a placeholder. A warning says that they
disagree, or that none states an orientation.
"""

from __future__ import annotations

import os
import re
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..errors import InputError, MedzooWarning
from ..settings import user_path
from . import arguments
from .files import library
from .volumes import Volume

Array = NDArray[Any]
Affine = NDArray[np.float64]  # (4, 4): voxel numbers as stored to millimetres in NIfTI's directions
NIFTI = (".nii", ".nii.gz")
# Names of files that may be NIfTI. nibabel reads other formats too, and leaves some files open.
NAMES = re.compile(r"\.(nii|hdr|img)(\.(gz|bz2|zst))?$", re.IGNORECASE)
UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown, m, mm, micrometres; in mm
SHEAR = 0.01  # the largest cosine between two axes at right angles: half a degree
DISAGREE = 0.1  # voxels by which two affines may place a corner of the volume differently
OTHER_SIZE = 0.01  # the share by which voxel sizes of an affine may differ from pixdim
ROUNDED = 1e-3  # how far a label may be from a whole number: scale factors are rounded
EXACT = 2**24  # whole numbers up to this one are exact in float32
GZIP_FORMAT, GZIP_START = 31, b"\x1f\x8b"  # of zlib, and how each part of a gzip file begins
CHUNK = 2**20  # bytes that are decompressed at once
TO_DICOM = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI counts x to the right and y to the front


@checks.checked(path=checks.path, frame=arguments.frame)
@arguments.one_file
def read_nifti(
    path: str | os.PathLike[str], *, labels: bool = False, frame: int | None = None
) -> Volume:
    """Read a NIfTI volume as axial slices.

    Slices run from feet to head, rows from front to back, columns from the patient's right to left.
    Voxels that are NaN lie outside of the scan: they stay NaN in a picture, and become 0 in a mask.

    Parameters
    ----------
    path : str or os.PathLike
        A ``.nii`` or ``.nii.gz`` file, or the ``.hdr`` of a NIfTI pair.
    labels : bool, optional
        True for a mask: its whole numbers are kept. By default values are read as float32.
    frame : int, optional
        Which volume, from 0, of a file with a fourth axis: a time, an echo or a direction.

    Returns
    -------
    Volume
        Voxels (D, H, W). A file of two axes gives one slice.

    Raises
    ------
    InputError
        The file cannot be read, holds several volumes and ``frame`` does not choose one, or has
        axes that are not at right angles. Its affine has NaN. Its voxels are infinite, coloured or
        complex.

    Examples
    --------
    >>> scan = medical.read_nifti("scan.nii.gz")
    >>> scan.voxels.shape, scan.spacing
    ((12, 64, 64), (3.0, 1.0, 1.0))
    >>> mask = medical.read_nifti("mask.nii.gz", labels=True)
    >>> mask.voxels.dtype
    dtype('int16')
    """
    nib = library("nibabel", "NIfTI")
    file = user_path(path)
    if not NAMES.search(file.name):
        raise InputError(
            f"{file} is not NIfTI, by its name.", "Give a .nii or .nii.gz file, or convert it."
        )
    try:
        _require_whole(file)
        image = nib.load(file)
        _require_nifti(image, nib, file)
        _require_offset(image, file)
        for part in image.file_map.values():  # the image of a pair is in another file
            if part.filename and Path(part.filename) != file:
                _require_whole(Path(part.filename))
        affine = _affine(image, file)
        stored = np.asanyarray(image.dataobj[_index_of(image, frame, file)])
    except (InputError, MedzooWarning):  # a user may make warnings errors
        raise
    except Exception as error:  # a broken file makes it raise almost anything
        raise InputError(
            f"{file} cannot be read as NIfTI: {error}.", "Give a .nii or .nii.gz file."
        ) from error
    if stored.dtype.kind not in "buif" or not stored.size:
        raise InputError(
            f"{file} holds {stored.dtype} of shape {stored.shape}.",
            "Give one grey value or label per voxel.",
        )
    stored = stored.reshape(stored.shape + (1,) * (3 - stored.ndim))
    voxels = _labels(stored, file) if labels else _greys(stored, file)
    return _volume(voxels, affine, file)


def is_nifti(path: Path) -> bool:
    """Whether a file has a name of NIfTI, and is not hidden."""
    return path.name.lower().endswith(NIFTI) and not path.name.startswith(".")


def _require_nifti(image: Any, nib: Any, file: Path) -> None:
    if not isinstance(image, nib.Nifti1Pair):  # which NIfTI-2 is, too, for nibabel
        kind = type(image).__name__.removesuffix("Image")
        raise InputError(f"{file} is {kind}, not NIfTI.", "Give a .nii or .nii.gz file.")


def _require_offset(image: Any, file: Path) -> None:
    """An error if the header of a single file states that its voxels begin within the header."""
    if not image.header.is_single:
        return
    offset, least = image.dataobj.offset, image.header.single_vox_offset
    if offset < least:
        raise InputError(
            f"{file} states that its voxels begin at byte {offset:g} (vox_offset), which is within "
            f"its header of {least} bytes.",
            "Its header is damaged: write it again.",
        )


def _require_whole(file: Path) -> None:
    """An error if a file compressed by gzip is cut off, or damaged.

    nibabel reads as many bytes as it needs, and so never comes to the checksum at the end.
    """
    if file.suffix.lower() != ".gz" or not file.is_file():
        return
    try:
        whole = _is_whole(file)
    except zlib.error:  # the checksum is that of other bytes
        whole = False
    if not whole:
        raise InputError(
            f"{file} is cut off or damaged: its checksum is not that of its content.",
            "Copy or download it again.",
        )


def _is_whole(file: Path) -> bool:
    """Whether each part of a gzip file comes to its end.

    What follows the last part does not count, nor does a file that is not gzip.
    """
    with file.open("rb") as opened:
        data = opened.read(CHUNK)
        while data.startswith(GZIP_START):
            part = zlib.decompressobj(wbits=GZIP_FORMAT)
            while data and not part.eof:
                part.decompress(data)
                data = part.unused_data or opened.read(CHUNK)
            if not part.eof:
                return False
            data = data.lstrip(b"\0")
            if len(data) < len(GZIP_START):
                data += opened.read(CHUNK)
    return True


def _volume(voxels: Array, affine: Affine, file: Path) -> Volume:
    """Voxels in the order of the file, (x, y, z), as axial slices."""
    directions = (TO_DICOM @ affine)[:3, :3]
    lengths = np.linalg.norm(directions, axis=0)
    (flat,) = np.nonzero(lengths == 0)
    if len(flat) == 1 and voxels.shape[flat[0]] == 1:  # one slice, whose thickness is not stated
        others = directions[:, np.arange(3) != flat[0]] / lengths[np.arange(3) != flat[0]]
        directions[:, flat[0]] = np.cross(*others.T)
        lengths = np.linalg.norm(directions, axis=0)
    if not lengths.all():
        raise InputError(
            f"{file} has an affine without volume.", "Its header is damaged: write it again."
        )
    axes = (directions / lengths).T[::-1]  # of z, y, x as stored
    if np.abs(axes @ axes.T - np.eye(3)).max() > SHEAR:
        raise InputError(
            f"{file} has axes that are not at right angles.",
            "Resample it to a grid without shear first.",
        )
    x, y, z = lengths.tolist()
    origin = (TO_DICOM @ affine)[:3, 3]
    return Volume(voxels.transpose(2, 1, 0), (z, y, x), origin, axes).axial()


# ---- which frame


def _index_of(image: Any, frame: int | None, file: Path) -> tuple[Any, ...]:
    """The index of one volume of a file."""
    shape = image.shape
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"{file} has the shape {shape}.", "Give a slice or a volume.")
    several = [axis for axis in range(3, len(shape)) if shape[axis] != 1]
    count = shape[several[0]] if several else 1
    if len(several) > 1:
        raise InputError(
            f"{file} holds volumes along {len(several)} axes: its shape is {shape}.",
            "Save the one that you need as a separate file.",
        )
    if frame is None and count == 1:
        frame = 0
    is_whole = isinstance(frame, (int, np.integer)) and not isinstance(frame, bool)
    if frame is None or not is_whole or not 0 <= frame < count:
        asked = "" if frame is None else f", and frame={frame!r} is not one of them"
        raise InputError(
            f"{file} holds {count} volumes{_between(image, several)}{asked}.",
            f"Choose by frame= of medzoo.medical.read_nifti, from 0 to {count - 1}.",
        )
    index: list[Any] = [slice(None)] * min(len(shape), 3) + [0] * (len(shape) - 3)
    if several:
        index[several[0]] = int(frame)
    return tuple(index)


def _between(image: Any, several: list[int]) -> str:
    """How far apart in time the volumes are, if the file states it."""
    try:
        unit = image.header.get_xyzt_units()[1]
    except KeyError:
        return ""
    step = float(image.header["pixdim"][4])
    return f", {step:g} {unit} apart" if several == [3] and unit in {"sec", "msec"} else ""


# ---- which affine


def _affine(image: Any, file: Path) -> Affine:
    """The affine of a file in millimetres."""
    header = image.header
    sizes = np.abs(np.asarray(header["pixdim"][1:4], float))
    affines = {}
    for name in ("sform", "qform"):
        if int(header[f"{name}_code"]) > 0:
            affines[name] = np.asarray(getattr(header, f"get_{name}")(), float)
    for name, numbers in {"pixdim": sizes, **affines}.items():
        if not np.isfinite(numbers).all():
            raise InputError(
                f"{file} has numbers in its {name} that are not finite: {_shown(numbers)}.",
                "Its header is damaged: write it again.",
            )
    affine = _chosen(affines, sizes, image, file)
    affine[:3] *= _unit(header, file)
    return affine


def _chosen(affines: dict[str, Affine], sizes: Array, image: Any, file: Path) -> Affine:
    """The affine of a file in its own unit; warns if the file contradicts itself."""
    if "sform" in affines and "qform" in affines:
        return _of_two(affines["sform"], affines["qform"], image, file)
    if "sform" in affines:
        return _of_sizes(affines["sform"], sizes, file)
    if "qform" in affines:
        return affines["qform"]
    _warn(
        f"{file} states no orientation, neither as sform nor as qform: left and right, front and "
        "back may be exchanged. Its axes are taken to run from right to left, from back to front "
        "and from feet to head"
    )
    return np.asarray(image.header.get_base_affine(), float)


def _of_two(sform: Affine, qform: Affine, image: Any, file: Path) -> Affine:
    shape = (*image.shape[:3], 1, 1)[:3]
    last = np.subtract(shape, 1)
    corners = np.argwhere(np.ones((2, 2, 2))) * last  # (8, 3) voxel numbers
    difference = sform - qform
    apart = np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max()
    sizes = np.linalg.norm(qform[:3, :3], axis=0)
    if apart <= DISAGREE * min((size for size in sizes if size), default=1.0):
        return sform
    placeholder = _is_placeholder(sform) and _differ(sform, sizes)
    used, why = ("qform", ", since the sform is a placeholder") if placeholder else ("sform", "")
    _warn(
        f"{file} has an sform ({_code(image, 'sform')}) and a qform ({_code(image, 'qform')}) that "
        f"disagree by up to {apart:.3g}: sform {_shown(sform[:3])}, qform {_shown(qform[:3])}. The "
        f"{used} is used{why}"
    )
    return qform if placeholder else sform


def _of_sizes(sform: Affine, sizes: Array, file: Path) -> Affine:
    """The sform; if it is a placeholder, its directions with the voxel sizes of pixdim."""
    if not _differ(sform, sizes):
        return sform
    placeholder = _is_placeholder(sform) and sizes.all()
    used = "pixdim is used, since the sform is a placeholder" if placeholder else "sform is used"
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    _warn(
        f"{file} has voxels of {_shown(lengths)} by its sform, of {_shown(sizes)} by its pixdim, "
        f"and no qform. The {used}"
    )
    if placeholder:
        sform = sform.copy()
        sform[:3, :3] *= sizes
    return sform


def _is_placeholder(sform: Affine) -> bool:
    """Whether an affine is what programs write if they have none: voxels of 1, not rotated."""
    return bool(np.array_equal(np.abs(sform[:3, :3]), np.eye(3)))


def _differ(sform: Affine, sizes: Array) -> bool:
    """Whether an affine has other voxel sizes; 0 means that a size is not stated."""
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    stated = (lengths > 0) & (sizes > 0)
    return bool((np.abs(lengths - sizes) > OTHER_SIZE * sizes)[stated].any())


def _unit(header: Any, file: Path) -> float:
    """The unit of a file in millimetres."""
    code = int(header["xyzt_units"]) & 7
    if code not in UNITS:
        _warn(f"{file} has the unknown unit {code} in its xyzt_units. Millimetres are assumed")
    return UNITS.get(code, 1.0)


def _code(image: Any, name: str) -> str:
    return f"code {int(image.header[f'{name}_code'])}"


def _shown(numbers: Array) -> str:
    """Numbers as a warning shows them."""
    return str(np.round(numbers, 4).tolist()).replace(".0,", ",").replace(".0]", "]")


def _warn(text: str) -> None:
    warnings.warn(MedzooWarning(f"{text}."), stacklevel=2)


# ---- voxels


def _greys(stored: Array, file: Path) -> NDArray[np.float32]:
    """Grey values as float32."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is counted
        greys = stored.astype(np.float32)
    if infinite := int(np.isinf(greys).sum()):
        kind = "infinite values" if np.isinf(stored).any() else "values too large for float32"
        raise InputError(
            f"{file} holds {kind}, in {infinite} of {greys.size} voxels.",
            "Replace them by numbers, or by NaN where there is no tissue.",
        )
    if np.isnan(greys).all():
        raise InputError(f"{file} holds no numbers at all, only NaN.", "Give another file.")
    if stored.dtype.kind in "iu" and stored.dtype.itemsize > 2 and np.abs(greys).max() > EXACT:
        rounded = int((greys.astype(float) != stored).sum())
        if rounded:
            _warn(f"{file} has {rounded} whole numbers above {EXACT}, which float32 rounds")
    return greys


def _labels(stored: Array, file: Path) -> Array:
    """Labels as whole numbers."""
    if stored.dtype.kind != "f":
        return stored.astype(stored.dtype.newbyteorder("="))
    outside = np.isnan(stored)
    if outside.any():
        _warn(f"{file} has {outside.sum()} of {stored.size} voxels that are NaN. They get label 0")
        stored = np.where(outside, 0, stored)
    whole = np.rint(stored)
    with np.errstate(invalid="ignore"):  # of infinite values
        off = ~(np.abs(stored - whole) <= ROUNDED)
    if off.any():
        raise InputError(
            f"{file} holds fractions, and labels are whole numbers: {off.sum()} of {off.size} "
            "voxels.",
            "Give a mask with whole numbers.",
        )
    if np.abs(whole).max() > np.iinfo(np.int32).max:
        raise InputError(
            f"{file} holds labels too large for 32 bits.", "Give a mask with whole numbers."
        )
    return whole.astype(np.int32)
