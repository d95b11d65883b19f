"""Samples handed to torchio, MONAI and pandas: the real libraries, the same geometry as in the files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sets import IMAGES, KINDS, TABLE, Toy, column

import medzoo
from medzoo.config import Output
from medzoo.config.columns import affine_of, from_xyz, to_xyz
from medzoo.errors import InputError
from medzoo.samples import Samples


def library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of while they are imported is theirs
        return pytest.importorskip(name)


@pytest.fixture
def volumes(any_toy: Toy) -> Samples:
    any_toy(
        {
            **KINDS["nifti"],
            "table": TABLE,
            "flat": column("image", "uint16", 1, 4, 6, spacing=[0.5, 0.25]),
        },
        labels=True,
    )
    return medzoo.generate(901, 3, seed=1)


@pytest.mark.slow
def test_torchio_gets_what_it_reads_from_nifti(volumes: Samples, tmp_path: Path) -> None:
    tio = library("torchio")
    volumes.save(tmp_path / "set", format="nifti")
    subjects = volumes.to_torchio()
    assert len(subjects) == 3
    for subject, name in zip(
        subjects, ("000000_benign", "000001_malignant", "000002_benign"), strict=True
    ):
        assert isinstance(subject["volumes"], tio.ScalarImage)
        assert isinstance(subject["masks"], tio.LabelMap)
        for column_ in ("volumes", "masks", "flat"):
            read = tio.ScalarImage(tmp_path / "set" / column_ / f"{name}.nii.gz")
            assert np.array_equal(subject[column_].data.numpy(), read.data.numpy())
            assert np.allclose(subject[column_].affine, read.affine)
            assert np.allclose(subject[column_].spacing, read.spacing)
    assert [s["labels"] for s in subjects] == [0, 1, 0]
    assert np.array_equal(subjects[1]["table"], volumes.table[1])
    assert subjects[0]["volumes"].spacing == pytest.approx((0.6, 0.7, 2.5))
    flipped = tio.Compose([tio.ToCanonical(), tio.Resample(0.7)])(
        tio.Subject(volumes=subjects[0]["volumes"], masks=subjects[0]["masks"])
    )
    assert flipped["volumes"].spacing == pytest.approx((0.7, 0.7, 0.7))
    assert flipped["volumes"].orientation == ("R", "A", "S")
    assert len(tio.SubjectsDataset(subjects)) == 3


@pytest.mark.slow
def test_monai_gets_what_it_reads_from_nifti(volumes: Samples, tmp_path: Path) -> None:
    library("monai")
    from monai.data import MetaTensor
    from monai.transforms import Compose, LoadImage, Orientationd, Spacingd

    volumes.save(tmp_path / "set", format="nifti")
    found = volumes.to_monai()
    assert [d["labels"] for d in found] == [0, 1, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load = LoadImage(reader="NibabelReader", ensure_channel_first=True, image_only=True)
    for item, name in zip(
        found, ("000000_benign", "000001_malignant", "000002_benign"), strict=True
    ):
        for column_ in ("volumes", "masks"):
            read = load(tmp_path / "set" / column_ / f"{name}.nii.gz")
            assert isinstance(item[column_], MetaTensor)
            assert np.array_equal(item[column_].numpy(), read.numpy())
            assert np.allclose(item[column_].affine, read.affine)
        flat = load(tmp_path / "set/flat" / f"{name}.nii.gz")
        assert item["flat"].shape == flat.shape == (1, 6, 4, 1)
        assert np.array_equal(item["flat"].numpy(), flat.numpy())
        assert np.allclose(item["flat"].affine, flat.affine)
        assert np.allclose(item["flat"].pixdim[:2], (0.25, 0.5))
        assert np.array_equal(item["table"].numpy(), volumes.table[int(name[:6])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keys = ["volumes", "masks"]
        spaced = Compose(
            [
                Orientationd(keys, axcodes="RAS"),
                Spacingd(keys, pixdim=(0.7, 0.7, 0.7), mode="nearest"),
            ]
        )(found[0])
    assert np.allclose(spaced["volumes"].pixdim, 0.7)
    assert spaced["volumes"].shape == spaced["masks"].shape


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 4, 6), (1, 3, 4, 6), (2, 3, 4, 6)])
def test_what_monai_gets_monai_can_save_and_collate(shape: tuple[int, ...], tmp_path: Path) -> None:
    library("monai")
    from monai.data import list_data_collate
    from monai.transforms import LoadImage, SaveImage, SqueezeDimd

    kind = "image" if len(shape) == 3 else "volume"
    output = Output("x", kind, "uint8", shape, (0, 255), "", (3.0, 0.5, 0.25)[4 - len(shape) :])
    values = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    made = Samples({"x": values}, {"x": output}, np.arange(2), {"label_names": {}}).to_monai()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write = SaveImage(tmp_path, print_log=False, output_dtype=np.uint8, separate_folder=False)
        write(made[1]["x"])
        (path,) = tmp_path.iterdir()
        back = LoadImage(image_only=True, ensure_channel_first=True)(path)
        batch = list_data_collate(made)["x"]
    assert np.array_equal(back.numpy().reshape(made[1]["x"].shape), made[1]["x"].numpy())
    assert np.allclose(back.affine, made[1]["x"].affine)
    assert batch.shape == (2, *made[0]["x"].shape)
    if len(shape) == 3:
        assert SqueezeDimd("x", dim=-1)(made[0])["x"].shape == (shape[0], shape[2], shape[1])


def test_pandas_gets_labels_by_name_and_tables_by_column(any_toy: Toy, tmp_path: Path) -> None:
    pd = library("pandas")
    any_toy({"images": IMAGES, "table": TABLE}, labels=True)
    for samples in (
        medzoo.generate(901, 5, seed=1),
        medzoo.generate(901, 5, seed=1, out=tmp_path / "set"),
    ):
        frame = samples[1:].to_pandas()
        assert list(frame.columns) == ["a", "b", "c", "labels"]
        assert frame.index.tolist() == [1, 2, 3, 4]
        assert frame["labels"].tolist() == ["malignant", "benign", "malignant", "benign"]
        assert isinstance(frame["labels"].dtype, pd.CategoricalDtype)
        assert frame["labels"].cat.categories.tolist() == ["benign", "malignant"]
        assert np.array_equal(frame["b"].to_numpy(), samples.table[1:, 1])
        assert frame["b"].dtype == np.float32
    manifest = pd.read_json(tmp_path / "set/manifest.jsonl", lines=True)
    assert manifest["labels"].dropna().tolist() == [
        "benign",
        "malignant",
        "benign",
        "malignant",
        "benign",
    ]


def test_columns_of_several_tables_are_told_apart(any_toy: Toy) -> None:
    library("pandas")
    any_toy(
        {
            "one": column("table", "float32", 2, columns=["a", "b"]),
            "two": column("table", "int64", 2, columns=["b", "c"]),
            "three": column("table", "float32", 2),
        }
    )
    frame = medzoo.generate(901, 2, seed=1).to_pandas()
    assert list(frame.columns) == ["one.a", "one.b", "two.b", "two.c", "three.0", "three.1"]


def test_a_label_and_a_column_of_a_table_may_share_a_name() -> None:
    library("pandas")
    outputs = {
        "labels": Output("labels", "label", "int64", ()),
        "table": Output("table", "table", "float32", (2,), columns=("a", "labels")),
    }
    columns = {"labels": np.array([0, 1]), "table": np.float32([[1, 2], [3, 4]])}
    frame = Samples(columns, outputs, np.arange(2)).to_pandas()
    assert list(frame.columns) == ["labels", "table.a", "table.labels"]
    assert frame["labels"].tolist() == [0, 1]
    assert frame["table.labels"].tolist() == [2, 4]


def test_labels_without_names_stay_numbers() -> None:
    library("pandas")
    output = {"labels": Output("labels", "label", "int64", ())}
    for names in ({}, {"labels": {"0": "no"}}):  # of which one is missing
        frame = Samples(
            {"labels": np.array([0, 7])}, output, np.arange(2), {"label_names": names}
        ).to_pandas()
        assert frame["labels"].tolist() == [0, 7]
    frame = Samples(
        {"labels": np.array([7, -1])},
        output,
        np.arange(2),
        {"label_names": {"labels": {"7": "a", "-1": "b"}}},
    ).to_pandas()
    assert frame["labels"].tolist() == ["a", "b"]


def test_a_library_that_is_not_there_is_named(
    any_toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_toy({"table": TABLE})
    samples = medzoo.generate(901, 2)
    with pytest.raises(
        InputError, match=r"torchio needs an image, mask or volume.\nThese samples hold table"
    ):
        samples.to_torchio()

    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("medzoo.samples.convert.import_module", absent)
    for method, package in (
        ("to_torchio", "torchio"),
        ("to_monai", "monai"),
        ("to_pandas", "pandas"),
    ):
        with pytest.raises(
            InputError, match=rf"{package} is not installed here(.|\n)*`pip install {package}`"
        ):
            getattr(samples, method)()


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 5), (2, 3, 4, 5)])
def test_axes_are_turned_and_turned_back(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    turned = to_xyz(values)
    assert turned.shape == (shape[0], shape[-1], shape[-2], shape[-3] if len(shape) == 4 else 1)
    assert np.array_equal(from_xyz(turned, len(shape)), values)


def test_an_unknown_spacing_is_one_millimetre() -> None:
    assert np.array_equal(
        affine_of(Output("x", "image", "uint8", (1, 4, 4))), np.diag([-1, -1, 1, 1])
    )
    assert np.array_equal(
        affine_of(Output("x", "image", "uint8", (1, 4, 4), spacing=(2, 3))), np.diag([-3, -2, 1, 1])
    )
