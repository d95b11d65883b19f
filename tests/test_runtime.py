"""The native contract: a package that breaks it is told how, and packages never meet each other."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from conftest import MATRIX, NUMPY_MODEL, Zenodo, toy_config
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import medzoo
from medzoo import environments, seeds
from medzoo._worker.devices import free_memory
from medzoo._worker.imports import import_package
from medzoo._worker.native import to_host
from medzoo._worker.protocol import is_out_of_memory
from medzoo.config import Call
from medzoo.errors import InputError, PackageError, TrustError, WorkerError
from medzoo.files import sha256_of
from medzoo.packages import cache
from medzoo.registry import resolve
from medzoo.runtime import Execution, native, open_session
from medzoo.runtime.native import NativeSession, pick_device
from medzoo.runtime.session import MOST, ROOM, batch_size
from medzoo.runtime.worker import WorkerSession
from medzoo.view import Exploration

Toy = Callable[..., int]

RETURNS = """
import numpy as np

class Model:
    def sample(self, batch):
        images = np.zeros((batch.n, 1, 8, 8), np.uint8)
        return {}

def load(weights_dir, device):
    return Model()
"""
FLOATS = {"images": {"kind": "image", "dtype": "float32", "shape": [1, 8, 8]}}

WEIGHTED = """
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file

class Model:
    def __init__(self, weights, offset):
        self.weights, self.offset = weights, offset

    def sample(self, batch):
        images = (batch.latents @ self.weights["matrix"] + self.weights["bias"] + self.offset).reshape(batch.n, 1, 2, 2)
        return {"images": images.astype(np.float32)}

def load(weights_dir, device):
    offset = float((Path(weights_dir) / "offset.json").read_text())
    return Model(load_file(Path(weights_dir) / "weights.safetensors"), offset)
"""


@pytest.fixture
def weighted(toy: Toy, tmp_path: Path) -> Path:
    """A toy with weights and another data file; its package folder."""
    package = tmp_path / "configs" / "package"
    package.mkdir(parents=True)
    save_file(
        {"matrix": np.eye(4, dtype=np.float32), "bias": np.zeros(4, np.float32)},
        package / "weights.safetensors",
    )
    (package / "offset.json").write_text("0.5")
    (package / "model.py").write_text(WEIGHTED)
    files = {n: sha256_of(package / n) for n in ("model.py", "weights.safetensors", "offset.json")}
    outputs = {
        "images": {"kind": "image", "dtype": "float32", "shape": [1, 2, 2], "range": [-4, 4]}
    }
    toy(WEIGHTED, files=files, outputs=outputs, conditions=None, options=None)
    return package


def own_weights(folder: Path, **tensors: Any) -> Path:
    path = folder / "mine.safetensors"
    save_file(
        {"matrix": 2 * np.eye(4, dtype=np.float32), "bias": np.ones(4, np.float32), **tensors}, path
    )
    return path


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (
            "{'images': images[:, 0]}",
            r"'images' of shape \(2, 8, 8\) and type uint8; its config says \(2, 1, 8, 8\) and uint8",
        ),
        ("{'images': images[:1]}", r"shape \(1, 1, 8, 8\)"),
        ("{'images': images.astype(float)}", "type float64; its config says .* and uint8"),
        ("{'images': [[1], [1, 2]]}", "returned 'images' as no array: ValueError"),
        ("{'images': None}", "returned 'images' as no array: NoneType holds no numbers"),
        ("{}", "returned no 'images', only nothing"),
        ("{'pictures': images, 'masks': images}", "returned no 'images', only pictures, masks"),
        ("images", "returned ndarray, not a dict of arrays"),
        ("None", "returned NoneType, not a dict"),
        ("1 / 0", "failed on samples 0 to 1: ZeroDivisionError: division by zero"),
        ("exit(3)", "failed on samples 0 to 1: SystemExit: 3"),
    ],
)
def test_what_sample_may_not_return(toy: Toy, returned: str, says: str) -> None:
    with pytest.raises(PackageError, match=f"00901_TOY_MRI_NOISE, version 1.0.0.*{says}"):
        medzoo.generate(toy(RETURNS.replace("return {}", f"return {returned}")), 2)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_values_that_are_not_finite_are_refused(toy: Toy, value: str) -> None:
    code = f"images = images.astype('float32'); images[1, 0, 3, 3] = float('{value}'); return {{'images': images}}"
    code = RETURNS.replace("return {}", code)
    with pytest.raises(PackageError, match="'images' holds values that are not finite"):
        medzoo.generate(toy(code, outputs=FLOATS, conditions=None), 2)


def test_a_tensor_is_an_array_too_unless_it_wants_a_gradient(toy: Toy) -> None:
    code = RETURNS.replace(
        "return {}", "import torch; return {'images': torch.zeros(batch.n, 1, 8, 8)}"
    )
    assert medzoo.generate(toy(code, outputs=FLOATS, conditions=None), 2).images.dtype == np.float32
    code = code.replace("1, 8, 8)}", "1, 8, 8, requires_grad=True)}")
    with pytest.raises(PackageError, match="returned 'images' as no array: RuntimeError"):
        medzoo.generate(toy(code, outputs=FLOATS, conditions=None), 2)


def test_labels_come_from_the_condition_and_more_columns_do_no_harm(toy: Toy) -> None:
    code = RETURNS.replace("return {}", "return {'images': images, 'labels': 5, 'more': 6}")
    found = medzoo.generate(toy(code), 3, condition=["malignant", "benign", "malignant"])
    assert found.labels.tolist() == [1, 0, 1]
    assert list(found.columns) == ["images", "labels"]


def test_a_load_that_raises_is_named(toy: Toy) -> None:
    with pytest.raises(
        PackageError,
        match=r"version 1\.0\.0 did not load: ValueError: no weights\nIf the package is not yours",
    ):
        medzoo.load(toy("def load(weights_dir, device):\n    raise ValueError('no weights')"))


@pytest.mark.parametrize(
    "code",
    [
        "import nothing_of_that_name",
        "def load(weights_dir, device):\n    import nothing_of_that_name",
    ],
)
def test_a_missing_module_names_what_the_package_needs(toy: Toy, code: str) -> None:
    with pytest.raises(
        PackageError, match=r"No module named 'nothing_of_that_name'\nIt needs numpy, monai>=1"
    ):
        medzoo.load(toy(code, requires=["numpy", "monai>=1"]))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = ", "did not load: SyntaxError"),
        ("raise SystemExit", "did not load: SystemExit"),
        ("1 / 0", "did not load: ZeroDivisionError"),
        ("x = 1", r"has no `load\(weights_dir, device\)`"),
        ("load = 5", r"has no `load\(weights_dir, device\)`"),
    ],
)
def test_code_that_does_not_import_or_has_no_load(toy: Toy, code: str, says: str) -> None:
    before = set(sys.modules)
    with pytest.raises(PackageError, match=says):
        medzoo.load(toy(code))
    if "did not" in says:
        assert not [m for m in set(sys.modules) - before if m.startswith("_medzoo_package")]


def test_a_package_without_model_py(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"there is no model.py in"):
        import_package(tmp_path)


def local_package(folder: Path, value: int) -> Path:
    """A package whose value stands in a module beside model.py, called as one of Python's own."""
    folder.mkdir()
    code = NUMPY_MODEL.replace(
        "import numpy as np", "import numpy as np\nfrom .calendar import VALUE", 1
    ).replace('batch.options.get("gain", 0)', "VALUE")
    (folder / "model.py").write_text(code)
    (folder / "calendar.py").write_text(f"VALUE = {value}\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(toy_config(source="file:.", options=None)))
    return folder


def values(folder: Path) -> list[int]:
    return medzoo.generate(folder, 2, seed=0, trust=True).images[:, 0, 0, 5].tolist()  # type: ignore[no-any-return]


def test_modules_of_one_name_in_two_packages_do_not_clash(tmp_path: Path) -> None:
    import calendar

    path, one, two = (
        list(sys.path),
        local_package(tmp_path / "one", 1),
        local_package(tmp_path / "two", 2),
    )
    with medzoo.load(one, trust=True) as first, medzoo.load(two, trust=True) as second:
        assert first(1).images[0, 0, 0, 5] == 1
        assert second(1).images[0, 0, 0, 5] == 2
        assert first(1).images[0, 0, 0, 5] == 1
    assert sys.path == path
    assert "model" not in sys.modules
    assert sys.modules["calendar"] is calendar


def test_an_edit_of_any_module_of_a_package_counts_at_once(tmp_path: Path) -> None:
    folder = local_package(tmp_path / "mine", 1)
    assert values(folder) == [1, 1]
    (folder / "calendar.py").write_text("VALUE = 7\n")
    assert values(folder) == [7, 7]


def test_running_a_package_leaves_nothing_in_its_folder(tmp_path: Path) -> None:
    folder = local_package(tmp_path / "mine", 1)
    before = sorted(p.name for p in folder.iterdir())
    values(folder)
    assert sorted(p.name for p in folder.rglob("*")) == before
    assert (
        bool(os.environ.get("PYTHONDONTWRITEBYTECODE")) == sys.dont_write_bytecode
    )  # the caller's setting is as it was


@pytest.mark.filterwarnings("ignore:.*are cut off")  # the weights double what is made
def test_weights_of_the_users_own_reach_the_loader(
    weighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = own_weights(tmp_path)
    tuned = medzoo.generate(901, 3, seed=1, weights=mine).to_torch()["images"]
    monkeypatch.chdir(tmp_path)
    loader = medzoo.dataloader(901, 3, seed=1, weights=mine.name)
    items = (
        medzoo.iterable_dataset(901, 3, seed=1, weights=mine),
        medzoo.dataset(901, 3, seed=1, weights=str(mine)),
    )
    monkeypatch.chdir(weighted)  # when they are read, who made the loader may be elsewhere
    assert torch.equal(next(iter(loader))["images"], tuned)
    for data in items:
        assert torch.equal(torch.stack([item["images"] for item in data]), tuned)
    with pytest.raises(InputError, match="1 tensors that do not fit"):
        medzoo.dataset(901, 3, weights=own_weights(tmp_path, bias=np.ones(5, np.float32)))


def test_a_state_that_an_explorer_saves_says_how_the_model_was_loaded(
    weighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = own_weights(tmp_path)
    monkeypatch.chdir(tmp_path)
    with medzoo.load(901, weights=mine.name) as model:
        explorer = Exploration(model, 3)
        monkeypatch.chdir(weighted)
        path = explorer.save(tmp_path)
    state = json.loads(path.with_suffix(".json").read_text())
    assert state["arguments"]["weights"] == str(mine)
    names: dict[str, Any] = {"medzoo": medzoo}
    exec(state["python"], names)
    np.testing.assert_array_equal(names["samples"].images, explorer.samples.images)


def test_a_state_that_an_explorer_saves_says_the_precision(toy: Toy) -> None:
    toy(MATRIX, requires=["numpy", "torch"], outputs=FLOATS, conditions=None, options=None)
    with medzoo.load(901, precision="bfloat16") as model:
        explorer = Exploration(model, 3)
        assert explorer.recipe["precision"] == "bfloat16"
        names: dict[str, Any] = {"medzoo": medzoo}
        exec(explorer.python(), names)
        np.testing.assert_array_equal(names["samples"].images, explorer.samples.images)


def test_weights_of_the_users_own_change_the_samples_and_the_record(
    weighted: Path, tmp_path: Path
) -> None:
    mine = own_weights(tmp_path)
    plain = medzoo.generate(901, 3, seed=1)
    tuned = medzoo.generate(901, 3, seed=1, weights=mine)
    np.testing.assert_allclose(tuned.images - 0.5, 2 * (plain.images - 0.5) + 1, atol=1e-5)
    assert "weights" not in plain.provenance["sha256"]
    assert tuned.provenance["sha256"]["weights"] == sha256_of(mine)
    assert (plain.provenance["registered"], tuned.provenance["registered"]) == (True, False)
    assert np.array_equal(medzoo.generate(901, 3, seed=1).images, plain.images)
    assert np.array_equal(
        medzoo.generate(901, 3, seed=1, weights=str(weighted / "weights.safetensors")).images,
        plain.images,
    )


def test_the_folder_for_other_weights_goes_with_the_model(
    weighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    model = medzoo.load(901, weights=own_weights(tmp_path))
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    model.close()
    del model
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())


def test_weights_of_other_shapes_name_the_tensors(weighted: Path, tmp_path: Path) -> None:
    mine = own_weights(tmp_path, bias=np.ones(5, np.float32), extra=np.ones(1, np.float32))
    with pytest.raises(
        InputError,
        match=r"has 2 tensors that do not fit(.|\n)*bias: \(5,\), not \(4,\)\n  extra: \(1,\), not expected at all",
    ):
        medzoo.generate(901, weights=mine)
    save_file({"bias": np.ones(4, np.float32)}, mine)
    with pytest.raises(InputError, match=r"matrix: missing, not \(4, 4\)"):
        medzoo.generate(901, weights=mine)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"x" * 100])
def test_weights_that_are_no_safetensors(weighted: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"mine.pt' is not a safetensors file"):
        medzoo.generate(901, weights=tmp_path / "mine.pt")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("nowhere.safetensors", "no such file"),
        (".", "no such file"),
        (5, "weights=5 is not a valid path"),
    ],
)
def test_weights_that_are_not_there(weighted: Path, weights: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        medzoo.generate(901, weights=weights)


def test_weights_for_a_model_that_has_none(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no weights.safetensors that others could replace"):
        medzoo.generate(toy(), weights=own_weights(tmp_path))


@pytest.mark.parametrize("device", ["gpu", "", 0, None, "cpu:7", "cuda:999", "auto:1"])
def test_a_device_that_is_not_here(device: Any) -> None:
    with pytest.raises(InputError, match="device="):
        pick_device(device, resolve(8).default)


def test_auto_is_a_device_of_this_machine(toy: Toy) -> None:
    assert pick_device("auto", resolve(8).default) in {"cpu", "cuda:0"}
    assert pick_device("auto", resolve(toy()).default) == "cpu"


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (np._core._exceptions._ArrayMemoryError((1,), np.dtype(float)), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."
            ),
            True,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("No space left on device"), False),
    ],
)
def test_which_errors_say_that_memory_ran_out(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_a_real_allocation_of_torch_that_fails_is_recognised() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("env", ["current", "isolated"])
def test_mixed_precision_is_torchs_own_and_comes_back_as_full(
    toy: Toy, env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "isolated", lambda *_, **__: environments.current())
    import torch

    toy(MATRIX, requires=["numpy", "torch"], outputs=FLOATS, conditions=None, options=None)
    full = medzoo.generate(901, 5, seed=1, env=env)
    found = medzoo.generate(901, 5, seed=1, env=env, precision="bfloat16")
    assert "precision" not in full.provenance
    assert found.provenance["precision"] == "bfloat16"
    rows = torch.from_numpy(np.stack([seeds.Stream(1, i).uniforms((8, 8)) for i in range(5)]))
    with torch.autocast("cpu", torch.bfloat16):
        by_hand = (rows @ rows)[:, None] / 8
    assert by_hand.dtype == torch.bfloat16
    assert np.array_equal(found.images, by_hand.float().numpy())
    assert 0 < np.abs(found.images - full.images).max() < 0.01


@pytest.mark.parametrize(
    ("number", "precision", "says"),
    [
        (8, "half", r"precision='half' is not a valid precision.\nGive full, bfloat16 or float16"),
        (8, None, "precision=None is not a valid precision"),
        (
            901,
            "float16",
            "00901_TOY_MRI_NOISE, version 1.0.0 does not run on torch: there is no precision='float16' of it",
        ),
        (
            1,
            "bfloat16",
            r"00001_.* is published code, which runs as it is.*\nLeave `precision` out",
        ),
    ],
)
def test_a_precision_that_a_model_does_not_have(
    toy: Toy, number: int, precision: Any, says: str
) -> None:
    toy()
    for ask in (medzoo.load, medzoo.generate, medzoo.dataset, medzoo.stream):
        with pytest.raises(InputError, match=says):
            ask(number, *([] if ask is medzoo.load else [4]), precision=precision)


def test_tensors_of_two_bytes_come_back_as_float32_and_others_as_they_are() -> None:
    import torch

    found = {
        "a": torch.ones(2, dtype=torch.bfloat16),
        "b": torch.ones(2, dtype=torch.uint8),
        "c": np.ones(2),
        "d": [1],
    }
    moved = to_host(found)
    assert list(moved) == list(found)
    assert [moved[k].dtype for k in "ab"] == [torch.float32, torch.uint8]
    assert moved["c"] is found["c"]
    assert moved["d"] is found["d"]


@settings(deadline=None)
@given(
    own=st.integers(1, 512),
    each=st.sampled_from([0.0, 0.5, 10.0, 512.0]),
    free=st.none() | st.integers(0, 2**40),
    device=st.sampled_from(["cpu", "cuda:0", "cuda:1", "mps"]),
    per_sample=st.booleans(),
)
def test_the_batch_that_fits_into_what_is_free(
    own: int, each: float, free: int | None, device: str, per_sample: bool
) -> None:
    version = dataclasses.replace(resolve(8).default, batch_size=own, memory_per_sample=each)
    if not per_sample:
        version = dataclasses.replace(version, call=Call("generate", "w.pt", "images"))
    size, room = batch_size(version, device, free), ROOM * (free or 0)
    if free is None or not each or not per_sample:
        assert size == own
        return
    needs = each * 2**20
    assert size >= 1
    assert size * needs <= room or size == 1
    if size < own:  # no smaller than it must be
        assert own * needs > room
        assert (2 * size + 1) * needs > room
    if device.startswith("cuda"):  # nor much smaller than it could be
        assert 2 * size > MOST or 2 * size * needs > room or size == own
        assert size <= max(own, MOST)
    else:
        assert size <= own


def test_batches_fit_into_the_memory_that_is_free_unless_told_otherwise(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(memory_per_sample=100, batch_size=8)
    expected = medzoo.generate(901, 10, seed=1, batch_size=8)
    monkeypatch.setattr(
        native, "free_memory", lambda device: 300 * 2**20 if device == "cpu" else None
    )
    found = medzoo.generate(901, 10, seed=1)
    assert found.provenance["batches"] == [[0, 2]]
    assert np.array_equal(found.images, expected.images)
    assert medzoo.generate(901, 10, batch_size=8).provenance["batches"] == [[0, 8]]


def test_what_is_free_on_this_machine_and_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    free = free_memory("cpu")
    assert (
        free is None
        if sys.platform != "linux"
        else 2**20 < (free or 0) <= psutil.virtual_memory().total
    )
    assert free_memory("mps") is None
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", {"cuda:1": (5, 8)}.get
    )  # there may be none here
    assert free_memory("cuda:1") == 5


@pytest.mark.parametrize(
    ("limits", "free"),
    [
        ({}, 4096000),
        ({"": ("max", 0, 0)}, 4096000),
        ({"job": ("1000000", 300000, 100000)}, 800000),
        ({"job/step": ("max", 0, 0), "job": ("500000", 600000, 50000)}, 0),
        ({"job/step": ("3000000", 0, 0), "": ("2000000", 1000, 1000)}, 2000000),
        ({"other": ("1", 0, 0)}, 4096000),
    ],
)
def test_a_limit_of_a_control_group_is_what_is_free(
    tmp_path: Path, limits: dict[str, Any], free: int
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(
        "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n"
    )
    (tmp_path / "proc" / "self" / "cgroup").write_text("12:cpu:/x\n0::/job/step\n")
    for group, (most, used, cached) in limits.items():
        folder = tmp_path / "sys" / "fs" / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")
    assert free_memory("cpu", tmp_path) == free
    (tmp_path / "proc" / "meminfo").write_text("")
    assert free_memory("cpu", tmp_path) is None


def test_a_session_is_what_the_rest_of_medzoo_knows(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(toy())
    monkeypatch.setattr(
        environments, "isolated", lambda *_, **__: environments.current()
    )  # building one is tested elsewhere
    for env, kind in (
        ("auto", NativeSession),
        ("current", NativeSession),
        ("isolated", WorkerSession),
    ):
        session = open_session(config, config.default, Execution(env=env))
        assert isinstance(session, kind)
        assert session.device == "cpu"
        assert set(session.digests) == {"model.py"}
        assert session.provenance["env"] == "current"
        assert session.provenance["seeding"] == "sample"
        assert session.provenance["trust"] is False
        session.close()


def test_a_folder_of_the_users_own_runs_only_on_trust(tmp_path: Path) -> None:
    folder = local_package(tmp_path / "mine", 1)
    mark = tmp_path / "ran"
    (folder / "model.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n" + (folder / "model.py").read_text()
    )
    config = resolve(folder)
    for env in ("auto", "current", "isolated"):
        with pytest.raises(
            TrustError,
            match=r"00901_TOY_MRI_NOISE, version 1\.0\.0: its code lies in .*mine(.|\n)*trust=True",
        ):
            open_session(config, config.default, Execution(env=env))
    assert not mark.exists()
    session = open_session(config, config.default, Execution(trust=True))
    assert mark.exists()
    assert session.provenance["trust"] is True


def test_bytecode_that_somebody_left_is_not_run(tmp_path: Path) -> None:
    import py_compile

    folder = local_package(tmp_path / "mine", 1)
    planted = Path(py_compile.compile(str(folder / "calendar.py"), doraise=True) or "")
    about = (folder / "calendar.py").stat()
    (folder / "calendar.py").write_text("VALUE = 2\n")
    os.utime(
        folder / "calendar.py", ns=(about.st_atime_ns, about.st_mtime_ns)
    )  # as large and as old as what was compiled
    assert planted.is_file()
    assert values(folder) == [2, 2]
    planted.rename(folder / "calendar.pyc")
    (folder / "calendar.py").unlink()
    with pytest.raises(PackageError, match=r"No module named .*calendar"):
        values(folder)


FILLED_AGAIN = """
import numpy as np

class Model:
    def __init__(self):
        self.images = np.zeros((64, 1, 8, 8), np.uint8)

    def sample(self, batch):
        gain = batch.options.pop("gain")
        self.images[:] = gain
        self.images[:batch.n, 0, 0, 0] = batch.indices
        return {"images": self.images[:batch.n]}

def load(weights_dir, device):
    return Model()
"""


def test_a_package_may_fill_an_array_again_and_take_its_options_apart(toy: Toy) -> None:
    """In a process of the model, each batch is a copy of what the package has."""
    images = medzoo.generate(toy(FILLED_AGAIN), 8, batch_size=3, gain=7).images
    assert images[:, 0, 0, 0].tolist() == list(range(8))
    assert images[:, 0, 1:].min() == images[:, 0, 1:].max() == 7


SLOWLY = "import time\ntime.sleep(0.3)\n" + NUMPY_MODEL


def test_threads_may_load_a_package_at_the_same_time(toy: Toy) -> None:
    number, state = toy(SLOWLY), np.random.get_state()[1].tolist()  # noqa: NPY002

    def one(_: int) -> Any:
        with medzoo.load(number) as model:
            return model(2, seed=1).images.tolist()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(one, range(4)))
    assert made == made[:1] * 4
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


@pytest.mark.skipif(os.name == "nt", reason="on Windows only a program that runs keeps its folder")
def test_a_package_in_use_is_not_removed_from_the_cache(zenodo: Zenodo) -> None:
    """It may import or read more of its files later."""
    later = NUMPY_MODEL.replace(
        "    def sample(self, batch):\n",
        "    def sample(self, batch):\n        from . import other\n",
    )
    number = zenodo.register({"toy/model.py": later.encode(), "toy/other.py": b""})
    with medzoo.load(number, env="current") as model:
        kept = cache.remove(number).failed
        assert [(entry.kind, why) for entry, why in kept] == [("package", cache.IN_USE)]
        assert model(2, seed=1).images.shape == (2, 1, 8, 8)
    assert not cache.remove(number).failed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_leaves_the_folder_of_its_parents_weights(
    weighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    model = medzoo.load(901, weights=own_weights(tmp_path))
    before = sorted((tmp_path / "temporary").rglob("*"))
    child = os.fork()
    if not child:
        model.close()
        del model
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted((tmp_path / "temporary").rglob("*")) == before
    assert model(2).images.shape == (2, 1, 2, 2)


def test_a_disk_for_temporary_files_that_is_full_is_said(
    weighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = own_weights(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))  # as full as a disk can be
    with pytest.raises(WorkerError, match=r"could not be loaded: .*gone(.|\n)*TMPDIR"):
        medzoo.load(901, weights=mine)
