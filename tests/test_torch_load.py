"""What a model's weights may do when they are loaded: nothing, unless the user trusts them."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from medzoo._worker.torch_load import Guard, WeightsCache, refusal
from medzoo.errors import TrustError


class Checkpoint:
    """Stands for what Lightning puts beside the tensors; loading it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.mark,))


@pytest.fixture
def guard() -> Iterator[Callable[..., Guard]]:
    """Guards of this process's torch, taken off again."""
    load, finders = torch.load, list(sys.meta_path)
    yield lambda trust: Guard(trust=trust, threads=None)
    torch.load = torch.serialization.load = load
    sys.meta_path[:] = finders


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.ckpt"
    torch.save(
        {"state_dict": {"w": torch.ones(2)}, "callbacks": Checkpoint(tmp_path / "ran")}, path
    )
    return path


@pytest.mark.parametrize(
    "options", [{}, {"weights_only": False}, {"weights_only": True}, {"pickle_module": pickle}]
)
def test_a_checkpoint_with_more_than_tensors_is_refused_whatever_the_package_says(
    guard: Callable[..., Guard], checkpoint: Path, options: dict[str, Any]
) -> None:
    guard(trust=False)
    with pytest.raises(
        TrustError, match=r"model\.ckpt was not loaded.*it holds (posix|nt|os)\.mkdir, "
    ) as caught:
        torch.load(checkpoint, **options)
    assert "Lightning" in caught.value.hint
    assert "trust=True" in caught.value.hint
    with checkpoint.open("rb") as file, pytest.raises(TrustError, match="a file was not loaded"):
        torch.load(file, "cpu", *options.values())
    assert not (checkpoint.parent / "ran").exists()


@pytest.mark.parametrize("options", [{}, {"weights_only": False}, {"pickle_module": pickle}])
def test_trust_loads_it_as_old_torch_did(
    guard: Callable[..., Guard], checkpoint: Path, options: dict[str, Any]
) -> None:
    guard(trust=True)
    assert torch.load(checkpoint, **options)["state_dict"]["w"].tolist() == [1, 1]
    assert (checkpoint.parent / "ran").exists()


def test_with_trust_a_package_may_still_ask_for_weights_alone(
    guard: Callable[..., Guard], checkpoint: Path
) -> None:
    guard(trust=True)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(checkpoint, weights_only=True)


def test_weights_alone_load_under_every_name_of_the_function(
    guard: Callable[..., Guard], tmp_path: Path
) -> None:
    torch.save({"w": torch.arange(3.0)}, tmp_path / "weights")
    guard(trust=False)
    from torch import load

    for function in (load, torch.load, torch.serialization.load):
        assert function(str(tmp_path / "weights"), map_location="cpu")["w"].tolist() == [0, 1, 2]
    assert "weights_only" in __import__("inspect").signature(torch.load).parameters


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 no zip"])
def test_a_broken_file_is_not_a_matter_of_trust_alone(
    guard: Callable[..., Guard], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    guard(trust=False)
    with pytest.raises((TrustError, EOFError, RuntimeError)) as caught:
        torch.load(tmp_path / "weights.pt")
    if isinstance(caught.value, TrustError):
        assert "weights.pt was not loaded" in caught.value.problem
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "nowhere.pt")


FAILED = "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but ... "
UNPICKLER = (
    FAILED + "Do it only if you get the file from a trusted source. WeightsUnpickler error: "
)
ALLOWED = " was not an allowed global by default. Please use `torch.serialization.add_safe_globals([Namespace])`.\n\nCheck the docs"


@pytest.mark.parametrize(
    ("says", "holds"),
    [
        (
            UNPICKLER + "Unsupported class lightning.ModelCheckpoint",
            "it holds lightning.ModelCheckpoint, which is not a tensor",
        ),
        (
            UNPICKLER + "Unsupported global: GLOBAL argparse.Namespace" + ALLOWED,
            "it holds argparse.Namespace, which is",
        ),
        (
            UNPICKLER
            + "Trying to call reduce for unrecognized function <built-in function getattr>",
            "<built-in function getattr>",
        ),
        (UNPICKLER + "Unsupported operand 149\n", "of it: Unsupported operand 149."),
        (
            "Cannot use ``weights_only=True`` with TorchScript archives",
            "Cannot use ``weights_only=True`` with TorchScript",
        ),
    ],
)
def test_a_refusal_names_what_was_refused_in_the_words_of_each_torch(says: str, holds: str) -> None:
    assert holds in refusal("model.pt", says).problem


def test_a_torch_that_cannot_load_weights_alone_needs_trust(
    guard: Callable[..., Guard], tmp_path: Path
) -> None:
    def old_load(
        f: Any, map_location: Any = None, pickle_module: Any = pickle, **pickle_load_args: Any
    ) -> Any:
        return f, map_location, pickle_module, pickle_load_args

    with pytest.raises(TrustError, match=r"model\.pt was not loaded: torch 1\.12\.1 cannot"):
        guard(trust=False)._guarded(old_load, "1.12.1")("/weights/model.pt")
    load = guard(trust=True)._guarded(old_load, "1.12.1")
    assert load("model.pt", "cpu", encoding="latin1") == (
        "model.pt",
        "cpu",
        pickle,
        {"encoding": "latin1"},
    )


def test_the_guard_is_on_when_torch_comes_and_costs_nothing_before(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from medzoo._worker.torch_load import Guard
Guard(trust=False, threads=1)
import numpy
assert "torch" not in sys.modules
assert __import__("importlib.util").util.find_spec("torch") is not None  # as packages ask whether there is one
assert "torch" not in sys.modules
from torch import load
import torch
assert torch.get_num_threads() == 1
torch.save(print, {str(tmp_path / "weights")!r})
try:
    load({str(tmp_path / "weights")!r}, weights_only=False)
except Exception as error:
    assert type(error).__name__ == "TrustError", error
else:
    raise SystemExit("loaded")
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "2"}
    )


def test_a_module_that_fails_to_import_is_guarded_the_second_time(
    guard: Callable[..., Guard], tmp_path: Path
) -> None:
    from medzoo._worker.torch_load import AfterImport

    code = f"from pathlib import Path\nmark = Path({str(tmp_path / 'mark')!r})\nif not mark.exists():\n    mark.touch()\n    1 / 0"
    (tmp_path / "sometimes_there.py").write_text(code)
    sys.path.insert(0, str(tmp_path))
    seen: list[Any] = []
    try:
        AfterImport("sometimes_there", seen.append)
        with pytest.raises(ZeroDivisionError):
            importlib.import_module("sometimes_there")
        assert not seen
        assert importlib.import_module("sometimes_there") in seen
        importlib.reload(sys.modules["sometimes_there"])
        assert len(seen) == 2
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("sometimes_there", None)


class Loads:
    """torch.load, counted."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, f: Any, map_location: Any = None, **options: Any) -> Any:
        self.n += 1
        return torch.load(f, map_location, **options)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()
    torch.save(state, path)
    return path


def test_weights_that_are_loaded_again_and_again_are_read_twice(weights: Path) -> None:
    cache, load = WeightsCache(2**20), Loads()
    first = cache.load(load, weights, None, {})
    for _ in range(5):
        found = cache.load(load, str(weights), None, {})
        assert list(found) == list(first)
        assert found._metadata == first._metadata
        assert all(torch.equal(found[k], first[k]) for k in first)
    assert load.n == 2  # the second time it is known to be asked for again


def test_writing_into_loaded_weights_changes_no_later_load(weights: Path) -> None:
    cache, load = WeightsCache(2**20), Loads()
    pristine = torch.load(weights)
    for _ in range(5):
        found = cache.load(load, weights, None, {})
        assert all(torch.equal(found[k], pristine[k]) for k in pristine)
        for value in found.values():
            value.mul_(0)
        found.clear()


def test_tensors_that_share_memory_still_do(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    torch.save({"whole": whole, "part": whole[4:8]}, tmp_path / "tied.pt")
    cache, load = WeightsCache(2**20), Loads()
    for _ in range(4):
        found = cache.load(load, tmp_path / "tied.pt", None, {})
        assert found["part"].tolist() == [4, 5, 6, 7]
        found["part"].zero_()
        assert found["whole"][4:8].tolist() == [0] * 4


def test_a_file_that_changed_is_read_anew(weights: Path) -> None:
    cache, load = WeightsCache(2**20), Loads()
    for _ in range(3):
        cache.load(load, weights, None, {})
    torch.save({"other": torch.ones(1)}, weights)
    assert list(cache.load(load, weights, None, {})) == ["other"]
    same_size = weights.read_bytes()
    for _ in range(3):
        cache.load(load, weights, None, {})
    n = load.n
    weights.write_bytes(same_size)
    os.utime(weights, ns=(1, 1))
    cache.load(load, weights, None, {})
    assert load.n == n + 1


def test_what_decides_the_result_is_part_of_the_key(weights: Path) -> None:
    cache, load = WeightsCache(2**20), Loads()
    device = "cpu"
    for options in ({}, {"weights_only": True}):
        for place in (
            None,
            "cpu",
            torch.device("cpu"),
            {"cuda:0": "cpu"},
            lambda storage, location: storage,
        ):
            load.n = 0
            for _ in range(3):
                cache.load(load, weights, place, options)
            assert load.n == 2, place
    load.n = 0
    for place in (
        lambda storage, location: (storage, device)[0],
        lambda storage, location="cpu": storage,
    ):
        for _ in range(3):
            cache.load(load, weights, place, {})
    assert load.n == 6  # functions that depend on more than their arguments are not looked into


def test_open_files_and_what_cannot_be_copied_are_read_each_time(weights: Path) -> None:
    class Unique:
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("there is but one")

    cache, load = WeightsCache(2**20), Loads()
    for _ in range(3):
        with weights.open("rb") as file:
            cache.load(load, file, None, {})
    assert load.n == 3
    found = [cache.load(lambda *_, **__: Unique(), weights, None, {"a": 1}) for _ in range(3)]
    assert len({id(f) for f in found}) == 3


def test_the_kept_weights_are_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    paths = [tmp_path / str(i) for i in range(4)]
    for path in paths:
        torch.save({"w": torch.zeros(1000)}, path)
    size = paths[0].stat().st_size
    cache, load = WeightsCache(2 * size), Loads()
    for path in paths:
        cache.load(load, path, None, {})
        cache.load(load, path, None, {})
    load.n = 0
    for path in (paths[3], paths[2]):
        cache.load(load, path, None, {})
    assert load.n == 0
    cache.load(load, paths[0], None, {})
    assert load.n == 1
    small = WeightsCache(size - 1)
    for _ in range(3):
        small.load(load, paths[0], None, {})
    assert load.n == 4
    cache.clear()
    cache.load(load, paths[2], None, {})
    assert load.n == 5
