"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import shows
from ..errors import InputError

if TYPE_CHECKING:
    from ..runtime import Ray


def model_argument(child: argparse.ArgumentParser) -> None:
    """The model, in any of the ways to name it."""
    child.add_argument(
        "model",
        metavar="MODEL",
        help="number, id, the unique beginning of an id, or the path of a package folder",
    )


def package_argument(child: argparse.ArgumentParser) -> None:
    """A package folder to contribute."""
    child.add_argument("folder", type=path_of, metavar="DIR", help="the package folder")


def set_argument(child: argparse.ArgumentParser) -> None:
    """A set of samples."""
    child.add_argument(
        "folder", type=path_of, metavar="DIR", help="a folder that `medzoo generate` filled"
    )


def version_argument(child: argparse.ArgumentParser) -> None:
    """A version of the model."""
    child.add_argument(
        "--version",
        dest="model_version",
        metavar="V",
        help="version of the model (default: its best)",
    )


def option_argument(child: argparse.ArgumentParser) -> None:
    """Further inputs of the model."""
    child.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another input of the model, as `medzoo info` lists them; may be repeated",
    )


def inputs_argument(child: argparse.ArgumentParser) -> None:
    """The user's pictures."""
    child.add_argument(
        "--inputs",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="your own images, for a model that works on images: a folder or files; NAME=PATH for "
        "a model with several inputs",
    )


def running_arguments(child: argparse.ArgumentParser, device: str = "auto") -> None:
    """Where to run, and whether to run what no registry vouches for."""
    child.add_argument(
        "--device", default=device, help=f"auto, cpu, cuda, cuda:1 or 1, mps (default: {device})"
    )
    child.add_argument(
        "--sandbox",
        default="auto",
        choices=["auto", "on", "off"],
        help="contain code that did not come with medzoo: as far as this system can (auto, the "
        "default), fully or not at all (on), or never (off)",
    )
    environment_arguments(child)


def environment_arguments(child: argparse.ArgumentParser) -> None:
    """In which environment, whether it is trusted, and whether to use the network."""
    child.add_argument(
        "--env",
        default="auto",
        choices=["auto", "current", "isolated"],
        help="where the model's code runs: in its own environment (isolated), or with the packages "
        "installed here (current); auto, the default, is current for bundled models if the "
        "installed packages are right for them, otherwise isolated",
    )
    child.add_argument(
        "--trust",
        action="store_true",
        help="run a package that no registry names, or weights that need pickle",
    )
    offline_argument(child)


def offline_argument(child: argparse.ArgumentParser) -> None:
    """Whether to do without a network."""
    child.add_argument(
        "--offline",
        action="store_true",
        help="no network: use what is in the cache (or set MEDZOO_OFFLINE=1)",
    )


def json_argument(child: argparse.ArgumentParser, *, of_step: bool = False) -> None:
    """Output for scripts. If the command of a step takes it too, it can be given before the step as
    well.
    """
    # Without a default, the step does not undo what was given before it.
    default = argparse.SUPPRESS if of_step else False
    child.add_argument(
        "--json", action="store_true", default=default, help="print JSON, for scripts"
    )


def engine_arguments(child: argparse.ArgumentParser) -> None:
    """Many processes and machines; the names are those of `medzoo.Ray`."""
    child.add_argument(
        "--engine",
        choices=["ray"],
        help="make the samples with the actors of a Ray cluster, or of Ray on this machine; the "
        "files are the same",
    )
    child.add_argument(
        "--address",
        metavar="A",
        help="address of the Ray cluster: auto, or HOST:PORT (default: RAY_ADDRESS, or else the "
        "cluster on this machine)",
    )
    child.add_argument(
        "--actors",
        type=count,
        metavar="K",
        help="number of actors (default: as many as the cluster has room for)",
    )
    child.add_argument(
        "--cpus-per-actor",
        type=float,
        metavar="C",
        help="cores, and threads of torch, per actor (default: 1)",
    )
    child.add_argument(
        "--gpus-per-actor",
        type=float,
        metavar="G",
        help="GPUs per actor; with 0.5, two share one GPU (default: 1 if the device is cuda, or if "
        "it is auto and the cluster has GPUs)",
    )


def count(text: str) -> int:
    """A number of samples, such as 500 or 1_000_000: a whole number of at least 1."""
    if not (re.fullmatch(r"\d+(_\d+)*", text) and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def path_of(text: str) -> Path:
    """A path. An empty text, such as of a variable of the shell that is not set, is refused: as a
    path it would be the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def named_classes(pairs: Sequence[str]) -> dict[str, str]:
    """``--class A=B``, given any number of times, as a mapping."""
    classes: dict[str, str] = {}
    for pair in pairs:
        name, sign, other = pair.partition("=")
        if not (name and sign and other):
            raise InputError(f"--class {pair} is not a pair.", "Such as --class B=benign.")
        if classes.get(name, other) != other:
            raise InputError(
                f"--class {name} is given twice: {classes[name]} and {other}.", "Give one."
            )
        classes[name] = other
    return classes


def chosen_engine(a: argparse.Namespace) -> Ray | None:
    """``--engine`` and what belongs to it."""
    from ..runtime import Ray

    names = ("address", "actors", "cpus_per_actor", "gpus_per_actor")
    options = {name: getattr(a, name) for name in names if getattr(a, name) is not None}
    if options and a.engine is None:
        raise InputError(
            f"--{next(iter(options)).replace('_', '-')} is for many processes.",
            "Say --engine ray as well.",
        )
    return Ray(**options) if a.engine else None


def given_inputs(a: argparse.Namespace, names: Collection[str]) -> Any:
    """``--inputs``: a folder, a file or several; a dict if they have names; None without any.

    ``names`` are those of the inputs of the model.
    """
    named: dict[str, list[str]] = {}
    for text in a.inputs or []:
        name, _, path = text.partition("=")
        if path and name in names:
            named.setdefault(name, []).append(path)
        else:
            named.setdefault("", []).append(text)
    if "" in named and len(named) > 1:
        raise InputError(
            f"--inputs {named['']!r} has no name, and others have.", "Give each as NAME=PATH."
        )
    inputs: dict[str, Any] = {}
    for name, paths in named.items():
        inputs[name] = paths[0] if len(paths) == 1 else paths
    return inputs.get("", inputs or None)


def print_json(content: Any) -> None:
    """JSON on stdout; escaped where the console cannot show what is in it.

    JSON has no infinite numbers and no NaN: they become null.
    """
    content = _finite(content)
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    print(text if shows(text) else json.dumps(content, indent=2, default=str))


def _finite(value: Any) -> Any:
    """The same content, with None instead of NaN and infinite numbers."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
