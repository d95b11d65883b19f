"""Write what is generated in the docs: docs/cli.md from the help pages, the table of models in
README.md from the configs, and docs/performance.md from what the benchmarks found, where that was
kept (docs/performance/results.json and growth.json).

``--check`` writes nothing: it prints what differs and exits with 1. Help pages are laid out for 100
columns, whatever the terminal. How argparse breaks their lines differs between Python versions, so
white space does not count as a difference, and a page that differs in nothing else is not written
again.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import curves, report  # noqa: E402
from benchmarks.groups import GROUPS  # noqa: E402
from benchmarks.rows import RESULTS, Results  # noqa: E402
from benchmarks.waits import SERIES  # noqa: E402
from medzoo.cli import build_parser  # noqa: E402
from medzoo.config import ModelConfig  # noqa: E402
from medzoo.registry import Registry, description  # noqa: E402
from medzoo.settings import shipped  # noqa: E402

MEASURED = ROOT / "docs" / "performance" / RESULTS
BEGIN, END = "<!-- models -->", "<!-- /models -->"
HEAD = """\
# The command line

Written by `make docs` from the help pages; `make lint` says when it is out of date.
"""


def help_pages() -> str:
    """docs/cli.md."""
    pages = (
        f"## `{parser.prog}`\n\n```text\n{page_of(parser)}\n```\n"
        for parser in with_commands(build_parser())
    )
    return "\n".join([HEAD, *pages])


def page_of(parser: argparse.ArgumentParser) -> str:
    """A help page as text, without trailing spaces."""
    return "\n".join(line.rstrip() for line in parser.format_help().strip().splitlines())


def with_commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and, depth first, those of its commands."""
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found += with_commands(child)
    return found


def readme(text: str) -> str:
    """README.md with the table of models between its markers, which are added at the end where
    there are none.
    """
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"README.md has {BEGIN} without {END} behind it.")
    return f"{before}{BEGIN}\n{model_table()}\n{END}{after}"


def model_table() -> str:
    """The models as a markdown table."""
    head = ("model", "what it makes", "modality", "size", "license", "package", "trained on")
    models = Registry([shipped("model_configs")]).configs  # no user folders, no update
    rows = [head, ["---"] * len(head), *(markdown_row(models[name]) for name in sorted(models))]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in rows)


def markdown_row(config: ModelConfig) -> list[str]:
    """A model, with a link to its config."""
    cells = dict(zip(description.HEAD, description.row(config), strict=True))
    link = f"[{config.id}](model_configs/{config.id}.yaml)"
    data = ", ".join(d.name for d in config.default.datasets) or "no data"
    return [
        link,
        f"{cells['status']}: {config.name}" if cells["status"] else config.name,
        *(cells[name] for name in ("modality", "size", "license", "package")),
        data,
    ]


def performance(measured: Path) -> str:
    """docs/performance.md, from the results in ``measured`` and what was kept beside them."""
    page, grown = report.page(Results.read(measured), GROUPS), measured.parent / curves.KEPT
    return page + (curves.section(curves.Growth.read(grown), SERIES) if grown.exists() else "")


def same(one: str, other: str) -> bool:
    """Whether two pages differ in white space at most."""
    return "".join(one.split()) == "".join(other.split())


def main(arguments: list[str] | None = None) -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description="Write the generated pages of the docs.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 where a page is out of date",
    )
    check = parser.parse_args(arguments).check
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "PYTHON_COLORS": "0"}
    pages: dict[Path, Callable[[str], str]] = {
        ROOT / "docs" / "cli.md": lambda _: help_pages(),
        ROOT / "README.md": readme,
    }
    if MEASURED.exists():
        pages[ROOT / "docs" / "performance.md"] = lambda _: performance(MEASURED)
    stale = False
    for path, page in pages.items():
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = page(before)
        if same(before, after):
            continue
        stale, name = True, path.relative_to(ROOT).as_posix()
        if check:
            print(
                *difflib.unified_diff(
                    before.splitlines(), after.splitlines(), name, f"{name}, generated", lineterm=""
                ),
                sep="\n",
            )
        else:
            path.write_text(after, encoding="utf-8", newline="\n")
            print(f"{name} written")
    if check and stale:
        print("`make docs` writes them again.")
    return int(check and stale)


if __name__ == "__main__":
    raise SystemExit(main())
