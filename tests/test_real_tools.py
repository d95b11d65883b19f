"""What is written, read by the programs that people use next: Debian's, each skipped where it is not installed."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from sets import Toy, column

import medzoo
from medzoo.config import Output
from medzoo.provenance import outputs_as_json
from medzoo.samples import Samples

pydicom = pytest.importorskip("pydicom")
SPACING = (0.4, 0.3)
CT = Output("images", "image", "int16", (1, 6, 5), (-1024, 3071), "HU", SPACING)
MASK = Output("masks", "mask", "uint8", (1, 6, 5), (0, 1), "", SPACING)


def run(*command: object, cwd: Path | None = None) -> str:
    """The output of a program of Debian's; the test is skipped where the program is missing."""
    packages = {
        "dcmmkdir": "dcmtk",
        "gdcminfo": "libgdcm-tools",
        "mrstats": "mrtrix3",
        "storescp": "dcmtk",
        "storescu": "dcmtk",
    }
    program = str(command[0])
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian's {packages.get(program, program)})")
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def saved(folder: Path, outputs: list[Output], modality: str, low: int = -1024, n: int = 4) -> Path:
    """A set of DICOM files whose lowest value is ``low``."""
    rng, columns = np.random.default_rng(0), {}
    for output in outputs:
        bounds = (low, 3072) if output.dtype == "int16" else (0, 2)
        values = rng.integers(*bounds, (n, *output.shape))
        values[..., 0, 0], values[..., 0, 1] = bounds[0], bounds[1] - 1
        columns[output.name] = values.astype(output.dtype)
    about = {
        "model": "00901_TOY_NOISE",
        "version": "1.0.0",
        "seed": 1,
        "modality": modality,
        "label_names": {},
        "outputs": outputs_as_json({o.name: o for o in outputs}),
    }
    made = Samples(columns, {o.name: o for o in outputs}, np.arange(n), about)
    read = made.save(folder, format="dicom")
    for output in outputs:
        assert np.array_equal(getattr(read, output.name), columns[output.name])
    return folder


def test_gdcm_and_plastimatch_see_the_spacing_of_a_secondary_capture(tmp_path: Path) -> None:
    gray = Output("images", "image", "uint8", (1, 6, 5), (0, 255), "gray level", SPACING)
    path = saved(tmp_path / "set", [gray], "mammography") / "images/000000.dcm"
    assert pydicom.dcmread(path).SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    assert "Spacing: (0.3,0.4,1)" in run("gdcminfo", path)
    run("plastimatch", "convert", "--input", path, "--output-img", tmp_path / "x.mha")
    header = re.search(rb"ElementSpacing = (.*)", (tmp_path / "x.mha").read_bytes())
    assert header is not None
    assert [float(v) for v in header[1].split()] == pytest.approx([0.3, 0.4, 1])


def test_the_default_names_of_dcm2niix_say_which_sample_a_file_is_of(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", [CT, MASK], "CT")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        run("dcm2niix", "-o", tmp_path / name, folder / name)
        described = sorted((tmp_path / name).glob("*.json"))
        assert len(described) == 4
        for index, path in enumerate(described):
            assert f"Synthetic_{index:06d}_{name}" in path.name
            about = json.loads(path.read_text())
            assert json.loads(about["ImageComments"].partition("diagnosis. ")[2])["index"] == index


def test_dcm2niix_names_images_and_masks_of_a_sample_alike(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", [CT, MASK], "CT")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        run("dcm2niix", "-f", "%n", "-o", tmp_path / name, folder / name)
        names = sorted(path.name for path in (tmp_path / name).glob("*.nii"))
        assert names == [f"Synthetic^00000{k}.nii" for k in range(4)]


def test_dcm2niix_takes_the_images_for_no_vendors(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", [CT], "CT", n=1)
    said = run("dcm2niix", "-o", tmp_path, folder / "images")
    assert "Unable to determine manufacturer" in said
    (described,) = tmp_path.glob("*.json")
    assert "Manufacturer" not in json.loads(described.read_text())


@pytest.mark.parametrize(
    ("modality", "low", "intercept"),
    [("CT", -1024, -1024), ("CT", -2000, -32768), ("CT", 0, -1024), ("X-ray", -5, -1024)],
)
def test_mrtrix_and_medcon_read_the_values_of_signed_columns(
    tmp_path: Path, modality: str, low: int, intercept: int
) -> None:
    folder = saved(tmp_path / "set", [CT], modality, low, n=1)
    path = folder / "images/000000.dcm"
    one = pydicom.dcmread(path)
    assert (one.PixelRepresentation, one.RescaleIntercept) == (0, intercept)
    if modality == "CT":  # MRtrix reads no secondary capture
        limits = run("mrstats", "-quiet", "-output", "min", "-output", "max", path).split()
        assert [float(v) for v in limits] == [low, 3071]
    run("medcon", "-q", "-w", "-f", path, "-c", "nifti", "-o", "x.nii", cwd=tmp_path)
    voxels = np.asarray(pytest.importorskip("nibabel").load(tmp_path / "x.nii").dataobj)
    # XMedCon 0.23 stores results as int16, and so may round by a fraction of a value
    assert [round(float(v)) for v in (voxels.min(), voxels.max())] == [low, 3071]


def test_magnetic_resonance_has_no_rescale_intercept_and_stays_signed_below_zero(
    tmp_path: Path,
) -> None:
    signed = saved(tmp_path / "signed", [CT], "MRI", -5, n=1) / "images/000000.dcm"
    one = pydicom.dcmread(signed)
    assert one.PixelRepresentation == 1
    assert "RescaleIntercept" not in one
    positive = saved(tmp_path / "positive", [CT], "MRI", 0, n=1) / "images/000000.dcm"
    assert pydicom.dcmread(positive).PixelRepresentation == 0
    assert run("mrstats", "-quiet", "-output", "max", positive).split() == ["3071"]


def test_each_channel_is_a_series_with_an_intercept_of_its_own(tmp_path: Path) -> None:
    output = Output("volumes", "volume", "int16", (3, 2, 4, 4), None, "HU", (2.5, 0.7, 0.6))
    values = np.zeros((1, *output.shape), np.int16)
    values[0, :, 0, 0, 0] = -1000, -32768, 32767
    about = {"modality": "CT", "label_names": {}, "outputs": outputs_as_json({"volumes": output})}
    made = Samples({"volumes": values}, {"volumes": output}, np.arange(1), about)
    assert np.array_equal(made.save(tmp_path / "set", format="dicom").volumes, values)
    series = [pydicom.dcmread(path) for path in sorted((tmp_path / "set").rglob("*.dcm"))]
    assert [d.RescaleIntercept for d in series] == [-1024] * 2 + [-32768] * 2 + [-1024] * 2
    assert {d.PixelRepresentation for d in series} == {0}
    for d, slices in zip(series, values.reshape(6, 4, 4), strict=True):
        assert np.array_equal(d.pixel_array.astype(int) + int(d.RescaleIntercept), slices)
    sitk = pytest.importorskip("SimpleITK")
    for channel in range(3):
        paths = sorted((tmp_path / "set").rglob("*.dcm"))[2 * channel : 2 * channel + 2]
        read = sitk.ReadImage([str(path) for path in paths])
        assert np.array_equal(sitk.GetArrayFromImage(read), values[0, channel])
        assert read.GetSpacing() == pytest.approx((0.6, 0.7, 2.5))


# ------------------------------------------------------------------------------------- sending and media, as the docs say
@contextmanager
def archive(folder: Path) -> Iterator[int]:
    """A DICOM archive on a port of this machine."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if shutil.which("storescp") is None:
        pytest.skip("storescp is not installed (Debian's dcmtk)")
    with subprocess.Popen(["storescp", "-od", str(folder), str(port)]) as process:
        try:
            for _ in range(100):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def blocks(language: str) -> list[str]:
    """The code in docs/datasets.md."""
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_a_set_is_sent_by_the_commands_of_the_docs(tmp_path: Path) -> None:
    saved(tmp_path / "ten", [CT, MASK], "CT", n=2)
    commands = [c for b in blocks("bash") for c in b.splitlines() if c.startswith("storescu")]
    assert len(commands) == 2
    for number, command in enumerate(commands):
        with archive(tmp_path / str(number)) as port:
            words = command.replace("11112", str(port)).replace("'", "").split()
            run(*words, cwd=tmp_path)
        assert len(list((tmp_path / str(number)).iterdir())) == 4


def test_a_medium_is_made_by_the_code_of_the_docs(tmp_path: Path) -> None:
    saved(tmp_path / "ten", [CT, MASK], "CT", n=2)
    (code,) = (b for b in blocks("py") if "FileSet()" in b)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)

    def series_numbers() -> list[int]:
        directory = pydicom.dcmread(tmp_path / "medium/DICOMDIR").DirectoryRecordSequence
        assert sum(r.DirectoryRecordType == "IMAGE" for r in directory) == 4
        return sorted(r.SeriesNumber for r in directory if r.DirectoryRecordType == "SERIES")

    assert series_numbers() == [1, 2, 11, 12]
    (tmp_path / "medium/DICOMDIR").unlink()
    patients = sorted(p.name for p in (tmp_path / "medium").iterdir())
    run("dcmmkdir", "+r", *patients, cwd=tmp_path / "medium")
    assert series_numbers() == [1, 2, 11, 12]


def test_series_numbers_differ_in_a_sample_and_grow_with_its_index(
    any_toy: Toy, tmp_path: Path
) -> None:
    any_toy(
        {
            "volumes": column("volume", "uint8", 11, 2, 4, 4),
            "images": column("image", "uint8", 3, 4, 4),
        }
    )
    medzoo.generate(901, 2, seed=1, out=tmp_path / "set", format="dicom")
    found = [pydicom.dcmread(path) for path in sorted((tmp_path / "set").rglob("*.dcm"))]
    numbers = {(str(d.PatientName), d.SeriesInstanceUID): int(d.SeriesNumber) for d in found}
    assert sorted(numbers.values()) == [*range(1, 13), *range(101, 113)]
    assert {str(d.PatientName) for d in found if d.SeriesNumber > 100} == {"Synthetic^000001"}
