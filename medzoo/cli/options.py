"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Version
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
    child.add_argument("folder", type=Path, metavar="DIR", help="the package folder")


def set_argument(child: argparse.ArgumentParser) -> None:
    """A set of samples."""
    child.add_argument(
        "folder", type=Path, metavar="DIR", help="a folder that `medzoo generate` filled"
    )


def version_argument(child: argparse.ArgumentParser) -> None:
    """A version of the model."""
    child.add_argument(
        "--version",
        dest="model_version",
        metavar="V",
        help="version of the model (default: its best)",
    )


def inputs_argument(child: argparse.ArgumentParser) -> None:
    """The user's pictures."""
    child.add_argument(
        "--inputs",
        nargs="+",
        metavar="PATH",
        help="your own images, for a model that works on some: a folder or files; NAME=PATH for a model with several inputs",
    )


def running_arguments(child: argparse.ArgumentParser, device: str = "auto") -> None:
    """Where to run, and whether to run what no registry vouches for."""
    child.add_argument(
        "--device", default=device, help=f"auto, cpu, cuda, cuda:1 or 1, mps (default: {device})"
    )
    environment_arguments(child)


def environment_arguments(child: argparse.ArgumentParser) -> None:
    """With whose packages, on whose word, and whether without a network."""
    child.add_argument(
        "--env",
        default="auto",
        choices=["auto", "current", "isolated"],
        help="whose packages to run with: the model's own environment (isolated), those installed here (current), or "
        "the latter for bundled models that they suit (auto, the default)",
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
    """Output for scripts; of a step whose command takes the argument too, it may stand before or
    after the step.
    """
    default = (
        argparse.SUPPRESS if of_step else False
    )  # else the step would undo what stands before it
    child.add_argument(
        "--json", action="store_true", default=default, help="print JSON, for scripts"
    )


def engine_arguments(child: argparse.ArgumentParser) -> None:
    """Many processes and machines; the names are those of `medzoo.Ray`."""
    child.add_argument(
        "--engine",
        choices=["ray"],
        help="make the samples with the actors of a Ray cluster, or of Ray on this machine; what is written is the same",
    )
    child.add_argument(
        "--address",
        metavar="A",
        help="of the Ray cluster: auto, or HOST:PORT (default: RAY_ADDRESS, else this machine's)",
    )
    child.add_argument(
        "--actors",
        type=count,
        metavar="K",
        help="how many (default: as many as the cluster has room for)",
    )
    child.add_argument(
        "--cpus-per-actor",
        type=float,
        metavar="C",
        help="cores, and threads of torch, of each (default: 1)",
    )
    child.add_argument(
        "--gpus-per-actor",
        type=float,
        metavar="G",
        help="GPUs of each; 0.5 lets two share one (default: 1 where the device is cuda, or auto and the cluster has any)",
    )


def count(text: str) -> int:
    """A number of samples, such as 500 or 1_000_000: a whole number of at least 1."""
    if not (re.fullmatch(r"\d+(_\d+)*", text) and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def chosen_engine(a: argparse.Namespace) -> Ray | None:
    """``--engine`` and what belongs to it."""
    from ..runtime import Ray

    names = ("address", "actors", "cpus_per_actor", "gpus_per_actor")
    given = {name: value for name in names if (value := getattr(a, name)) is not None}
    if given and a.engine is None:
        raise InputError(
            f"--{next(iter(given)).replace('_', '-')} is for many processes.",
            "Say --engine ray as well.",
        )
    return Ray(**given) if a.engine else None


def given_inputs(a: argparse.Namespace, version: Version) -> Any:
    """``--inputs``: a folder, a file or several; by name where they are given so; None where none
    are.
    """
    named: dict[str, list[str]] = {}
    for text in a.inputs or []:
        name, _, path = text.partition("=")
        whose, what = (name, path) if path and name in version.inputs else ("", text)
        named.setdefault(whose, []).append(what)
    if "" in named and len(named) > 1:
        raise InputError(
            f"--inputs {named['']!r} has no name, and others have.", "Give each as NAME=PATH."
        )
    paths: dict[str, Any] = {
        name: found[0] if len(found) == 1 else found for name, found in named.items()
    }
    return paths.get("", paths or None)


def print_json(content: Any) -> None:
    """JSON on stdout; escaped where the console cannot show what is in it."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    print(text if shows(text) else json.dumps(content, indent=2, default=str))
