"""Runs that cannot fit are refused before anything is loaded, and say how much they need."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import medzoo
from medzoo.cli import main
from medzoo.errors import DatasetError, OutOfMemoryError
from medzoo.generation import capacity
from medzoo.registry import resolve

Toy = Callable[..., int]
COLUMNS = {
    "images": {"kind": "image", "dtype": "uint16", "shape": [1, 100, 100], "range": [0, 4095]},
    "volumes": {"kind": "volume", "dtype": "float32", "shape": [1, 10, 10, 10], "range": [0, 1]},
    "labels": {"kind": "label", "condition": "condition"},
}
BLACK = """
import numpy as np

class Model:
    def sample(self, batch):
        return {"images": np.full((batch.n, 1, 100, 100), batch.indices[0], np.uint16)}

def load(weights_dir, device):
    return Model()
"""
BROKEN = "raise RuntimeError('it was loaded')"


def free(bytes_: int) -> Callable[..., int]:
    """A machine with so much memory."""
    return lambda device: bytes_


def test_a_sample_is_as_large_as_its_columns(toy: Toy) -> None:
    version = resolve(toy(outputs=COLUMNS)).default
    assert capacity.sample_bytes(version.outputs) == 20_000 + 4_000 + 8


def test_more_samples_than_memory_are_refused_before_the_model_loads(toy: Toy) -> None:
    toy(BROKEN)
    says = (
        r"1,000,000,000,000 samples of 00901_TOY_MRI_NOISE need 72,000\.0 GB of memory, and .* free"
    )
    with pytest.raises(OutOfMemoryError, match=says) as caught:
        medzoo.generate(901, 10**12)
    assert "Ask for fewer, or give `out`" in caught.value.hint


def test_a_batch_that_does_not_fit_is_refused(toy: Toy) -> None:
    toy(BROKEN)
    with pytest.raises(OutOfMemoryError, match="samples in one batch"):
        medzoo.stream(901, 10**12, batch_size=10**11)
    with pytest.raises(OutOfMemoryError, match="samples in one batch"):
        medzoo.dataloader(901, 10**12, batch_size=10**11)
    toy()
    with medzoo.load(901) as model, pytest.raises(OutOfMemoryError, match="in one batch"):
        model.stream(10**12, batch_size=10**11)
    with medzoo.load(901) as model, pytest.raises(OutOfMemoryError, match=r"72,000\.0 GB"):
        model(10**12)


def test_the_limit_is_the_memory_that_is_free(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    monkeypatch.setattr(capacity, "free_memory", free(72 * 100))
    assert len(medzoo.generate(901, 100)) == 100
    with pytest.raises(OutOfMemoryError, match=r"101 samples .* need 7 kB of memory, and 7 kB are"):
        medzoo.generate(901, 101)
    monkeypatch.setattr(capacity, "free_memory", lambda device: None)  # a system that does not say
    assert len(medzoo.generate(901, 101)) == 101


def test_samples_are_in_memory_once_while_they_are_made(toy: Toy) -> None:
    images = {"images": COLUMNS["images"]}
    toy(BLACK, outputs=images, conditions=None, options=None, latent=0)
    medzoo.generate(901, 8, batch_size=4)  # imports
    tracemalloc.start()
    samples = medzoo.generate(901, 400, batch_size=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * samples.images.nbytes
    assert np.array_equal(samples.images[:, 0, 0, 0], np.repeat(np.arange(0, 400, 4), 4))
    assert samples.indices.tolist() == list(range(400))


@pytest.mark.parametrize("format_", [None, "png", "npz", "webdataset", "dicom", "nifti"])
def test_a_run_that_no_disk_holds_is_refused_before_the_model_loads(
    toy: Toy, tmp_path: Path, format_: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    toy(BROKEN)
    out = tmp_path / "out"
    with pytest.raises(DatasetError, match=r"need at least [\d,]+\.\d GB, and .* GB free"):
        medzoo.generate(901, 10**12, out=out, format=format_)
    words = ["generate", "901", "-n", "1_000_000_000_000", "--out", str(out)]
    assert main(words + (["--format", format_] if format_ else [])) == 9
    assert "Nothing was written. Ask for fewer" in capsys.readouterr().err
    assert not out.exists()


def test_the_need_on_disk_is_never_more_than_what_is_written(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"images": COLUMNS["images"]}
    toy(BLACK, outputs=images, conditions=None, options=None, latent=0)
    for name in ("png", "npz", "webdataset", "dicom", "nifti"):
        medzoo.generate(901, 50, out=tmp_path / name, format=name, seed=1)
        written = sum(p.stat().st_size for p in (tmp_path / name).rglob("*") if p.is_file())
        monkeypatch.setattr(
            capacity.shutil, "disk_usage", lambda folder, size=written: SimpleNamespace(free=size)
        )
        config = resolve(901)
        capacity.check_disk(config, config.default, 50, tmp_path / "other", name)
        monkeypatch.undo()
        toy(BLACK, outputs=images, conditions=None, options=None, latent=0)


def test_a_run_that_goes_on_is_not_asked_for_room_again(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    done = medzoo.generate(901, 20, out=tmp_path / "out", seed=1)
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))
    again = medzoo.generate(901, 20, out=tmp_path / "out", seed=1)
    assert np.array_equal(done.images, again.images)
    with pytest.raises(DatasetError, match=r"need at least 2 kB, and .* has 0 kB free"):
        medzoo.generate(901, 20, out=tmp_path / "new", seed=1)


@pytest.mark.parametrize("format_", ["png", "webdataset"])
def test_a_run_that_turns_out_too_large_is_refused_with_its_first_batch(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    how = {"out": tmp_path / "out", "format": format_, "seed": 1}
    toy()
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda folder: SimpleNamespace(free=20_000))
    with pytest.raises(
        DatasetError, match=r"100 samples need about \d+ kB, and .*out has 20 kB free"
    ):
        medzoo.generate(901, 100, **how)
    assert not [*(tmp_path / "out").rglob("*.png"), *(tmp_path / "out").rglob("*.tar")]
    monkeypatch.undo()
    toy()
    assert len(medzoo.generate(901, 100, **how)) == 100
    assert medzoo.verify(tmp_path / "out").ok
