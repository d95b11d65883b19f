"""Reader studies in a browser: a reader begins or resumes, and answers with keys or the mouse.

A page keeps nothing: `medzoo.study.Reading` stores each answer before the next item is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui
from nicegui.events import KeyEventArguments

from ..config.html import data_address
from ..errors import InputError, MedzooError, NotAvailableError
from ..study import Feedback, Item, Reading, Settings, Study
from ..study.store import SCALE, SIDES
from .controls import button
from .layout import Message, frame
from .site import Site

LINKS = {"reader studies": "/study"}
HELP = (
    "Digits choose an answer, then the value of each scale; Backspace goes back, Enter confirms, "
    "P pauses. An answer cannot be changed later."
)


def add_pages(app: FastAPI, site: Site) -> None:  # noqa: ARG001
    """Add the list of studies, and a page for each."""

    @ui.page("/study")
    def studies() -> None:
        with frame(site, "reader studies", LINKS):
            for name, study in site.studies.items():
                ui.link(f"{study.folder.name}: {study.settings.n} items", f"/study/{name}")
            if not site.studies:
                Message().say("This server has none. `medzoo serve --study DIR` adds one.")

    @ui.page("/study/{name}")
    def read(name: str, reader: str = "") -> None:
        with frame(site, "reader study", LINKS):
            if site.read_only:
                Message().fail(NotAvailableError("This server is read-only: nobody can answer."))
            elif name not in site.studies:
                Message().fail(InputError(f"There is no study {name!r:.40} here."))
            else:
                Desk(site.studies[name], f"/study/{name}", reader)


class Desk:
    """What one reader sees: a form to begin, one item after the other, and the last questions.

    Parameters
    ----------
    study
        The study, which other pages may share.
    address
        The page's own. It gets the reader's name, so that a page which is loaded again knows it.
    known
        That name; empty at first.
    """

    def __init__(self, study: Study, address: str, known: str) -> None:
        self.study, self.address = study, address
        self.reading: Reading | None = None
        self.sheet: Sheet | None = None
        self.box = ui.element("div").classes("mz-study")
        self.message = Message()
        # Digits count while a button has the focus, but not in a text.
        ui.keyboard(self._key, repeating=False, ignore=["input", "textarea"])
        self._welcome(known)

    # ------------------------------------------------------------------------------------ beginning
    def _welcome(self, known: str) -> None:
        settings = self.study.settings
        kind = "pairs of pictures" if settings.task == "pairs" else "pictures"
        with self.box:
            ui.label(
                f"{settings.n} {kind}, one after the other, and {settings.training} before them to "
                "learn how it works. You can stop at any time, and resume under the same name."
            )
            name = ui.input("your name, initials or number", value=known).props("outlined dense")
            years = ui.number("years of experience (optional)", min=0).props("outlined dense")
            with ui.element("div").classes("mz-buttons"):
                button("begin", partial(self._start, name, years, False))
                resume = button("resume", partial(self._start, name, years, True))
        if known:
            focus(resume)

    def _start(self, name: ui.input, years: ui.number, resume: bool) -> None:
        try:
            self.reading = self.study.start(name.value, experience=years.value, resume=resume)
        except MedzooError as error:
            self.message.fail(error)
            return
        ui.navigate.history.replace(f"{self.address}?reader={quote(self.reading.reader)}")
        self._next()

    # -------------------------------------------------------------------------------------- reading
    def _next(self) -> None:
        """Show the item to answer now, or the end."""
        assert self.reading is not None  # noqa: S101
        self.message.say("")
        self.sheet = None
        self.box.clear()
        item = self.reading.current
        with self.box:
            if item is None:
                self._close()
                return
            self.sheet = Sheet(self.study, item, self._answer, self._pause)

    def _answer(self, item: Item, values: Sequence[int], comment: str) -> None:
        assert self.reading is not None  # noqa: S101
        scales = dict(zip(self.study.settings.scales, values[1:], strict=True))
        try:
            feedback = self.reading.answer(item.id, values[0], scales=scales, comment=comment)
        except MedzooError as error:
            current = self.reading.current
            if current is None or current.id != item.id:
                self._next()  # answered in another window
            self.message.fail(error)
            return
        if feedback is None:
            self._next()
        else:
            self._teach(feedback)

    def _teach(self, feedback: Feedback) -> None:
        """The truth, after an item of the training."""
        assert self.sheet is not None  # noqa: S101
        pairs = self.study.settings.task == "pairs"
        what = f"The {feedback.truth} one" if pairs else "This picture"
        truth = "synthetic" if pairs else feedback.truth
        word = "Right" if feedback.correct else "Wrong"
        self.sheet.form.clear()
        with self.sheet.form:
            ui.label(f"{word}. {what} is {truth}.").classes("mz-truth")
            focus(button("next", self._next))
        self.sheet = None

    def _pause(self) -> None:
        if self.reading is None or self.reading.paused or self.sheet is None:
            return
        self.reading.pause()
        self.sheet.box.set_visibility(False)
        with self.box, ui.element("div").classes("mz-buttons") as notice:
            ui.label("Paused. The clock stands still.")
            focus(button("continue", partial(self._resume, notice)))

    def _resume(self, notice: ui.element) -> None:
        """Show the item as it was left; the next one if it was answered in another window."""
        assert self.reading is not None and self.sheet is not None  # noqa: S101, PT018
        self.reading.resume()
        current = self.reading.current
        if current is None or current.id != self.sheet.item.id:
            self._next()
            return
        with self.box:
            notice.delete()
            self.sheet.show()

    def _key(self, event: KeyEventArguments) -> None:
        if self.sheet is None or not event.action.keydown or self.reading is None:
            return
        if self.reading.paused or event.modifiers.ctrl or event.modifiers.meta:
            return
        if event.key.number is not None:
            self.sheet.choose(event.key.number)
        elif event.key.backspace:
            self.sheet.back()
        elif str(event.key).lower() == "p":
            self._pause()

    # -------------------------------------------------------------------------------------- the end
    def _close(self) -> None:
        assert self.reading is not None  # noqa: S101
        known = {reader.name: reader for reader in self.study.readers()}
        if known[self.reading.reader].closing or not self.study.settings.closing:
            ui.label("Thank you. All your answers are stored.").classes("mz-truth")
            return
        ui.label("That was the last one. A few words at the end:")
        texts = {}
        for question in self.study.settings.closing:
            texts[question] = ui.textarea(question).props("outlined autogrow")
        button("send", partial(self._send, texts))

    def _send(self, texts: dict[str, ui.textarea]) -> None:
        assert self.reading is not None  # noqa: S101
        try:
            self.reading.close({question: text.value or "" for question, text in texts.items()})
        except MedzooError as error:
            self.message.fail(error)
            return
        self._next()


class Sheet:
    """One item with its rows of answers.

    Parameters
    ----------
    study
        The study.
    item
        What is shown.
    answer
        Called with the item, the value of each row, and the comment.
    pause
        Called when the reader wants a pause.
    """

    def __init__(
        self,
        study: Study,
        item: Item,
        answer: Callable[[Item, Sequence[int], str], None],
        pause: Callable[[], None],
    ) -> None:
        self.item, self._answer = item, answer
        self.rows: list[Row] = []
        settings = study.settings
        with ui.element("div").classes("mz-sheet") as self.box:
            with ui.element("div").classes("mz-shown"):
                for side, name in zip(SIDES, item.pictures, strict=False):
                    with ui.element("div").classes("mz-picture"):
                        _picture(study.picture(name), side if settings.task == "pairs" else "")
            with ui.element("div") as self.form:
                place = f"{item.number} of {item.total}"
                ui.label(f"{place}, for training" if item.training else place).classes("mz-faint")
                self._build_form(settings, pause)

    def _build_form(self, settings: Settings, pause: Callable[[], None]) -> None:
        self.rows.append(Row(settings.question, settings.choices, self._chosen))
        for scale in settings.scales:
            labels = [str(value) for value in range(1, SCALE + 1)]
            self.rows.append(Row(f"{scale} (1 worst, {SCALE} best)", labels, self._chosen))
        self.comment = ui.input("comment (optional)").props("outlined dense")
        with ui.element("div").classes("mz-buttons"):
            self.confirm = button("confirm", self._confirm)
            button("pause", pause)
        self.confirm.disable()
        ui.label(HELP).classes("mz-faint")

    def show(self) -> None:
        """Show it again after a pause, with what was chosen and typed."""
        self.box.set_visibility(True)
        self._chosen()

    def choose(self, number: int) -> None:
        """Set the first row without a value, or the last one."""
        row = next((row for row in self.rows if row.value is None), self.rows[-1])
        row.choose(number)

    def back(self) -> None:
        """Take the value of the last row that has one."""
        for row in reversed(self.rows):
            if row.value is not None:
                row.choose(None)
                return

    def _chosen(self) -> None:
        if any(row.value is None for row in self.rows):
            self.confirm.disable()
        else:
            self.confirm.enable()
            focus(self.confirm)

    def _confirm(self) -> None:
        values = [row.value for row in self.rows if row.value is not None]
        if len(values) == len(self.rows):
            self._answer(self.item, values, self.comment.value or "")


class Row:
    """A question with numbered answers, of which one is chosen."""

    def __init__(self, question: str, labels: Sequence[str], changed: Callable[[], Any]) -> None:
        self.value: int | None = None
        self._changed = changed
        self._buttons: list[ui.button] = []
        group = ui.element("div").classes("mz-answers").props('role="group"')
        group.props["aria-label"] = question
        with group:
            ui.label(question)
            for number, label in enumerate(labels, start=1):
                text = label if label == str(number) else f"{number} {label}"
                self._buttons.append(button(text, partial(self.choose, number)))
        self._mark()

    def choose(self, number: int | None) -> None:
        """Choose an answer by its number, or none; another number changes nothing."""
        if number is not None and not 1 <= number <= len(self._buttons):
            return
        self.value = number
        self._mark()
        self._changed()

    def _mark(self) -> None:
        for number, control in enumerate(self._buttons, start=1):
            chosen = number == self.value
            control.props(f'aria-pressed="{"true" if chosen else "false"}"')
            control.props(add="unelevated" if chosen else "outline")
            control.props(remove="outline" if chosen else "unelevated")


def focus(control: ui.button) -> None:
    """Let a button have the focus, so that Enter presses it."""
    ui.run_javascript(
        f"setTimeout(() => getHtmlElement({control.id})?.focus({{preventScroll: true}}), 30)"
    )


def _picture(png: bytes, side: str) -> None:
    """A picture whose element says nothing about it but its side."""
    image = ui.element("img")
    image.props["src"] = data_address(png)
    image.props["alt"] = f"the {side} picture" if side else "the picture"
