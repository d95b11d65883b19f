"""Outputs with the geometry of the user's scans: SimpleITK and nibabel say where they lie, for oblique and uneven grids, NIfTI and
DICOM in and out; what cannot be right is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import yaml
from scan_files import CORONAL, series
from scipy.spatial.transform import Rotation

import medzoo
from medzoo.config.columns import affine_of
from medzoo.config.schema import config_from
from medzoo.errors import ConfigError, InputError, PackageError
from medzoo.registry import resolve

Toy = Callable[..., int]
HELP = "A scan."
SCAN = {"scan": {"kind": "volume", "help": HELP}}
AT_1_MM = {"scan": {"kind": "volume", "help": HELP, "spacing": [1, 1, 1]}}
VOLUMES = {
    "volumes": {
        "kind": "volume",
        "dtype": "float32",
        "shape": [1, 3, 4, 5],
        "range": [-20000, 20000],
        "geometry": "scan",
    },
    "masks": {"kind": "mask", "dtype": "uint8", "shape": [1, 3, 4, 5], "geometry": "scan"},
}
ECHO = """
import numpy as np

class Model:
    def sample(self, batch):
        scans = batch.inputs.get("scan")
        if scans is None:
            scans = np.zeros((batch.n, 1, 3, 4, 5), np.float32)
        scans = scans.astype(np.float32)
        return {"volumes": scans, "images": scans, "masks": (scans > 50).astype(np.uint8)}

def load(weights_dir, device):
    return Model()
"""
OBLIQUE = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()


@pytest.fixture
def model(toy: Toy) -> Callable[..., int]:
    """``model(inputs, outputs)``: a package that returns its scans, and a mask of what is above 50."""

    def make(inputs: Any = None, outputs: Any = None, code: str = ECHO) -> int:
        return toy(
            code, inputs=inputs or SCAN, outputs=outputs or VOLUMES, conditions=None, options=None
        )

    return make


def nifti(path: Path, values: np.ndarray, affine: np.ndarray, **header: Any) -> Path:
    image = nib.Nifti1Image(values.astype(header.get("dtype", np.float32)), affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def affine(axes: np.ndarray, spacing: tuple[float, ...], origin: tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = origin
    return matrix


def ramp(points: np.ndarray) -> np.ndarray:
    """A grey value for each point in DICOM's millimetres: linear, so that interpolation keeps it."""
    return points @ np.array([1.0, -2.0, 3.0]) + 7


def ramp_on(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The ramp on a grid of NIfTI."""
    numbers = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = numbers @ matrix[:3, :3].T + matrix[:3, 3]
    return ramp(points * [-1, -1, 1])


def places_and_values(image: SimpleITK.Image) -> tuple[np.ndarray, np.ndarray]:
    """Each voxel's point in millimetres by SimpleITK, and its value."""
    values = SimpleITK.GetArrayFromImage(image)
    numbers = np.stack(np.meshgrid(*map(np.arange, values.shape[::-1]), indexing="ij"), axis=-1)
    directions = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    points = numbers @ directions.T + image.GetOrigin()
    return points, values.transpose(2, 1, 0)


def read_dicom(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def rows_of(points: np.ndarray) -> set[tuple[float, ...]]:
    return set(map(tuple, (np.round(points, 2) + 0.0).reshape(-1, 3).tolist()))


ORDERS = {
    "as stored by most": np.diag([-1.0, 1, 1]),
    "to the right": np.eye(3),
    "axes exchanged": np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]),
    "oblique": OBLIQUE,
    "oblique, axes exchanged": OBLIQUE @ np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
}


@pytest.mark.parametrize("inputs", [SCAN, AT_1_MM], ids=["as it is", "resampled inside"])
@pytest.mark.parametrize("order", list(ORDERS))
def test_a_nifti_scan_and_its_samples_lie_on_one_another(
    model: Callable[..., int], tmp_path: Path, order: str, inputs: Any
) -> None:
    matrix = affine(ORDERS[order], (0.8, 1.3, 2.5), (-12.5, 30.25, -7))
    path = nifti(tmp_path / "scan.nii.gz", ramp_on(matrix, (20, 14, 9)), matrix)
    medzoo.generate(model(inputs), inputs=path, out=tmp_path / "made", format="nifti")
    made = SimpleITK.ReadImage(str(tmp_path / "made/volumes/000000.nii.gz"))
    points, values = places_and_values(made)
    whole, _ = places_and_values(SimpleITK.ReadImage(str(path)))
    assert rows_of(points) == rows_of(whole)  # the same voxels at the same places
    inner = (slice(2, -2),) * 3 if inputs is AT_1_MM else (slice(None),) * 3
    apart = 0.3 if inputs is AT_1_MM else 1e-3  # 0.3 is 0.08 mm along the ramp
    assert np.abs(values - ramp(points))[inner].max() < apart  # each with the value of its place
    assert made.GetMetaData("xyzt_units") == "2"
    mask = SimpleITK.ReadImage(str(tmp_path / "made/masks/000000.nii.gz"))
    assert np.allclose(mask.GetDirection(), made.GetDirection())
    assert mask.GetOrigin() == pytest.approx(made.GetOrigin())
    far = np.abs(ramp(points) - 50) > 5
    assert np.array_equal(places_and_values(mask)[1][far] > 0, (ramp(points) > 50)[far])
    by_nibabel = nib.load(tmp_path / "made/volumes/000000.nii.gz").affine
    assert np.allclose(np.abs(np.linalg.det(by_nibabel)), 0.8 * 1.3 * 2.5)


SLANTED = tuple(OBLIQUE[:, 0]) + tuple(OBLIQUE[:, 1])


@pytest.mark.parametrize("orientation", [CORONAL, SLANTED], ids=["coronal", "oblique"])
@pytest.mark.parametrize("inputs", [SCAN, AT_1_MM], ids=["as it is", "resampled inside"])
@pytest.mark.parametrize("out", ["nifti", "dicom"])
def test_a_dicom_series_and_its_samples_lie_on_one_another(
    model: Callable[..., int], tmp_path: Path, orientation: Any, inputs: Any, out: str
) -> None:
    axes = np.reshape(orientation, (2, 3)).astype(float)
    directions = np.stack([np.cross(*axes), axes[1], axes[0]])  # of slices, rows, columns
    numbers = np.stack(np.meshgrid(*map(np.arange, (8, 12, 16)), indexing="ij"), axis=-1)
    steps = directions * np.array([3.0, 0.5, 0.75])[:, None]
    values = np.rint(ramp(numbers @ steps + [-20, -30, 40]))
    series(tmp_path / "patient", values, spacing=(3.0, 0.5, 0.75), orientation=orientation)
    medzoo.generate(model(inputs), inputs=tmp_path / "patient", out=tmp_path / "made", format=out)
    given = read_dicom(tmp_path / "patient")
    if out == "nifti":
        made = SimpleITK.ReadImage(str(tmp_path / "made/volumes/000000.nii.gz"))
    else:
        made = read_dicom(tmp_path / "made/volumes/000000")
    points, found = places_and_values(made)
    assert rows_of(points) == rows_of(places_and_values(given)[0])
    if out == "dicom":  # floats are stored as 16 bits of their range
        found = found * (40000 / 65535) - 20000
    inner = (slice(2, -2),) * 3 if inputs is AT_1_MM else (slice(None),) * 3
    assert np.abs(found - ramp(points))[inner].max() < 0.9  # 0.5 and 0.3 are lost to whole numbers


def test_dicom_of_a_dicom_series_is_in_its_frame_of_reference(
    model: Callable[..., int], tmp_path: Path
) -> None:
    import pydicom

    series(tmp_path / "patient", np.zeros((3, 4, 5)), frame="1.2.77")
    medzoo.generate(model(), inputs=tmp_path / "patient", out=tmp_path / "made", format="dicom")
    files = sorted((tmp_path / "made").rglob("*.dcm"))
    assert len(files) == 6
    headers = [pydicom.dcmread(path) for path in files]
    assert {header.FrameOfReferenceUID for header in headers} == {"1.2.77"}
    assert {float(header.SliceThickness) for header in headers} == {3.0}
    assert {tuple(map(float, header.PixelSpacing)) for header in headers} == {(0.5, 0.75)}


def test_each_slice_of_a_series_keeps_its_own_place(
    model: Callable[..., int], tmp_path: Path
) -> None:
    inputs = {"scan": {"kind": "image", "help": HELP}}
    outputs = {"images": {**VOLUMES["volumes"], "kind": "image", "shape": [1, 4, 5]}}
    values = np.arange(3.0 * 4 * 5).reshape(3, 4, 5)
    series(tmp_path / "patient", values, orientation=SLANTED)
    made = medzoo.generate(
        model(inputs, outputs), inputs=tmp_path / "patient", out=tmp_path / "made", format="nifti"
    )
    assert made.outputs["images"].spacing == (0.5, 0.75)
    given, stored = places_and_values(read_dicom(tmp_path / "patient"))
    for number in range(3):
        image = SimpleITK.ReadImage(str(tmp_path / f"made/images/{number:06d}.nii.gz"))
        points, found = places_and_values(image)
        assert np.allclose(points, given[:, :, number : number + 1], atol=1e-3)
        assert np.array_equal(found, stored[:, :, number : number + 1])


def test_samples_know_the_place_of_their_own_scan(
    model: Callable[..., int], tmp_path: Path
) -> None:
    paths, matrices = [], []
    for k in range(2):
        matrices.append(affine(OBLIQUE, (1 + k, 2.0, 3.0), (k, 0, 5)))
        paths.append(nifti(tmp_path / f"{k}.nii", np.full((5, 4, 3), 10.0 * k), matrices[-1]))
    number = model()
    with pytest.warns(medzoo.errors.MedzooWarning, match="used again"):
        samples = medzoo.generate(number, 3, inputs=paths, seed=0)
    assert samples.outputs["volumes"].spacing is None  # they differ
    assert samples.volumes.shape == (3, 1, 3, 4, 5)
    saved = samples[1:].save(tmp_path / "some", format="npz")
    for some in (samples[1:], saved, medzoo.read(tmp_path / "some")):
        for item, subject, k in zip(some.to_monai(), some.to_torchio(), (1, 0), strict=True):
            for found in (item["volumes"].affine.numpy(), subject["masks"].affine):
                canonical = nib.as_closest_canonical(nib.Nifti1Image(np.zeros((5, 4, 3)), found))
                assert np.allclose(canonical.affine, matrices[k], atol=1e-5)
    grids = samples.provenance["options"]["inputs"]["scan"]["grids"]
    assert np.allclose(
        grids[1]["affine"], affine_of(samples.outputs["volumes"], samples.provenance, 1)[:3]
    )


def test_a_set_with_geometry_is_verified_continued_and_reproduced(
    model: Callable[..., int], tmp_path: Path
) -> None:
    path = nifti(
        tmp_path / "scan.nii.gz", np.ones((6, 5, 4)), affine(OBLIQUE, (1, 2, 3), (0, 0, 9))
    )
    number = model(AT_1_MM)
    first = medzoo.generate(number, 1, seed=0, inputs=path, out=tmp_path / "set", format="nifti")
    again = medzoo.generate(number, 1, seed=0, inputs=path, out=tmp_path / "set", format="nifti")
    assert np.array_equal(first.volumes, again.volumes)
    assert first.volumes.shape == (1, 1, 4, 5, 6)
    assert medzoo.reproduce(tmp_path / "set", inputs=path).equal


def test_without_a_scan_the_config_says_size_and_spacing(model: Callable[..., int]) -> None:
    outputs = {"volumes": {**VOLUMES["volumes"], "spacing": [3, 2, 1]}}
    number = model({"scan": {**SCAN["scan"], "required": False}}, outputs)
    samples = medzoo.generate(number, 2, seed=0)
    assert samples.volumes.shape == (2, 1, 3, 4, 5)
    assert np.allclose(
        affine_of(samples.outputs["volumes"], samples.provenance), np.diag([-1, -2, 3, 1])
    )
    of_array = medzoo.generate(number, inputs=np.zeros((6, 7, 8), np.float32))
    assert of_array.volumes.shape == (1, 1, 6, 7, 8)
    assert of_array.outputs["volumes"].spacing == (3, 2, 1)


def test_one_slice_stays_one_however_thick(model: Callable[..., int], tmp_path: Path) -> None:
    paths = series(tmp_path / "patient", np.ones((1, 6, 8)), spacing=(5.0, 1.0, 1.0))
    samples = medzoo.generate(model(AT_1_MM), inputs=paths[0])
    assert samples.volumes.shape == (1, 1, 1, 6, 8)
    assert samples.outputs["volumes"].spacing == (5, 1, 1)


def test_the_loader_gives_the_size_of_the_scans(model: Callable[..., int], tmp_path: Path) -> None:
    path = nifti(tmp_path / "scan.nii", np.ones((6, 5, 4)), np.diag([2.0, 2, 2, 1]))
    item = medzoo.dataset(model(AT_1_MM), 1, inputs=path)[0]
    assert item["volumes"].shape == (1, 4, 5, 6)


def test_a_package_in_its_own_process_is_compared_with_its_input(
    model: Callable[..., int], tmp_path: Path
) -> None:
    cut = ECHO.replace("scans = scans.astype", "scans = scans[..., 1:].astype")
    path = nifti(tmp_path / "scan.nii", np.ones((6, 5, 4)), np.eye(4))
    with pytest.raises(PackageError, match=r"the input 'scan' asks \(1, 1, 4, 5, 6\)"):
        medzoo.generate(model(code=cut), inputs=path)


def pair(tmp_path: Path, other: np.ndarray, shape: tuple[int, ...] = (6, 5, 4)) -> dict[str, Path]:
    scan = nifti(tmp_path / "scan.nii", np.ones((6, 5, 4)), affine(OBLIQUE, (1, 1, 2), (1, 2, 3)))
    return {"scan": scan, "where": nifti(tmp_path / "where.nii", np.ones(shape), other)}


PAIR = {**SCAN, "where": {**SCAN["scan"], "required": False, "geometry": "scan"}}


def test_a_second_input_must_lie_on_the_grid_of_the_first(
    model: Callable[..., int], tmp_path: Path
) -> None:
    number = model(PAIR)
    right = affine(OBLIQUE, (1, 1, 2), (1, 2, 3))
    assert len(medzoo.generate(number, inputs=pair(tmp_path, right))) == 1
    flipped = right @ np.diag([-1.0, 1, 1, 1])
    flipped[:3, 3] += right[:3, 0] * 5
    assert (
        len(medzoo.generate(number, inputs=pair(tmp_path, flipped))) == 1
    )  # stored the other way round
    for wrong in (
        affine(OBLIQUE, (1, 1, 2), (1, 2, 3.1)),
        affine(np.eye(3), (1, 1, 2), (1, 2, 3)),
        affine(OBLIQUE, (1, 1, 2.01), (1, 2, 3)),
    ):
        with pytest.raises(InputError, match="lies elsewhere than that of scan"):
            medzoo.generate(number, inputs=pair(tmp_path, wrong))
    with pytest.raises(InputError, match=r"lies elsewhere|mixes"):
        medzoo.generate(number, inputs=pair(tmp_path, right, (6, 5, 3)))
    scan = pair(tmp_path, right)["scan"]
    assert len(medzoo.generate(number, inputs=scan)) == 1  # the name of the first is not needed
    with pytest.raises(InputError, match="where goes with scan, which is missing"):
        medzoo.generate(
            model({**PAIR, "scan": {**SCAN["scan"], "required": False}}), inputs={"where": scan}
        )
    number = model(PAIR)
    with pytest.raises(InputError, match="that of where is not"):
        medzoo.generate(number, inputs={"scan": scan, "where": np.ones((4, 5, 6))})
    with pytest.raises(InputError, match=r"where has the size \(4, 5, 7\)"):
        medzoo.generate(number, inputs={"scan": np.ones((4, 5, 6)), "where": np.ones((4, 5, 7))})


def test_scans_without_a_place_or_of_two_sizes_are_refused(
    model: Callable[..., int], tmp_path: Path
) -> None:
    small = nifti(tmp_path / "small.nii", np.ones((6, 5, 4)), np.eye(4))
    paths = series(tmp_path / "patient", np.ones((2, 6, 8)))
    slices = {"scan": {"kind": "image", "help": HELP}}
    outputs = {"images": {**VOLUMES["volumes"], "kind": "image", "shape": [1, 6, 8]}}
    import pydicom

    header = pydicom.dcmread(paths[0])
    del header.ImagePositionPatient
    header.save_as(paths[0])
    with pytest.raises(InputError, match="the place of scan in the patient is not known"):
        medzoo.generate(model(slices, outputs), inputs=paths[0])
    large = nifti(tmp_path / "large.nii", np.ones((6, 5, 7)), np.eye(4))
    with pytest.raises(InputError, match=r"Give pictures of one size|one size at a time"):
        medzoo.generate(model(), inputs=[small, large])
    # of the same size for the model, but not in the files
    near = nifti(tmp_path / "near.nii", np.ones((6, 5, 8)), np.diag([1.0, 1, 0.5, 1]))
    with pytest.raises(InputError, match="4 x 5 x 6 and 8 x 5 x 6"):
        medzoo.generate(model(AT_1_MM), inputs=[small, near])


WRONG = {
    "none": ({"geometry": "other"}, {}, "one of scan was expected"),
    "axes": ({"geometry": "scan", "kind": "image", "shape": [1, 4, 5]}, {}, "3 axes of space"),
    "table": ({"geometry": "scan", "kind": "table", "shape": [4]}, {}, "3 axes of space"),
    "shape": ({"geometry": "scan"}, {"shape": [1, 9, 9, 9]}, r"has the shape \[1, 9, 9, 9\]"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_config_whose_geometry_cannot_be_is_refused(model: Callable[..., int], case: str) -> None:
    path = resolve(model()).path
    output, scan, problem = WRONG[case]
    content = yaml.safe_load(path.read_text())
    version = content["versions"][content["default_version"]]
    version["outputs"] = {"volumes": {**VOLUMES["volumes"], **output}}
    version["inputs"] = {"scan": {**SCAN["scan"], **scan}}
    with pytest.raises(ConfigError, match=problem):
        config_from(content, path)


ZOOM = {"type": "int", "default": 1, "choices": [1, 2], "help": "Finer."}
NOT_ZOOMED = {
    "option": ({}, {"other": ZOOM}, "an option of type int with choices from 1"),
    "type": ({}, {"zoom": {**ZOOM, "type": "str", "default": "1", "choices": ["1"]}}, "type int"),
    "choices": ({}, {"zoom": {**ZOOM, "choices": [0, 1]}}, "choices from 1"),
    "bounds": ({}, {"zoom": {**ZOOM, "choices": []}}, "choices from 1"),
    "default": ({}, {"zoom": {**ZOOM, "default": None}}, "and a default"),
    "spacing": ({"spacing": None}, {"zoom": ZOOM}, "only pictures with `spacing`"),
    "geometry": ({"geometry": "scan"}, {"zoom": ZOOM}, "without `geometry`"),
    "table": ({"kind": "table", "shape": [4]}, {"zoom": ZOOM}, "only pictures"),
}


@pytest.mark.parametrize("case", list(NOT_ZOOMED))
def test_a_config_whose_zoom_cannot_be_is_refused(model: Callable[..., int], case: str) -> None:
    path = resolve(model()).path
    output, options, problem = NOT_ZOOMED[case]
    content = yaml.safe_load(path.read_text())
    version = content["versions"][content["default_version"]]
    volume = {k: v for k, v in VOLUMES["volumes"].items() if k != "geometry"}
    volume |= {"spacing": [2, 1, 1], "zoom": "zoom", **output}
    version["outputs"] = {"volumes": {k: v for k, v in volume.items() if v is not None}}
    version["options"] = options
    with pytest.raises(ConfigError, match=problem):
        config_from(content, path)


def test_an_input_with_the_geometry_of_another_has_its_spacing(model: Callable[..., int]) -> None:
    path = resolve(model(PAIR)).path
    content = yaml.safe_load(path.read_text())
    inputs = content["versions"][content["default_version"]]["inputs"]
    inputs["scan"]["spacing"] = [1, 1, 1]
    with pytest.raises(ConfigError, match="the shape and spacing of scan were expected"):
        config_from(content, path)
    inputs["scan"] = {**SCAN["scan"], "geometry": "where"}
    with pytest.raises(ConfigError, match="itself has the geometry"):
        config_from(content, path)
