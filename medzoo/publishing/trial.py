"""``python -m medzoo.publishing.trial DIR < CONFIGS``: run the models of a pull request.

It needs no network and no token, and writes only into DIR: ``ID.txt``, the report, and ``ID.png``,
the sample sheet. The workflow `contribution` runs it as a user who may write nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from ..errors import ContributionError, InputError, MedzooError
from ..generation.api import load
from ..modeltest import examine
from ..modeltest.report import Report, failure
from .sheet import SAMPLES, SEED, drawn


def trial(identifier: str, out: Path) -> bool:
    """Run a registered model; write its report and its sheet. Returns whether all is well."""
    try:
        report = examine(identifier)
        with load(identifier, device="cpu") as model:
            sheet = drawn(model.generate(SAMPLES, seed=SEED, progress=False))
    except InputError:  # it works on pictures of the user alone
        sheet = None
    except MedzooError as error:
        report, sheet = Report(identifier, (failure("run", error),)), None
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{identifier}.txt").write_text(f"{report}\n", encoding="utf-8")
    if sheet:
        (out / f"{identifier}.png").write_bytes(sheet)
    return report.ready


def main(configs: Iterable[str], out: Path) -> int:
    """Run the models of all configs. Returns 11 if one does not pass, 0 otherwise."""
    identifiers = [Path(line.strip()).stem for line in configs if line.strip()]
    results = [trial(identifier, out) for identifier in identifiers]
    return 0 if all(results) else ContributionError.exit_code


if __name__ == "__main__":
    raise SystemExit(main(sys.stdin, Path(sys.argv[1])))
