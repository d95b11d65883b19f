"""Each format, read by the tools that others read it with."""

from __future__ import annotations

import csv
import dataclasses
import gc
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MATRIX, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sets import IMAGES, KINDS, TABLE, VOLUMES, Toy, column, lines

import medzoo
from medzoo.config import Output
from medzoo.config.columns import affine_of
from medzoo.datasets import FORMATS, formats, npz, webdataset
from medzoo.datasets.formats import pick_format
from medzoo.datasets.journal import sealed
from medzoo.errors import DatasetError, InputError
from medzoo.files import sha256_of
from medzoo.plugins import PLUGINS
from medzoo.provenance import outputs_as_json
from medzoo.samples import Samples

PROVENANCE = {
    "model": "00901_TOY_CT_NOISE",
    "version": "1.0.0",
    "seed": 3,
    "options": {},
    "modality": "CT",
    "label_names": {},
}


def samples_of(outputs: list[Output], n: int = 3, **provenance: Any) -> Samples:
    """Noise over the whole range of each column."""
    rng, columns = np.random.default_rng(0), {}
    for o in outputs:
        low, high = o.range or ((0, 1) if o.dtype == "float32" else (0, np.iinfo(o.dtype).max))
        values = (
            rng.uniform(low, high, (n, *o.shape))
            if o.dtype == "float32"
            else rng.integers(low, high + 1, (n, *o.shape))
        )
        columns[o.name] = values.astype(o.dtype)
    about = {o.name: o for o in outputs}
    return Samples(
        columns,
        about,
        np.arange(n),
        {**PROVENANCE, "outputs": outputs_as_json(about), **provenance},
    )


# ------------------------------------------------------------------------------------------------------- which and what
def test_every_format_is_listed_once_with_what_it_holds() -> None:
    assert set(KINDS) == set(FORMATS) == set(PLUGINS["format"])
    for name, what in FORMATS.items():
        home, _, kind = PLUGINS["format"][name].partition(":")
        assert formats.format_class(name) is getattr(import_module(f"medzoo.{home}"), kind)
        assert issubclass(formats.format_class(name), formats.Format)
        assert what


def test_an_unknown_format_lists_the_known(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"format='gif' is unknown.\nKnown are {', '.join(FORMATS)}"
    ):
        medzoo.generate(toy(), 1, out=tmp_path / "set", format="gif")
    with pytest.raises(InputError, match="format='png' without `out`"):
        medzoo.generate(901, 1, format="png")


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"images": IMAGES, "table": TABLE}, "png"),
        ({"table": TABLE}, "csv"),
        ({"volumes": VOLUMES}, "npz"),
        (
            {
                "images": column("image", "float32", 1, 8, 8),
                "masks": column("mask", "float32", 1, 8, 8),
            },
            "npz",
        ),
        ({"images": column("image", "uint8", 2, 8, 8)}, "npz"),
    ],
)
def test_without_a_format_the_first_that_holds_all_columns_is_taken(
    any_toy: Toy, tmp_path: Path, columns: dict[str, Any], found: str
) -> None:
    any_toy(columns, labels=True)
    disk, memory = (
        medzoo.generate(901, 6, seed=1, out=tmp_path / "set"),
        medzoo.generate(901, 6, seed=1),
    )
    assert disk.provenance["format"] == found
    for name in memory.columns:
        assert np.array_equal(getattr(disk, name), getattr(memory, name))
    if found == "npz":
        with pytest.raises(
            InputError,
            match=f"format='png' cannot hold .*{list(columns)[-1]}.\nformat='npz' holds anything",
        ):
            pick_format("png", disk.outputs)
    assert pick_format(None, {"labels": disk.outputs["labels"]}) == "csv"
    for flat in ("png", "nifti", "dicom"):
        with pytest.raises(InputError, match="cannot hold labels alone"):
            pick_format(flat, {"labels": disk.outputs["labels"]})


@pytest.mark.parametrize(
    ("format_", "output", "fits"),
    [
        ("png", Output("x", "image", "uint16", (3, 4, 4)), False),
        ("png", Output("x", "image", "int16", (1, 4, 4)), False),
        ("png16", Output("x", "image", "float32", (3, 4, 4)), False),
        ("png16", Output("x", "image", "uint8", (3, 4, 4)), True),
        ("dicom", Output("x", "image", "float32", (1, 4, 4)), False),  # of no known range
        ("dicom", Output("x", "mask", "int64", (1, 4, 4)), False),
        ("dicom", Output("x", "volume", "int16", (2, 3, 4, 4)), True),
        ("nifti", Output("x", "mask", "int64", (1, 3, 4, 4)), True),
        ("nifti", Output("x", "volume", "uint8", (1, 4)), False),
        ("csv", Output("x", "image", "uint8", (1, 4, 4)), False),
        ("webdataset", Output("x", "volume", "float32", (5, 2, 2, 2, 2)), True),
    ],
)
def test_what_a_format_can_hold(format_: str, output: Output, fits: bool) -> None:
    assert (not formats.format_class(format_).unfit({"x": output})) is fits


def test_a_package_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, toy: Toy, tmp_path: Path
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    for format_, package in (("nifti", "nibabel"), ("dicom", "pydicom")):
        with pytest.raises(
            InputError, match=rf"needs the package {package}.*\n`pip install medzoo\[medical\]`"
        ):
            medzoo.generate(toy(), 1, out=tmp_path / "set", format=format_)
    assert len(medzoo.generate(901, 1, out=tmp_path / "set", format="png")) == 1


def test_a_table_lies_beside_pictures_of_any_kind(any_toy: Toy, tmp_path: Path) -> None:
    columns = {
        "images": IMAGES,
        "truth": column("table", "float32", 2),
        "counts": column("table", "int64", 2, columns=["a", "b"]),
    }
    any_toy(columns, labels=True)
    memory = medzoo.generate(901, 6, seed=1)
    for format_ in ("png", "nifti", "dicom"):
        disk = medzoo.generate(901, 6, seed=1, out=tmp_path / format_, format=format_)
        for name in memory.columns:
            assert np.array_equal(getattr(disk, name), getattr(memory, name)), name
            assert getattr(disk, name).dtype == getattr(memory, name).dtype
        text = (tmp_path / format_ / "samples.csv").read_text()
        assert text.startswith("index,labels,truth.0,truth.1,counts.a,counts.b\n0,benign,")
        assert sum(e["file"] == "samples.csv" for e in lines(tmp_path / format_)) == 1


# ------------------------------------------------------------------------------------------------------------------ PNG
def test_float_pictures_come_back_within_half_a_step(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"images": column("image", "float32", 1, 8, 8, range=[-1, 3])})
    memory = medzoo.generate(901, 5, seed=1)
    for format_, step in (("png", 4 / 255), ("png16", 4 / 65535), ("dicom", 4 / 65535)):
        disk = medzoo.generate(901, 5, seed=1, out=tmp_path / format_, format=format_)
        assert disk.images.dtype == np.float32
        assert step / 8 < np.abs(disk.images - memory.images).max() <= step / 2 + 1e-6
    for format_ in ("npz", "nifti", "webdataset"):
        assert np.array_equal(
            medzoo.generate(901, 5, seed=1, out=tmp_path / format_, format=format_).images,
            memory.images,
        )


def test_sixteen_bits_and_colours_come_back_exactly(any_toy: Toy, tmp_path: Path) -> None:
    for name, shape, dtype in (("gray16", (1, 8, 9), "uint16"), ("colour", (3, 8, 9), "uint8")):
        any_toy({"images": column("image", dtype, *shape)})
        memory = medzoo.generate(901, 5, seed=1)
        assert memory.images.max() > (255 if dtype == "uint16" else 200)
        for format_ in ("png", "png16", "nifti", "dicom", "webdataset"):
            disk = medzoo.generate(901, 5, seed=1, out=tmp_path / name / format_, format=format_)
            assert disk.images.dtype == memory.images.dtype
            assert np.array_equal(disk.images, memory.images)
    with Image.open(tmp_path / "gray16/png/images/000000.png") as picture:
        assert picture.mode.startswith("I;16")


def test_masks_lie_beside_their_images_and_share_their_names(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"images": IMAGES, "masks": column("mask", "uint8", 1, 8, 8)}, labels=True)
    medzoo.generate(901, 4, seed=1, out=tmp_path / "set")
    names = [sorted(p.name for p in (tmp_path / "set" / c).iterdir()) for c in ("images", "masks")]
    assert names[0] == names[1]
    assert len(names[0]) == 4


def test_columns_come_back_in_their_order(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"t2": IMAGES, "flair": IMAGES})
    for format_ in ("png", "npz", "webdataset"):
        assert list(medzoo.generate(901, 2, out=tmp_path / format_, format=format_).columns) == [
            "t2",
            "flair",
        ]


def test_names_of_values_never_become_folders(any_toy: Toy, tmp_path: Path) -> None:
    values = {"BI-RADS 4/5": 0, "../../up": 1}
    any_toy(
        {"images": IMAGES}, labels=True, conditions={"condition": {"values": values, "help": ""}}
    )
    found = medzoo.generate(901, 2, out=tmp_path / "set")
    assert sorted(p.name for p in (tmp_path / "set/images").iterdir()) == [
        "000000_BI-RADS-4-5.png",
        "000001_..-..-up.png",
    ]
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize("format_", ["png", "csv", "webdataset"])
def test_labels_whose_names_differ_by_a_plural_s_stay_apart(
    toy: Toy, tmp_path: Path, format_: str
) -> None:
    pictures = {"images": IMAGES} if format_ != "csv" else {"table": TABLE}
    outputs = {
        **pictures,
        "grade": {"kind": "label", "condition": "density"},
        "grades": {"kind": "label", "condition": "condition"},
        "diagnosis": {"kind": "label", "condition": "condition"},
    }
    code = ANY.format(outputs={n: (o["dtype"], tuple(o["shape"])) for n, o in pictures.items()})
    toy(
        code,
        outputs=outputs,
        options=None,
        conditions={
            "density": {"values": {"low": 0, "high": 1}, "help": ""},
            "condition": {"values": {"sick": 5}, "help": ""},
        },
    )
    found = medzoo.generate(901, 2, out=tmp_path / "set", format=format_)
    assert (found.grade.tolist(), found.grades.tolist()) == ([0, 1], [5, 5])
    assert found.diagnosis.tolist() == [5, 5]
    expected = [("low", "sick", "sick"), ("high", "sick", "sick")]
    if format_ == "csv":
        with (tmp_path / "set/samples.csv").open(newline="") as file:
            entries = list(csv.DictReader(file))
    else:
        entries = [e for e in lines(tmp_path / "set") if "index" in e]
    assert [(e["grade"], e["grades"], e["diagnosis"]) for e in entries] == expected
    if format_ == "webdataset":
        with tarfile.open(tmp_path / "set/shards/000000.tar") as shard:
            held = {
                m.name: shard.extractfile(m).read().decode()  # type: ignore[union-attr]
                for m in shard
                if m.name.endswith(".cls")
            }
        assert held == {
            f"00000{i}.{name}.cls": value
            for i in range(2)
            for name, value in (("grade", str(i)), ("grades", "5"), ("diagnosis", "5"))
        }


def test_labels_of_older_sets_are_read_by_their_singular(toy: Toy, tmp_path: Path) -> None:
    made = medzoo.generate(toy(), 3, seed=1, out=tmp_path / "set")
    manifest = tmp_path / "set/manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"labels":', '"label":'))
    assert lines(tmp_path / "set")[1]["label"] == "malignant"
    about = {k: v for k, v in made.provenance.items() if k != "provenance_sha256"}
    about["manifest_sha256"] = sha256_of(manifest)
    (tmp_path / "set/provenance.json").write_bytes(sealed(about))
    assert medzoo.read(tmp_path / "set").labels.tolist() == [0, 1, 0]


ANY = """
import numpy as np
class Model:
    def sample(self, batch):
        return {{n: np.zeros((batch.n, *shape), dtype) for n, (dtype, shape) in {outputs}.items()}}
def load(weights_dir, device):
    return Model()
"""


@pytest.mark.parametrize("format_", ["png", "nifti", "dicom", "webdataset"])
def test_a_picture_that_was_changed_or_is_gone_is_a_dataset_error(
    any_toy: Toy, tmp_path: Path, format_: str
) -> None:
    any_toy({"images": IMAGES})
    found = medzoo.generate(901, 3, seed=1, out=tmp_path / "set", format=format_)
    path = tmp_path / "set" / lines(tmp_path / "set")[0]["file"]
    whole = path.read_bytes()
    for damage in (b"", whole[: len(whole) // 3], b"\0" * len(whole)):
        path.write_bytes(damage)
        with pytest.raises(DatasetError, match="cannot be read"):
            _ = found.images
    path.unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        _ = found[:1].images


def test_a_picture_of_another_size_is_a_dataset_error(toy: Toy, tmp_path: Path) -> None:
    found = medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set")
    Image.new("RGB", (8, 8)).save(tmp_path / "set/images/000000_benign.png")
    with pytest.raises(
        DatasetError, match=r"000000_benign.png cannot be read: it is not as it was written"
    ):
        _ = found.images


# ------------------------------------------------------------------------------------------------------------------ NPZ
def test_an_npz_is_read_by_numpy_and_zip_tools(any_toy: Toy, tmp_path: Path) -> None:
    any_toy({"volumes": VOLUMES, "table": TABLE}, labels=True)
    memory = medzoo.generate(901, 6, seed=1)
    medzoo.generate(901, 6, seed=1, out=tmp_path / "set", format="npz", batch_size=4)
    path = tmp_path / "set/samples.npz"
    with np.load(path) as archive:
        assert set(archive) == {*memory.columns, "indices"}
        assert np.array_equal(archive["indices"], np.arange(6))
        for name in memory.columns:
            assert archive[name].dtype == getattr(memory, name).dtype
            assert np.array_equal(archive[name], getattr(memory, name))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {e.date_time for e in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    if shutil.which("unzip"):
        assert (
            subprocess.run(["unzip", "-tq", path], check=False, capture_output=True).returncode == 0
        )


def test_an_npz_past_four_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {
        "a": Output("a", "volume", "uint8", (1, 2**20)),
        "b": Output("b", "table", "float32", (2,)),
    }
    journal = formats.Journal(tmp_path)
    n = 5000  # rows, of which the first and the last byte are written: between them the file has a hole
    writer = npz.Npz(journal, outputs, {}, n, {})
    writer.write(
        Samples(
            {"a": np.full((1, 1, 2**20), 7, np.uint8), "b": np.ones((1, 2), np.float32)},
            outputs,
            np.arange(1),
        )
    )
    writer._journal.put("samples.npz", b"\x09", writer._places()["a"] + n * 2**20 - 1)
    monkeypatch.setattr(npz.files, "sha256_of", lambda path: "")  # of five gigabytes
    writer.finish()
    writer.close()
    journal.close()
    assert (tmp_path / "samples.npz").stat().st_size > 2**32
    a, b = (npz._column(tmp_path / "samples.npz", name) for name in "ab")
    assert (a.shape, b.shape) == ((n, 1, 2**20), (n, 2))
    assert (a[0, 0, 0], a[0, 0, -1], a[1, 0, 0], a[-1, 0, -1]) == (7, 7, 0, 9)
    assert np.array_equal(b[:2], [[1, 1], [0, 0]])


def test_reading_a_column_of_npz_maps_the_file_and_loads_nothing(
    any_toy: Toy, tmp_path: Path
) -> None:
    any_toy({"images": IMAGES})
    found = medzoo.generate(901, 4, out=tmp_path / "set", format="npz")
    assert isinstance(found.columns["images"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.images[0] = 0


@pytest.mark.parametrize("damage", [b"", b"PK", b"\0" * 500])
def test_a_damaged_npz_is_a_dataset_error(toy: Toy, tmp_path: Path, damage: bytes) -> None:
    medzoo.generate(toy(), 2, seed=1, out=tmp_path / "set", format="npz")
    (tmp_path / "set/samples.npz").write_bytes(damage)
    with pytest.raises(DatasetError, match=r"samples\.npz cannot be read"):
        medzoo.read(tmp_path / "set")


# ------------------------------------------------------------------------------------------------------------------ CSV
QUOTED = column("table", "float32", 3, columns=["area", "perimeter, outer", 'so-called "size"'])


def test_a_table_goes_to_a_csv_that_spreadsheets_and_pandas_read(
    any_toy: Toy, tmp_path: Path
) -> None:
    any_toy(
        {"table": QUOTED},
        labels=True,
        conditions={"condition": {"values": {"benign, old": 0, "malignant": 1}, "help": ""}},
    )
    memory = medzoo.generate(901, 6, seed=1)
    disk = medzoo.generate(901, 6, seed=1, out=tmp_path / "set")
    assert disk.provenance["format"] == "csv"
    with (tmp_path / "set/samples.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["index", "labels", "area", "perimeter, outer", 'so-called "size"']
    assert [row[:2] for row in rows] == [
        [str(i), ("benign, old", "malignant")[i % 2]] for i in range(6)
    ]
    assert np.array_equal(np.array([row[2:] for row in rows], np.float32), memory.table)
    (entry,) = lines(tmp_path / "set")
    assert entry == {
        "file": "samples.csv",
        "samples": 6,
        "columns": ["table"],
        "sha256": sha256_of(tmp_path / "set/samples.csv"),
    }
    assert np.array_equal(disk[2:4].table, memory.table[2:4])
    assert np.array_equal(disk[5]["table"], memory.table[5])
    saved = disk[[4, 1]].save(tmp_path / "two")
    assert saved.indices.tolist() == [4, 1]
    assert np.array_equal(saved.table, memory.table[[4, 1]])


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (5, 2), elements=st.floats(width=32)))
def test_a_csv_gives_back_the_very_numbers(values: np.ndarray) -> None:
    outputs = {"table": Output("table", "table", "float32", (2,))}
    with tempfile.TemporaryDirectory() as folder:
        about = {"outputs": outputs_as_json(outputs), "label_names": {}}
        found = Samples({"table": values}, outputs, np.arange(5), about).save(f"{folder}/set")
        assert np.array_equal(found.table, values, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*samples.csv was changed since it was written")
@pytest.mark.parametrize(
    "damage",
    ["", "index,0\n", "index,0\n0,x\n1,2\n", "index,0\n0,1\n1\n", "index,0\n0,1\n1,1\n2,1\n"],
)
def test_a_damaged_csv_is_a_dataset_error(any_toy: Toy, tmp_path: Path, damage: str) -> None:
    any_toy({"images": IMAGES, "table": column("table", "float32", 1)})
    medzoo.generate(901, 2, seed=1, out=tmp_path / "set")
    (tmp_path / "set/samples.csv").write_text(damage)
    with pytest.raises(DatasetError, match=r"samples\.csv cannot be read"):
        _ = medzoo.read(tmp_path / "set").table


# ---------------------------------------------------------------------------------------------------------------- NIfTI
def test_a_nifti_has_the_spacing_the_range_and_says_that_it_is_synthetic(
    any_toy: Toy, tmp_path: Path
) -> None:
    nib = pytest.importorskip("nibabel")
    any_toy(KINDS["nifti"], labels=True)
    memory = medzoo.generate(901, 2, seed=1)
    medzoo.generate(901, 2, seed=1, out=tmp_path / "set", format="nifti")
    image = nib.load(tmp_path / "set/volumes/000001_malignant.nii.gz")
    mask = nib.load(tmp_path / "set/masks/000001_malignant.nii.gz")
    voxels = np.asarray(image.dataobj)
    assert voxels.dtype == np.int16
    assert np.array_equal(voxels, memory.volumes[1, 0].transpose(2, 1, 0))  # (D, H, W) as x, y, z
    assert np.allclose(image.header.get_zooms(), (0.6, 0.7, 2.5))
    assert np.allclose(image.affine, np.diag([-0.6, -0.7, 2.5, 1]))
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert np.array_equal(image.get_sform(), image.affine)
    assert np.allclose(image.get_qform(), image.affine, atol=1e-6)
    assert np.array_equal(mask.affine, image.affine)
    assert mask.shape == image.shape
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (image.header["cal_min"], image.header["cal_max"]) == (-1024, 3071)
    assert bytes(image.header["descrip"]).startswith(b"synthetic, 00901_TOY_MRI_NOISE 1.0.0")
    (extension,) = image.header.extensions
    about = json.loads(extension.text)
    assert (about["synthetic"], about["index"], about["seed"], about["labels"]) == (
        True,
        1,
        1,
        "malignant",
    )
    packed = (tmp_path / "set/volumes/000001_malignant.nii.gz").read_bytes()
    assert packed[3:8] == bytes(5)  # gzip: neither a name nor a time


def test_a_nifti_of_a_flat_picture_and_of_several_channels(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    made = samples_of(
        [
            Output("images", "image", "uint8", (1, 4, 6)),
            Output("volumes", "volume", "float32", (2, 3, 4, 6), spacing=(3, 1, 1)),
        ]
    )
    found = made.save(tmp_path / "set", format="nifti")
    flat = nib.load(tmp_path / "set/images/000000.nii.gz")
    assert flat.shape == (6, 4, 1)
    assert flat.header.get_xyzt_units()[0] == "unknown"
    assert nib.load(tmp_path / "set/volumes/000000.nii.gz").shape == (6, 4, 3, 2)
    for name in made.columns:
        assert np.array_equal(getattr(found, name), getattr(made, name))


# ---------------------------------------------------------------------------------------------------------------- DICOM
SERIES = (2.5, 0.7, 0.6)
DICOMS = {
    "CT": [
        Output("volumes", "volume", "int16", (1, 4, 6, 5), (-1024, 3071), "HU", SERIES),
        Output("masks", "mask", "uint8", (1, 4, 6, 5), (0, 1), "", SERIES),
    ],
    "CT of floats": [
        Output("volumes", "volume", "float32", (1, 4, 6, 5), (-1024, 3071), "HU", SERIES)
    ],
    "CT without spacing": [Output("images", "image", "int16", (1, 7, 5), (-160, 240), "HU")],
    "CT in a window": [
        Output("images", "image", "int16", (1, 7, 5), (-1024, 3071), "HU", window=(40, 400))
    ],
    "CT of gray levels": [
        Output("images", "image", "uint8", (1, 7, 5), (0, 255), "gray level", (0.7, 0.6))
    ],
    "MRI": [
        Output("volumes", "volume", "float32", (1, 4, 6, 5), (0, 1), "", SERIES),
        Output("masks", "mask", "uint8", (1, 4, 6, 5), (0, 3), "", SERIES),
    ],
    "MRI, several sequences": [
        Output("volumes", "volume", "uint16", (4, 3, 6, 5), None, "", SERIES)
    ],
    "MRI of signed numbers": [
        Output("volumes", "volume", "int16", (1, 4, 6, 5), (-500, 3000), "", SERIES)
    ],
    "x-ray of signed numbers": [Output("images", "image", "int16", (1, 7, 5), (-500, 3000))],
    "mammography": [
        Output("images", "image", "uint8", (1, 7, 5), (0, 255), "gray level", (0.4, 0.4)),
        Output("masks", "mask", "uint8", (1, 7, 5), (0, 1), "", (0.4, 0.4)),
    ],
    "colonoscopy": [Output("images", "image", "uint8", (3, 7, 5), (0, 255))],
    "PET": [Output("volumes", "volume", "float32", (1, 4, 6, 5), (0, 10), "SUV", SERIES)],
    "ultrasound": [Output("images", "image", "uint16", (1, 7, 5))],
    "an unheard-of kind": [Output("images", "image", "uint8", (1, 7, 5))],
}


@pytest.mark.parametrize("modality", DICOMS)
def test_every_dicom_is_valid(tmp_path: Path, modality: str) -> None:
    pytest.importorskip("pydicom")
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")
    made = samples_of(DICOMS[modality], modality=modality.replace(",", " "))
    found = made.save(tmp_path / "set", format="dicom")
    for name, output in made.outputs.items():
        low, high = output.range or (0, 0)
        half = (high - low) / 65535 * 0.51 if output.dtype == "float32" else 0
        assert np.allclose(getattr(found, name), getattr(made, name), rtol=0, atol=half)
    paths = sorted((tmp_path / "set").rglob("*.dcm"))
    assert len(paths) == sum(
        3 * (1 if len(o.shape) == 3 else o.shape[0] * o.shape[1]) for o in made.outputs.values()
    )
    for path in paths[:: max(1, len(paths) // 6)]:
        checked = subprocess.run(["dciodvfy", path], check=False, capture_output=True, text=True)
        assert "Error" not in checked.stderr + checked.stdout, checked.stderr
        assert checked.returncode == 0


def test_a_dicom_file_is_shown_in_the_columns_window_and_keeps_its_values(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    made = samples_of(DICOMS["CT in a window"])
    assert made.save(tmp_path / "set", format="dicom").outputs["images"].window == (40, 400)
    one = pydicom.dcmread(min((tmp_path / "set").rglob("*.dcm")))
    assert (one.WindowCenter, one.WindowWidth) == (40, 400)
    assert np.array_equal(one.pixel_array + one.RescaleIntercept, made.images[0, 0])


def test_a_dicom_series_is_a_volume_in_space_with_its_mask(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    made = samples_of(DICOMS["CT"])
    made.save(tmp_path / "set", format="dicom")
    series, mask = (
        [pydicom.dcmread(p) for p in sorted((tmp_path / "set" / c / "000001").iterdir())]
        for c in ("volumes", "masks")
    )
    assert [e["file"] for e in lines(tmp_path / "set")][:5] == [
        f"volumes/000000/000{k}.dcm" for k in range(4)
    ] + ["masks/000000/0000.dcm"]
    for k, (one, other) in enumerate(zip(series, mask, strict=True)):
        assert one.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert "SYNTHETIC" in one.ImageType
        assert "Synthetic" in one.SeriesDescription
        assert "Not for diagnosis" in one.ImageComments
        assert one.Modality == "CT"
        assert one.SOPClassUID == pydicom.uid.CTImageStorage
        hounsfield = apply_modality_lut(one.pixel_array, one)
        assert one.RescaleType == "HU"
        assert np.array_equal(hounsfield, made.volumes[1, 0, k])
        assert (one.WindowCenter, one.WindowWidth) == (1024, 4096)
        shown = apply_voi_lut(hounsfield, one)
        assert len(np.unique(shown)) == len(np.unique(hounsfield))  # nothing is cut off
        assert one.InstanceNumber == k + 1
        assert one.PixelSpacing == [0.7, 0.6]
        assert one.ImagePositionPatient == [0, 0, 2.5 * k]
        assert "StudyDate" in one
        assert one.StudyDate == one.StudyTime == ""
        for keyword in (
            "StudyInstanceUID",
            "FrameOfReferenceUID",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "SliceThickness",
            "PatientID",
            "Rows",
            "Columns",
        ):
            assert one[keyword].value == other[keyword].value
        assert one.SeriesInstanceUID != other.SeriesInstanceUID
        assert np.array_equal(other.pixel_array, made.masks[1, 0, k])
    assert len({s.SeriesInstanceUID for s in series}) == 1
    # the same place in space as NIfTI has it, whose first two axes point the other way
    columns = np.array([*series[0].ImageOrientationPatient[:3]]) * series[0].PixelSpacing[1]
    assert np.allclose(columns * [-1, -1, 1], affine_of(made.outputs["volumes"])[:3, 0])


def test_floats_in_hounsfield_units_are_rescaled_to_them(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.pixels import apply_modality_lut

    made = samples_of(DICOMS["CT of floats"])
    made.save(tmp_path / "set", format="dicom")
    one = pydicom.dcmread(tmp_path / "set/volumes/000000/0002.dcm")
    assert (
        np.abs(apply_modality_lut(one.pixel_array, one) - made.volumes[0, 0, 2]).max()
        < 4095 / 65535
    )


def identifiers(folder: Path) -> list[str]:
    import pydicom

    found = [pydicom.dcmread(p) for p in sorted(folder.rglob("*.dcm"))]
    keywords = (
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "PatientID",
    )
    return [str(d[k].value) for d in found for k in keywords if k in d]


def test_identifiers_follow_from_what_decides_a_sample(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    outputs = DICOMS["CT"]
    one = samples_of(outputs)
    one.save(tmp_path / "one", format="dicom")
    one[1:].save(tmp_path / "part", format="dicom")
    samples_of(outputs, unrelated=1).save(tmp_path / "same", format="dicom")
    expected = identifiers(tmp_path / "one")
    assert identifiers(tmp_path / "same") == expected
    assert set(identifiers(tmp_path / "part")) < set(expected)
    for k, change in enumerate(
        (
            {"seed": 4},
            {"version": "2"},
            {"model": "x"},
            {"options": {"gain": 1}},
            {"sha256": {"model.py": "0"}},
            {"precision": "bfloat16"},
        )
    ):
        samples_of(outputs, **change).save(tmp_path / str(k), format="dicom")
        assert not set(identifiers(tmp_path / str(k))) & set(expected), change
    uids = [u for u in expected if u.startswith("2.25.")]
    assert all(pydicom.uid.UID(u).is_valid for u in uids)
    assert len(set(uids)) == 3 * (
        2 + 2 * 1 + 2 * 4
    )  # a sample: study and space; two series, of four files each


def test_another_precision_makes_other_images_under_other_identifiers(
    toy: Toy, tmp_path: Path
) -> None:
    pytest.importorskip("pydicom")
    output = {"kind": "image", "dtype": "float32", "shape": [1, 8, 8], "range": [0, 1]}
    toy(
        MATRIX,
        requires=["numpy", "torch"],
        outputs={"images": output},
        conditions=None,
        options=None,
    )
    for precision in ("full", "bfloat16"):
        asked: dict[str, Any] = {
            "seed": 1,
            "precision": precision,
            "device": "cpu",
            "format": "dicom",
        }
        medzoo.generate(901, 2, out=tmp_path / precision, **asked)
    one, other = tmp_path / "full", tmp_path / "bfloat16"
    assert not np.array_equal(medzoo.read(one).images, medzoo.read(other).images)
    assert not set(identifiers(one)) & set(identifiers(other))


def test_where_a_batch_decides_its_samples_it_decides_their_identifiers(
    any_toy: Toy, tmp_path: Path
) -> None:
    pytest.importorskip("pydicom")
    any_toy({"images": IMAGES})
    whole = medzoo.generate(901, 6, seed=1, batch_size=4)
    for seeding in ("sample", "batch"):
        of = {}
        for name, n, batches in (
            ("whole", 6, [[0, 4]]),
            ("halved", 6, [[0, 4], [4, 1]]),
            ("smaller", 6, [[0, 2]]),
            ("head", 5, [[0, 4]]),
        ):
            provenance = {**whole.provenance, "seeding": seeding, "n": n, "batches": batches}
            made = dataclasses.replace(whole[:n], provenance=provenance)
            made.save(tmp_path / seeding / name, format="dicom")
            of[name] = identifiers(tmp_path / seeding / name)
        each = len(of["whole"]) // 6
        shared = {
            name: sum(a == b for a, b in zip(of["whole"], found, strict=False)) / each
            for name, found in of.items()
        }
        assert shared == (
            {"whole": 6, "halved": 6, "smaller": 6, "head": 5}
            if seeding == "sample"
            else {"whole": 6, "halved": 4, "smaller": 2, "head": 4}
        )


# ----------------------------------------------------------------------------------------------------------- WebDataset
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of the library's
def test_a_webdataset_is_read_by_the_webdataset_library(
    any_toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wds = pytest.importorskip("webdataset")
    monkeypatch.setattr(webdataset, "SHARD", 20_000)
    any_toy(KINDS["webdataset"], labels=True)
    memory = medzoo.generate(901, 20, seed=1)
    disk = medzoo.generate(901, 20, seed=1, out=tmp_path / "set", format="webdataset", batch_size=3)
    shards = sorted((tmp_path / "set/shards").iterdir())
    assert len(shards) > 3
    found = list(
        wds.WebDataset([str(s) for s in shards], shardshuffle=False, empty_check=False).decode("l8")
    )
    gc.collect()
    assert len(found) == 20
    for i, one in enumerate(found):
        assert one["__key__"] == f"{i:06d}"
        assert one["labels.cls"] == i % 2
        assert np.array_equal(one["images.png"], memory.images[i, 0])
        assert np.array_equal(one["volumes.npy"], memory.volumes[i])
        assert np.array_equal(one["table.npy"], memory.table[i])
        assert {
            k: one["json"][k] for k in ("synthetic", "index", "seed", "labels", "condition")
        } == {
            "synthetic": True,
            "index": i,
            "seed": 1,
            "labels": ("benign", "malignant")[i % 2],
            "condition": ("benign", "malignant")[i % 2],
        }
    for rows in (slice(2, 17, 3), [19, 0, 7]):
        assert np.array_equal(disk[rows].volumes, memory[rows].volumes)
    assert sum(e.get("samples", 0) for e in lines(tmp_path / "set")) == 20


def test_a_shard_is_a_plain_tar_without_times_or_owners(any_toy: Toy, tmp_path: Path) -> None:
    any_toy(KINDS["webdataset"], labels=True)
    medzoo.generate(901, 3, seed=1, out=tmp_path / "set", format="webdataset")
    with tarfile.open(tmp_path / "set/shards/000000.tar") as shard:
        members = shard.getmembers()
        assert [m.name for m in members[:5]] == [
            f"000000.{e}" for e in ("json", "images.png", "volumes.npy", "table.npy", "labels.cls")
        ]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
            (0, 0, 0, "", "", 0o644)
        }
    assert (tmp_path / "set/shards/000000.tar").stat().st_size % tarfile.RECORDSIZE == 0
    if shutil.which("tar"):
        subprocess.run(
            ["tar", "-tf", tmp_path / "set/shards/000000.tar"],
            check=True,
            stdout=subprocess.DEVNULL,
        )


# -------------------------------------------------------------------------------------------------------- all, any data
SHAPES = {
    "image": [(1, 5, 4), (3, 2, 6)],
    "volume": [(1, 2, 3, 4), (2, 2, 2, 2)],
    "mask": [(1, 4, 3), (1, 2, 3, 3)],
    "table": [(4,)],
}


@st.composite
def any_output(draw: st.DrawFn, name: str) -> Output:
    kind = draw(st.sampled_from(list(SHAPES)))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "int64", "float32"]))
    spacing = draw(st.sampled_from([None, (2.0, 0.5, 0.25)]))
    shape = draw(st.sampled_from(SHAPES[kind]))
    bounds = draw(st.sampled_from([None, (0.0, 100.0)]))
    return Output(
        name,
        kind,
        dtype,
        shape,
        bounds,
        draw(st.sampled_from(["", "HU"])),
        spacing and spacing[4 - len(shape) :],
    )


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    outputs=st.tuples(any_output("first"), any_output("second")),
    n=st.integers(0, 5),
    modality=st.sampled_from(["CT", "MRI", "x"]),
)
def test_whatever_fits_a_format_comes_back(
    outputs: tuple[Output, ...], n: int, modality: str
) -> None:
    made = samples_of(list(outputs), n, modality=modality)
    for format_ in FORMATS:
        kind = formats.format_class(format_)
        if not kind.unfit(made.outputs):
            with tempfile.TemporaryDirectory() as folder:
                found = made.save(f"{folder}/set", format=format_)
                for name, output in made.outputs.items():
                    a, b = getattr(found, name), getattr(made, name)
                    assert (a.shape, a.dtype) == (b.shape, b.dtype)
                    assert np.allclose(a, b, rtol=0, atol=0.51 * kind.step(output)), (
                        format_,
                        output,
                    )
                assert medzoo.verify(f"{folder}/set").ok


def test_reading_a_format_imports_no_other() -> None:
    code = "import medzoo.datasets.reader, sys; print(sorted({'pydicom', 'nibabel', 'PIL', 'torch', 'pandas'} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()
        == "[]"
    )


def test_sixteen_bits_are_what_the_speed_of_png16_is_measured_with(
    any_toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import writers

    any_toy({"images": IMAGES})  # of 8 bits, as model 8 makes them
    monkeypatch.setitem(writers.MODELS, "png16", 901)
    seen: list[Samples] = []
    monkeypatch.setattr(writers, "timed", lambda samples, *_: (seen.append(samples), (1.0, 1.0))[1])
    writers.writers(1, 40, ["png16"])
    seen[0].save(tmp_path / "set", format="png16")
    with Image.open(tmp_path / "set/images/000039.png") as picture:
        assert picture.mode.startswith("I;16")
        assert len(np.unique(np.array(picture) % 256)) > 40  # of 64
    assert np.array_equal(
        (medzoo.read(tmp_path / "set").images * 256).astype(np.uint8)[0],
        medzoo.generate(901, 1, seed=0).images[0],
    )


def test_the_speed_of_each_format_can_be_measured(
    any_toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import writers

    for format_, columns in KINDS.items():
        any_toy(columns, labels=True)
        monkeypatch.setitem(writers.MODELS, format_, 901)
        (timing,) = writers.writers(1, 70, [format_]).values()
        assert min(*timing.written, *timing.read) > 0
        assert timing.bytes > 10


@pytest.mark.parametrize("size", [0, 511, 8**webdataset.SIZE_DIGITS - 1])
@pytest.mark.parametrize("name", ["000007.json", "é.npy", 100 * "x", f"{60 * 'x'}/{60 * 'y'}"])
def test_the_header_of_a_member_is_that_of_tarfile(name: str, size: int) -> None:
    expected = tarfile.TarInfo(name)
    expected.size = size
    assert webdataset._header(name.encode(), size) == expected.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("format_", ["png", "webdataset"])
def test_an_array_of_a_column_opens_manifest_and_shard_once(
    toy: Toy, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    medzoo.generate(toy(), 5, seed=1, out=tmp_path / "set", format=format_)
    samples = medzoo.read(tmp_path / "set")
    opened: list[str] = []
    open_ = Path.open

    def counted(path: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(path.name)
        return open_(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", counted)
    assert len(np.array(samples.images)) == 5
    assert opened.count("manifest.jsonl") == 1
    assert opened.count("000000.tar") == (format_ == "webdataset")
