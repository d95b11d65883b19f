"""Who is named when a model fails: the package's authors only where the package is at fault. And what counts as trust."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import NUMPY_MODEL, toy_config

import medzoo
from medzoo._worker.protocol import Failure
from medzoo.errors import InputError, IntegrityError, MedzooError, PackageError
from medzoo.modeltest.examination import examine
from medzoo.packages import transfer as carry
from medzoo.runtime.session import explain

Toy = Callable[..., int]
AUTHORS = "If the package is not yours, tell its authors."
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = "<!DOCTYPE html>\n<html><head><title>Log in</title></head></html>"


@pytest.mark.parametrize(
    ("message", "given", "says"),
    [
        ("[Errno 28] No space left on device: 'a'", (), "MEDZOO_CACHE and TMPDIR"),
        ("[Errno 13] Permission denied: '/tmp/a'", (), "MEDZOO_CACHE and TMPDIR"),
        ("[Errno 24] Too many open files", (), "MEDZOO_CACHE and TMPDIR"),
        ("CUDA error: no kernel image is available", (), "device='cpu' runs without it"),
        ("Found no NVIDIA driver on your system", (), "device='cpu' runs without it"),
        ("tensor sizes differ", ("weights",), "It ran with your own weights, which may not fit"),
        ("tensor sizes differ", ("weights", "inputs"), "It ran with your own weights and inputs"),
        ("division by zero", (), AUTHORS),
    ],
)
def test_the_hint_names_what_is_at_fault(message: str, given: tuple[str, ...], says: str) -> None:
    error = explain(Failure("package", "RuntimeError", message), "it", "failed", user_parts=given)
    assert isinstance(error, PackageError)
    assert says in error.hint
    assert ("authors" in error.hint) == (says == AUTHORS)


def test_pictures_of_the_user_may_be_why_a_package_fails(toy: Toy) -> None:
    code = """
        def load(weights_dir, device):
            return Model()

        class Model:
            def sample(self, batch):
                raise ValueError("cannot work on this")
    """
    inputs = {"image": {"kind": "image", "help": "Any.", "required": False}}
    number = toy(code, inputs=inputs, conditions=None, options=None, outputs=OUTPUTS)
    with pytest.raises(PackageError, match="It ran with your own inputs"):
        medzoo.generate(number, 1, inputs=np.zeros((4, 4), np.uint8))
    with pytest.raises(PackageError, match=AUTHORS):
        medzoo.generate(number, 1)


OUTPUTS = {"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}}


@pytest.mark.parametrize(("content", "says"), [(POINTER, "git lfs pull"), (PAGE, "a web page")])
@pytest.mark.parametrize("name", ["weights.safetensors", "table.npz", "network.onnx"])
def test_what_lies_in_place_of_a_file_of_a_package_is_named(
    tmp_path: Path, content: str, says: str, name: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.py").write_text(textwrap.dedent(NUMPY_MODEL), encoding="utf-8")
    config = toy_config(source="file:.")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assert len(medzoo.generate(folder, 1, trust=True)) == 1
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(IntegrityError, match=f"{name} is {says[:1]}.*|{says}") as caught:
        medzoo.generate(folder, 1, trust=True)
    assert says in str(caught.value)
    assert "authors" not in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [(POINTER, "git lfs pull"), (PAGE, "a web page")])
def test_weights_of_the_user_that_are_something_else_are_named(
    tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "my.safetensors").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        medzoo.generate(8, 1, weights=tmp_path / "my.safetensors")


# ---- trust

ANSWERS: list[Any] = ["no", "yes", "0", "", 0, 1, None, [0], [], np.True_]
CALLS: dict[str, Callable[[Any, Path], Any]] = {
    "generate": lambda trust, _: medzoo.generate(8, 1, trust=trust),
    "load": lambda trust, _: medzoo.load(8, trust=trust),
    "stream": lambda trust, _: list(medzoo.stream(8, 1, trust=trust)),
    "dataset": lambda trust, _: medzoo.dataset(8, 1, trust=trust),
    "dataloader": lambda trust, _: medzoo.dataloader(8, 1, trust=trust),
    "iterable_dataset": lambda trust, _: medzoo.iterable_dataset(8, 1, trust=trust),
    "visualize": lambda trust, folder: medzoo.visualize(8, save=folder / "a.png", trust=trust),
    "reproduce": lambda trust, folder: medzoo.reproduce(folder, trust=trust),
    "install": lambda trust, _: carry.install(8, trust=trust),
    "import_models": lambda trust, folder: carry.import_models(folder / "a", trust=trust),
    "examine": lambda trust, _: examine(8, trust=trust),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trust", ANSWERS, ids=repr)
def test_trust_is_true_or_false_and_nothing_else(tmp_path: Path, call: str, trust: Any) -> None:
    with pytest.raises(InputError, match=r"^trust=.* is neither True nor False\."):
        CALLS[call](trust, tmp_path)


def test_no_answer_but_true_runs_code_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(toy_config(source="file:.")), "utf-8")
    mark = tmp_path / "ran"
    (tmp_path / "model.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nload = None\n", "utf-8"
    )
    for trust in [*ANSWERS, False]:
        with pytest.raises(MedzooError):
            medzoo.generate(tmp_path, 1, trust=trust)
        assert not mark.exists()
    with pytest.raises(MedzooError):
        medzoo.generate(tmp_path, 1, trust=True)
    assert mark.exists()
