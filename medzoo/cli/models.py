"""Choosing a model: ``list``, ``search``, ``info``, ``cite``, ``update``, ``copy``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..config import ModelConfig, Version
from ..console import facts, prose
from ..errors import InputError, NotAvailableError
from ..registry import PACKAGE_CONFIG
from ..registry.description import model_facts
from .help import FETCH, Commands, command
from .options import (
    json_argument,
    model_argument,
    offline_argument,
    path_of,
    print_json,
    version_argument,
)

if TYPE_CHECKING:
    from ..registry.results import Found


CARD = "README.md"  # of a package folder
FIELD_HELP = {
    "modality": "of this modality, such as MRI",
    "organ": "of this organ, such as breast",
    "content": "with this in the picture, such as masses",
    "generator": "of this kind, such as GAN or diffusion",
    "license": "under this license, such as CC",
    "dataset": "trained on this data set, such as CBIS",
}


def add_models(commands: Commands) -> None:
    """``list``, ``search``, ``info``, ``cite``, ``update``, ``copy``."""
    child = command(
        commands,
        "list",
        "every model, with its license and whether it came with medzoo",
        examples=(
            "medzoo list",
            "medzoo list --modality MRI --bundled",
            "medzoo list --json",
        ),
        codes=(2, 4),
    )
    _fields(child)
    json_argument(child)

    child = command(
        commands,
        "search",
        "find models by words and fields",
        "All words must occur. The singular also finds the plural, MMG finds mammography, and so "
        "on. A field takes a part of its text in the same way; a modality or license takes whole "
        "words, or their beginnings. If a field is given twice, "
        "one of the two texts must fit. If no model has a word, the most similar word that a model "
        "has is used, and stderr says so. If nothing is found, the exit code is still 0.",
        examples=(
            "medzoo search mammography mass",
            "medzoo search --modality MRI --modality CT --sort year",
            "medzoo search breast --bundled --json",
        ),
        codes=(2, 4),
    )
    child.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="words, or beginnings of words, that must all occur",
    )
    _fields(child)
    child.add_argument(
        "--sort",
        metavar="KEY",
        help="relevance (default), id, name, year, or a metric such as FID: the best first, where "
        "figures can be compared",
    )
    json_argument(child)

    child = command(
        commands,
        "info",
        "everything that is known about a model",
        examples=(
            "medzoo info 8",
            "medzoo info 8 --version 1.0.1",
            "medzoo info 8 --card",
            "medzoo info 8 --json",
        ),
        codes=(2, 3, 4, 10),
    )
    model_argument(child)
    version_argument(child)
    child.add_argument(
        "--card",
        action="store_true",
        help="print the model's card: how it was trained and judged, and its limits",
    )
    json_argument(child)

    child = command(
        commands,
        "cite",
        "whom to credit for a model's samples: the model, then the data behind it",
        examples=("medzoo cite 8", "medzoo cite 8 --format bibtex >> references.bib"),
        codes=(2, 3, 4),
    )
    model_argument(child)
    version_argument(child)
    child.add_argument(
        "--format",
        choices=["text", "bibtex", "ris"],
        default="text",
        help="a text (default), or entries for a reference manager",
    )

    child = command(
        commands,
        "update",
        "newer models and versions without a newer medzoo",
        "Fetches the newest registry from the address in MEDZOO_REGISTRY (by default medzoo's "
        "repository), checks it, says what is new, and uses it from then on. Bundled models do not "
        "change. If anything is wrong with the new registry, the old one stays in use.",
        examples=(
            "medzoo update",
            "medzoo update --reset",
            "MEDZOO_REGISTRY=/mnt/registry.zip medzoo update",
        ),
        codes=(2, 4, 5, 6),
    )
    child.add_argument(
        "--reset", action="store_true", help="go back to the registry that came with medzoo"
    )
    offline_argument(child)
    json_argument(child)

    child = command(
        commands,
        "copy",
        "an editable copy of a model's package: code, weights, training script, config",
        examples=(
            "medzoo copy 8 mine/",
            "medzoo generate mine/ -n 4 --trust --out mine-samples/",
        ),
        codes=(*FETCH, 9, 12),
    )
    model_argument(child)
    child.add_argument("folder", type=path_of, metavar="DIR", help="a new or empty folder")
    version_argument(child)
    offline_argument(child)


def _fields(child: argparse.ArgumentParser) -> None:
    """Filters by field."""
    for name, text in FIELD_HELP.items():
        child.add_argument(f"--{name}", action="append", metavar="TEXT", help=text)
    child.add_argument(
        "--bundled", action="store_true", default=None, help="only models that come with medzoo"
    )


def _chosen_fields(a: argparse.Namespace) -> dict[str, Any]:
    """The filters that were given."""
    from ..registry.index import FIELDS

    fields = {}
    for name in (*FIELDS, "bundled"):
        value = getattr(a, name)
        if value is not None:
            fields[name] = value
    return fields


def list_command(a: argparse.Namespace) -> None:
    """``medzoo list``."""
    from ..registry.search import search

    print_models(search(sort="id", **_chosen_fields(a)), as_json=a.json)


def search_command(a: argparse.Namespace) -> None:
    """``medzoo search``."""
    from ..registry.search import search

    words = " ".join(a.words)
    print_models(search(words, sort=a.sort, **_chosen_fields(a)), as_json=a.json)


def print_models(models: Found, *, as_json: bool) -> None:
    """A table, or a list for scripts."""
    if as_json:
        print_json(models.summaries())
        if models.note:
            print(f"medzoo: {models.note}", file=sys.stderr)
    else:
        print(models)


def info_command(a: argparse.Namespace) -> None:
    """``medzoo info``."""
    from .._worker.sandbox import possible
    from ..registry import is_local, resolve

    config = resolve(a.model)
    version = config.version(a.model_version)
    if a.card and a.json:
        raise InputError("--card is a text, and --json prints none.", "Give one of them.")
    if a.card:
        print(card(config, version))
        return
    if a.json:
        print_json(asdict(config) | {"path": str(config.path)})
        return
    about = model_facts(config, version)
    if version.scheme != "bundled":
        about["sandbox"] = ", ".join(possible()) or "none on this system"
    own = is_local(config)
    call = f"medzoo generate {a.model if own else config.number}"
    if version.name != config.default_version:
        call += f" --version {version.name}"
    call += " -n 4 --out samples/"
    if own:
        call += " --trust"
    lines = [
        *prose(f"{config.id}: {config.name}"),
        "",
        *prose(config.description),
        "",
        *facts(about),
        "",
        call,
        "Synthetic samples are for research. They are not for diagnosis.",
    ]
    print("\n".join(lines))


def card(config: ModelConfig, version: Version) -> str:
    """The card of a model: README.md of its package folder.

    Raises
    ------
    NotAvailableError
        The package is not on this machine, or has no card.
    """
    if version.scheme == "bundled":
        from ..settings import shipped

        folder = shipped("starter_models") / version.source.partition(":")[2]
    else:
        folder = config.path.parent
    path = folder / CARD
    is_own = version.scheme == "bundled" or config.path.name == PACKAGE_CONFIG
    if not is_own or not path.is_file():
        raise NotAvailableError(
            f"{config.id} has no card here.",
            f"`medzoo info {config.number}` prints what the registry knows. {version.publication}",
        )
    return path.read_text(encoding="utf-8").rstrip()


def cite_command(a: argparse.Namespace) -> None:
    """``medzoo cite``."""
    from ..registry import cite

    print(cite(a.model, version=a.model_version, format=a.format))


def update_command(a: argparse.Namespace) -> None:
    """``medzoo update``."""
    from ..packages.update import update

    done = update(reset=a.reset)
    if a.json:
        print_json(asdict(done))
    else:
        print(done)


def copy_command(a: argparse.Namespace) -> None:
    """``medzoo copy``."""
    from ..packages.store import FIRST_FILE, copy
    from ..registry import resolve

    made = copy(a.model, a.folder, version=a.model_version)
    first = FIRST_FILE[resolve(made).default.contract]
    print(f"{made}: edit {first}, then `medzoo generate {a.folder} --trust --out DIR`")
