"""``study``: reader studies, from the making to the report."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from .. import checks
from .generate import model_options
from .help import RUN, Commands, command
from .options import count, named_classes, option_argument, path_of, running_arguments

if TYPE_CHECKING:
    from ..study import Study


def add_study(commands: Commands) -> None:
    """``study`` and its steps."""
    parent = command(
        commands,
        "study",
        "a reader study: whether people can distinguish samples from real images",
        "docs/study.md explains how to run one.",
        examples=(
            "medzoo study new turing/ --real brain.zip --model 102 -n 50 --training 5",
            "medzoo study info turing/",
            "medzoo study export turing/ --out for-readers.zip --blind",
            "medzoo study merge turing/ from-dr-a.zip from-dr-b.zip",
            "medzoo study report turing/ --out report/",
        ),
        codes=(2, *RUN, 9),
    )
    parent.set_defaults(parser=parent)
    steps = parent.add_subparsers(dest="step", metavar="STEP", title="steps")
    _add_new(steps)

    child = command(
        steps,
        "info",
        "what a study asks, and how far its readers are",
        examples=("medzoo study info turing/",),
        codes=(2, 9),
    )
    _folder_argument(child)

    child = command(
        steps,
        "report",
        "the results as text, and as HTML and CSV",
        "Accuracy, sensitivity and specificity with exact intervals, AUC, agreement of readers, "
        "the test against chance, figures of each class, pictures and comments. What cannot be "
        "computed is said.",
        examples=("medzoo study report turing/", "medzoo study report turing/ --out report/"),
        codes=(2, 6, 9),
    )
    _folder_argument(child)
    child.add_argument(
        "--out",
        type=path_of,
        metavar="DIR",
        help="a new folder for report.html and the tables; it holds pictures of the real data",
    )

    child = command(
        steps,
        "export",
        "write a study, with its answers, as one file",
        examples=(
            "medzoo study export turing/ --out for-readers.zip --blind",
            "medzoo study export turing/ --out all.zip",
        ),
        codes=(2, 9),
    )
    _folder_argument(child)
    child.add_argument("--out", type=path_of, required=True, metavar="FILE", help="a new file")
    child.add_argument(
        "--blind", action="store_true", help="without the key, which says what is real"
    )

    child = command(
        steps,
        "import",
        "make the folder of a study from its file",
        examples=("medzoo study import for-readers.zip --out turing/",),
        codes=(2, 6, 9),
    )
    child.add_argument(
        "file", type=path_of, metavar="FILE", help="what `medzoo study export` wrote"
    )
    child.add_argument(
        "--out", type=path_of, required=True, metavar="DIR", help="a new or empty folder"
    )

    child = command(
        steps,
        "merge",
        "add the answers of other copies of a study",
        "A file of another study is refused, and so are two readers with the same name. Then "
        "nothing is added.",
        examples=("medzoo study merge turing/ from-dr-a.zip from-dr-b.zip",),
        codes=(2, 6, 9),
    )
    _folder_argument(child)
    child.add_argument(
        "files",
        nargs="+",
        type=path_of,
        metavar="FILE",
        help="exported files, or folders of studies",
    )


def _folder_argument(child: argparse.ArgumentParser) -> None:
    child.add_argument("folder", type=path_of, metavar="STUDY", help="the folder of the study")


def _add_new(steps: Commands) -> None:
    child = command(
        steps,
        "new",
        "make a study: real and synthetic images, handled alike and shuffled",
        "The folder gets study.sqlite, which holds what readers see and answer, and key.json, "
        "which holds the truth. Keep the key from the readers.",
        examples=(
            "medzoo study new turing/ --real brain.zip --model 102 -n 50 --training 5",
            'medzoo study new turing/ --real brain/ --model 102 --likert "realism, detail"',
            "medzoo study new turing/ --real masses/ --model 8 -n 40 --pairs",
        ),
        codes=(2, *RUN, 9),
    )
    child.add_argument("folder", type=path_of, metavar="STUDY", help="a new or empty folder")
    child.add_argument(
        "--real",
        required=True,
        metavar="DIR",
        help="real images: a folder or zip, with one folder per class if there are classes",
    )
    child.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="a model, which generates; or a folder of samples or images",
    )
    child.add_argument(
        "-n", type=count, default=50, help="images of each side, or pairs (default: 50)"
    )
    child.add_argument(
        "--likert",
        default="",
        metavar="NAMES",
        help='further scales from 1 to 5, such as "realism, diagnostic quality"',
    )
    child.add_argument(
        "--pairs",
        action="store_true",
        help="show a real and a synthetic image at a time: which one is synthetic?",
    )
    child.add_argument(
        "--training",
        type=int,
        default=0,
        metavar="K",
        help="items that come first, with the truth after each, and do not count (default: 0)",
    )
    child.add_argument(
        "--question",
        action="append",
        metavar="TEXT",
        help="a question at the end, instead of the usual two; may be repeated",
    )
    child.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="A=B",
        help="the folder or label A is the class B; may be repeated",
    )
    child.add_argument(
        "--patient",
        metavar="REGEX",
        help="finds the patient in the path of an image, or the name of a column of metadata.csv",
    )
    child.add_argument(
        "--seed", type=int, help="the same seed makes the same study (default: a fresh one)"
    )
    child.set_defaults(condition=None)  # it is one of the options here
    option_argument(child)
    running_arguments(child)


def study_command(a: argparse.Namespace) -> None:
    """``medzoo study``."""
    if a.step is None:
        a.parser.print_help()
        return
    STEPS[a.step](a)


def _new(a: argparse.Namespace) -> None:
    from .. import study

    more: dict[str, Any] = {} if a.question is None else {"closing": a.question}
    made = study.new(
        a.folder,
        a.real,
        a.model,
        a.n,
        likert=a.likert,
        pairs=a.pairs,
        training=a.training,
        classes=named_classes(a.classes),
        patient=a.patient,
        options=_options(a),
        seed=a.seed,
        device=checks.device(a.device),
        env=a.env,
        trust=a.trust,
        sandbox=a.sandbox,
        **more,
    )
    _show(made)
    for note in made.notes:
        print(textwrap.fill(f"* {note}", 78, subsequent_indent="  "))
    print("\nKeep key.json from the readers: it says which images are real.")


def _options(a: argparse.Namespace) -> dict[str, Any]:
    """``--option``, in the types that the config of the model states."""
    if not a.option:
        return {}
    from ..registry import info

    return model_options(a, info(a.model).default)


def _show(made: Study) -> None:
    """What a study asks, and how far its readers are."""
    settings = made.settings
    kind = "pairs" if settings.task == "pairs" else "images"
    print(f"study {made.id[:8]} in {made.folder}: {settings.n} {kind} that count,")
    print(f"  {settings.training} for training, {settings.size[0]}x{settings.size[1]} pixels")
    if settings.scales:
        print(f"  scales: {', '.join(settings.scales)}")
    print(f"  key: {'here' if made.has_key else 'not here'}")
    for reader in made.readers():
        print(f"  {reader.name}: {reader.answered} of {reader.total}")


def _info(a: argparse.Namespace) -> None:
    from .. import study

    _show(study.load(a.folder))


def _report(a: argparse.Namespace) -> None:
    from .. import study

    print(study.load(a.folder).report(a.out))
    if a.out is not None:
        print(f"\nreport: {a.out / 'report.html'}")


def _export(a: argparse.Namespace) -> None:
    from .. import study

    print(study.load(a.folder).export(a.out, blind=a.blind))


def _import(a: argparse.Namespace) -> None:
    from .. import study

    _show(study.import_file(a.file, a.out))


def _merge(a: argparse.Namespace) -> None:
    from .. import study

    made = study.load(a.folder)
    for path, number in made.merge(a.files).items():
        print(f"{path}: {number} new answers")
    _show(made)


STEPS = {
    "new": _new,
    "info": _info,
    "report": _report,
    "export": _export,
    "import": _import,
    "merge": _merge,
}
