"""``test``: run models and compare them with their configs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import checks
from ..errors import InputError, PackageError
from .help import RUN, Commands, command
from .options import (
    given_inputs,
    inputs_argument,
    json_argument,
    print_json,
    running_arguments,
    version_argument,
)

if TYPE_CHECKING:
    from ..modeltest import Report


def add_test(commands: Commands) -> None:
    """``test``."""
    child = command(
        commands,
        "test",
        "run models and say whether they make what they should",
        "Checks shapes, value range, seeds, batch sizes, conditions, options, memory, and the "
        "outputs that were recorded in the package (expected.npz).",
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


def test_command(a: argparse.Namespace) -> int:
    """``medzoo test``."""
    from ..modeltest import examine
    from ..registry import list_models, resolve

    models = list(a.models)
    if a.bundled:
        models += [c.id for c in list_models() if c.default.scheme == "bundled"]
    if not models:
        raise InputError(
            "medzoo test: which models?",
            "Name some, or say --bundled for all that came with medzoo.",
        )
    options = {"version": a.model_version, "env": a.env, "trust": a.trust, "sandbox": a.sandbox}
    options["device"] = checks.device(a.device)
    # A name of no model is an error before the first model runs.
    versions = [resolve(model).version(a.model_version) for model in models]
    reports = []
    for model, version in zip(models, versions, strict=True):
        inputs = given_inputs(a, version.inputs)
        reports.append(examine(model, write=a.record, inputs=inputs, **options))
        if not a.json:
            print(reports[-1], end="\n\n" if model != models[-1] else "\n", flush=True)
    if a.json:
        print_json(list(map(as_json, reports)))
    return 0 if all(r.ready for r in reports) else PackageError.exit_code


def as_json(report: Report) -> dict[str, Any]:
    """A report for scripts."""
    findings = [asdict(finding) for finding in report.findings]
    return {"model": report.about, "ready": report.ready, "findings": findings}
