"""Model 108: samples on the grid of the user's scan, lesions where a mask asks, what is refused, training that goes on, its judge."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from conftest import ROOT
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

import medzoo
from benchmarks import contrasts as judge
from medzoo._worker.imports import import_package
from medzoo.errors import InputError
from medzoo.seeds import Stream

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = ROOT / "starter_models" / "00108_UNET_MRI_BRAIN_CONTRASTS"
OBLIQUE = Rotation.from_euler("xyz", (10, -6, 15), degrees=True).as_matrix()


@pytest.fixture(scope="module")
def code() -> ModuleType:
    return import_package(FOLDER)


@pytest.fixture(scope="module")
def brain(code: ModuleType) -> np.ndarray:
    """Ellipsoids (D, H, W) with the grey values of T1."""
    return code.phantom(Stream(3, 0, 1))


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    with medzoo.load(108) as loaded:
        yield loaded


def made(model: Any, t1: Any, lesions: Any = None, **options: Any) -> np.ndarray:
    inputs = {"t1": t1} if lesions is None else {"t1": t1, "lesions": lesions}
    volumes: np.ndarray = model.generate(
        1, inputs=inputs, seed=0, progress=False, **options
    ).volumes
    return volumes[0, 0].astype(float)


def ball(shape: tuple[int, ...], middle: tuple[int, ...], radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return (np.linalg.norm(grid - middle, axis=-1) < radius).astype(np.uint8)


def stored(path: Path, volume: np.ndarray, affine: np.ndarray) -> Path:
    """A volume (D, H, W) as NIfTI, whose axes are x, y, z."""
    nib.save(nib.Nifti1Image(np.ascontiguousarray(volume.transpose(2, 1, 0)), affine), path)
    return path


# ------------------------------------------------------------------------------------------ samples
def test_a_scan_and_its_flair_lie_on_one_another(
    model: Any, brain: np.ndarray, tmp_path: Path
) -> None:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = OBLIQUE * (1.2, 0.9, 1.5), (-40, 12, 7)
    path = stored(tmp_path / "t1.nii.gz", brain[:, ::-1, ::-1], affine)
    model.generate(inputs=path, out=tmp_path / "made", format="nifti", progress=False)
    given = SimpleITK.ReadImage(str(path))
    flair = SimpleITK.ReadImage(str(tmp_path / "made/volumes/000000.nii.gz"), SimpleITK.sitkFloat32)
    t1 = SimpleITK.ReadImage(str(tmp_path / "made/t1/000000.nii.gz"), SimpleITK.sitkFloat32)
    assert sorted(flair.GetSize()) == sorted(given.GetSize())
    # SimpleITK brings both to the grid of the scan: what is 0 outside of the brain stays there.
    scan = SimpleITK.GetArrayFromImage(given)
    arrays = [SimpleITK.GetArrayFromImage(SimpleITK.Resample(i, given)) for i in (flair, t1)]
    inside, outside = scan > 50, ~binary_dilation(scan > 0, iterations=2)
    for array in arrays:
        assert (array[inside] > 5).mean() > 0.97
        assert (array[outside] < 5).mean() > 0.97
    assert np.corrcoef(arrays[1][inside], scan[inside])[0, 1] > 0.9


def test_flair_and_t2_differ_as_fluid_does(model: Any, brain: np.ndarray) -> None:
    white, fluid = brain == 75, ball(brain.shape, (32, 40, 27), 3) > 0
    fluid &= brain == brain[brain > 0].min()
    assert fluid.sum() > 10
    for patient in (7, 19):
        t2 = made(model, brain, contrast="T2", patient=patient)
        flair = made(model, brain, contrast="FLAIR", patient=patient)
        assert t2[fluid].mean() > 1.5 * t2[white].mean()
        assert flair[fluid].mean() < flair[white].mean()
        assert (t2[brain == 0] == 0).all()


def test_lesions_are_where_they_are_asked_for(model: Any, brain: np.ndarray) -> None:
    asked = ball(brain.shape, (44, 40, 20), 4)
    none = np.zeros_like(asked)
    for patient in (7, 19):
        there = made(model, brain, asked, patient=patient) - made(
            model, brain, none, patient=patient
        )
        inside, far = asked > 0, ball(brain.shape, (44, 40, 20), 14) == 0
        assert there[inside].mean() > 10
        assert abs(there[far]).mean() < 1


def test_zeros_around_a_brain_change_nothing(model: Any, brain: np.ndarray) -> None:
    wide = np.pad(brain, ((3, 9), (0, 5), (11, 2)))
    assert np.array_equal(made(model, wide)[3:-9, :-5, 11:-2], made(model, brain))


def test_a_slice_is_enough(model: Any, brain: np.ndarray) -> None:
    whole, alone = made(model, brain), made(model, brain[40:41])
    assert alone.shape == (1, *brain.shape[1:])
    inside = brain[40] > 0
    assert np.corrcoef(alone[0][inside], whole[40][inside])[0, 1] > 0.7


def test_two_brains_in_a_batch_are_made_as_alone(model: Any, code: ModuleType) -> None:
    brains = np.stack([code.phantom(Stream(3, k, 1)) for k in range(2)])[:, None]
    together = model.generate(2, inputs={"t1": brains}, batch_size=2, progress=False).volumes
    for k in range(2):
        assert np.abs(made(model, brains[k, 0]) - together[k, 0]).max() <= 1


def test_what_is_no_brain_on_zeros_is_refused(
    model: Any, brain: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"0\.0% of the voxels of t1 are 0"):
        made(model, brain + 1)
    with pytest.raises(InputError, match="no voxel above 0"):
        made(model, np.zeros_like(brain))
    head = np.pad(np.full((140, 140, 140), 100, np.float32), 20)  # 2,744 ml in 5,832
    with pytest.raises(InputError, match=r"2,744 ml of t1 are not 0, which is more than a brain"):
        made(model, head)
    with pytest.raises(InputError, match="holds 0 to 3"):
        made(model, brain, ball(brain.shape, (32, 40, 20), 3) * 3)
    with pytest.raises(InputError, match="outside of the brain"):
        made(model, brain, ball(brain.shape, (2, 2, 2), 3))
    t1 = stored(tmp_path / "t1.nii.gz", brain, np.eye(4))
    other = stored(tmp_path / "lesions.nii.gz", brain * 0, np.diag([1.0, 1, 1.1, 1]))
    with pytest.raises(InputError, match="lies elsewhere than that of t1"):
        made(model, t1, other)
    with pytest.raises(InputError, match="goes with t1"):
        model.generate(1, inputs={"lesions": brain * 0})


# ----------------------------------------------------------------------------------------- training
@pytest.fixture(scope="module")
def data(code: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip as the data set's, of ellipsoids: T2 is bright and FLAIR dark where T1 shows fluid."""
    folder = tmp_path_factory.mktemp("data")
    affine = np.diag([1.0, 1, 1, 1])
    for number in range(1, 31):
        patient = folder / f"patient{number:02}"
        patient.mkdir()
        t1 = code.phantom(Stream(number, 0, 1))
        lesions = ball(t1.shape, (44, 40, 14 + number % 5), 4)
        stored(patient / "LESIONS.nii.gz", lesions, affine)
        if number not in judge.PATIENTS:
            continue
        stored(patient / "T1.nii.gz", t1 - 20 * lesions, affine)
        stored(patient / "T2.nii.gz", np.where(t1 > 0, 110 - t1 + 30 * lesions, 0), affine)
        flair = np.where(t1 > 0, np.where(t1 < 20, 10, 60) + 30 * lesions, 0)
        stored(patient / "FLAIR.nii.gz", flair.astype(np.float32), affine)
    path = folder / "brains.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.nii.gz")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    import importlib

    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("model", "train", "training"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("train")
    for name in ("model", "train", "training"):
        sys.modules.pop(name, None)


def run(train: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, words)])
    train.main()


def test_a_training_goes_on_where_it_was_ended_and_writes_weights_that_load(
    train: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SIDE", 32)
    common = ("--data", data, "--batch", 2, "--every", 2)
    ended = train.Run.due

    def kill(self: Any, every: int, steps: int) -> bool:
        if self.step == 3:
            raise KeyboardInterrupt
        return bool(ended(self, every, steps))

    for number in ("07", "19"):
        run(
            train,
            monkeypatch,
            *common,
            "--out",
            tmp_path / "whole",
            "--patient",
            number,
            "--steps",
            4,
        )
        again = (*common, "--out", tmp_path / "parts", "--patient", number, "--steps", 4)
        with monkeypatch.context() as killing:
            killing.setattr(train.Run, "due", kill)
            with pytest.raises(KeyboardInterrupt):
                run(train, monkeypatch, *again)
        run(train, monkeypatch, *again)
    whole, parts = tmp_path / "whole/weights.safetensors", tmp_path / "parts/weights.safetensors"
    assert whole.read_bytes() == parts.read_bytes()
    assert whole.stat().st_size < 2_000_000
    with medzoo.load(108, weights=whole) as own:
        assert own.generate(1, seed=0, progress=False).volumes.shape == (1, 1, 64, 80, 64)


def test_a_training_begins_with_the_weights_that_are_named(
    train: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SIDE", 32)
    options = ("--patient", "07", "--steps", 1, "--batch", 2, "--rate", 0)
    weights = FOLDER / "weights.safetensors"
    run(train, monkeypatch, "--data", data, "--out", tmp_path, *options, "--init", weights)
    begun = train.training.state_in(tmp_path / "patient07.pt", "net")["last.2.weight"]
    packaged = train.load_file(weights)
    assert (begun == packaged["patient07.last.2.weight"].float()).all()
    assert (begun != packaged["patient19.last.2.weight"].float()).any()


def test_painted_lesions_are_as_bright_as_the_patients_own(train: ModuleType, data: Path) -> None:
    files = train.training.read_files(data, ".gz")
    patient = train.Patient(files, "19")
    real = train.m.scaled(np.array([60.0, 90.0]), "FLAIR")
    assert patient.contrast[0] < 0 < patient.contrast[1]
    assert patient.contrast[2] > 0
    assert len(patient.others) == 21
    x, target, weight = patient.slices(6, np.random.default_rng(0))
    assert x.shape == (6, 7, train.SIDE, train.SIDE)
    flags = x[:, 6].amax(dim=(1, 2))
    assert set(flags.tolist()) <= {0.0, 1.0}
    assert (x[flags == 0][:, 5] == 0).all()  # a mask that is not given is empty
    asked = x[:, 5] > 0
    assert asked.any()
    assert (weight[:, 0][asked & (weight[:, 0] > 0)] > 4).all()
    brain = weight[:, 0] > 0
    assert target[:, 1][asked & brain].mean() > target[:, 1][brain & ~asked].mean()
    assert real[1] > real[0]


# -------------------------------------------------------------------------------------- its judge
def test_figures_of_the_judge_are_what_they_say() -> None:
    inside = np.zeros((9, 9, 9), bool)
    inside[1:-1, 1:-1, 1:-1] = True
    real = np.zeros(inside.shape)
    assert judge.psnr(real + 0.1, real, inside) == pytest.approx(20)
    beside = real.copy()
    beside[0] = 100  # outside of the brain
    assert judge.psnr(beside + 0.1 * inside, real, inside) == pytest.approx(20)
    lesions = np.zeros(inside.shape, bool)
    lesions[4, 4, 4] = True
    assert judge.contrast(lesions * 0.3 + 0.2, lesions, inside) == pytest.approx(0.3)
    ring = judge.ring_of(lesions, inside)
    assert not ring[4, 4, 4]
    assert ring[4, 4, 7]
    assert not ring[0].any()


def test_the_judge_prints_every_method_both_ways(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "SAMPLES", 2000)
    methods = ["copy", "histogram", "linear 3x3x3", "model", "model, mask given"]
    assert judge.main([str(data), "--methods", *methods, "--masks", "1"]) == 0
    rows = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [row["trained on"] for row in rows] == [7] * 12 + [19] * 12
    figures = {(r["trained on"], r.get("target"), r.get("method")): r for r in rows}
    linear = figures[7, "T2", "linear 3x3x3"]
    # Here T2 is a linear function of T1 but for lesions, and the histogram is that of T1 reversed.
    assert linear["PSNR"] > figures[7, "T2", "copy"]["PSNR"] + 5
    assert linear["PSNR"] > figures[7, "T2", "histogram"]["PSNR"] + 5
    assert all(row["real contrast"] > 0 for row in rows if "target" in row)
    placed = [row for row in rows if "placed in" in row]
    assert [(row["in"], row["lesions"]) for row in placed] == [("T2", 1), ("FLAIR", 1)] * 2
    assert all(row["brighter than unasked"] == 1 for row in placed)
