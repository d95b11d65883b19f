"""The command line: parse, call, print."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import settings
from .config import ModelConfig, Version
from .errors import DatasetError, InputError, MedzooError
from .version import __version__

if TYPE_CHECKING:
    from .generator import Model

EPILOG = """\
exit codes: 0 done, 2 bad input, 3 no such model, 4 bad config, 5 not fetched, 6 wrong digest, 7 package failed,
8 out of memory, 9 folder of samples, 10 not available yet, 11 contribution not ready, 130 interrupted

Synthetic samples are for research. They are not for diagnosis.
"""
LONG_RUN = 60.0  # seconds from which a run is announced with an estimate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return 0
    try:
        code: int | None = parsed.run(parsed)
        sys.stdout.flush()
    except MedzooError as error:
        if parsed.debug:
            raise
        print(f"medzoo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if parsed.debug:
            raise
        print("medzoo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `medzoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if parsed.debug:
            raise
        print(f"medzoo: unexpected {type(error).__name__}: {error}\nRun it again with --debug for a traceback, "
              "and please report it.", file=sys.stderr)  # fmt: skip
        return 1
    return code or 0


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="medzoo",
        description="Synthetic medical images, masks, labels, volumes and tables from a zoo of pretrained models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medzoo {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int | None], summary: str, examples: str = "") -> argparse.ArgumentParser:
        child = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"examples:\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        child.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        child.set_defaults(run=run)
        return child

    def model_argument(child: argparse.ArgumentParser) -> None:
        child.add_argument("model", help="number, id, the unique beginning of an id, or the path of a package folder")

    def version_argument(child: argparse.ArgumentParser) -> None:
        child.add_argument("--version", dest="model_version", metavar="VERSION", help="version of the model (default: its best)")

    def json_argument(child: argparse.ArgumentParser) -> None:
        child.add_argument("--json", action="store_true", help="print JSON, for scripts")

    child = command("list", list_command, "every model, with its license and whether it came with medzoo")
    json_argument(child)

    child = command("search", search_command, "find models by words and fields", """
        medzoo search mammography mass
        medzoo search --modality MRI --sort year
        """)
    child.add_argument("words", nargs="*", help="words that must all occur")
    for name in ("modality", "organ", "content", "generator", "license"):
        child.add_argument(f"--{name}", help=f"only models of this {name}")
    child.add_argument("--bundled", action="store_true", default=None, help="only models that come with medzoo")
    child.add_argument("--sort", metavar="KEY", help="relevance, id, year, name, or a metric such as FID")
    json_argument(child)

    child = command("info", info_command, "all that is known about a model", "medzoo info 8")
    model_argument(child)
    version_argument(child)
    json_argument(child)

    child = command("cite", cite_command, "whom to credit for a model's samples", "medzoo cite 8")
    model_argument(child)
    version_argument(child)

    child = command("copy", copy_command, "an editable copy of a model's package", """
        medzoo copy 8 mine/
        medzoo generate mine/ -n 4 --out mine-samples/
        """)
    model_argument(child)
    child.add_argument("folder", type=Path, help="a new folder")
    version_argument(child)

    child = command("generate", generate_command, "make samples and write them to a folder", """
        medzoo generate 8 -n 500 --out masses/
        medzoo generate 8 -n 100 --out malignant/ --condition malignant --seed 1
        medzoo generate 8 -n 5000 --out masses-npz/ --format npz --batch-size 64
        """)
    model_argument(child)
    child.add_argument("-n", type=int, default=1, help="how many samples (default: 1)")
    child.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    child.add_argument("--seed", type=int, help="root seed; a fresh one is drawn and recorded if left out")
    child.add_argument("--condition", metavar="VALUE", help="the model's condition, such as malignant; each in turn if left out")
    child.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="another input of the model; may be repeated")
    child.add_argument("--format", choices=["png", "npz"], help="by what fits if left out")
    child.add_argument("--batch-size", type=int, metavar="B", help="samples at a time (default: the model's)")
    child.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    version_argument(child)
    child.add_argument("--weights", type=Path, metavar="FILE", help="other weights for the same model, .safetensors")
    child.add_argument("--quiet", action="store_true", help="no progress bar, no estimate, no notice")
    json_argument(child)

    child = command("visualize", visualize_command, "sliders over a model's latent vector, its condition and the seed", """
        medzoo visualize 8
        medzoo visualize 8 --save grid.png
        """)
    model_argument(child)
    version_argument(child)
    child.add_argument("--seed", type=int, default=0, help="the seed to start from (default: 0)")
    child.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    child.add_argument("--save", type=Path, metavar="FILE", help="save a grid of samples and open no window")

    child = command("contribute", contribute_help, "publish a model of your own, step by step", """
        medzoo contribute new mine/ --name GAN_MRI_KNEE
        medzoo contribute check mine/
        medzoo contribute pack mine/
        medzoo contribute submit mine/ --dry-run
        """)
    add_contribute_steps(child)

    child = command("cache", cache_command, "where unpacked packages lie, and how much they take")
    json_argument(child)
    return parser


def add_contribute_steps(parser: argparse.ArgumentParser) -> None:
    """The steps below ``contribute``."""
    parser.set_defaults(step=None, parser=parser)
    steps = parser.add_subparsers(dest="step", metavar="STEP")

    def step(name: str, run: Callable[[argparse.Namespace], int | None], summary: str) -> argparse.ArgumentParser:
        child = steps.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        child.add_argument("folder", type=Path, help="the package folder")
        child.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        child.set_defaults(run=run)
        return child

    child = step("new", contribute_new, "start a package folder from the template")
    child.add_argument("--name", required=True, help="TYPE_MODALITY_CONTENT, such as GAN_MRI_KNEE")
    step("check", contribute_check, "check config, code, weights, card and samples, and say what is missing")
    child = step("pack", contribute_pack, "write a reproducible zip and the config that registers it")
    child.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: beside the folder)")
    child = step("submit", contribute_submit, "prepare the pull request: a git branch with the config")
    child.add_argument("--source", help="where the zip lies, such as zenodo:RECORD/FILE")
    child.add_argument("--repository", type=Path, default=Path(), help="a clone of medzoo (default: this folder)")
    child.add_argument("--dry-run", action="store_true", help="make the branch here, push nothing")


# ------------------------------------------------------------------------------------------------------ what they do
def list_command(a: argparse.Namespace) -> None:
    """``medzoo list``."""
    from .registry import list_models

    models = list_models()
    if a.json:
        print_json([summary(c) for c in models])
    else:
        print(table(["id", "modality", "content", "size", "license", "package"], [row(c) for c in models]))


def search_command(a: argparse.Namespace) -> None:
    """``medzoo search``."""
    from .finder import search

    fields = {k: v for k in ("modality", "organ", "content", "generator", "license", "bundled") if (v := getattr(a, k)) is not None}
    found = search(" ".join(a.words), sort=a.sort, **fields)
    if a.json:
        print_json([summary(c) for c in found])
    else:
        print(found)


def info_command(a: argparse.Namespace) -> None:
    """``medzoo info``."""
    from .registry import resolve

    config = resolve(a.model)
    version = config.version(a.model_version)
    if a.json:
        print_json(asdict(config) | {"path": str(config.path)})
        return
    shape = "x".join(map(str, next(iter(version.outputs.values())).shape))
    lines = [
        f"{config.id}: {config.name}",
        "",
        *textwrap.wrap(config.description, 100),
        "",
        *facts({
            "version": f"{version.name} of {', '.join(config.versions)} (default {config.default_version})",
            "modality": f"{config.modality}, {config.organ}, {config.content}",
            "architecture": version.architecture,
            "trained on": "; ".join(f"{d.name} ({d.license})" for d in version.datasets) or "nothing",
            "samples": "; ".join(f"{o.name} {'x'.join(map(str, o.shape)) or 'one'} {o.dtype}" for o in version.outputs.values()),
            "latent": f"{version.latent} numbers" if version.latent else "none",
            "inputs": "; ".join(inputs(version)) or "none",
            "package": f"{where(version)}, {megabytes(version.size)}",
            "license": version.license,
            "authors": f"{', '.join(version.authors)} ({version.year})",
            "metrics": "; ".join(f"{m.name} {m.value:g} on {m.dataset}" for m in version.metrics) or "none reported",
        }),
        "",
        f"generate: medzoo generate {config.number} -n 4 --out samples/    ({shape} each)",
        "Synthetic samples are for research. They are not for diagnosis.",
    ]  # fmt: skip
    print("\n".join(lines))


def cite_command(a: argparse.Namespace) -> None:
    """``medzoo cite``."""
    from .registry import cite

    print(cite(a.model, version=a.model_version))


def copy_command(a: argparse.Namespace) -> None:
    """``medzoo copy``."""
    from .store import copy

    print(f"{copy(a.model, a.folder, version=a.model_version)}: edit model.py, then `medzoo generate {a.folder} --out DIR`")


def generate_command(a: argparse.Namespace) -> None:
    """``medzoo generate``."""
    if a.quiet:
        os.environ["MEDZOO_QUIET"] = "1"
    from .generator import load
    from .request import Request, check_count
    from .seeds import check_seed

    check_count(a.n)
    with load(a.model, version=a.model_version, device=a.device, weights=a.weights) as model:
        options = model_options(a, model.version)
        seed = check_seed(a.seed)
        Request.of(model.config, model.version, a.n, seed=seed, options=options)
        if not a.quiet:
            announce(model, a, options)
        began = time.monotonic()
        samples = model.generate(a.n, out=a.out, format=a.format, seed=seed, batch_size=a.batch_size,
                                 progress=False if a.quiet else None, **options)  # fmt: skip
        seconds = time.monotonic() - began
    if a.json:
        print_json({"folder": str(samples.folder), "n": len(samples), "provenance": dict(samples.provenance)})
    elif not a.quiet:
        print(f"{len(samples)} samples of {model.config.id} {model.version.name}, seed {seed}, in {a.out} ({seconds:.1f} s)")


def model_options(a: argparse.Namespace, version: Version) -> dict[str, Any]:
    """``--condition`` and ``--option`` as the keyword arguments of generate."""
    options: dict[str, Any] = {}
    if a.condition is not None:
        if not version.conditions:
            raise InputError(f"--condition {a.condition}: {a.model} has no condition.", f"`medzoo info {a.model}` lists its inputs.")
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
    """Before a long run: what it will take, measured on one batch; an error where the disk is too small."""
    from .datasets import bytes_a_sample
    from .datasets.writers import pick_format

    size = min(a.batch_size or model.version.batch_size, 32)
    if a.n < 20 * size:
        return
    probe = {k: v for k, v in options.items() if not isinstance(v, list)}
    model.generate(1, seed=0, progress=False, **probe)  # the first call warms up
    began = time.monotonic()
    batch = model.generate(size, seed=0, batch_size=size, progress=False, **probe)
    seconds = (time.monotonic() - began) / size * a.n
    needed = int(bytes_a_sample(batch, pick_format(a.format, model.version.outputs)) * a.n)
    folder = next(p for p in (a.out.expanduser().absolute(), *a.out.expanduser().absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(f"{a.n:,} samples need about {megabytes(needed)}, and {folder} has {megabytes(free)} free.",
                           "Nothing was written. Ask for fewer, or choose another disk.")  # fmt: skip
    if seconds > LONG_RUN:
        print(f"{a.n:,} samples: about {seconds / 60:.0f} min and {megabytes(needed)} in {a.out}", file=sys.stderr)


def visualize_command(a: argparse.Namespace) -> None:
    """``medzoo visualize``."""
    from .view import visualize

    visualize(a.model, version=a.model_version, device=a.device, seed=a.seed, save=a.save)


def cache_command(a: argparse.Namespace) -> None:
    """``medzoo cache``."""
    folder = settings.cache_folder()
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
    if a.json:
        print_json({"folder": str(folder), "bytes": size})
    else:
        print(f"{folder}  ({megabytes(size)}; MEDZOO_CACHE moves it)")


def contribute_help(a: argparse.Namespace) -> None:
    """``medzoo contribute`` without a step."""
    a.parser.print_help()


def contribute_new(a: argparse.Namespace) -> None:
    """``medzoo contribute new``."""
    from .contribute import new

    print(f"{new(a.folder, name=a.name)}: fill in config.yaml and model.py, then `medzoo contribute check {a.folder}`")


def contribute_check(a: argparse.Namespace) -> int:
    """``medzoo contribute check``."""
    from .contribute import check

    report = check(a.folder)
    print(report)
    return 0 if report.ready else 11


def contribute_pack(a: argparse.Namespace) -> None:
    """``medzoo contribute pack``."""
    from .contribute import pack

    print(pack(a.folder, out=a.out))


def contribute_submit(a: argparse.Namespace) -> None:
    """``medzoo contribute submit``."""
    from .contribute import submit

    print(submit(a.folder, source=a.source, repository=a.repository, dry_run=a.dry_run))


# ------------------------------------------------------------------------------------------------------------ printing
def row(config: ModelConfig) -> list[str]:
    """A line of the table of models."""
    v = config.default
    return [config.id, config.modality, config.content, shape_of(v), v.license, f"{where(v)}, {megabytes(v.size)}"]


def shape_of(version: Version) -> str:
    """Size of a sample: 128x128 for a picture of one channel, 30 columns for a table."""
    output = next(iter(version.outputs.values()))
    if output.kind == "table":
        return f"{output.shape[0]} columns"
    return "x".join(map(str, output.shape[1:]))


def where(version: Version) -> str:
    """Whether a version came with medzoo."""
    return {"bundled": "bundled", "file": "on this machine"}.get(version.scheme, "to download")


def summary(config: ModelConfig) -> dict[str, Any]:
    """A model for scripts."""
    v = config.default
    return {
        "id": config.id, "name": config.name, "modality": config.modality, "organ": config.organ, "content": config.content,
        "version": v.name, "versions": list(config.versions), "license": v.license, "generator": v.generator, "year": v.year,
        "bundled": v.scheme == "bundled", "bytes": v.size, "outputs": {o.name: list(o.shape) for o in v.outputs.values()},
        "conditions": {c.name: dict(c.values) for c in v.conditions.values()},
    }  # fmt: skip


def inputs(version: Version) -> Iterable[str]:
    """What a version takes, a phrase each."""
    for condition in version.conditions.values():
        yield f"{condition.name} = {' | '.join(condition.values)} ({condition.help.rstrip('.')}; each in turn if left out)"
    for option in version.options.values():
        span = " | ".join(map(str, option.choices)) or f"{option.minimum:g} to {option.maximum:g}" * (option.minimum is not None is not option.maximum)
        yield f"{option.name} = {span or option.type} ({option.help.rstrip('.')}; {option.default} if left out)"
    if version.latent:
        yield f"latents = array (n, {version.latent})"


def facts(pairs: dict[str, str]) -> list[str]:
    """Names and texts in two columns, wrapped."""
    lines = []
    for name, text in pairs.items():
        lines += textwrap.wrap(text, 100, initial_indent=f"{name:13s} ", subsequent_indent=" " * 14)
    return lines


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(len(r[k]) for r in (head, *rows)) for k in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in (head, *rows))


def megabytes(size: int | None) -> str:
    """A size for people."""
    if size is None:
        return "size unknown"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size, 0) / 1e6:.1f} MB"


def print_json(content: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(content, indent=2, default=str))
