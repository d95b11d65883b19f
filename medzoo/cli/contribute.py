"""``contribute`` and its steps: publish your own model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ContributionError, InputError
from .help import Commands, command
from .options import package_argument, path_of

if TYPE_CHECKING:
    from ..publishing.record import Record


def add_contributing(commands: Commands) -> None:
    """``contribute`` and its steps."""
    parent = command(
        commands,
        "contribute",
        "publish your own model, step by step",
        examples=(
            "medzoo contribute new mine/ --name GAN_MRI_KNEE",
            "medzoo contribute check mine/",
            "medzoo contribute pack mine/",
            "medzoo contribute upload mine/",
            "medzoo contribute submit mine/",
        ),
        codes=(2, 4, 5, 7, 9, 11),
    )
    parent.set_defaults(parser=parent)
    steps = parent.add_subparsers(dest="step", metavar="STEP", title="steps")

    child = command(
        steps,
        "new",
        "start a package folder from a template",
        examples=(
            "medzoo contribute new mine/ --name GAN_MRI_KNEE",
            "medzoo contribute new mine/ --name GAN_MRI_KNEE --template numpy",
            "medzoo contribute new mine/ --from-medigan old/",
            "medzoo contribute new mine/ --from-bundle bundle/",
        ),
        codes=(2, 4, 9),
    )
    child.add_argument("folder", type=path_of, metavar="DIR", help="a new or empty folder")
    child.usage = (  # argparse would write one line of 89 characters
        "medzoo contribute new [-h] [--debug] DIR\n"
        "           (--name NAME [--template {torch,numpy,medigan}] |\n"
        "            --from-medigan FOLDER | --from-bundle FOLDER)"
    )
    start = child.add_mutually_exclusive_group(required=True)
    start.add_argument("--name", help="TYPE_MODALITY_CONTENT, such as GAN_MRI_KNEE")
    start.add_argument(
        "--from-medigan",
        type=path_of,
        metavar="FOLDER",
        help="a package with a metadata.json of medigan, to copy and to write the config from",
    )
    start.add_argument(
        "--from-bundle",
        type=path_of,
        metavar="FOLDER",
        help="a MONAI bundle, to copy and to write the config from",
    )
    child.add_argument(
        "--template",
        choices=("torch", "numpy", "medigan"),
        default="torch",
        help="with --name: native with torch (default) or numpy, or a function for medigan",
    )

    child = command(
        steps,
        "check",
        "check config, code, weights, card and samples, and say what is missing",
        "By default the model runs in an environment that holds only what its config requires.",
        examples=(
            "medzoo contribute check mine/",
            "medzoo contribute check mine/ --env current",
        ),
        codes=(2, 4, 7, 11),
    )
    package_argument(child)
    check_environment_argument(child)

    child = command(
        steps,
        "pack",
        "write a reproducible zip and the config that registers it",
        examples=("medzoo contribute pack mine/ --out packed/",),
        codes=(4, 7, 9, 11),
    )
    package_argument(child)
    out_argument(child)
    check_environment_argument(child)

    child = command(
        steps,
        "upload",
        "pack, and upload the zip to Zenodo: by default a draft on its sandbox",
        "The token is read from ZENODO_SANDBOX_TOKEN or ZENODO_TOKEN, or from the keyring. The "
        "same command continues a draft. DOI, digest and size are written into the packed config.",
        examples=(
            "medzoo contribute upload mine/",
            "medzoo contribute upload mine/ --production --publish",
            "medzoo contribute upload mine/ --production --publish --new-version",
        ),
        codes=(2, 4, 7, 9, 11),
    )
    package_argument(child)
    zenodo_arguments(child)
    new_version_argument(child)
    out_argument(child)
    check_environment_argument(child)

    child = command(
        steps,
        "submit",
        "open the pull request on GitHub that adds the config, or update it",
        "The token is read from GITHUB_TOKEN or the keyring; it needs `pip install "
        "'medzoo[contribute]'`. The number is the next free one from 1001.",
        examples=(
            "medzoo contribute submit mine/",
            "medzoo contribute submit mine/ --source zenodo:1234567/knee.zip",
            "medzoo contribute submit mine/ --dry-run --repository medzoo/",
        ),
        codes=(2, 4, 5, 7, 9, 11),
    )
    package_argument(child)
    child.add_argument(
        "--source",
        metavar="WHERE",
        help="where the zip is: zenodo:RECORD/FILE, https://..., or bundled (default: the record "
        "that `upload` published)",
    )
    child.add_argument(
        "--to",
        default="medzoo/medzoo",
        metavar="OWNER/NAME",
        help="the repository that takes the pull request (default: medzoo/medzoo)",
    )
    out_argument(child)
    child.add_argument(
        "--repository",
        type=path_of,
        default=Path(),
        metavar="DIR",
        help="a clone of medzoo, for --dry-run (default: this folder)",
    )
    child.add_argument(
        "--dry-run",
        action="store_true",
        help="only make the branch, in the clone, and push nothing",
    )
    check_environment_argument(child)


def out_argument(child: argparse.ArgumentParser) -> None:
    """Where the zip is written."""
    child.add_argument(
        "--out", type=path_of, metavar="DIR", help="where to write (default: beside the folder)"
    )


def check_environment_argument(child: argparse.ArgumentParser) -> None:
    """Where a check runs the model."""
    child.add_argument(
        "--env",
        default="isolated",
        choices=["isolated", "current"],
        help="where the model runs: in its own environment, built from the network "
        "(isolated, the default), or with the packages that are installed here (current)",
    )


def zenodo_arguments(child: argparse.ArgumentParser) -> None:
    """Which Zenodo, and whether to publish."""
    child.add_argument(
        "--production",
        action="store_true",
        help="zenodo.org; by default its sandbox, where nothing is permanent",
    )
    child.add_argument(
        "--publish", action="store_true", help="publish the record, which cannot be undone"
    )
    child.add_argument("--yes", action="store_true", help="publish without asking")


def new_version_argument(child: argparse.ArgumentParser) -> None:
    """Of which record this is a new version."""
    child.add_argument(
        "--new-version",
        nargs="?",
        const=True,
        default=False,
        metavar="RECORD",
        help="a new version of a published record (default: the one that was uploaded before)",
    )


def agreed(record: Record) -> bool:
    """Ask on the terminal before a record is published.

    Raises
    ------
    InputError
        There is no terminal to ask on.
    """
    if not sys.stdin or not sys.stdin.isatty():
        raise InputError(
            f"{record.page} is ready, and publishing cannot be undone, so medzoo asks first. "
            "There is no terminal to ask on.",
            "`--yes` publishes without asking.",
        )
    print(f"{record.page}\nDOI {record.doi}, version {record.version}:")
    for name, md5 in record.files.items():
        print(f"  {name}  md5 {md5}")
    return input("Publish it? This cannot be undone. [y/N] ").strip().lower() in {"y", "yes"}


def contribute_command(a: argparse.Namespace) -> int:
    """``medzoo contribute``, and its steps."""
    from .. import publishing

    if a.step is None:
        a.parser.print_help()
    elif a.step == "new":
        if a.from_bundle is not None:
            folder = publishing.from_bundle(a.folder, source=a.from_bundle)
            parts = "config.yaml and README.md"
        elif a.from_medigan is None:
            folder = publishing.new(a.folder, name=a.name, template=a.template)
            code = "__init__.py" if a.template == "medigan" else "model.py"
            parts = f"config.yaml and {code}"
        else:
            folder = publishing.from_medigan(a.folder, source=a.from_medigan)
            parts = "config.yaml and README.md"
        print(f"{folder}: fill in {parts}, then `medzoo contribute check {a.folder}`")
    elif a.step == "check":
        report = publishing.check(a.folder, env=a.env)
        print(report)
        return 0 if report.ready else ContributionError.exit_code
    elif a.step == "pack":
        print(publishing.pack(a.folder, out=a.out, env=a.env))
    elif a.step == "upload":
        print(
            publishing.upload(
                a.folder,
                out=a.out,
                production=a.production,
                publish=a.publish,
                confirm=None if a.yes else agreed,
                new_version=a.new_version,
                env=a.env,
            )
        )
    elif a.step == "submit":
        print(
            publishing.submit(
                a.folder,
                source=a.source,
                out=a.out,
                to=a.to,
                repository=a.repository,
                dry_run=a.dry_run,
                env=a.env,
            )
        )
    return 0
