"""The part of a model's page that makes samples and hands them over as a zip."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from nicegui import context, events, ui

from .._worker.input_files import natural
from ..config import Input, ModelConfig, Version
from ..console import megabytes
from ..errors import InputError, MedzooError
from ..inputs import Inputs
from ..view.inputs import choices_of, first_inputs, ranges_of
from .controls import button, choice, field, slider
from .layout import Message, answer_to
from .making import CancelledError, Making, formats_for
from .site import Site

MOST_UPLOAD = 20_000_000  # bytes of a file
MOST_FILES = 50
EACH = "each in turn"


def add_pages(app: FastAPI, site: Site) -> None:
    """Serve the zips that viewers made, each to the one who knows its key."""

    @app.get("/made/{key}")
    def made(key: str) -> FileResponse:
        path = site.made.get(key)
        if path is None or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, filename=path.name, media_type="application/zip")


class Download:
    """A form, a progress bar, and a link to what was made.

    Parameters
    ----------
    site
        The server's site.
    model, version
        The model of the page, and which of its versions makes the samples.
    """

    def __init__(self, site: Site, model: ModelConfig, version: Version) -> None:
        self._site, self._model, self._version = site, model, version
        self._making = Making(model, version, site.folder)
        self._values: dict[str, Any] = {}
        self._uploads: dict[str, dict[Path, str]] = {}  # input -> file -> the viewer's name of it
        self._numbers = count()
        self._key = secrets.token_urlsafe(16)
        self._client = context.client
        self._client.on_delete(self._forget)
        self._build()

    def _build(self) -> None:
        with ui.element("section").classes("mz-form").props('aria-label="generate and download"'):
            self._n = field("samples", "16", lambda _: None)
            self._seed = field("seed", "", lambda _: None)
            self._seed.props('placeholder="a random one"')
            self._build_inputs()
            formats = formats_for(self._version.outputs)
            self._format = choice("files", formats, formats[0], lambda _: None)
            for config in self._version.inputs.values():
                self._build_upload(config)
            with ui.element("div").classes("mz-buttons"):
                self._start = button("generate", self._run)
                self._stop = button("cancel", self._cancel)
                self._stop.set_enabled(False)
            self._bar = ui.linear_progress(0, show_value=False).props('aria-label="progress"')
            self._bar.set_visibility(False)
            self._message = Message()
            self._link = ui.link("", f"/made/{self._key}")
            self._link.set_visibility(False)

    def _build_inputs(self) -> None:
        version = self._version
        first = first_inputs(version)
        for name, labels in choices_of(version).items():
            is_condition = name in version.conditions
            names = [*([EACH] if is_condition else []), *labels]
            start = EACH if is_condition else str(first[name])
            choice(name, names, start, partial(self._chosen, name, {EACH: None, **labels}))
        for name, (low, high) in ranges_of(version).items():
            whole = version.options[name].type == "int"
            step = 1 if whole else (high - low) / 100
            number: type = int if whole else float
            slider(name, low, high, first[name], partial(self._set, name, number), step=step)

    def _build_upload(self, config: Input) -> None:
        needed = "needed" if config.required else "if you like"
        ui.label(f"{config.name} ({needed}): {config.help}").classes("mz-faint")
        upload = ui.upload(
            multiple=True,
            max_file_size=MOST_UPLOAD,
            max_files=MOST_FILES,
            auto_upload=True,
            label=f"your {config.name}",
            on_upload=partial(self._uploaded, config.name),
            on_rejected=self._rejected,
        )
        upload.props(
            f'flat bordered color="grey-3" text-color="black" aria-label="upload {config.name}"'
        ).classes("mz-upload")

    # ---------------------------------------------------------------------------------------------
    # what the controls call
    def _chosen(self, name: str, values: dict[str, Any], label: str) -> None:
        self._values[name] = values[label]

    def _set(self, name: str, number: type, value: float) -> None:
        self._values[name] = number(value)

    def _rejected(self) -> None:
        self._message.fail(
            InputError(
                "The browser did not send the file.",
                f"A file has at most {MOST_UPLOAD // 10**6} MB, and there are at most "
                f"{MOST_FILES}.",
            )
        )

    async def _uploaded(self, name: str, event: events.UploadEventArguments) -> None:
        """Keep a file if it is one that the model takes."""
        kept = self._uploads.setdefault(name, {})
        folder = self._making.folder / name
        folder.mkdir(exist_ok=True)
        # Files arrive side by side, and two may have one name.
        path = folder / f"{next(self._numbers):03d}_{Path(event.file.name).name[-80:]}"
        await event.file.save(path)
        try:
            if path.stat().st_size > MOST_UPLOAD:
                raise InputError(f"{path.name} is larger than {MOST_UPLOAD // 10**6} MB.")
            if len(kept) >= MOST_FILES:
                raise InputError(f"At most {MOST_FILES} files can be uploaded.")
            await asyncio.to_thread(check_upload, self._model, self._version, name, path)
        except MedzooError as error:
            path.unlink()
            self._fail(error)
            return
        kept[path] = Path(event.file.name).name
        self._message.say(f"{len(kept)} file{'s' * (len(kept) > 1)} for {name}")

    async def _run(self) -> None:
        self._start.set_enabled(False)
        self._stop.set_enabled(True)
        self._link.set_visibility(False)
        self._bar.set_value(0)
        self._bar.set_visibility(True)
        self._message.say("waiting for the model ...")
        try:
            path = await self._made()
        except Exception as error:
            if not self._client.is_deleted:
                self._stopped(answer_to(error))
            return
        if not self._client.is_deleted:
            self._finished(path)

    def _finished(self, path: Path) -> None:
        self._idle()
        self._site.made[self._key] = path
        self._link.set_text(f"{path.name}, {megabytes(path.stat().st_size)}")
        self._link.set_visibility(True)
        self._message.say("done")
        ui.download.from_url(f"/made/{self._key}")

    def _stopped(self, error: MedzooError) -> None:
        self._idle()
        if isinstance(error, CancelledError):
            self._message.say(error.problem)
        else:
            self._fail(error)

    def _idle(self) -> None:
        self._bar.set_visibility(False)
        self._start.set_enabled(True)
        self._stop.set_enabled(False)

    async def _made(self) -> Path:
        uploads = {name: _in_order(kept) for name, kept in self._uploads.items() if kept}
        seed = self._seed.value.strip()
        return await self._making.run(
            self._site.workshop,
            self._progress,
            n=_whole(self._n.value, "samples"),
            seed=_whole(seed, "seed") if seed else None,
            format=self._format.value,
            inputs=uploads or None,
            options={name: value for name, value in self._values.items() if value is not None},
        )

    def _progress(self, done: int, n: int) -> None:
        self._bar.set_value(done / n)
        self._message.say(f"{done} of {n} samples")

    def _cancel(self) -> None:
        self._making.cancel()
        self._message.say("stopping after this batch ...")

    def _fail(self, error: MedzooError) -> None:
        """Show an error, with the viewer's names of files instead of the server's."""
        folder = str(self._making.folder)
        texts = [text.replace(f"{folder}/", "") for text in (error.problem, error.hint)]
        self._message.fail(MedzooError(*texts))

    def _forget(self) -> None:
        self._site.made.pop(self._key, None)
        self._making.remove()


def check_upload(model: ModelConfig, version: Version, name: str, path: Path) -> None:
    """Check that a file fits the input ``name``. The run checks that the inputs fit each other.

    Raises
    ------
    InputError
        It does not.
    """
    alone = replace(version.inputs[name], geometry="")
    Inputs.of(model.id, replace(version, inputs={name: alone}), {name: [path]})


def _in_order(kept: Mapping[Path, str]) -> list[Path]:
    """The files in the natural order of their names, as those of a folder on the command line.

    Small files arrive first, so the order in which they came says nothing.
    """
    return sorted(kept, key=lambda path: natural(kept[path]))


def _whole(text: str, name: str) -> int:
    if not text.strip().isdecimal():
        raise InputError(f"{text!r} is not a number of {name}.", "Give a whole number.")
    return int(text)
