"""Generating: counts, seeds, batches, memory, options."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NUMPY_MODEL, ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medzoo
from medzoo import seeds
from medzoo.cli import main
from medzoo.errors import (
    DatasetError,
    InputError,
    MedzooWarning,
    ModelNotFoundError,
    OutOfMemoryError,
    SourceError,
)
from medzoo.registry import resolve

Toy = Callable[..., int]
OUT_OF_MEMORY = [
    "MemoryError()",
    'RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes.")',
    "RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB.')",
    "__import__('torch').OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')",
]


def small_memory(fits: str, error: str = "MemoryError()") -> str:
    """The toy on a machine where a batch for which ``fits`` is untrue is too much."""
    return NUMPY_MODEL.replace(
        "def sample(self, batch):\n",
        f"def sample(self, batch):\n        if not ({fits}):\n            raise {error}\n",
    )


def note(log: Path, indent: int) -> str:
    """A line of code that adds an x to a file."""
    return f"{' ' * indent}with open({str(log)!r}, 'a') as file: file.write('x')\n"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**64 - 1), n=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_a_sample_depends_on_seed_and_index_alone(
    toy: Toy, seed: int, n: int, batch_size: int
) -> None:
    whole = medzoo.generate(toy(), 40, seed=seed)
    head = medzoo.generate(901, n, seed=seed, batch_size=batch_size)
    assert np.array_equal(head.images, whole.images[:n])
    assert np.array_equal(head.labels, np.arange(n) % 2)
    assert np.array_equal(head.indices, np.arange(n))


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_the_model_gets_bit_equal_latents_and_noise_in_any_batch(toy: Toy, batch_size: int) -> None:
    code = """
        import numpy as np
        class Model:
            def sample(self, batch):
                noise = np.stack([batch.rng(i).normals(4) for i in range(batch.n)])
                return {"made_of": batch.latents, "noise": noise}
        def load(weights_dir, device):
            return Model()
    """
    table = {"kind": "table", "dtype": "float32", "shape": [4]}
    found = medzoo.generate(
        toy(code, outputs={"noise": table, "made_of": table}), 40, seed=3, batch_size=batch_size
    )
    assert np.array_equal(
        found.made_of, np.stack([seeds.Stream(3, i, seeds.LATENTS).normals(4) for i in range(40)])
    )
    assert np.array_equal(
        found.noise, np.stack([seeds.Stream(3, i, seeds.NOISE).normals(4) for i in range(40)])
    )


@pytest.mark.slow
def test_model_8_is_the_same_in_any_batch_to_a_grey_level() -> None:
    with medzoo.load(8, device="cpu") as model:
        whole = model(33, seed=4, batch_size=32)
        for batch_size, n in ((1, 3), (7, 10), (32, 10)):
            head = model(n, seed=4, batch_size=batch_size)
            assert np.abs(head.images.astype(int) - whole.images[:n].astype(int)).max() <= 1
        assert whole.images.shape == (33, 1, 128, 128)
        assert whole.images.dtype == np.uint8
        assert whole.labels.tolist() == [i % 2 for i in range(33)]
        assert whole.images.std() > 5
        both = model(
            2, latents=np.repeat(seeds.latents(1, [0], model.version.latent), 2, axis=0), seed=0
        )
        assert not np.array_equal(
            both.images[0], both.images[1]
        )  # one latent as benign and as malignant


@pytest.mark.slow
def test_other_weights_change_the_pictures_of_model_8(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(ROOT / "starter_models" / resolve(8).id / "weights.safetensors")
    rng = np.random.default_rng(0)
    for name, values in tensors.items():
        if values.dtype.kind == "f" and values.ndim == 4:
            tensors[name] = (values * rng.uniform(0.7, 1.3, values.shape)).astype(values.dtype)
    save_file(tensors, tmp_path / "mine.safetensors")
    plain = medzoo.generate(8, 2, seed=1, device="cpu")
    tuned = medzoo.generate(8, 2, seed=1, device="cpu", weights=tmp_path / "mine.safetensors")
    assert np.abs(plain.images.astype(int) - tuned.images.astype(int)).max() > 3


@pytest.mark.parametrize("n", [0, -1, 1.0, "3", True, [2]])
def test_a_count_that_is_no_count(toy: Toy, n: Any) -> None:
    toy()
    for ask in (medzoo.generate, medzoo.stream):
        with pytest.raises(
            InputError, match=r"n=.* is not a number of samples.\nGive a whole number of at least 1"
        ):
            ask(901, n)


def test_without_a_count_there_is_one_sample_or_one_for_each_input(toy: Toy) -> None:
    assert len(medzoo.generate(toy())) == 1
    inputs = {"slices": {"kind": "image", "help": "Slices."}}
    assert len(medzoo.generate(toy(inputs=inputs), inputs=np.zeros((3, 1, 8, 8), np.uint8))) == 3


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "3", True])
def test_a_batch_size_that_is_none(toy: Toy, batch_size: Any) -> None:
    with pytest.raises(InputError, match=r"batch_size=.* is not a number of samples"):
        medzoo.generate(toy(), 2, batch_size=batch_size)


def test_numpy_integers_are_numbers_and_can_be_recorded(toy: Toy, tmp_path: Path) -> None:
    found = medzoo.generate(
        toy(),
        np.int64(3),
        seed=np.uint32(4),
        batch_size=np.int16(2),
        gain=np.int8(5),
        out=tmp_path / "set",
    )
    assert (found.provenance["n"], found.provenance["seed"], found.provenance["batches"]) == (
        3,
        4,
        [[0, 2]],
    )
    assert found.images[0, 0, 0, 5] == 5


def test_without_a_seed_every_run_is_fresh_and_can_be_repeated(toy: Toy) -> None:
    one, two = medzoo.generate(toy(), 3), medzoo.generate(901, 3)
    assert one.provenance["seed"] != two.provenance["seed"]
    assert not np.array_equal(one.images, two.images)
    assert np.array_equal(medzoo.generate(901, 3, seed=one.provenance["seed"]).images, one.images)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", True])
def test_a_seed_that_is_none(toy: Toy, seed: Any) -> None:
    with pytest.raises(
        InputError, match=r"seed=.* is not a valid seed.\nGive a whole number from 0 to 2\*\*64 - 1"
    ):
        medzoo.generate(toy(), 1, seed=seed)


def test_conditions_alternate_or_are_as_asked(toy: Toy) -> None:
    assert medzoo.generate(toy(), 5).labels.tolist() == [0, 1, 0, 1, 0]
    asked = medzoo.generate(
        901, 5, condition=["malignant", "benign", "benign", 1, "Malignant"], batch_size=2
    )
    assert asked.labels.tolist() == [1, 0, 0, 1, 1]
    assert asked.images[:, 0, 0, 0].tolist() == [1, 0, 0, 1, 1]  # the model saw them too
    assert medzoo.generate(901, 3, condition="malignant").labels.tolist() == [1, 1, 1]


def test_latents_of_ones_own_are_used_row_by_row(toy: Toy) -> None:
    latents = np.arange(40.0).reshape(10, 4) / 10
    found = medzoo.generate(toy(), 10, latents=latents, batch_size=3, seed=0)
    np.testing.assert_array_equal(
        found.images[:, 0, 0, 1:5],
        np.clip(latents.astype(np.float32) * 20 + 128, 0, 255).astype(np.uint8),
    )


def test_options_reach_the_model(toy: Toy) -> None:
    assert medzoo.generate(toy(), 1).images[0, 0, 0, 5] == 3
    assert medzoo.generate(901, 1, gain=9).images[0, 0, 0, 5] == 9


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gian": 1}, "takes no 'gian'.\nDid you mean 'gain'. It takes condition, gain, latents"),
        ({"gain": "3"}, "gain is int at least 0"),
        ({"gain": 10}, "at most 9"),
        ({"condition": "x"}, "one of 'benign'"),
        ({"latents": [1]}, r"shape \(1, 4\)"),
    ],
)
def test_a_bad_option_says_what_is_allowed(toy: Toy, options: dict[str, Any], says: str) -> None:
    toy()
    for ask in (medzoo.generate, medzoo.stream):
        with pytest.raises(InputError, match=says):
            ask(901, 1, **options)


def test_an_engine_that_is_unknown(toy: Toy) -> None:
    toy()
    for ask in (
        medzoo.generate,
        medzoo.stream,
        lambda model, _, **more: medzoo.load(model, **more),
    ):
        with pytest.raises(InputError, match=r"engine='spark' is unknown.\nKnown is 'ray'"):
            ask(901, 1, engine="spark")  # type: ignore[operator]
    assert len(medzoo.generate(901, 1, inputs=None, env="auto", trust=False, engine=None)) == 1


def test_a_model_version_or_device_that_is_not(toy: Toy) -> None:
    with pytest.raises(ModelNotFoundError, match="has no version '7'"):
        medzoo.generate(toy(), version="7")
    with pytest.raises(InputError, match="device='tpu' is not a valid device"):
        medzoo.generate(901, device="tpu")
    assert medzoo.generate(901, version="1.0.0").provenance["version"] == "1.0.0"


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_batches_halve_until_they_fit_and_the_samples_are_the_same(toy: Toy, error: str) -> None:
    expected = medzoo.generate(toy(), 20, seed=1).images
    found = medzoo.generate(toy(small_memory("batch.n <= 3", error)), 20, seed=1, batch_size=16)
    assert np.array_equal(found.images, expected)
    assert found.provenance["batches"] == [[0, 2]]


def test_the_boundaries_of_batches_are_recorded(toy: Toy, tmp_path: Path) -> None:
    toy(small_memory("batch.indices[0] < 8 or batch.n <= 1", OUT_OF_MEMORY[2]))
    found = medzoo.generate(901, 11, seed=1, batch_size=4, out=tmp_path / "set")
    assert found.provenance["batches"] == [[0, 4], [8, 1]]
    assert medzoo.read(tmp_path / "set").provenance["batches"] == [[0, 4], [8, 1]]
    assert len(found) == 11


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_model_that_never_fits_says_so(toy: Toy, error: str) -> None:
    with pytest.raises(
        OutOfMemoryError,
        match=r"does not fit into the memory of cpu, not even one sample(.|\n)*about 512 MiB per sample. Free some",
    ):
        medzoo.generate(toy(small_memory("False", error), memory_per_sample=512), 8)
    with pytest.raises(OutOfMemoryError, match="cannot be loaded"):
        medzoo.load(toy(NUMPY_MODEL.replace("    return Model()", f"    raise {error}")))


def test_another_error_does_not_halve_batches(toy: Toy) -> None:
    with pytest.raises(medzoo.MedzooError, match="failed on samples 0 to 3: RuntimeError: shapes"):
        medzoo.generate(toy(small_memory("batch.n == 1", "RuntimeError('shapes')")), 4)


def test_a_stream_is_the_same_samples_batch_by_batch(toy: Toy) -> None:
    whole = medzoo.generate(toy(), 10, seed=1)
    parts = list(medzoo.stream(901, 10, seed=1, batch_size=4))
    assert [len(p) for p in parts] == [4, 4, 2]
    assert np.array_equal(np.concatenate([p.images for p in parts]), whole.images)
    assert [p.indices.tolist() for p in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_stream_may_begin_later_in_the_run(toy: Toy) -> None:
    whole = medzoo.generate(toy(), 10, seed=1)
    with medzoo.load(901) as model:
        tail = medzoo.samples.concatenate(list(model.stream(4, first=6, seed=1, batch_size=3)))  # type: ignore[attr-defined]
        assert np.array_equal(tail.images, whole.images[6:])
        assert tail.labels.tolist() == [0, 1, 0, 1]
        assert tail.provenance["first"] == 6
        for first in (-1, 1.0, True, "1"):
            with pytest.raises(InputError, match=r"first=.* is not a sample number"):
                model.stream(1, first=first)  # type: ignore[arg-type]


def test_a_stream_holds_no_more_than_the_batches_in_hand(toy: Toy) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0
    for batch in medzoo.stream(toy(), 32, seed=1, batch_size=4):
        alive.append(weakref.ref(batch))
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
    assert len(alive) == 8
    assert most <= 2  # this one, and the last, which the loop's name still held


def test_a_stream_makes_nothing_before_it_is_asked_and_may_be_left_early(
    toy: Toy, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    code = NUMPY_MODEL.replace(
        "def sample(self, batch):\n", f"def sample(self, batch):\n{note(log, 8)}"
    )
    batches = medzoo.stream(toy(code), 40, batch_size=4)
    assert not log.exists()
    next(batches)
    assert log.read_text() == "x"
    batches.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(batches)
    assert log.read_text() == "x"


def test_a_loaded_model_is_loaded_once_and_callable(toy: Toy, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = NUMPY_MODEL.replace("    return Model()", f"{note(log, 4)}    return Model()")
    with medzoo.load(toy(code)) as model:
        one, two = model(3, seed=1), model.generate(3, seed=1, batch_size=1)
        assert np.array_equal(one.images, two.images)
        assert len(model()) == 1
        assert "on cpu" in repr(model)
    assert log.read_text() == "x"


def test_what_a_folder_says_is_heard_before_anything_is_loaded(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, out = tmp_path / "log", tmp_path / "set"
    toy(NUMPY_MODEL.replace("    return Model()", f"{note(log, 4)}    return Model()"))
    asked: dict[str, Any] = {"seed": 1, "out": out}
    expected = medzoo.generate(901, 4, **asked).images
    log.unlink()
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it is an error from here on
    assert np.array_equal(medzoo.generate(901, 4, **asked).images, expected)
    assert (
        main(
            [
                "generate",
                "901",
                "-n",
                "4",
                "--seed",
                "1",
                "--out",
                str(out),
                "--engine",
                "ray",
                "--actors",
                "2",
            ]
        )
        == 0
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    for wrong in (
        {"seed": 2},
        {"out": tmp_path / "mine"},
        {"out": tmp_path / "new", "format": "csv"},
        {"gain": 4},
    ):
        with pytest.raises((DatasetError, InputError), match=r"holds an|holds other|cannot hold"):
            medzoo.generate(901, 4, engine="ray", **{**asked, **wrong})
    with pytest.raises(DatasetError, match="precision None, now 'bfloat16'"):
        medzoo.generate(901, 4, precision="bfloat16", **asked)
    assert not log.exists()


def test_a_finished_set_of_a_published_model_needs_neither_network_nor_environment(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = medzoo.generate(toy(), 4, seed=1, out=tmp_path / "set")
    toy(source="zenodo:1/package.zip", files=None)
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    assert medzoo.generate(901, 4, seed=1, out=tmp_path / "set").provenance == first.provenance
    with pytest.raises(
        SourceError
    ):  # the weights may be others, which it takes the package to know
        medzoo.generate(901, 4, seed=1, out=tmp_path / "set", weights=tmp_path / "mine.safetensors")


def test_code_that_no_config_holds_to_a_digest_is_looked_at_again(toy: Toy, tmp_path: Path) -> None:
    mine = medzoo.copy(toy(), tmp_path / "mine")
    asked: dict[str, Any] = {"seed": 1, "out": tmp_path / "set", "trust": True}
    medzoo.generate(mine, 4, **asked)
    medzoo.generate(mine, 4, **asked)
    (mine / "model.py").write_text((mine / "model.py").read_text() + "# edited\n")
    with pytest.raises(DatasetError, match=r"sha256\.model\.py"):
        medzoo.generate(mine, 4, **asked)


def test_a_closed_model_says_that_it_is_closed(toy: Toy) -> None:
    with medzoo.load(toy()) as model:
        begun = model.stream(8, batch_size=2)
        next(begun)
    model.close()  # closing twice is fine
    assert "closed" in repr(model)
    for ask in (lambda: model(1), lambda: model.stream(1), lambda: next(begun)):
        with pytest.raises(
            InputError, match=r"00901_TOY_MRI_NOISE is closed.\nGenerate inside the `with"
        ):
            ask()


def test_a_progress_bar_is_drawn_when_asked_for(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    medzoo.generate(toy(), 5, progress=False)
    assert capsys.readouterr() == ("", "")
    medzoo.generate(901, 5, progress=True)
    assert "5/5" in capsys.readouterr().err
    medzoo.generate(901, 2, progress=True)  # in one batch
    assert "2/2" in capsys.readouterr().err


def test_the_license_is_shown_at_the_first_use_alone(
    toy: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_QUIET", "0")
    medzoo.generate(toy(), 1)
    said = capsys.readouterr()
    assert (
        "00901_TOY_MRI_NOISE 1.0.0: license MIT. Synthetic samples, not for diagnosis" in said.err
    )
    assert said.out == ""
    medzoo.generate(901, 1)
    assert capsys.readouterr().err == ""


def test_a_home_that_cannot_be_written_does_not_keep_one_from_generating(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("MEDZOO_QUIET", "0")
    assert len(medzoo.generate(toy(), 1)) == 1


def test_the_provenance_tells_where_samples_came_from(toy: Toy) -> None:
    found = medzoo.generate(toy(), 3, seed=9, condition="benign").provenance
    assert found["synthetic"] is True
    assert found["device"] == "cpu"
    assert found["options"] == {"gain": 3, "condition": "benign"}
    assert set(found["libraries"]) == {"medzoo", "numpy", "pillow"}
    assert found["label_names"] == {"labels": {"0": "benign", "1": "malignant"}}
    assert "unknown" not in found["libraries"].values()


def test_what_a_package_declares_and_lacks_is_said_and_not_recorded(toy: Toy) -> None:
    needs = ["numpy>=1,<9", "no-such.thing[extra]>=2; python_version>'3'"]
    with pytest.warns(MedzooWarning, match=r"no-such.thing>=2 is needed, none is installed"):
        found = medzoo.generate(toy(requires=needs), 1, env="current")
    assert set(found.provenance["libraries"]) == {"medzoo", "numpy", "pillow"}
