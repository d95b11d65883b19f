"""``evaluate`` and ``compare``: samples against real data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import checks
from ..errors import InputError
from .help import RUN, Commands, command
from .options import count, json_argument, named_classes, path_of, running_arguments

if TYPE_CHECKING:
    from ..evaluation.comparison import Comparison
    from ..evaluation.results import Evaluation


def add_evaluate(commands: Commands) -> None:
    """``evaluate``, ``compare``."""
    child = command(
        commands,
        "evaluate",
        "judge samples against real data: fidelity, diversity, usefulness, privacy",
        "Each figure is printed with a 95 % interval, and beside the same figure of real data, "
        "which is the best to expect. The figures are necessary, not sufficient: look at the "
        "pictures of --report too. docs/evaluate.md explains them.",
        examples=(
            "medzoo evaluate masses/ --real cbis.zip --report masses.html",
            "medzoo evaluate 8 --real real/ --held-out other/ --by labels",
            'medzoo evaluate 8 --real real/ --gate "fd<=1.5*floor, copy<=0.03"',
            "medzoo evaluate 102 --real brain/ --resize --utility --patient '^\\w+/P\\d+'",
        ),
        codes=(2, *RUN, 9, 16),
    )
    child.add_argument(
        "synthetic",
        metavar="DIR_OR_MODEL",
        help="a folder that medzoo wrote, a folder or zip of images, a .npz, .npy or .csv file, or "
        "a model, which then generates",
    )
    _shared(child)
    child.add_argument(
        "--gate",
        metavar="BOUNDS",
        help='bounds such as "fd<=50, copy<=0.01" or "fd<=1.5*floor"; if one is missed, the exit '
        "code is 16",
    )
    json_argument(child)

    child = command(
        commands,
        "compare",
        "judge several models or sets against the same real data, in one table",
        examples=(
            "medzoo compare 101 102 103 --real brain/ --resize",
            "medzoo compare mine/ yours/ --real real/ --metrics fd recall copy",
            "medzoo compare mine/ yours/ --real real/ --utility --report both.html",
        ),
        codes=(2, *RUN, 9),
    )
    child.add_argument(
        "synthetic", nargs="+", metavar="DIR_OR_MODEL", help="models or sets, as for evaluate"
    )
    _shared(child)
    json_argument(child)


def _shared(child: argparse.ArgumentParser) -> None:
    """What both commands take."""
    child.add_argument(
        "--real",
        required=True,
        metavar="DIR",
        help="real images, one folder per class if there are classes; for figures of privacy what "
        "the model was trained on. If it has train/ and val/ or test/, the second is held out",
    )
    child.add_argument(
        "--held-out",
        metavar="DIR",
        help="further real images, of other patients (default: half of --real, at random)",
    )
    child.add_argument(
        "--metrics",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="metrics, or groups: fidelity, diversity, usefulness, privacy, masks, tables "
        "(default: all that apply but c2st, tstr, mask_dice and box_found, which train networks; "
        "all: these as well)",
    )
    child.add_argument(
        "--features",
        metavar="NAME",
        help="radimagenet or inception, networks whose weights are downloaded at the first use "
        "(95 MB), or a file of such weights (default: principal components of the real images)",
    )
    child.add_argument(
        "--by", metavar="COLUMN", help="figures of each group too: labels, or of metadata.csv"
    )
    child.add_argument(
        "--utility",
        action="store_true",
        help="train a small network on real, synthetic and both, and test it on held-out data; "
        "takes minutes",
    )
    child.add_argument(
        "--task",
        choices=("classifier", "segmenter", "detector"),
        help="what --utility trains (default: a segmenter if there are masks, a detector if there "
        "are boxes, else a classifier)",
    )
    child.add_argument(
        "--patient",
        metavar="REGEX",
        help="finds the patient in the path of an image, or the name of a column of metadata.csv",
    )
    child.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="A=B",
        help="the folder or label A is the class B; may be given several times",
    )
    child.add_argument(
        "--resize",
        action="store_true",
        help="bring real images to the size of the synthetic ones; images of another shape are "
        "refused",
    )
    child.add_argument(
        "-n", type=count, default=1000, help="samples that a model generates (default: 1000)"
    )
    child.add_argument(
        "--seed", type=int, default=0, help="of the samples and of random choices (default: 0)"
    )
    child.add_argument(
        "--steps",
        type=count,
        default=250,
        help="how long each network learns (default: 250)",
    )
    child.add_argument(
        "--report",
        type=path_of,
        metavar="FILE",
        help="write an HTML report; it holds pictures of the real data",
    )
    running_arguments(child)


def _options(a: argparse.Namespace) -> dict[str, Any]:
    """The arguments of both functions."""
    return {
        "held_out": a.held_out,
        "metrics": a.metrics,
        "features": a.features,
        "by": a.by,
        "utility": a.utility,
        "task": a.task,
        "patient": a.patient,
        "classes": named_classes(a.classes),
        "resize": a.resize,
        "n": a.n,
        "seed": a.seed,
        "steps": a.steps,
        "device": checks.device(a.device),
        "env": a.env,
        "trust": a.trust,
        "sandbox": a.sandbox,
    }


def evaluate_command(a: argparse.Namespace) -> None:
    """``medzoo evaluate``."""
    from ..evaluation.api import evaluate
    from ..evaluation.gate import require_metrics

    if a.gate is not None:
        require_metrics(a.gate, a.metrics)
    _require_folder(a.report)
    evaluation = evaluate(a.synthetic, a.real, **_options(a))
    _show(evaluation, a)
    if a.gate is not None:
        evaluation.require(a.gate)


def _require_folder(report: Path | None) -> None:
    if report is not None and not report.absolute().parent.is_dir():
        raise InputError(
            f"--report: there is no folder {report.parent}.", "Make it first, or name another."
        )


def _show(result: Evaluation | Comparison, a: argparse.Namespace) -> None:
    """Print a result, and write its report."""
    if a.report is not None:
        result.to_html(a.report)
    if a.json:
        print(result.to_json())
        return
    print(result)
    if a.report is not None:
        print(f"\nreport: {a.report}")


def compare_command(a: argparse.Namespace) -> None:
    """``medzoo compare``."""
    from ..evaluation.api import compare

    _require_folder(a.report)
    _show(compare(a.synthetic, a.real, **_options(a)), a)
