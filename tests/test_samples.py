"""Samples: columns that slice alike, in memory and on disk."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sets import Toy

import medzoo
from medzoo.config import Output
from medzoo.config.columns import unit_range
from medzoo.errors import DatasetError, InputError, MedzooWarning
from medzoo.provenance import outputs_as_json
from medzoo.samples import Samples, concatenate
from medzoo.samples.shown import OUTLINES, overlays

N = 7
OUTPUTS = {
    "images": Output("images", "image", "uint8", (1, 4, 5), (0, 255)),
    "masks": Output("masks", "mask", "uint8", (1, 4, 5)),
    "labels": Output("labels", "label", "int64", ()),
}


def make(n: int = N) -> Samples:
    words = np.random.default_rng(0).integers(0, 256, (n, 1, 4, 5), dtype=np.uint8)
    columns = {"images": words, "masks": words // 128, "labels": np.arange(n) % 3}
    about = {"model": "toy", "outputs": {}, "label_names": {}, "seed": 1, "n": n}
    return Samples(columns, OUTPUTS, np.arange(n), about | {"outputs": outputs_as_json(OUTPUTS)})


@pytest.fixture(scope="module", params=["memory", "png", "npz"])
def samples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The same samples in memory and read back from both formats."""
    made = make()
    return (
        made
        if request.param == "memory"
        else made.save(tmp_path_factory.mktemp("s") / "set", format=request.param)
    )


def test_samples_on_disk_equal_those_in_memory(samples: Samples) -> None:
    for name in OUTPUTS:
        found, expected = getattr(samples, name), getattr(make(), name)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    assert np.array_equal(samples.indices, np.arange(N))
    assert len(samples) == N


KEYS = st.one_of(
    st.slices(N),
    st.lists(st.integers(-N, N - 1), max_size=9),
    st.lists(st.booleans(), min_size=N, max_size=N),
    st.lists(st.booleans(), min_size=N, max_size=N).map(np.array),
    st.lists(st.integers(-N, N - 1), max_size=9).map(lambda v: np.array(v, dtype=np.int64)),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=KEYS, then=st.slices(5))
def test_slicing_the_samples_is_slicing_every_column(
    samples: Samples, key: Any, then: slice
) -> None:
    part, rows = (
        samples[key],
        key if isinstance(key, slice) else np.array(key, dtype=None if len(key) else int),
    )
    for name in OUTPUTS:
        assert np.array_equal(getattr(part, name), getattr(make(), name)[rows])
        assert np.array_equal(getattr(part[then], name), getattr(make(), name)[rows][then])
    assert np.array_equal(part.indices, np.arange(N)[rows])
    assert len(part) == len(part.indices)
    assert part.provenance == samples.provenance


@pytest.mark.parametrize("i", [0, N - 1, -1, -N, np.int64(3)])
def test_a_number_gives_one_sample_without_the_first_axis(samples: Samples, i: int) -> None:
    one = samples[i]
    assert set(one) == set(OUTPUTS)
    assert np.array_equal(one["images"], make().images[i])
    assert one["images"].shape == (1, 4, 5)
    assert one["labels"] == i % N % 3


@pytest.mark.parametrize("key", [N, -N - 1, [N], [0, -N - 1], np.array([N]), [True] * (N + 1)])
def test_a_number_past_the_end_is_an_index_error(samples: Samples, key: Any) -> None:
    with pytest.raises(IndexError):
        samples[key]


def test_iterating_gives_one_sample_after_the_other(samples: Samples) -> None:
    assert [int(one["labels"]) for one in samples] == [i % 3 for i in range(N)]


def test_an_unknown_column_names_those_there_are(samples: Samples) -> None:
    with pytest.raises(
        AttributeError, match=r"no 'volumes'. Their columns are images, masks, labels"
    ):
        _ = samples.volumes
    assert {"images", "labels", "plot"} <= set(dir(samples))


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_samples_survive_copy_and_pickle(samples: Samples, clone: Any) -> None:
    again = clone(samples)
    assert np.array_equal(again.images, samples.images)
    assert np.array_equal(again[2:4].labels, samples[2:4].labels)
    assert again.provenance == samples.provenance


def test_samples_compare_by_identity_since_arrays_have_no_one_answer(samples: Samples) -> None:
    assert samples == samples
    assert samples != make()
    assert len({samples}) == 1


def test_the_repr_says_what_and_how_many(samples: Samples) -> None:
    assert repr(samples).startswith(
        "<7 samples of toy: images (7, 1, 4, 5) uint8, masks (7, 1, 4, 5) uint8, labels (7,) int64"
    )
    assert ("in " in repr(samples)) is (samples.folder is not None)


def test_columns_of_differing_length_are_refused() -> None:
    with pytest.raises(InputError, match="differ in length"):
        Samples({"images": np.zeros(3)}, OUTPUTS, np.arange(2))


def test_tensors_are_float_in_unit_range_and_whole_numbers_elsewhere(samples: Samples) -> None:
    import torch

    tensors = samples.to_torch()
    assert {n: t.dtype for n, t in tensors.items()} == {
        "images": torch.float32,
        "masks": torch.int64,
        "labels": torch.int64,
    }
    np.testing.assert_allclose(tensors["images"].numpy(), make().images / 255, atol=1e-6)
    assert torch.equal(tensors["masks"], torch.from_numpy(make().masks.astype("int64")))


@pytest.mark.parametrize(
    ("dtype", "bounds", "values", "expected"),
    [
        ("uint8", (0, 255), [0, 51, 255], [0, 0.2, 1]),
        ("uint8", None, [0, 51, 255], [0, 0.2, 1]),
        ("uint16", None, [0, 65535, 13107], [0, 1, 0.2]),
        ("int16", (-1000, 1000), [-1000, 0, 3000], [0, 0.5, 1]),
        ("float32", None, [-1, 0.25, 2], [0, 0.25, 1]),
        ("float32", (-1, 1), [-1, 0, 1], [0, 0.5, 1]),
    ],
)
def test_the_value_range_becomes_the_unit_range_and_is_clipped(
    dtype: str, bounds: Any, values: Any, expected: Any
) -> None:
    given_ = np.array(values, dtype=dtype)
    found = unit_range(given_, Output("images", "image", dtype, (), bounds))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.array_equal(given_, np.array(values, dtype=dtype))  # the caller's array is its own


@pytest.mark.parametrize("dtype", ["int16", "int64"])
def test_signed_pictures_without_a_value_range_are_refused_where_they_are_scaled(
    dtype: str, tmp_path: Path
) -> None:
    hounsfield = Output("images", "image", dtype, (1, 4, 5))
    made = Samples(
        {"images": np.full((2, 1, 4, 5), -900, dtype)},
        {"images": hounsfield},
        np.arange(2),
        {"label_names": {}, "outputs": {}},
    )
    with pytest.raises(
        InputError, match=r"'images' has no value range(.|\n)*range: \[-1024, 3071\]"
    ):
        made.to_torch()
    assert hounsfield.value_range is None
    stated = dataclasses.replace(hounsfield, range=(-1024, 3071))
    tensors = dataclasses.replace(made, outputs={"images": stated}).to_torch()
    assert tensors["images"].unique().tolist() == pytest.approx([124 / 4095])


def test_values_outside_the_value_range_are_cut_off_with_a_warning(tmp_path: Path) -> None:
    output = Output("images", "image", "float32", (1, 1, 3))
    values = np.array([[[[-1, 0.5, 2]]]], np.float32)
    about = {"outputs": outputs_as_json({"images": output}), "label_names": {}}
    made = Samples({"images": values}, {"images": output}, np.arange(1), about)
    with pytest.warns(MedzooWarning, match="'images' has values from -1 to 2; .* 0 to 1, are cut"):
        assert made.to_torch()["images"].tolist() == [[[[0, 0.5, 1]]]]
    many = Samples({"images": np.repeat(values, 3, 0)}, made.outputs, np.arange(3), about)
    with pytest.warns(MedzooWarning, match="are cut off") as caught:
        many.save(tmp_path / "png", format="png")
    assert len(caught) == 1
    unknown = dataclasses.replace(made, columns={"images": np.full_like(values, np.nan)})
    with pytest.raises(DatasetError, match="not finite"):
        unknown.save(tmp_path / "nan", format="png")


@pytest.mark.parametrize("format_", ["npz", "nifti", "webdataset", None])
def test_masks_of_floats_keep_their_values(tmp_path: Path, format_: str | None) -> None:
    import torch

    masks = np.linspace(0, 1, 40, dtype=np.float32).reshape(2, 1, 4, 5)
    output = {"masks": Output("masks", "mask", "float32", (1, 4, 5))}
    about = {"outputs": outputs_as_json(output), "label_names": {}}
    made = Samples({"masks": masks}, output, np.arange(2), about)
    assert torch.equal(made.to_torch()["masks"], torch.from_numpy(masks))
    saved = made.save(tmp_path / "set", format=format_)
    assert np.array_equal(saved.masks, masks)
    for lossy in ("png", "png16", "dicom"):
        with pytest.raises(InputError, match="cannot hold masks"):
            made.save(tmp_path / lossy, format=lossy)


def test_a_table_becomes_floats() -> None:
    import torch

    table = Samples(
        {"table": np.ones((2, 3))},
        {"table": Output("table", "table", "float32", (3,))},
        np.arange(2),
    ).to_torch()
    assert table["table"].dtype == torch.float32


def test_concatenated_parts_are_the_whole(samples: Samples) -> None:
    whole = concatenate([samples[:2], samples[2:3], samples[3:]])
    assert np.array_equal(whole.images, make().images)
    assert np.array_equal(whole.indices, np.arange(N))
    assert concatenate([whole]) is whole


def test_saving_a_part_keeps_the_numbers_of_its_samples_and_says_that_it_is_a_part(
    samples: Samples, tmp_path: Path
) -> None:
    part = samples[3:5].save(tmp_path / "part")
    assert part.indices.tolist() == [3, 4]
    assert np.array_equal(part.images, make().images[3:5])
    assert part.provenance["subset"]["n"] == 2
    assert "subset" not in samples[:].save(tmp_path / "whole").provenance


def test_saving_never_takes_another_set_for_these_samples(samples: Samples, tmp_path: Path) -> None:
    samples[0:2].save(tmp_path / "set")
    for other in (samples[2:4], samples[0:2]):
        with pytest.raises(DatasetError, match="Nothing was changed"):
            other.save(tmp_path / "set")
    assert (
        make()[0:2].images.tolist() == Samples.save(make()[0:2], tmp_path / "new").images.tolist()
    )


def test_saving_no_samples_at_all_is_a_set_of_none(samples: Samples, tmp_path: Path) -> None:
    for format_ in ("png", "npz"):
        none = samples[0:0].save(tmp_path / format_, format=format_)
        assert len(none) == 0
        assert none.images.shape == (0, 1, 4, 5)


@pytest.mark.parametrize("format_", ["png", "nifti", "webdataset"])
def test_a_sample_that_occurs_twice_is_not_saved_as_one_file(
    samples: Samples, tmp_path: Path, format_: str
) -> None:
    repeated = samples[[1, 3, 1]]
    with pytest.raises(InputError, match="Sample 1 occurs 2 times"):
        repeated.save(tmp_path / format_, format=format_)
    assert not (tmp_path / format_).exists()
    kept = repeated.save(tmp_path / "npz", format="npz")
    assert kept.indices.tolist() == [1, 3, 1]
    assert np.array_equal(kept.images, repeated.images)


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    saved = make().save(tmp_path / "set", format="png")
    (tmp_path / "set/images/000002_2.png").unlink()
    assert len(saved[:2].images) == 2  # the others are still there
    with pytest.raises(DatasetError, match=r"images/000002_2.png cannot be read"):
        _ = saved.images


def test_a_slice_of_a_set_on_disk_reads_its_own_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    saved, opened = make().save(tmp_path / "set", format="png"), []
    really = Image.open
    monkeypatch.setattr(
        Image, "open", lambda path: (opened.append(Path(path).name), really(path))[1]
    )
    _ = saved[2:4].images
    assert opened == ["000002_2.png", "000003_0.png"]


# ---------------------------------------------------------------------- samples that a user changed
@pytest.mark.parametrize("format_", ["npz", "webdataset"])
def test_changed_columns_are_saved_with_what_they_hold(
    toy: Toy, tmp_path: Path, format_: str
) -> None:
    made = medzoo.generate(toy(), 4, seed=0)
    as_floats = dataclasses.replace(made.outputs["images"], dtype="float32", range=(0.0, 1.0))
    scaled = (made.images / 255).astype(np.float32)
    changed = medzoo.Samples(
        {"images": scaled}, {"images": as_floats}, made.indices, made.provenance
    )
    again = changed.save(tmp_path / "set", format=format_)
    assert again.outputs["images"].dtype == "float32"
    assert again.outputs["images"].range == (0.0, 1.0)
    np.testing.assert_array_equal(np.asarray(again.images[:]), scaled)
    assert list(again.columns) == ["images"]


def test_samples_without_a_model_can_be_saved_and_read(tmp_path: Path) -> None:
    output = Output("images", "image", "uint8", (1, 4, 4))
    values = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    samples = medzoo.Samples({"images": values}, {"images": output}, np.arange(2))
    again = samples.save(tmp_path / "set", format="png")
    np.testing.assert_array_equal(np.asarray(again.images[:]), values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            np.zeros((4, 1, 4, 8), np.uint8),
            r"have the shape \(1, 4, 8\), and outputs says \(1, 8, 8\)",
        ),
        (np.zeros((4, 1, 8, 8), np.float32), "holds float32, and outputs says uint8"),
    ],
)
def test_columns_that_are_not_what_outputs_says_are_refused(
    toy: Toy, values: Any, says: str
) -> None:
    made = medzoo.generate(toy(), 4, seed=0)
    columns = {**made.columns, "images": values}
    with pytest.raises(InputError, match=says):
        dataclasses.replace(made, columns=columns)
    with pytest.raises(InputError, match="outputs says nothing about the column 'scores'"):
        dataclasses.replace(made, columns={**made.columns, "scores": np.zeros(4)})


@pytest.mark.parametrize("dtype", ["uint16", "int64", "bool"])
def test_numbers_of_another_type_are_not_written(toy: Toy, tmp_path: Path, dtype: str) -> None:
    made = medzoo.generate(toy(), 4, seed=0)
    columns = {**made.columns, "images": made.images.astype(dtype)}
    changed = dataclasses.replace(made, columns=columns)
    for format_ in ("png", "npz", "nifti", "dicom", "webdataset"):
        with pytest.raises(InputError, match=f"holds {dtype}, and outputs says uint8"):
            changed.save(tmp_path / "set", format=format_)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("format_", ["png", "npz", "nifti", "webdataset"])
def test_a_column_that_was_left_out_is_not_written(toy: Toy, tmp_path: Path, format_: str) -> None:
    made = medzoo.generate(toy(), 4, seed=0)
    alone = dataclasses.replace(made, columns={"images": made.images})
    again = alone.save(tmp_path / "set", format=format_)
    assert list(again.columns) == list(again.outputs) == ["images"]
    np.testing.assert_array_equal(again.images, made.images)
    assert medzoo.verify(tmp_path / "set").ok


def test_samples_in_their_first_order_again_are_the_whole_set(toy: Toy, tmp_path: Path) -> None:
    made = medzoo.generate(toy(), 3, seed=0)
    turned = made[[2, 0, 1]].save(tmp_path / "turned", format="npz")
    assert turned.provenance["subset"]["n"] == 3
    whole = turned[[1, 2, 0]].save(tmp_path / "whole", format="npz")
    assert "subset" not in whole.provenance
    np.testing.assert_array_equal(whole.images, made.images)


def test_numbers_of_samples_may_have_any_integer_type(toy: Toy, tmp_path: Path) -> None:
    made = medzoo.generate(toy(), 4, seed=0)[1:3]
    short = dataclasses.replace(made, indices=made.indices.astype(np.int32))
    again = short.save(tmp_path / "set", format="npz")
    np.testing.assert_array_equal(again.indices, [1, 2])
    np.testing.assert_array_equal(again.images, made.images)


def test_dicom_files_of_other_pixels_without_a_model_are_other_files(tmp_path: Path) -> None:
    import pydicom

    def identifiers(folder: str, value: int) -> dict[str, set[str]]:
        columns, outputs = {}, {}
        for name, kind in (("images", "image"), ("masks", "mask")):
            outputs[name] = Output(name, kind, "uint8", (1, 4, 4))
            columns[name] = np.full((2, 1, 4, 4), value if kind == "image" else 1, np.uint8)
        samples = medzoo.Samples(columns, outputs, np.arange(2))
        samples.save(tmp_path / folder, format="dicom")
        read = list(map(pydicom.dcmread, (tmp_path / folder).rglob("*.dcm")))
        keys = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")
        return {key: {str(file[key].value) for file in read} for key in keys}

    one, other, again = identifiers("one", 1), identifiers("other", 2), identifiers("again", 1)
    assert one == again
    assert [len(values) for values in one.values()] == [4, 4, 2, 2]
    for key, values in one.items():
        assert values.isdisjoint(other[key])


def test_a_label_of_a_mask_has_one_colour_in_all_sections() -> None:
    mask = np.zeros((1, 1, 2, 4, 4), np.uint8)
    mask[0, 0, 0, :2], mask[0, 0, 0, 2:], mask[0, 0, 1, 1:3] = 1, 2, 2
    outputs = {
        "volumes": Output("volumes", "volume", "uint8", (1, 2, 4, 4)),
        "masks": Output("masks", "mask", "uint8", (1, 2, 4, 4), (0, 2)),
    }
    columns = {"volumes": np.zeros_like(mask), "masks": mask}
    samples = medzoo.Samples(columns, outputs, np.arange(1))
    first, second = (list(overlays(samples, 0, "axial", at)) for at in (0, 1))
    assert [colour for colour, _ in first] == list(OUTLINES[:2])
    assert [colour for colour, _ in second] == [OUTLINES[1]]
    assert second[0][1].sum() == 8


def test_two_masks_of_a_picture_have_different_colours() -> None:
    columns, outputs = {"images": np.zeros((1, 1, 4, 4), np.uint8)}, {}
    outputs["images"] = Output("images", "image", "uint8", (1, 4, 4))
    for number, name in enumerate(("organs", "lesions")):
        values = np.zeros((1, 1, 4, 4), np.uint8)
        values[0, 0, number], values[0, 0, 2 + number] = 1, 2 - number
        columns[name] = values
        outputs[name] = Output(name, "mask", "uint8", (1, 4, 4), (0, 2 - number))
    found = list(overlays(medzoo.Samples(columns, outputs, np.arange(1)), 0))
    assert [colour for colour, _ in found] == list(OUTLINES[:3])
