"""The user's weights instead of those of a package."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import InputError
from ..files import disguise as disguise_of
from ..packages.store import package_files
from ..settings import user_path

WEIGHTS = "weights.safetensors"


def their_file(weights: str | os.PathLike[str]) -> Path:
    """The user's file.

    Raises
    ------
    InputError
        There is none.
    """
    path = user_path(weights, "weights").absolute()
    if not path.is_file():
        raise InputError(
            f"weights={str(weights)!r}: there is no such file.", "Give a .safetensors file."
        )
    if disguise := disguise_of(path):
        raise InputError(f"weights={str(weights)!r} is {disguise}.", "Give the file itself.")
    return path


def other_weights(model_name: str, package: Path, weights: Path, folder: Path) -> Path:
    """``folder``, filled so that the user's weights have the name that a native package expects.

    Raises
    ------
    InputError
        They do not fit, or the package has none.
    """
    check_fit(model_name, package, weights)
    for name in package_files(package):  # what else its `load` may look for beside the weights
        if not name.endswith((".py", WEIGHTS)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package / name, folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / WEIGHTS)
    return folder


def check_fit(model_name: str, package: Path, weights: Path) -> None:
    """Whether a native package can run with the user's weights.

    Raises
    ------
    InputError
        They do not fit, or the package has none.
    """
    if not (package / WEIGHTS).is_file():
        raise InputError(
            f"{model_name} has no {WEIGHTS} that others could replace.", "Leave `weights` out."
        )
    compare(package / WEIGHTS, weights)


def compare(ours: Path, theirs: Path) -> None:
    """Check that two safetensors files hold tensors of the same names and shapes.

    Raises
    ------
    InputError
        They differ, or ``theirs`` is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    def shapes(path: Path) -> dict[str, tuple[int, ...]]:
        with safe_open(path, "np") as file:
            return {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()}  # noqa: SIM118

    try:
        actual = shapes(theirs)
    except SafetensorError as error:
        raise InputError(f"weights={str(theirs)!r} is not a safetensors file: {error}") from error
    expected = shapes(ours)
    if actual != expected:
        wrong = []
        for name in sorted(actual.keys() | expected.keys()):
            shape, right = actual.get(name, "missing"), expected.get(name, "expected at all")
            if shape != right:
                wrong.append(f"{name}: {shape}, not {right}")
        raise InputError(
            f"weights={str(theirs)!r} has {len(wrong)} tensors that do not fit this model:\n  "
            + "\n  ".join(wrong[:5]),
            "Train with the train.py beside this model.",
        )
