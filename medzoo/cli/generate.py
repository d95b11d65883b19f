"""Samples of a model: ``generate``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..config import ARGUMENTS, PRECISIONS, Condition, Option, Version
from ..console import megabytes, minutes
from ..datasets import FORMATS
from ..errors import InputError
from .help import RUN, Commands, command
from .options import (
    chosen_engine,
    count,
    engine_arguments,
    given_inputs,
    inputs_argument,
    json_argument,
    model_argument,
    option_argument,
    path_of,
    print_json,
    running_arguments,
    version_argument,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..generation.job import Job
    from ..generation.run import LoadedModel


# options of `medzoo generate` that say how to run the model, besides its engine
EXECUTION_OPTIONS = ("device", "weights", "env", "trust", "sandbox", "precision")
LONG_RUN = 60.0  # seconds; an estimate is printed before a longer run


def add_generate(commands: Commands) -> None:
    """``generate``."""
    child = command(
        commands,
        "generate",
        "make samples and write them to a folder",
        "The folder gets the samples, manifest.jsonl (one line per file) and provenance.json, "
        "which says how to make them again. The same command continues a run that was stopped. If "
        "the set is finished, it does nothing. Without --seed it uses the seed of the folder. With "
        "a larger -n the set grows. Any other command into that folder is an error. Before a run "
        "of more than a minute, an estimate of time and disk space is printed.",
        examples=(
            "medzoo generate 8 -n 500 --out masses/",
            "medzoo generate 8 -n 100 --out malignant/ --condition malignant --seed 1",
            "medzoo generate 8 -n 5000 --out masses-npz/ --format npz --batch-size 64",
            "medzoo generate 8 -n 100 --out masses-dicom/ --format dicom",
            "medzoo generate 8 -n 100 --out masses-classes/ --layout classes",
            "medzoo generate 8 -n 1_000_000 --out million/ --format webdataset --engine ray",
            "medzoo generate 8 -n 4 --out four/ --json | jq .provenance.seed",
        ),
        codes=(2, *RUN, 9, 130),
    )
    model_argument(child)
    child.add_argument(
        "-n",
        type=count,
        metavar="N",
        help="how many samples (default: 1, or one for each of --inputs)",
    )
    child.add_argument(
        "--out",
        type=path_of,
        required=True,
        metavar="DIR",
        help="a new or empty folder, or a folder with a set to continue or to extend",
    )
    child.add_argument(
        "--seed",
        type=int,
        metavar="S",
        help="root seed, 0 to 2**64 - 1 (default: a fresh one, recorded)",
    )
    child.add_argument(
        "--first",
        type=int,
        default=0,
        metavar="I",
        help="number of the first sample: samples I to I + N - 1 of the seed (default: 0)",
    )
    child.add_argument(
        "--condition",
        metavar="VALUE",
        help="the model's condition, such as malignant, or N of them, separated by commas "
        "(default: each in turn)",
    )
    option_argument(child)
    child.add_argument(
        "--format",
        choices=list(FORMATS),
        metavar="FORMAT",
        help="; ".join(map(": ".join, FORMATS.items()))
        + " (default: the first of png, csv and npz that can hold every column)",
    )
    child.add_argument(
        "--layout",
        metavar="LAYOUT",
        help="classes: one folder per label, images/malignant/000007.png, and metadata.jsonl "
        "with the labels; classes:NAME if there are several label columns",
    )
    child.add_argument(
        "--shard-size",
        metavar="SIZE",
        help="for webdataset: bytes after which a shard ends, such as 64MB (default: 256MiB)",
    )
    child.add_argument(
        "--shard-samples",
        type=count,
        metavar="K",
        help="for webdataset: samples per shard, at most (default: as many as fit)",
    )
    child.add_argument(
        "--batch-size",
        type=count,
        metavar="B",
        help="samples at a time (default: the model's own number, if memory allows)",
    )
    inputs_argument(child)
    running_arguments(child)
    child.add_argument(
        "--precision",
        default="full",
        choices=list(PRECISIONS),
        help="number type of a native package's torch operations; other types than full are faster "
        "on a device that supports them, and change pixels (default: full)",
    )
    version_argument(child)
    child.add_argument(
        "--weights",
        type=path_of,
        metavar="FILE",
        help="a .safetensors file with other weights for the same model",
    )
    engine_arguments(child)
    said = child.add_mutually_exclusive_group()
    said.add_argument(
        "--quiet", action="store_true", help="no progress bar, estimate or notice: only errors"
    )
    said.add_argument(
        "--verbose", action="store_true", help="say how the model's code was contained"
    )
    json_argument(child)


def generate_command(a: argparse.Namespace) -> None:
    """``medzoo generate``."""
    if a.quiet:
        os.environ["MEDZOO_QUIET"] = "1"
    from ..datasets.layout import Arrangement
    from ..generation.job import Job
    from ..registry import resolve
    from ..runtime import Execution

    config = resolve(a.model)
    version = config.version(a.model_version)
    options, inputs = model_options(a, version), given_inputs(a, version.inputs)
    how = {name: getattr(a, name) for name in EXECUTION_OPTIONS}
    execution = Execution(**how, engine=chosen_engine(a))
    # The request and the folder are checked before the model is loaded.
    job = Job.of(
        config,
        a.n,
        version=a.model_version,
        execution=execution,
        out=a.out,
        format=a.format,
        seed=a.seed,
        first=a.first,
        inputs=inputs,
        options=options,
        arrangement=Arrangement(a.layout, a.shard_size, a.shard_samples),
        batch_size=a.batch_size,
    )
    samples = job.existing()
    finished_before, began = samples is not None, time.monotonic()
    if samples is None:
        job.check_room()
        with job.load() as model:
            announce(job, model, quiet=a.quiet)
            began = time.monotonic()
            samples = job.run(model, progress=False if a.quiet else None)
    if a.verbose:
        print(containment(samples.provenance), file=sys.stderr)
    if a.json:
        print_json(
            {
                "folder": str(samples.folder),
                "n": len(samples),
                "finished_before": finished_before,
                "provenance": dict(samples.provenance),
            }
        )
    elif not a.quiet:
        number = f"{len(samples):,} {'sample' if len(samples) == 1 else 'samples'}"
        note = minutes(time.monotonic() - began)
        if finished_before:
            note = f"finished before: nothing was made, `medzoo verify {a.out}` checks them"
        seed = samples.provenance["seed"]
        print(f"{number} of {config.id} {version.name}, seed {seed}, in {a.out} ({note})")


def containment(provenance: Mapping[str, Any]) -> str:
    """What of the sandbox held while samples were made, in one line."""
    if "sandbox" not in provenance:
        return "sandbox: none, since this code came with medzoo"
    from .._worker.sandbox import PARTS

    held = provenance["sandbox"]
    missing = [part for part in PARTS if part not in held]
    if not held:
        return "sandbox: nothing was contained"
    return f"sandbox: {', '.join(held)}" + (f"; not {', '.join(missing)}" if missing else "")


def model_options(a: argparse.Namespace, version: Version) -> dict[str, Any]:
    """``--condition`` and ``--option`` as the keyword arguments of generate."""
    options: dict[str, Any] = {}
    if a.condition is not None:
        if not version.conditions:
            raise InputError(
                f"--condition {a.condition}: {a.model} has no condition.",
                f"`medzoo info {a.model}` lists its inputs.",
            )
        name = "condition" if "condition" in version.conditions else next(iter(version.conditions))
        options[name] = condition_value(a.condition, version.conditions[name])
    for pair in a.option:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(
                f"--option {pair} is not NAME=VALUE.",
                f"`medzoo info {a.model}` lists the model's inputs.",
            )
        if name in ARGUMENTS - {"latents"}:
            raise InputError(
                f"--option {pair}: {name} is not an input of a model.",
                f"`medzoo info {a.model}` lists the model's inputs.",
            )
        if name in options:
            raise InputError(f"--option {pair}: {name} is given twice.", "Give it once.")
        if name in version.conditions:
            options[name] = condition_value(text, version.conditions[name])
        else:
            options[name] = parse_value(text, version.options.get(name))
    return options


def condition_value(text: str, condition: Condition) -> Any:
    """The name of a value, or a list: ``benign,malignant,1`` or JSON."""
    if text.lower() in {name.lower() for name in condition.values}:
        return text
    if text.startswith("["):
        with suppress(ValueError):
            return json.loads(text, parse_int=str)
    return [part.strip() for part in text.split(",")] if "," in text else text


def parse_value(text: str, option: Option | None = None) -> Any:
    """A number, true, false or a list if ``text`` is one, else the text.

    For an option of the type text it is always the text, without the quotes of JSON. A list of
    numbers may stand without brackets: ``box=0.4,0.5,0.2,0.15``.
    """
    kind = option.type if option is not None else ""
    if kind == "str" and not (text.startswith('"') and text.endswith('"')):
        return text
    is_list = kind in {"ints", "floats"} and "," in text and not text.startswith("[")
    written = f"[{text}]" if is_list else text
    number: dict[str, Any] = {"parse_int": str, "parse_float": str} if kind == "texts" else {}
    for form in (written, written.lower()):
        with suppress(ValueError):
            return json.loads(form, **number)
    return text


def announce(job: Job, model: LoadedModel, *, quiet: bool) -> None:
    """Before a long run, print what it will take; an error if the disk is too small."""
    estimate = job.estimate(model)
    if estimate is None or quiet or estimate.seconds <= LONG_RUN:
        return
    disk = "" if estimate.disk is None else f" and {megabytes(estimate.disk)}"
    takes = f"about {minutes(estimate.seconds)}{disk}"
    print(f"{job.request.n:,} samples: {takes} in {job.out}", file=sys.stderr)
