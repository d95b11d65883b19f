"""Draw the pictures of the card: `python show.py --data ms_brain_mni.zip`.

``samples.png``: axial slices of patient 7 by the network of patient 19, above, and of patient 19 by
that of patient 7, below: T1, real T2, T2, real FLAIR, FLAIR. ``lesions.png``: T1 of patient 7, the
lesions of patients 1 and 4 that are asked for, FLAIR without a mask and with it. Needs medzoo and
Pillow.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import model as m  # the package's own, beside this script
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import medzoo
from medzoo.medical import read_nifti

ROWS, COLUMNS = slice(20, 200), slice(15, 167)  # of the pictures, in voxels
HEIGHTS = (80, 95)  # slices

Array = NDArray[Any]


def made(t1: Path, lesions: Path | None = None, **options: Any) -> Array:
    """A volume (D, H, W) of grey levels."""
    inputs = {"t1": t1} if lesions is None else {"t1": t1, "lesions": lesions}
    volume: Array = medzoo.generate(108, inputs=inputs, seed=0, **options).volumes[0, 0]
    return volume


def real(folder: Path, name: str) -> Array:
    """A scan in the grey levels of the model."""
    return m.levels(np.minimum(m.scaled(read_nifti(folder / f"{name}.nii.gz").voxels, name), 1))


def picture(volumes: list[Array], height: int) -> Array:
    """One slice of each volume, side by side."""
    return np.concatenate([volume[height, ROWS, COLUMNS] for volume in volumes], axis=1)


def write(rows: list[Array], path: Path) -> None:
    """Rows of slices as one picture."""
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def brains(data: Path, out: Path) -> None:
    """Both patients, each by the network of the other."""
    rows = []
    for patient, known in ((7, 19), (19, 7)):
        folder = data / f"patient{patient:02}"
        volumes = [real(folder, "T1")]
        for contrast in m.TARGETS:
            scan = real(folder, contrast)
            volumes += [scan, made(folder / "T1.nii.gz", contrast=contrast, patient=known)]
        rows += [picture(volumes, height) for height in HEIGHTS]
    write(rows, out / "samples.png")


def lesions(data: Path, out: Path) -> None:
    """Lesions of other patients in the brain of patient 7."""
    t1, rows = data / "patient07" / "T1.nii.gz", []
    plain, scan = made(t1, patient=19), real(t1.parent, "T1")
    for number in (1, 4):
        path = data / f"patient{number:02}" / "LESIONS.nii.gz"
        mask = read_nifti(path, labels=True).voxels > 0
        inside = data / "asked.nii.gz"
        header = nib.load(path)
        within = np.asarray(header.dataobj) * (np.asarray(nib.load(t1).dataobj) != 0)
        nib.save(nib.Nifti1Image(within.astype(np.uint8), header.affine), inside)
        volumes = [scan, m.levels(mask.astype(np.float32)), plain, made(t1, inside, patient=19)]
        rows.append(picture(volumes, int(mask.sum(axis=(1, 2)).argmax())))
    write(rows, out / "lesions.png")


def main() -> None:
    """Parse and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="ms_brain_mni.zip")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        with zipfile.ZipFile(a.data) as archive:
            archive.extractall(place)
        brains(Path(place), a.out)
        lesions(Path(place), a.out)


if __name__ == "__main__":
    main()
