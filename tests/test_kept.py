"""The model of the last `generate` stays loaded for a while, and only where it is the same."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import medzoo
from medzoo.errors import InputError, IntegrityError
from medzoo.runtime import native


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The sessions that are opened in this interpreter, in order."""
    opened: list[Any] = []
    init = native.NativeSession.__init__

    def counting(self: Any, *arguments: Any, **named: Any) -> None:
        opened.append(self)
        init(self, *arguments, **named)

    monkeypatch.setattr(native.NativeSession, "__init__", counting)
    monkeypatch.delenv("MEDZOO_KEEP", raising=False)
    medzoo.unload()
    yield opened
    medzoo.unload()


def is_open(session: Any) -> bool:
    return session._contract is not None


def test_a_loop_loads_its_model_once_and_makes_the_same_samples(loads: list[Any]) -> None:
    first = [medzoo.generate(109, 2, seed=seed) for seed in range(3)]
    assert len(loads) == 1
    medzoo.unload()
    assert not is_open(loads[0])
    again = [medzoo.generate(109, 2, seed=seed) for seed in range(3)]
    assert len(loads) == 2
    for one, other in zip(first, again, strict=True):
        assert one.provenance == other.provenance
        for name, values in one.columns.items():
            assert np.array_equal(values, other.columns[name])


def test_another_model_takes_the_place_of_the_first(loads: list[Any]) -> None:
    medzoo.generate(109, 1, seed=0)
    medzoo.generate(107, 1, seed=0)
    assert [is_open(session) for session in loads] == [False, True]


@pytest.mark.parametrize("other", [{"precision": "bfloat16"}, {"version": "2.2.0"}])
def test_only_the_same_way_to_run_uses_it(loads: list[Any], other: dict[str, Any]) -> None:
    medzoo.generate(8, 1, seed=0)
    medzoo.generate(8, 1, seed=0, **other)
    same = other.get("version") == medzoo.info(8).default_version
    assert len(loads) == (1 if same else 2)


def test_a_setting_turns_it_off(loads: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_KEEP", "0")
    for _ in range(2):
        medzoo.generate(109, 1, seed=0)
    assert [is_open(session) for session in loads] == [False, False]
    monkeypatch.setenv("MEDZOO_KEEP", "long")
    with pytest.raises(InputError, match="MEDZOO_KEEP='long' is not a number of seconds"):
        medzoo.generate(109, 1, seed=0)


def test_it_is_let_go_after_its_time(loads: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_KEEP", "0.05")
    medzoo.generate(109, 1, seed=0)
    until = time.monotonic() + 60
    while is_open(loads[0]) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_open(loads[0])


def test_a_package_that_may_be_edited_is_loaded_each_time(loads: list[Any], tmp_path: Any) -> None:
    mine = medzoo.copy(109, tmp_path / "mine")
    for _ in range(2):
        medzoo.generate(mine, 1, seed=0, trust=True)
    assert [is_open(session) for session in loads] == [False, False]


def test_a_run_that_fails_keeps_nothing(loads: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(native.NativeSession, "sample", failing)
    with pytest.raises(OSError, match="no space"):
        medzoo.generate(109, 1, seed=0)
    assert [is_open(session) for session in loads] == [False]


def test_two_threads_never_share_a_session(
    loads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    medzoo.generate(109, 1, seed=0)
    using: set[int] = set()
    shared = []
    sample = native.NativeSession.sample

    def watched(self: Any, batch: Any) -> Any:
        shared.append(id(self) in using)
        using.add(id(self))
        time.sleep(0.01)
        columns = sample(self, batch)
        using.discard(id(self))
        return columns

    monkeypatch.setattr(native.NativeSession, "sample", watched)
    threads = [threading.Thread(target=lambda: medzoo.generate(109, 1, seed=0)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shared) == 4
    assert not any(shared)
    assert sum(is_open(session) for session in loads) == 1


def test_a_package_that_was_revoked_meanwhile_is_refused(loads: list[Any]) -> None:
    from medzoo.packages import revoked

    samples = medzoo.generate(109, 1, seed=0)
    digest = next(iter(samples.provenance["sha256"].values()))
    revoked.remember({digest: "it was bad"})
    with pytest.raises(IntegrityError, match="was revoked: it was bad"):
        medzoo.generate(109, 1, seed=0)


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no fork here")
def test_a_forked_process_does_not_use_the_session_of_its_parent(loads: list[Any]) -> None:
    from medzoo.generation import kept

    medzoo.generate(109, 1, seed=0)
    shelf = kept._shelf
    kept._forget()  # what runs in the child
    assert kept._shelf is not shelf
    assert is_open(loads[0])
    shelf.clear()


def test_code_that_may_be_edited_is_loaded_again(loads: list[Any], toy: Callable[..., int]) -> None:
    number = toy(files=None, size=1000)
    before = medzoo.generate(number, 1, seed=1, trust=True)
    code = medzoo.info(number).path.parent / "package" / "model.py"
    code.write_text(code.read_text().replace('batch.options.get("gain", 0)', "9"))
    after = medzoo.generate(number, 1, seed=1, trust=True)
    assert (before.images[0, 0, 0, 5], after.images[0, 0, 0, 5]) == (3, 9)
    assert before.provenance["sha256"] != after.provenance["sha256"]
