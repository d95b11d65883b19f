"""The report of a study: as text, as HTML and as CSV."""

from __future__ import annotations

import csv
import math
import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .. import __version__, checks, files
from ..config.html import data_address, page, text_table
from ..errors import InputError
from .results import PictureResult, ReaderResult, Result, Results, results_of
from .statistics import Estimate
from .store import Store, read_key

SHOWN = 12  # pictures of each kind in the page
STYLE = """
.pictures { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; width: 150px; }
figure img { width: 150px; image-rendering: pixelated; background: #d9e2ec; }
figcaption { font-size: 0.8em; color: #52606d; overflow-wrap: anywhere; }
"""
FIGURES = ("figure", "group", "value", "low", "high", "n", "note")
READERS = (
    *("reader", "experience", "answered", "of", "accuracy", "low", "high", "sensitivity"),
    *("specificity", "auc", "p", "seconds"),
)
PICTURES = ("picture", "truth", "source", "groups", "answers", "called_synthetic", "mean_rating")


class Report:
    """The results of a study; `Study.report` gives it.

    Parameters
    ----------
    store : Store
        The file of the study.
    results : Results
        Its figures.

    Examples
    --------
    >>> from medzoo import study
    >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
    >>> print(made.report().notes[0])
    Nobody has begun, so nothing can be computed.
    """

    def __init__(self, store: Store, results: Results) -> None:
        self._store = store
        self._results = results

    @property
    def figures(self) -> list[Result]:
        """All figures: of all pictures, then of each group."""
        return self._results.figures

    @property
    def notes(self) -> list[str]:
        """What could not be computed, and how the pictures were handled."""
        return [*self._results.notes, *self._results.key["notes"]]

    def figure(self, name: str, by: str = "") -> Result:
        """One figure.

        Parameters
        ----------
        name : str
            Such as ``accuracy``, ``AUC`` or ``kappa``.
        by : str, optional
            A group, such as ``class glioma``.

        Returns
        -------
        Result
            The figure, with its interval and a note.

        Raises
        ------
        InputError
            It could not be computed, or there is no such figure.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A")
        >>> while item := reading.current:
        ...     reading.answer(item.id, 6)
        >>> report = made.report()
        >>> report.figure("sensitivity").value, report.figure("specificity").value
        (1.0, 0.0)
        """
        for result in self.figures:
            if result.name == name and result.by == by:
                return result
        known = {result.name for result in self.figures}
        raise InputError(
            f"The report has no figure {checks.shown(name)} of {checks.shown(by)}.",
            f"{checks.meant(name, known)}{' '.join(self._results.notes)}",
        )

    def __str__(self) -> str:
        rows = [(r.name, _number(r.value), _span(r), str(r.n), r.by) for r in self.figures]
        lines = _aligned([("figure", "value", "95 %", "n", "of"), *rows]) if rows else []
        if self._results.readers:
            lines += ["", *_aligned([_HEAD, *map(_reader_cells, self._results.readers)])]
        for note in self.notes:
            lines += textwrap.wrap(f"* {note}", 78, subsequent_indent="  ")
        return "\n".join(lines)

    # ---------------------------------------------------------------------------------------- files
    def save(self, out: str | Path) -> Path:
        """Write ``report.html`` and four tables as CSV.

        Parameters
        ----------
        out : path
            A new or empty folder.

        Returns
        -------
        pathlib.Path
            The HTML file.

        Raises
        ------
        DatasetError
            The folder holds something already.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> made.report().save("report/").name
        'report.html'
        """
        target = Path(out)
        with files.new_folder(target) as aside:
            _write_csv(aside / "figures.csv", FIGURES, map(_figure_row, self.figures))
            _write_csv(aside / "readers.csv", READERS, map(_reader_row, self._results.readers))
            _write_csv(aside / "pictures.csv", PICTURES, map(_picture_row, self._results.pictures))
            _write_csv(aside / "answers.csv", *self._answers())
            (aside / "report.html").write_text(self._page(), encoding="utf-8")
        return target / "report.html"

    def _answers(self) -> tuple[list[str], list[list[Any]]]:
        scales = self._results.settings.scales
        head = [
            *("reader", "experience", "item", "picture", "truth", "rating", "right", "seconds"),
            *scales,
            "comment",
        ]
        words = ("left", "right") if self._results.settings.task == "pairs" else _TRUTHS
        rows = []
        for j in self._results.judgements:
            row = [j.reader.name, j.reader.experience, j.answer.item, j.picture]
            row += [words[j.synthetic], j.answer.rating, int(j.right), j.answer.seconds]
            rows.append([*row, *[j.answer.scales[name] for name in scales], j.answer.comment])
        return head, rows

    def _page(self) -> str:
        results = self._results
        title = f"Reader study: {results.key['model']} against {results.key['real']}"
        counted = (
            f"{results.settings.n} {'pairs' if results.settings.task == 'pairs' else 'pictures'}"
        )
        opening = (
            f"<p>{counted}, {results.settings.training} for training, {len(results.readers)} "
            f"readers, {len(results.judgements)} answers that count. Synthetic is the positive "
            "class: sensitivity is the share of synthetic pictures that were called synthetic. "
            "Readers who only guess reach 0.5. Synthetic pictures are not for diagnosis.</p>"
        )
        parts = [f"<h1>{escape(title)}</h1>", opening]
        if results.pictures:
            parts.append(
                '<p class="warning">This file holds real pictures. Share it only where you may '
                "share those.</p>"
            )
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        parts.append(f"<h2>Notes</h2><ul>{notes}</ul>")
        for heading, head, rows in self._tables():
            if rows:
                parts += [f"<h2>{heading}</h2>", text_table(head, rows)]
        parts += [*self._galleries(), *self._comments(), _made_with(results)]
        return page(title, "".join(parts), STYLE)

    def _tables(self) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
        head = ("figure", "value", "95 %", "n", "")
        whole: list[Sequence[str]] = []
        groups: list[Sequence[str]] = []
        for result in self.figures:
            cells = (_number(result.value), _span(result), str(result.n))
            if result.by:
                groups.append((result.by, result.name, *cells))
            else:
                whole.append((result.name, *cells, result.note))
        readers = [_reader_cells(reader) for reader in self._results.readers]
        return [
            ("Figures", head, whole),
            ("Readers", _HEAD, list(readers)),
            ("By group", ("group", "figure", "value", "95 %", "n"), groups),
        ]

    def _galleries(self) -> list[str]:
        """The most and the least convincing pictures."""
        parts = []
        made = [p for p in self._results.pictures if p.synthetic]
        real = [p for p in self._results.pictures if not p.synthetic]
        for heading, pictures, doubtful in (
            ("The most convincing synthetic pictures", made, True),
            ("The least convincing synthetic pictures", made, False),
            ("Real pictures that were taken for synthetic", [p for p in real if p.wrong], True),
        ):
            most = min(SHOWN, -(-len(pictures) // 2))
            chosen = sorted(pictures, key=lambda p: _order(p, doubtful=doubtful))[:most]
            if chosen:
                shown = "".join(map(self._picture, chosen))
                parts.append(f'<h2>{heading}</h2><div class="pictures">{shown}</div>')
        return parts

    def _picture(self, picture: PictureResult) -> str:
        address = data_address(self._store.picture(picture.name))
        named = ", ".join([picture.source, *picture.groups.values()])
        rating = "" if math.isnan(picture.rating) else f", mean rating {picture.rating:.1f}"
        wrong = round(picture.wrong * picture.answers)
        text = f"{named}: {wrong} of {picture.answers} answers wrong{rating}"
        return (
            f'<figure><img alt="{escape(text)}" src="{address}">'
            f"<figcaption>{escape(text)}</figcaption></figure>"
        )

    def _comments(self) -> list[str]:
        rows = []
        for judgement in self._results.judgements:
            if judgement.answer.comment:
                source = self._results.key["pictures"][judgement.picture]["source"]
                truth = "pair" if self._results.settings.task == "pairs" else ""
                truth = truth or _TRUTHS[judgement.synthetic]
                name = judgement.reader.name
                rows.append((name, source, truth, judgement.answer.comment))
        parts = []
        if rows:
            head = ("reader", "picture", "truth", "comment")
            parts += ["<h2>Comments</h2>", text_table(head, rows)]
        ends = []
        for result in self._results.readers:
            for question, text in result.reader.closing.items():
                if text:
                    ends.append((result.reader.name, question, text))
        if ends:
            parts += ["<h2>At the end</h2>", text_table(("reader", "question", "answer"), ends)]
        return parts


_HEAD = ("reader", "years", "answers", "right", "95 %", "sens.", "spec.", "AUC", "p", "sec.")
_TRUTHS = ("real", "synthetic")


def report_of(folder: Path, store: Store, out: Path | None) -> Report:
    """The report of a study, written to ``out`` if that is given; see `Study.report`."""
    report = Report(store, results_of(store, read_key(folder, store)))
    if out is not None:
        report.save(out)
    return report


def _order(picture: PictureResult, *, doubtful: bool) -> tuple[float, float, str]:
    """The most often wrong first if ``doubtful``, else the most often right; then by rating."""
    sign = -1.0 if doubtful else 1.0
    rating = 0.0 if math.isnan(picture.rating) else picture.rating
    towards = -rating if picture.synthetic else rating
    return sign * picture.wrong, sign * towards, picture.name


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _span(found: Result | Estimate) -> str:
    if math.isnan(found.low):
        return ""
    return f"{_number(found.low)} to {_number(found.high)}"


def _reader_cells(result: ReaderResult) -> tuple[str, ...]:
    reader = result.reader
    years = "-" if reader.experience is None else f"{reader.experience:g}"
    return (
        *(reader.name, years, f"{reader.answered} of {reader.total}"),
        *(_number(result.accuracy.value), _span(result.accuracy)),
        *map(_number, (result.sensitivity.value, result.specificity.value)),
        *map(_number, (result.auc, result.p, result.seconds)),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of columns."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _made_with(results: Results) -> str:
    key = results.key
    facts = {name: key[name] for name in ("study", "seed", "model", "real")}
    run = ", ".join(f"{name} {value}" for name, value in (facts | key["provenance"]).items())
    about = f"<p>{escape(run)}, medzoo {__version__}</p>"
    return f"<details><summary>How it was made</summary>{about}</details>"


# ---------------------------------------------------------------------------------------------- CSV
def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    """A cell of a table. Text that a spreadsheet would run as a formula gets an apostrophe."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@"}:
        return f"'{value}"
    return value


def _figure_row(result: Result) -> tuple[Any, ...]:
    return result.name, result.by, result.value, result.low, result.high, result.n, result.note


def _reader_row(result: ReaderResult) -> tuple[Any, ...]:
    reader = result.reader
    return (
        *(reader.name, reader.experience, reader.answered, reader.total),
        *result.accuracy,
        *(result.sensitivity.value, result.specificity.value, result.auc, result.p),
        result.seconds,
    )


def _picture_row(picture: PictureResult) -> tuple[Any, ...]:
    groups = "; ".join(f"{name}={value}" for name, value in picture.groups.items())
    return (
        *(picture.name, _TRUTHS[picture.synthetic], picture.source, groups),
        *(picture.answers, picture.called, picture.rating),
    )
