"""``publish``: a set of samples as a data set on Zenodo."""

from __future__ import annotations

import argparse

from .contribute import agreed, new_version_argument, zenodo_arguments
from .help import Commands, command
from .options import set_argument


def add_publish(commands: Commands) -> None:
    """``publish``."""
    child = command(
        commands,
        "publish",
        "upload a set of samples to Zenodo as a data set: by default a draft on its sandbox",
        "The set is verified first. A zip of it, or its shards, a card and a sample sheet go into "
        "a record; its DOI is written into the set. The token is read from ZENODO_SANDBOX_TOKEN or "
        "ZENODO_TOKEN, or from the keyring. The same command continues a draft.",
        examples=(
            'medzoo publish masses/ --author "Curie, Marie"',
            'medzoo publish masses/ --author "Curie, Marie" --production --publish',
        ),
        codes=(2, 9, 11),
    )
    set_argument(child)
    child.add_argument(
        "--author",
        action="append",
        default=[],
        dest="authors",
        metavar="NAME",
        help='who made the set, "Last, First"; once for each',
    )
    child.add_argument(
        "--license",
        metavar="ID",
        help="such as CC-BY-4.0 (default: that of the model, unless its data ask for more)",
    )
    child.add_argument("--title", help="of the record (default: model, samples and seed)")
    child.add_argument(
        "--set-version", default="1.0.0", metavar="V", help="of the data set (default: 1.0.0)"
    )
    zenodo_arguments(child)
    new_version_argument(child)


def publish_command(a: argparse.Namespace) -> None:
    """``medzoo publish``."""
    from ..publishing import publish

    print(
        publish(
            a.folder,
            authors=a.authors,
            license=a.license,
            title=a.title,
            version=a.set_version,
            production=a.production,
            publish=a.publish,
            confirm=None if a.yes else agreed,
            new_version=a.new_version,
        )
    )
