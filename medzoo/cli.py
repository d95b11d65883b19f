"""The command line: parse (`medzoo.arguments`), call, print."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from . import settings
from .arguments import build_parser
from .config import ModelConfig, Version
from .errors import ContributionError, DatasetError, InputError, MedzooError, MedzooWarning
from .tables import facts, inputs, megabytes, minutes, package, prose, summary

if TYPE_CHECKING:
    from .generator import Model

LONG_RUN = 60.0  # seconds from which a run is announced with an estimate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Raises
    ------
    SystemExit
        The arguments do not parse (code 2), or ask for help or the version (code 0).
    """
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("always", MedzooWarning)
        warnings.showwarning = partial(show_warning, warnings.showwarning)
        return guarded(parsed)


def guarded(parsed: argparse.Namespace) -> int:
    """Run the command; errors become a message on stderr and an exit code, unless ``--debug`` asks for the traceback."""
    try:
        code = COMMANDS[parsed.command](parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # `medzoo list | head`: nobody reads on, and Python must not complain while it ends
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
            message, code = f"unexpected {type(error).__name__}: {error}\n--debug shows a traceback to report.", 1
        print(f"medzoo: {message}", file=sys.stderr)
    return code or 0


def unfinished(a: argparse.Namespace) -> str:
    """What an interrupted run leaves behind."""
    log = a.out / "run.log" if a.command == "generate" else None
    return f"; what was written stays in {a.out}, without a provenance.json" if log and log.exists() else ""


def show_warning(otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Our own warnings as a line, any other as Python shows it."""
    if issubclass(category, MedzooWarning):
        print(f"medzoo: warning: {message}", file=sys.stderr)
    else:
        otherwise(message, category, *where)


# ----------------------------------------------------------------------------------------------------------- choosing
def list_command(a: argparse.Namespace) -> None:
    """``medzoo list``."""
    from .finder import search

    print_models(search(sort="id"), as_json=a.json)


def search_command(a: argparse.Namespace) -> None:
    """``medzoo search``."""
    from .finder import FIELDS, search

    fields = {name: value for name in (*FIELDS, "bundled") if (value := getattr(a, name)) is not None}
    print_models(search(" ".join(a.words), sort=a.sort, **fields), as_json=a.json)


def print_models(models: Sequence[ModelConfig], *, as_json: bool) -> None:
    """A table, or a list for scripts."""
    if as_json:
        print_json([summary(c) for c in models])
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
    figures = (f"{m.name} {m.value:g} on {m.dataset}" + f" ({m.samples:,} samples)" * bool(m.samples) for m in v.metrics)
    lines = [
        *prose(f"{config.id}: {config.name}"),
        "",
        *prose(config.description),
        "",
        *facts({
            "version": f"{v.name}{default}{also}",
            "modality": f"{config.modality}, {config.organ}, {config.content}",
            "architecture": v.architecture,
            "trained on": "; ".join(f"{d.name} ({d.license})" for d in v.datasets) or "no data",
            "samples": "; ".join(f"{o.name} {'x'.join(map(str, o.shape)) or 'one'} {o.dtype}" for o in v.outputs.values()),
            "latent": f"{v.latent} numbers" if v.latent else "none",
            "inputs": "; ".join(inputs(v)) or "none",
            "package": package(v) + f", {megabytes(v.size)}" * (v.scheme == "bundled" and bool(v.size)),
            "license": v.license,
            "authors": f"{', '.join(v.authors)} ({v.year})",
            "metrics": "; ".join(figures) or "none reported",
        }),
        "",
        f"{call} -n 4 --out samples/",
        "Synthetic samples are for research. They are not for diagnosis.",
    ]  # fmt: skip
    print("\n".join(lines))


def cite_command(a: argparse.Namespace) -> None:
    """``medzoo cite``."""
    from .registry import cite

    print(cite(a.model, version=a.model_version))


# -------------------------------------------------------------------------------------------------------------- using
def generate_command(a: argparse.Namespace) -> None:
    """``medzoo generate``."""
    if a.quiet:
        os.environ["MEDZOO_QUIET"] = "1"
    from .generator import load
    from .registry import resolve
    from .request import Request
    from .seeds import check_seed

    config = resolve(a.model)
    version = config.version(a.model_version)
    options, seed = model_options(a, version), check_seed(a.seed)
    inputs = a.inputs[0] if a.inputs and len(a.inputs) == 1 else a.inputs
    # What is wrong with them shows before the model loads.
    Request.of(config, version, a.n, seed=seed, inputs=inputs, options=options)
    where = {"device": a.device, "env": a.env, "trust": a.trust}
    if inputs is not None:
        options["inputs"] = inputs
    with load(a.model, version=a.model_version, weights=a.weights, **where) as model:
        announce(model, a, options)
        began = time.monotonic()
        samples = model.generate(a.n, out=a.out, format=a.format, seed=seed, batch_size=a.batch_size,
                                 progress=False if a.quiet else None, **options)  # fmt: skip
        seconds = time.monotonic() - began
    if a.json:
        print_json({"folder": str(samples.folder), "n": len(samples), "provenance": dict(samples.provenance)})
    elif not a.quiet:
        what = f"{len(samples):,} sample{'s' * (len(samples) != 1)} of {config.id} {version.name}"
        print(f"{what}, seed {seed}, in {a.out} ({minutes(seconds)})")


def model_options(a: argparse.Namespace, version: Version) -> dict[str, Any]:
    """``--condition`` and ``--option`` as the keyword arguments of generate."""
    options: dict[str, Any] = {}
    if a.condition is not None:
        if not version.conditions:
            raise InputError(
                f"--condition {a.condition}: {a.model} has no condition.", f"`medzoo info {a.model}` lists its inputs."
            )
        name = "condition" if "condition" in version.conditions else next(iter(version.conditions))
        options[name] = int(a.condition) if a.condition.isdecimal() else a.condition
    for pair in a.option:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--option {pair} is not NAME=VALUE.", f"`medzoo info {a.model}` lists the model's inputs.")
        options[name] = parse_value(text)
    return options


def parse_value(text: str) -> Any:
    """A number, true or false where ``text`` is one, else the text."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return text


def announce(model: Model, a: argparse.Namespace, options: dict[str, Any]) -> None:
    """Before a run of many batches: what it will take, measured on one; an error where the disk is too small."""
    from .datasets import bytes_a_sample
    from .datasets.writers import pick_format

    size = min(a.batch_size or model.version.batch_size, 32)
    target = a.out.expanduser().absolute()
    if a.n < 20 * size or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        return  # short enough, or the writer has something to say about the folder first
    model.generate(1, seed=0, progress=False, **options)  # the first call warms up
    began = time.monotonic()
    batch = model.generate(size, seed=0, batch_size=size, progress=False, **options)
    seconds = (time.monotonic() - began) / size * a.n
    needed = int(bytes_a_sample(batch, pick_format(a.format, model.version.outputs)) * a.n)
    folder = next(p for p in (target, *target.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(f"{a.n:,} samples need about {megabytes(needed)}, and {folder} has {megabytes(free)} free.",
                           "Nothing was written. Ask for fewer, or choose another disk.")  # fmt: skip
    if seconds > LONG_RUN and not a.quiet:
        print(f"{a.n:,} samples: about {minutes(seconds)} and {megabytes(needed)} in {a.out}", file=sys.stderr)


def visualize_command(a: argparse.Namespace) -> None:
    """``medzoo visualize``."""
    from .view import visualize

    visualize(a.model, version=a.model_version, device=a.device, seed=a.seed, save=a.save, env=a.env, trust=a.trust)


def copy_command(a: argparse.Namespace) -> None:
    """``medzoo copy``."""
    from .store import copy

    print(f"{copy(a.model, a.folder, version=a.model_version)}: edit model.py, then `medzoo generate {a.folder} --out DIR`")


def cache_command(a: argparse.Namespace) -> None:
    """``medzoo cache``."""
    folder = settings.cache_folder()
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
    if a.json:
        print_json({"folder": str(folder), "bytes": size})
    else:
        print(f"{folder}  ({megabytes(size) if folder.is_dir() else 'not made yet'}; MEDZOO_CACHE moves it)")


# ------------------------------------------------------------------------------------------------------- contributing
def contribute_command(a: argparse.Namespace) -> int:
    """``medzoo contribute``, and its steps."""
    from . import contribute

    if a.step is None:
        a.parser.print_help()
    elif a.step == "new":
        made = contribute.new(a.folder, name=a.name)
        print(f"{made}: fill in config.yaml and model.py, then `medzoo contribute check {a.folder}`")
    elif a.step == "check":
        report = contribute.check(a.folder)
        print(report)
        return 0 if report.ready else ContributionError.exit_code
    elif a.step == "pack":
        print(contribute.pack(a.folder, out=a.out))
    elif a.step == "submit":
        print(contribute.submit(a.folder, source=a.source, repository=a.repository, dry_run=a.dry_run))
    return 0


def print_json(content: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, default=str))


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "list": list_command,
    "search": search_command,
    "info": info_command,
    "cite": cite_command,
    "generate": generate_command,
    "visualize": visualize_command,
    "copy": copy_command,
    "cache": cache_command,
    "contribute": contribute_command,
}
