"""Sets of samples on disk: ``verify``, ``reproduce``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import DatasetError
from .help import RUN, Commands, command
from .options import (
    chosen_engine,
    engine_arguments,
    given_inputs,
    inputs_argument,
    json_argument,
    path_of,
    print_json,
    running_arguments,
    set_argument,
)

if TYPE_CHECKING:
    from ..datasets.verification import Verification
    from ..generation.reproduction import Reproduction


def add_sets(commands: Commands) -> None:
    """``verify``, ``reproduce``."""
    child = command(
        commands,
        "verify",
        "read a set of samples again and name what is missing, changed or extra",
        "Compares every file with its digest in the manifest. The exit code is 9 if anything "
        "differs.",
        examples=("medzoo verify masses/",),
        codes=(9,),
    )
    set_argument(child)
    json_argument(child)

    child = command(
        commands,
        "reproduce",
        "make a set of samples again from its provenance, and compare",
        "The new set goes to a folder beside the old one, which is removed afterwards. If the "
        "command is interrupted, the same command continues there. If files differ, it says by how "
        "much, and whether that is within the tolerance that the model states. The exit code is 9 "
        "if it is not, or if files are no longer as they were written.",
        examples=(
            "medzoo reproduce masses/",
            "medzoo reproduce mine-samples/ --model mine/ --trust",
            "medzoo reproduce million/ --engine ray",
        ),
        codes=(2, *RUN, 9, 130),
    )
    set_argument(child)
    child.add_argument(
        "--model",
        metavar="DIR",
        help="your package folder, if the set was made with it",
    )
    child.add_argument(
        "--weights",
        type=path_of,
        metavar="FILE",
        help="the weights, if the set was made with your own",
    )
    inputs_argument(child)
    running_arguments(child)
    engine_arguments(child)
    json_argument(child)


def verify_command(a: argparse.Namespace) -> int:
    """``medzoo verify``."""
    from ..datasets.verification import verify

    return finding(verify(a.folder), as_json=a.json)


def reproduce_command(a: argparse.Namespace) -> int:
    """``medzoo reproduce``."""
    from ..datasets.reader import finished
    from ..generation.reproduction import reproduce

    how: dict[str, Any] = {
        "weights": a.weights,
        "device": a.device,
        "env": a.env,
        "trust": a.trust,
        "sandbox": a.sandbox,
        "engine": chosen_engine(a),
    }
    if a.inputs:
        options = finished(a.folder).get("options", {})
        how["inputs"] = given_inputs(a, options.get("inputs", {}))
    return finding(reproduce(a.folder, a.model, **how), as_json=a.json)


def finding(report: Verification | Reproduction, *, as_json: bool) -> int:
    """What was found of a set; the exit code."""
    if as_json:
        print_json({**asdict(report), "ok": report.ok})
    else:
        print(report)
    return 0 if report.ok else DatasetError.exit_code
