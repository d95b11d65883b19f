"""``contribute`` and its steps: publish your own model."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import ContributionError
from .help import Commands, command
from .options import package_argument


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
            "medzoo contribute submit mine/ --source zenodo:1234567/knee.zip --dry-run",
        ),
        codes=(2, 4, 7, 9, 10, 11),
    )
    parent.set_defaults(parser=parent)
    steps = parent.add_subparsers(dest="step", metavar="STEP", title="steps")

    child = command(
        steps,
        "new",
        "start a package folder from the template",
        examples=(
            "medzoo contribute new mine/ --name GAN_MRI_KNEE",
            "medzoo contribute new mine/ --from-medigan old/",
            "medzoo contribute new mine/ --from-bundle bundle/",
        ),
        codes=(2, 4, 9),
    )
    child.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    start = child.add_mutually_exclusive_group(required=True)
    start.add_argument("--name", help="TYPE_MODALITY_CONTENT, such as GAN_MRI_KNEE")
    start.add_argument(
        "--from-medigan",
        type=Path,
        metavar="FOLDER",
        help="a package with a metadata.json of medigan, to copy and to write the config from",
    )
    start.add_argument(
        "--from-bundle",
        type=Path,
        metavar="FOLDER",
        help="a MONAI bundle, to copy and to write the config from",
    )

    child = command(
        steps,
        "check",
        "check config, code, weights, card and samples, and say what is missing",
        examples=("medzoo contribute check mine/",),
        codes=(4, 7, 11),
    )
    package_argument(child)

    child = command(
        steps,
        "pack",
        "write a reproducible zip and the config that registers it",
        examples=("medzoo contribute pack mine/ --out packed/",),
        codes=(4, 7, 9, 11),
    )
    package_argument(child)
    child.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: beside the folder)"
    )

    child = command(
        steps,
        "submit",
        "prepare the pull request: a git branch with the config",
        examples=("medzoo contribute submit mine/ --source zenodo:1234567/knee.zip --dry-run",),
        codes=(4, 7, 9, 10, 11),
    )
    package_argument(child)
    child.add_argument(
        "--source",
        metavar="WHERE",
        help="where the zip is: zenodo:RECORD/FILE, https://..., or bundled",
    )
    child.add_argument(
        "--repository",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="a clone of medzoo (default: this folder)",
    )
    child.add_argument(
        "--dry-run",
        action="store_true",
        help="make the branch and push nothing; required, because medzoo cannot push yet",
    )


def contribute_command(a: argparse.Namespace) -> int:
    """``medzoo contribute``, and its steps."""
    from .. import contribute

    if a.step is None:
        a.parser.print_help()
    elif a.step == "new":
        if a.from_bundle is not None:
            folder = contribute.from_bundle(a.folder, source=a.from_bundle)
            parts = "config.yaml and README.md"
        elif a.from_medigan is None:
            folder = contribute.new(a.folder, name=a.name)
            parts = "config.yaml and model.py"
        else:
            folder = contribute.from_medigan(a.folder, source=a.from_medigan)
            parts = "config.yaml and README.md"
        print(f"{folder}: fill in {parts}, then `medzoo contribute check {a.folder}`")
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
