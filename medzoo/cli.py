"""The command line: parse (`medzoo.arguments`), call, print."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from . import checks, settings
from .arguments import EXECUTION_OPTIONS, build_parser
from .config import REMOTE, Condition, Option, Version
from .console import readable
from .errors import (
    ContributionError,
    DatasetError,
    InputError,
    MedzooError,
    MedzooWarning,
    PackageError,
)
from .pages import print_json
from .tables import STATUS_TEXTS, facts, inputs, megabytes, metrics, minutes, package, prose
from .upkeep import cache_command, install_command

if TYPE_CHECKING:
    from .audit import Reproduction
    from .datasets.verification import Verification
    from .finder import Found
    from .job import Job
    from .run import LoadedModel
    from .runtime import Ray

LONG_RUN = 60.0  # seconds from which a run is announced with an estimate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Raises
    ------
    SystemExit
        The arguments do not parse (code 2), or ask for help or the version (code 0).
    """
    readable(sys.stdout, sys.stderr)
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return 0
    if getattr(parsed, "offline", False):
        os.environ["MEDZOO_OFFLINE"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("always", MedzooWarning)
        warnings.showwarning = partial(show_warning, warnings.showwarning)
        return guarded(parsed)


def guarded(parsed: argparse.Namespace) -> int:
    """Run the command; errors become a message on stderr and an exit code, unless ``--debug`` asks
    for the traceback.
    """
    try:
        code = COMMANDS[parsed.command](parsed)
        sys.stdout.flush()
    except (
        BrokenPipeError
    ):  # `medzoo list | head`: nobody reads on, and Python must not complain while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (Exception, KeyboardInterrupt) as error:
        if parsed.debug:
            raise
        if isinstance(error, MedzooError):
            message, code = str(error), error.exit_code
        elif isinstance(error, KeyboardInterrupt):
            message, code = "interrupted" + unfinished(parsed), 130
        else:
            message, code = (
                f"unexpected {type(error).__name__}: {error}\n--debug shows a traceback to report.",
                1,
            )
        print(f"medzoo: {message}", file=sys.stderr)
    return code or 0


def unfinished(a: argparse.Namespace) -> str:
    """What an interrupted run leaves behind."""
    if a.command == "generate" and (a.out / "run.log").exists():
        return f"; what was written stays in {a.out}, and the same command continues it"
    if hasattr(a, "offline") and any((settings.cache_folder() / "downloads").glob("*/*.part")):
        return "; what was downloaded stays in the cache, and the same command continues it"
    return ""


def show_warning(
    otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any
) -> None:
    """Our own warnings as a line, any other as Python shows it."""
    if issubclass(category, MedzooWarning):
        print(f"medzoo: warning: {message}", file=sys.stderr)
    else:
        otherwise(message, category, *where)


# -----------------------------------------------------------------------------------------------------------
# choosing
def list_command(a: argparse.Namespace) -> None:
    """``medzoo list``."""
    from .finder import search

    print_models(search(sort="id"), as_json=a.json)


def search_command(a: argparse.Namespace) -> None:
    """``medzoo search``."""
    from .finder import FIELDS, search

    fields = {
        name: value for name in (*FIELDS, "bundled") if (value := getattr(a, name)) is not None
    }
    print_models(search(" ".join(a.words), sort=a.sort, **fields), as_json=a.json)


def print_models(models: Found, *, as_json: bool) -> None:
    """A table, or a list for scripts."""
    if as_json:
        print_json(models.summaries())
    else:
        print(models)


def info_command(a: argparse.Namespace) -> None:
    """``medzoo info``."""
    from .registry import is_local, resolve

    config = resolve(a.model)
    v = config.version(a.model_version)
    if a.json:
        print_json(asdict(config) | {"path": str(config.path)})
        return
    call = f"medzoo generate {a.model if is_local(config) else config.number}"
    call += f" --version {v.name}" * (v.name != config.default_version)
    others = [name for name in config.versions if name != v.name]
    default = " (default)" * (v.name == config.default_version and bool(others))
    also = f"; also {', '.join(others)}" * bool(others)
    lines = [
        *prose(f"{config.id}: {config.name}"),
        "",
        *prose(config.description),
        "",
        *facts(
            ({"status": STATUS_TEXTS[v.status]} if v.status else {})
            | {
                "version": f"{v.name}{default}{also}",
                "modality": f"{config.modality}, {config.organ}, {config.content}",
                "architecture": v.architecture,
                "trained on": "; ".join(f"{d.name} ({d.license})" for d in v.datasets) or "no data",
                "samples": "; ".join(
                    f"{o.name} {'x'.join(map(str, o.shape)) or 'one'} {o.dtype}"
                    for o in v.outputs.values()
                ),
                "latent": f"{v.latent} numbers" if v.latent else "none",
                "inputs": "\n".join(inputs(v)) or "none",
                "package": package(v)
                + (
                    f" from {v.source}"
                    if v.scheme in REMOTE
                    else f", {megabytes(v.size)}"
                    if v.size
                    else ""
                ),
                "license": v.license,
                "authors": f"{', '.join(v.authors)} ({v.year})",
                "metrics": metrics(v) or "none reported",
            }
        ),
        "",
        f"{call} -n 4 --out samples/" + " --trust" * is_local(config),
        "Synthetic samples are for research. They are not for diagnosis.",
    ]
    print("\n".join(lines))


def cite_command(a: argparse.Namespace) -> None:
    """``medzoo cite``."""
    from .registry import cite

    print(cite(a.model, version=a.model_version))


def update_command(a: argparse.Namespace) -> None:
    """``medzoo update``."""
    from .renewal import update

    done = update(reset=a.reset)
    print_json(asdict(done)) if a.json else print(done)


# --------------------------------------------------------------------------------------------------------------
# using
def generate_command(a: argparse.Namespace) -> None:
    """``medzoo generate``."""
    if a.quiet:
        os.environ["MEDZOO_QUIET"] = "1"
    from .datasets.layout import Arrangement
    from .job import Job
    from .registry import resolve
    from .runtime import Execution

    config = resolve(a.model)
    version = config.version(a.model_version)
    options, inputs = model_options(a, version), given_inputs(a, version)
    execution = Execution(
        **{name: getattr(a, name) for name in EXECUTION_OPTIONS}, engine=chosen_engine(a)
    )
    # What is wrong with them, or with the folder, shows before the model loads.
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
    there, began = samples is not None, time.monotonic()
    if samples is None:
        job.check_room()
        with job.load() as model:
            announce(job, model, quiet=a.quiet)
            began = time.monotonic()
            samples = job.run(model, progress=False if a.quiet else None)
    if a.json:
        about = {"folder": str(samples.folder), "n": len(samples), "finished_before": there}
        print_json({**about, "provenance": dict(samples.provenance)})
    elif not a.quiet:
        what = f"{len(samples):,} sample{'s' * (len(samples) != 1)} of {config.id} {version.name}"
        how = (
            f"finished before: nothing was made, `medzoo verify {a.out}` checks them"
            if there
            else minutes(time.monotonic() - began)
        )
        print(f"{what}, seed {samples.provenance['seed']}, in {a.out} ({how})")


def chosen_engine(a: argparse.Namespace) -> Ray | None:
    """``--engine`` and what belongs to it."""
    from .runtime import Ray

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
    """A number, true, false or a list where ``text`` is one, else the text; of an option that is
    text, always text, without the quotes of a JSON text.
    """
    kind = option.type if option is not None else ""
    if kind == "str" and not (text.startswith('"') and text.endswith('"')):
        return text
    number: dict[str, Any] = {"parse_int": str, "parse_float": str} if kind == "texts" else {}
    for form in (text, text.lower()):
        with suppress(ValueError):
            return json.loads(form, **number)
    return text


def announce(job: Job, model: LoadedModel, *, quiet: bool) -> None:
    """Before a long run: what it will take; an error where the disk is too small."""
    estimate = job.estimate(model)
    if estimate is None or quiet or estimate.seconds <= LONG_RUN:
        return
    disk = "" if estimate.disk is None else f" and {megabytes(estimate.disk)}"
    takes = f"about {minutes(estimate.seconds)}{disk}"
    print(f"{job.request.n:,} samples: {takes} in {job.out}", file=sys.stderr)


def visualize_command(a: argparse.Namespace) -> None:
    """``medzoo visualize``."""
    from .view import visualize

    visualize(
        a.model,
        version=a.model_version,
        device=a.device,
        seed=a.seed,
        save=a.save,
        env=a.env,
        trust=a.trust,
    )


def test_command(a: argparse.Namespace) -> int:
    """``medzoo test``."""
    from .registry import list_models, resolve
    from .trial import examine

    models = [
        *a.models,
        *(c.id for c in list_models() if a.bundled and c.default.scheme == "bundled"),
    ]
    if not models:
        raise InputError(
            "medzoo test: which models?",
            "Name some, or say --bundled for all that came with medzoo.",
        )
    where = {"version": a.model_version, "env": a.env, "trust": a.trust}
    where["device"] = checks.device(a.device)
    reports = []
    for model in models:
        inputs = given_inputs(a, resolve(model).version(a.model_version))
        reports.append(examine(model, write=a.record, inputs=inputs, **where))
        if not a.json:
            print(reports[-1], end="\n\n" if model != models[-1] else "\n", flush=True)
    if a.json:
        print_json(
            [
                {"model": r.about, "ready": r.ready, "findings": [asdict(f) for f in r.findings]}
                for r in reports
            ]
        )
    return 0 if all(r.ready for r in reports) else PackageError.exit_code


def verify_command(a: argparse.Namespace) -> int:
    """``medzoo verify``."""
    from .datasets.verification import verify

    return finding(verify(a.folder), as_json=a.json)


def reproduce_command(a: argparse.Namespace) -> int:
    """``medzoo reproduce``."""
    from .audit import reproduce
    from .datasets.reader import finished
    from .registry import resolve

    how: dict[str, Any] = {
        "weights": a.weights,
        "device": a.device,
        "env": a.env,
        "trust": a.trust,
        "engine": chosen_engine(a),
    }
    if a.inputs:
        then = finished(a.folder)
        config = resolve(a.model or then["model"])
        how["inputs"] = given_inputs(a, config.version(None if a.model else then["version"]))
    return finding(reproduce(a.folder, a.model, **how), as_json=a.json)


def finding(report: Verification | Reproduction, *, as_json: bool) -> int:
    """What was found of a set; the exit code."""
    print_json({**asdict(report), "ok": report.ok}) if as_json else print(report)
    return 0 if report.ok else DatasetError.exit_code


def copy_command(a: argparse.Namespace) -> None:
    """``medzoo copy``."""
    from .registry import resolve
    from .store import FIRST_FILE, copy

    made = copy(a.model, a.folder, version=a.model_version)
    first = FIRST_FILE[resolve(made).default.contract]
    print(f"{made}: edit {first}, then `medzoo generate {a.folder} --trust --out DIR`")


# -------------------------------------------------------------------------------------------------------
# contributing
def contribute_command(a: argparse.Namespace) -> int:
    """``medzoo contribute``, and its steps."""
    from . import contribute

    if a.step is None:
        a.parser.print_help()
    elif a.step == "new":
        made = contribute.new(a.folder, name=a.name)
        print(
            f"{made}: fill in config.yaml and model.py, then `medzoo contribute check {a.folder}`"
        )
    elif a.step == "check":
        report = contribute.check(a.folder)
        print(report)
        return 0 if report.ready else ContributionError.exit_code
    elif a.step == "pack":
        print(contribute.pack(a.folder, out=a.out))
    elif a.step == "submit":
        print(
            contribute.submit(a.folder, source=a.source, repository=a.repository, dry_run=a.dry_run)
        )
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "list": list_command,
    "search": search_command,
    "info": info_command,
    "cite": cite_command,
    "update": update_command,
    "generate": generate_command,
    "visualize": visualize_command,
    "test": test_command,
    "verify": verify_command,
    "reproduce": reproduce_command,
    "copy": copy_command,
    "install": install_command,
    "cache": cache_command,
    "contribute": contribute_command,
}
