"""Every public function says what its parameters are, and shows one example that runs.

The examples run in a folder with one patient (CT and contours), a NIfTI file and a few pictures;
see ``example_files`` below.
"""

from __future__ import annotations

import doctest
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frame_files
import nibabel
import numpy as np
import pytest
import scan_files
from PIL import Image

import medzoo
from medzoo import medical, study

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public() -> Iterator[tuple[str, Any]]:
    """Everything that users call: its name, and the function or class."""
    for module in (medzoo, medical, study):
        for name in module.__all__:
            part = getattr(module, name)
            if callable(part):
                yield f"{module.__name__}.{name}", part
            if inspect.isclass(part) and not issubclass(part, Exception):
                yield from methods(f"{module.__name__}.{name}", part)


def methods(name: str, part: type) -> Iterator[tuple[str, Any]]:
    """The public methods that a class defines itself."""
    for method, member in vars(part).items():
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) and (method == "__call__" or not method.startswith("_")):
            yield f"{name}.{method}", function


PUBLIC = dict(public())


def section(text: str, title: str) -> str:
    """The body of a section of a numpy docstring; empty if there is none."""
    match = re.search(
        rf"^{title}\n-+\n(.*?)(?=^\w[\w ]*\n-{{3,}}$|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return match[1] if match else ""


def parameters(part: Any) -> list[str]:
    """The names that a caller may give."""
    try:
        signature = inspect.signature(part)
    except ValueError:
        return []
    kinds = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    return [
        kinds.get(p.kind, "") + p.name for p in signature.parameters.values() if p.name != "self"
    ]


def documented(text: str) -> dict[str, str]:
    """Name -> type, of the section on parameters."""
    types: dict[str, str] = {}
    for line in section(text, "Parameters").splitlines():
        if match := re.fullmatch(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*) : (.+)", line):
            for name in match[1].split(", "):
                types[name] = match[2]
    return types


@pytest.fixture
def example_files(files_of_a_user: Path, tmp_path: Path) -> Path:
    """A copy for one test: the examples write into it."""
    return Path(shutil.copytree(files_of_a_user, tmp_path / "examples"))


@pytest.fixture(scope="module")
def files_of_a_user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``patient7/`` (12 CT slices and contours), ``real/``, and single files of other kinds."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 1000, (12, 64, 64)).astype(np.float64)
    paths = scan_files.series(folder / "patient7", voxels, spacing=(3, 1, 1))
    heights = [40.0 + 3 * k for k in range(4, 8)]
    scan_files.structures(
        folder / "patient7" / "contours.dcm",
        {
            "Parotid R": [scan_files.circle(8, (0, 0), z) for z in heights],
            "GTV": [scan_files.circle(5, (15, 10), z) for z in heights],
        },
    )
    shutil.copy(paths[0], folder / "slice.dcm")
    colours = rng.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    scan_files.series(
        folder,
        np.zeros((1, 6, 5)),
        name="colour.dcm",
        Modality="US",
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        PixelRepresentation=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=colours.tobytes(),
    )
    lesion = np.zeros((12, 64, 64), bool)
    lesion[5:8, 20:30, 20:30] = True
    frame_files.segmentation(
        folder / "segmentation.dcm", {"Lesion": lesion}, spacing=(3, 1, 1), skip_empty=True
    )
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    for name, values in (("scan", voxels), ("mask", voxels > 900)):
        image = nibabel.Nifti1Image(values.transpose(2, 1, 0).astype(np.int16), affine)
        nibabel.save(image, folder / f"{name}.nii.gz")
    (folder / "real").mkdir()
    for number in range(8):
        grey = rng.integers(0, 256, (128, 128)).astype(np.uint8)
        Image.fromarray(grey).save(folder / "real" / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_has_a_type(name: str) -> None:
    part = PUBLIC[name]
    if inspect.isclass(part) and issubclass(part, Exception):
        pytest.skip("users catch errors and do not make them")
    missing = [p for p in parameters(part) if p not in documented(inspect.getdoc(part) or "")]
    assert not missing, f"{name} does not say as `name : type` what these are: {missing}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_has_an_example_that_runs(
    name: str, example_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(example_files)
    text = inspect.getdoc(PUBLIC[name]) or ""
    examples = section(text, "Examples")
    assert ">>> " in examples, f"{name} has no example"
    names = {"medzoo": medzoo, "medical": medical, "study": study}
    test = doctest.DocTestParser().get_doctest(examples, names, name, None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not report, "".join(report)
