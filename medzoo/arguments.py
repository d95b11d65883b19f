"""The command line's arguments and help pages; ``medzoo.cli`` does what they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

from .config import PRECISIONS
from .datasets import FORMATS
from .pages import (
    EXITS,
    FETCH,
    Commands,
    Parser,
    command,
    count,
    exit_codes,
    inputs_argument,
    json_argument,
    model_argument,
    offline_argument,
    package_argument,
    running_arguments,
    set_argument,
    version_argument,
)
from .upkeep import add_cache, add_install
from .version import __version__

RUN = (*FETCH, 7, 8, 12, 13, 14)  # and what running it may
# options of `medzoo generate` that say how to run the model, beside its engine
EXECUTION_OPTIONS = ("device", "weights", "env", "trust", "precision")
EPILOG = """\
Each command has a page: `medzoo generate --help`.

exit codes:
{exits}

settings (environment):
  MEDZOO_CACHE    where downloads and environments are; `medzoo cache` lists it
  MEDZOO_OFFLINE  1: nothing is fetched
  MEDZOO_MIRROR   folders or addresses to fetch from before Zenodo
  MEDZOO_REGISTRY  address or zip that `medzoo update` takes newer configs from
  MEDZOO_MODEL_CONFIGS  further folders of model configs
  MEDZOO_QUIET    1: no progress bars, no notices
  MEDZOO_TIMEOUT  seconds that a model has to load, and for each batch
  MEDZOO_TORCH_BACKEND  torch in environments: auto, cpu, cu128 ..., index

Synthetic samples are for research. They are not for diagnosis.
"""
FIELD_HELP = {
    "modality": "of this modality, such as MRI",
    "organ": "of this organ, such as breast",
    "content": "with this in the picture, such as masses",
    "generator": "of this kind, such as GAN or diffusion",
    "license": "under this license, such as CC",
    "dataset": "trained on this data set, such as CBIS",
}


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options; a parsed command's name is in ``command``, and the step of
    contribute in ``step``.
    """
    parser = Parser(
        prog="medzoo",
        description="Synthetic medical images, masks, labels, volumes, tables from pretrained models.",
        epilog=EPILOG.format(exits=exit_codes(EXITS)),
    )
    parser.add_argument("--version", action="version", version=f"medzoo {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    add_choosing(commands)
    add_using(commands)
    add_sets(commands)
    add_install(commands)
    add_cache(commands)
    add_contributing(commands)
    return parser


def add_choosing(commands: Commands) -> None:
    """``list``, ``search``, ``info``, ``cite``, ``update``."""
    child = command(
        commands,
        "list",
        "every model, with its license and whether it came with medzoo",
        examples=(
            "medzoo list",
            "medzoo list --json",
        ),
        codes=(4,),
    )
    json_argument(child)

    child = command(
        commands,
        "search",
        "find models by words and fields",
        "All words must occur; singular finds plural, MMG finds mammography, and so on. "
        "Fields take a part of the text, in any case; where one is given twice, either may fit. "
        "A word that no model has is taken for the nearest one that names a model, which stderr says. "
        "If nothing is found, the exit code is still 0.",
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
        help="words that must all occur, at the beginning of a word",
    )
    for name, text in FIELD_HELP.items():
        child.add_argument(f"--{name}", action="append", metavar="TEXT", help=text)
    child.add_argument(
        "--bundled", action="store_true", default=None, help="only models that come with medzoo"
    )
    child.add_argument(
        "--sort",
        metavar="KEY",
        help="relevance (default), id, name, year, or a metric such as FID: the best first, where comparable",
    )
    json_argument(child)

    child = command(
        commands,
        "info",
        "all that is known about a model",
        examples=(
            "medzoo info 8",
            "medzoo info 8 --version 1.0.1",
            "medzoo info 8 --json",
        ),
        codes=(3, 4),
    )
    model_argument(child)
    version_argument(child)
    json_argument(child)

    child = command(
        commands,
        "cite",
        "whom to credit for a model's samples: the model, then the data behind it",
        examples=("medzoo cite 8",),
        codes=(3, 4),
    )
    model_argument(child)
    version_argument(child)

    child = command(
        commands,
        "update",
        "newer models and versions without a newer medzoo",
        "Fetches the newest registry from where MEDZOO_REGISTRY says (medzoo's repository if it is not set), looks "
        "through it, says what is new, and uses it from then on. Bundled models stay as they are. Where anything is "
        "wrong with it, what was in use stays.",
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


def add_using(commands: Commands) -> None:
    """``generate``, ``visualize``, ``test``, ``copy``."""
    child = command(
        commands,
        "generate",
        "make samples and write them to a folder",
        "The folder gets the samples, manifest.jsonl (one line per file) and provenance.json, "
        "which says how to make them again. "
        "The same command again continues a run that was stopped, and does nothing where the set is whole; "
        "without a seed it takes the folder's. With a larger -n the set "
        "grows. Any other command into that folder is an error. "
        "Before a run of more than a minute an estimate of time and disk is printed.",
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
        type=Path,
        required=True,
        metavar="DIR",
        help="a new or empty folder, or that of a set to continue or to grow",
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
        help="the model's condition, such as malignant, or N of them with commas between (default: "
        "each in turn)",
    )
    child.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another input of the model, as `medzoo info` lists them; may be repeated",
    )
    child.add_argument(
        "--format",
        choices=list(FORMATS),
        help="; ".join(f"{name}: {what}" for name, (_, what) in FORMATS.items())
        + " (default: png, csv or npz, what fits first)",
    )
    child.add_argument(
        "--layout",
        metavar="LAYOUT",
        help="classes: one folder per label, images/malignant/000007.png, and metadata.jsonl "
        "with the labels; classes:NAME where there are several label columns",
    )
    child.add_argument(
        "--shard-size",
        metavar="SIZE",
        help="of webdataset: bytes after which a shard ends, such as 64MB (default: 256MiB)",
    )
    child.add_argument(
        "--shard-samples",
        type=count,
        metavar="K",
        help="of webdataset: samples in a shard, at most (default: as many as fit)",
    )
    child.add_argument(
        "--batch-size",
        type=count,
        metavar="B",
        help="samples at a time (default: the model's own, as memory allows)",
    )
    inputs_argument(child)
    running_arguments(child)
    child.add_argument(
        "--precision",
        default="full",
        choices=list(PRECISIONS),
        help="of a native package's torch operations; less than full is faster on a device made for it, and changes pixels "
        "(default: full)",
    )
    version_argument(child)
    child.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="other weights for the same model, .safetensors",
    )
    engine_arguments(child)
    child.add_argument(
        "--quiet", action="store_true", help="no progress bar, no estimate, no notice: errors alone"
    )
    json_argument(child)

    child = command(
        commands,
        "visualize",
        "sliders over a model's latent vector, its condition and the seed",
        "Opens a window; where there is no screen, a grid of samples is written to the current folder instead.",
        examples=(
            "medzoo visualize 8",
            "medzoo visualize 8 --save grid.png",
        ),
        codes=(2, *RUN, 9),
    )
    model_argument(child)
    version_argument(child)
    child.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the seed to start from (default: 0)"
    )
    running_arguments(child)
    child.add_argument(
        "--save", type=Path, metavar="FILE", help="save a grid of samples and open no window"
    )

    child = command(
        commands,
        "test",
        "run models and say whether they make what they should",
        "Looks at shapes, value range, seeds, batch sizes, conditions, options, memory, and the outputs that came "
        "recorded with the package (expected.npz).",
        examples=(
            "medzoo test 8",
            "medzoo test --bundled --json",
            "medzoo test mine/ --trust --record",
        ),
        codes=(2, *RUN, 9),
    )
    child.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="number, id, beginning of an id, or path of a package folder",
    )
    child.add_argument("--bundled", action="store_true", help="every model that came with medzoo")
    version_argument(child)
    inputs_argument(child)
    running_arguments(child, device="cpu")
    child.add_argument(
        "--record",
        action="store_true",
        help="write expected.npz again, unless another check fails",
    )
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
    child.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    version_argument(child)
    offline_argument(child)


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
        "The new set goes to a folder beside it, which is then removed; a command that was "
        "stopped continues there when it is "
        "given again. Where files differ, it says by how much, and "
        "whether that is within the tolerance that the model states; the exit code is 9 where it is not, or where files are "
        "no longer as they were written.",
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
        type=Path,
        metavar="FILE",
        help="the weights, where the set was made with others",
    )
    inputs_argument(child)
    running_arguments(child)
    engine_arguments(child)
    json_argument(child)


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
        examples=("medzoo contribute new mine/ --name GAN_MRI_KNEE",),
        codes=(2, 9),
    )
    child.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    child.add_argument("--name", required=True, help="TYPE_MODALITY_CONTENT, such as GAN_MRI_KNEE")

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
        help="where the zip lies: zenodo:RECORD/FILE, https://..., or bundled",
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
        help="make the branch and push nothing; needed, as this medzoo cannot push yet",
    )
