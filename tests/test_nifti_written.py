"""The NIfTI files that medzoo writes are, byte for byte, those that nibabel writes, and hold what
SimpleITK reads.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import medzoo
from medzoo.config import Output
from medzoo.datasets.nifti import Nifti

SIDES = st.integers(1, 6)
DTYPES = ["uint8", "int16", "uint16", "int32", "float32"]
TO_LPS = np.diag([-1.0, -1.0, 1.0])  # SimpleITK counts x to the left and y to the back


def as_nibabel_writes(path: Path) -> bytes:
    """The file that nibabel makes of what it reads there, not packed."""
    image = nib.load(path)
    written = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    return bytes(written.to_bytes())


@pytest.mark.parametrize("model", [8, 105, 109])
def test_files_of_models_are_those_of_nibabel(model: int, tmp_path: Path) -> None:
    medzoo.generate(model, 2, seed=3, format="nifti", out=tmp_path / "set", progress=False)
    files = sorted(tmp_path.rglob("*.nii.gz"))
    assert files
    for path in files:
        assert as_nibabel_writes(path) == gzip.decompress(path.read_bytes())


@st.composite
def columns(draw: st.DrawFn) -> tuple[Output, np.ndarray]:
    """A column of pictures or volumes of one channel, and one of them."""
    size = draw(st.lists(SIDES, min_size=2, max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    spacing = draw(st.none() | st.tuples(*[st.floats(0.1, 9)] * len(size)))
    range_ = draw(st.none() | st.just((-5.0, 7.0)))
    geometry = draw(st.sampled_from(["", "scan"]))
    kind = "image" if len(size) == 2 else "volume"
    output = Output("x", kind, dtype, (1, *size), range_, spacing=spacing, geometry=geometry)
    finite = {"allow_nan": False, "allow_infinity": False} if dtype == "float32" else {}
    numbers = hnp.from_dtype(np.dtype(dtype), **finite)
    return output, draw(hnp.arrays(dtype, (1, *size), elements=numbers))


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Voxel numbers to millimetres, (3, 4): axes at right angles, turned and of any length."""
    seed = draw(st.integers(0, 2**32 - 1))
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    lengths = draw(st.tuples(*[st.floats(0.2, 6)] * 3))
    origin = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return np.column_stack([axes * lengths, origin])


@settings(max_examples=60, deadline=None)
@given(columns(), affines(), st.text(max_size=90), st.integers(0, 10**9))
def test_any_values_are_written_as_by_nibabel_and_read_by_simpleitk(
    column: tuple[Output, np.ndarray], affine: np.ndarray, model: str, index: int
) -> None:
    output, values = column
    grid = {"affine": affine.tolist()}
    provenance = {"options": {"inputs": {"scan": {"grids": [grid]}}}}
    metadata: dict[str, Any] = {"synthetic": True, "index": index, "model": model}
    ((ending, packed),) = written_by(provenance, values, output, metadata)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"file{ending}")
        path.write_bytes(packed)
        assert as_nibabel_writes(path) == gzip.decompress(packed)
        image, read = nib.load(path), sitk.ReadImage(str(path))
    assert json.loads(image.header.extensions[0].text) == metadata
    z_y_x = sitk.GetArrayFromImage(read)
    assert z_y_x.dtype == values.dtype
    assert np.array_equal(z_y_x.reshape(values.shape), values)
    if output.geometry:
        np.testing.assert_allclose(image.affine[:3], affine, rtol=1e-5, atol=1e-4)
    place = TO_LPS @ (image.affine @ [*np.subtract(image.shape, 1), 1])[:3]
    found = read.TransformIndexToPhysicalPoint(tuple(s - 1 for s in read.GetSize()))
    np.testing.assert_allclose(found, place, atol=1e-2)


def written_by(
    provenance: dict[str, Any], values: np.ndarray, output: Output, metadata: dict[str, Any]
) -> Any:
    format_ = Nifti.__new__(Nifti)  # without a folder to write to
    format_._provenance = provenance
    return format_.encode(values, output, metadata)
