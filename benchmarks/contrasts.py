"""Judge model 108 on the patient that it was not trained on, both ways.

    python -m benchmarks.contrasts ms_brain_mni.zip                       # all figures of the card
    python -m benchmarks.contrasts ms_brain_mni.zip --weights FILE        # of weights in training

Everything is judged in the model's own scale: 0 to 1, with one percentile of the brain's voxels at
a fixed value (`scaled` in the package), the real T2 and FLAIR likewise.

    PSNR       over the voxels of the brain (T1 is not 0), for a range of 1, in dB
    contrast   mean in lesions less mean in a ring of 3 voxels around them, in the brain; and how far
               it is from the real one, as a share of that
    placed     of the lesions of patients 01 to 06, asked for in a brain: the share that is brighter
               in T2 and in FLAIR than its ring, and than the same voxels if no lesion is asked for

The methods: T1 itself; T1 with the histogram of the training patient's T2 or FLAIR; regressions on
the grey values of each 3x3x3 neighbourhood, learned on the training patient, one linear and one of
boosted trees; the model, without and with the patient's own lesion mask.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medzoo
from medzoo._worker.imports import import_package
from medzoo.config.model import PRECISIONS
from medzoo.medical import read_nifti

PACKAGE = Path(__file__).parent.parent / "starter_models" / "00108_UNET_MRI_BRAIN_CONTRASTS"
PATIENTS = (7, 19)
MASKS = range(1, 7)  # patients whose masks judge where lesions are placed
RING = 3  # voxels
SAMPLES = 100_000  # voxels that a regression learns from
SMALLEST = 20  # voxels of a lesion that is looked at
CLEAR = 0.03  # of the range: so much brighter counts
METHODS = ("copy", "histogram", "linear 3x3x3", "boosted 3x3x3", "model", "model, mask given")
Array = NDArray[Any]


class Brain:
    """One patient: what lies on the model's scale, (D, H, W), and where the files are."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number, self.folder = number, folder / f"patient{number:02}"
        code = package()
        raw = read_nifti(self.folder / "T1.nii.gz").voxels
        self.inside = raw != 0
        self.grey = {"T1": code.scaled(raw, "T1")}
        for name in code.TARGETS:
            self.grey[name] = code.scaled(read_nifti(self.folder / f"{name}.nii.gz").voxels, name)
        self.lesions = lesions_in(self.folder.parent, number) & self.inside

    def neighbourhoods(self, rows: Array) -> Array:
        """The 27 grey values of T1 around voxels of the brain, (n, 27)."""
        places = np.argwhere(self.inside)[rows]
        padded = np.pad(self.grey["T1"], 1)
        steps = np.argwhere(np.ones((3, 3, 3)))
        columns = [padded[tuple((places + step).T)] for step in steps]
        return np.stack(columns, axis=1)


@cache
def package() -> ModuleType:
    """The package's code."""
    return import_package(PACKAGE)


def lesions_in(folder: Path, number: int) -> Array:
    """The lesion mask of a patient, bool."""
    path = folder / f"patient{number:02}" / "LESIONS.nii.gz"
    return read_nifti(path, labels=True).voxels > 0


# -------------------------------------------------------------------------------------------------
# figures
def psnr(made: Array, real: Array, inside: Array) -> float:
    """Peak signal-to-noise ratio in dB over the voxels ``inside``, for a range of 1."""
    return float(-10 * np.log10(np.mean((made - real)[inside] ** 2)))


def ring_of(lesions: Array, inside: Array, others: Array | None = None) -> Array:
    """Voxels of the brain within `RING` of lesions, but in no lesion."""
    from scipy.ndimage import binary_dilation

    wide = binary_dilation(lesions, iterations=RING)
    return wide & inside & ~(lesions if others is None else others)


def contrast(values: Array, lesions: Array, inside: Array) -> float:
    """Mean in lesions less mean in the ring around them."""
    return float(values[lesions].mean() - values[ring_of(lesions, inside)].mean())


# -------------------------------------------------------------------------------------------------
# methods
def by_histogram(known: Brain, target: str, brain: Brain) -> Array:
    """T1 with the grey values of the training patient's target, in the same order."""
    shares = np.linspace(0, 1, 2001)
    own = np.quantile(brain.grey["T1"][brain.inside], shares)
    theirs = np.quantile(known.grey[target][known.inside], shares)
    return np.interp(brain.grey["T1"], own, theirs)


def by_regression(known: Brain, target: str, brain: Brain, boosted: bool) -> Array:
    """The target from the 3x3x3 neighbourhood of each voxel."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    count = int(known.inside.sum())
    rows = np.random.default_rng(0).permutation(count)[:SAMPLES]
    regression = LinearRegression()
    if boosted:
        regression = HistGradientBoostingRegressor(max_iter=100, random_state=0)
    regression.fit(known.neighbourhoods(rows), known.grey[target][known.inside][rows])
    made = np.zeros_like(brain.grey["T1"])
    everywhere = np.arange(int(brain.inside.sum()))
    made[brain.inside] = regression.predict(brain.neighbourhoods(everywhere)).clip(0, 1)
    return made


def by_model(
    model: medzoo.generation.model.Model, known: Brain, target: str, t1: Path, lesions: Any = None
) -> Array:
    """What a user gets for a T1 file, 0 to 1."""
    inputs = {"t1": t1} if lesions is None else {"t1": t1, "lesions": lesions}
    samples = model.generate(
        1, inputs=inputs, seed=0, contrast=target, patient=known.number, progress=False
    )
    volume: Array = samples.volumes[0, 0]
    return volume.astype(np.float32) / 255


def made_by(
    method: str, model: medzoo.generation.model.Model, known: Brain, target: str, brain: Brain
) -> Array:
    """The brain in another contrast, by one of `METHODS` that learned from the patient ``known``."""
    path = brain.folder / "T1.nii.gz"
    makers: dict[str, Callable[[], Array]] = {
        "copy": lambda: brain.grey["T1"].clip(0, 1),
        "histogram": lambda: by_histogram(known, target, brain),
        "linear 3x3x3": lambda: by_regression(known, target, brain, boosted=False),
        "boosted 3x3x3": lambda: by_regression(known, target, brain, boosted=True),
        "model": lambda: by_model(model, known, target, path),
        "model, mask given": lambda: by_model(
            model, known, target, path, brain.folder / "LESIONS.nii.gz"
        ),
    }
    return makers[method]()


def compared(
    model: medzoo.generation.model.Model, known: Brain, brain: Brain, methods: list[str]
) -> Iterator[dict[str, Any]]:
    """Figures of each method for each target."""
    for target in package().TARGETS:
        real = brain.grey[target]
        true = contrast(real, brain.lesions, brain.inside)
        for method in methods:
            made = made_by(method, model, known, target, brain)
            found = contrast(made, brain.lesions, brain.inside)
            yield {
                "trained on": known.number,
                "judged on": brain.number,
                "target": target,
                "method": method,
                "PSNR": round(psnr(made, real, brain.inside), 2),
                "contrast": round(found, 3),
                "real contrast": round(true, 3),
                "error": round(abs(found - true) / abs(true), 2),
            }


def placed(
    model: medzoo.generation.model.Model,
    known: Brain,
    target: str,
    brain: Brain,
    folder: Path,
    first: int,
) -> dict[str, Any]:
    """Whether lesions of other patients are where they are asked for."""
    from scipy.ndimage import find_objects, label

    path = brain.folder / "T1.nii.gz"
    healthy = by_model(model, known, target, path, _mask_file(brain, np.zeros_like(brain.inside)))
    brighter, more, count = 0, 0, 0
    for number in list(MASKS)[:first]:
        asked = lesions_in(folder, number) & brain.inside
        made = by_model(model, known, target, path, _mask_file(brain, asked))
        pieces, _ = label(asked)
        for piece, box in enumerate(find_objects(pieces), start=1):
            near = tuple(slice(max(0, s.start - RING), s.stop + RING) for s in box)
            lesion = pieces[near] == piece
            if lesion.sum() < SMALLEST:
                continue
            ring = ring_of(lesion, brain.inside[near], asked[near])
            count += 1
            brighter += bool(made[near][lesion].mean() > made[near][ring].mean())
            more += bool((made[near] - healthy[near])[lesion].mean() > CLEAR)
    return {
        "trained on": known.number,
        "placed in": brain.number,
        "in": target,
        "lesions": count,
        "brighter than ring": round(brighter / count, 3),
        "brighter than unasked": round(more / count, 3),
    }


def _mask_file(brain: Brain, mask: Array) -> Path:
    """A mask on the grid of a brain, as a NIfTI file in the brain's folder."""
    import nibabel as nib

    grid = nib.load(brain.folder / "T1.nii.gz")
    canonical = np.ascontiguousarray(mask.transpose(2, 1, 0)[::-1, ::-1].astype(np.uint8))
    stored = nib.Nifti1Image(canonical, nib.as_closest_canonical(grid).affine)
    path = brain.folder / "asked.nii.gz"
    nib.save(stored, path)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.contrasts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="ms_brain_mni.zip")
    parser.add_argument("--weights", type=Path, help="other weights than those of the package")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument(
        "--precision",
        default="full",
        choices=PRECISIONS,
        help="of the model; bfloat16 takes half the time on a processor that has it",
    )
    parser.add_argument("--masks", type=int, default=len(MASKS), help="how many are placed")
    a = parser.parse_args(arguments)
    warnings.simplefilter("ignore", medzoo.errors.MedzooWarning)
    with (
        tempfile.TemporaryDirectory(prefix="medzoo-") as place,
        medzoo.load(108, weights=a.weights, precision=a.precision) as model,
    ):
        folder = Path(place)
        with zipfile.ZipFile(a.data) as archive:
            archive.extractall(folder)
        brains = [Brain(folder, number) for number in PATIENTS]
        for known, brain in (brains, brains[::-1]):
            for row in compared(model, known, brain, a.methods):
                print(json.dumps(row), flush=True)
            for target in package().TARGETS if a.masks else ():
                row = placed(model, known, target, brain, folder, a.masks)
                print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("MEDZOO_QUIET", "1")
    sys.exit(main())
