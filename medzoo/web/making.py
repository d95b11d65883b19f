"""Samples for a download: made in turn with the explorers, zipped, and bounded."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import ModelConfig, Output, Version
from ..datasets.formats import format_class
from ..errors import InputError, MedzooError
from ..generation.capacity import gigabytes, sample_bytes
from ..generation.job import Job
from .workshop import Loaded, Workshop

MOST_SAMPLES = 2000  # of one request
MOST_BYTES = 2**30  # of the samples of one request, in memory
FORMATS = ("png", "nifti", "dicom", "csv", "npz")
Progress = Callable[[int, int], None]


class CancelledError(MedzooError):
    """The viewer cancelled a run."""


@dataclass
class Making:
    """One run of a viewer, and the zip that came of it.

    Parameters
    ----------
    config, version
        The model.
    parent
        The folder in which the viewer's folder is made, when it is needed.
    """

    config: ModelConfig
    version: Version
    parent: Path

    def __post_init__(self) -> None:
        self._cancelled = threading.Event()

    @cached_property
    def folder(self) -> Path:
        """The viewer's folder."""
        return Path(tempfile.mkdtemp(dir=self.parent))

    def check(self, n: int) -> None:
        """Check that a request is small enough for a server.

        Raises
        ------
        InputError
            It is not.
        """
        size = n * sample_bytes(self.version.outputs)
        hint = f"`medzoo generate {self.config.number} -n {n}` makes any number."
        if n > MOST_SAMPLES:
            raise InputError(
                f"{n:,} samples were asked for; at most {MOST_SAMPLES:,} are made here.", hint
            )
        if size > MOST_BYTES:
            raise InputError(
                f"{n:,} samples have {gigabytes(size)}; at most {gigabytes(MOST_BYTES)} are made "
                "here.",
                hint,
            )

    async def run(
        self,
        workshop: Workshop,
        progress: Progress,
        *,
        n: int,
        seed: int | None,
        format: str,  # noqa: A002
        inputs: Any,
        options: Mapping[str, Any],
    ) -> Path:
        """Make the samples, and zip them.

        Raises
        ------
        CancelledError
            `cancel` was called. Nothing is left.
        MedzooError
            Any error of `medzoo.generate`.
        """
        self.check(n)
        self._cancelled.clear()
        samples = self.folder / "samples"
        shutil.rmtree(samples, ignore_errors=True)
        job = await asyncio.to_thread(
            Job.of,
            self.config,
            n,
            version=self.version.name,
            out=samples,
            format=format,
            seed=seed,
            inputs=inputs,
            options=options,
        )
        async with workshop.runs:
            return await self._run(workshop, job, progress)

    async def _run(self, workshop: Workshop, job: Job, progress: Progress) -> Path:
        samples = self.folder / "samples"
        loaded = await workshop.borrow(self.config, self.version)
        try:
            async with loaded.turn:
                report = self._reporting(loaded, asyncio.get_running_loop(), progress)
                await asyncio.to_thread(job.run, loaded.model, progress=report)
            return await asyncio.to_thread(self._zipped, samples, job.request.seed)
        finally:
            workshop.give_back(loaded)
            shutil.rmtree(samples, ignore_errors=True)

    def cancel(self) -> None:
        """Stop after the batch that is being made."""
        self._cancelled.set()

    def remove(self) -> None:
        """Stop, and remove the files."""
        self.cancel()
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _reporting(
        self, loaded: Loaded, loop: asyncio.AbstractEventLoop, progress: Progress
    ) -> Progress:
        """What the run calls after each batch, in its thread: it lets others have their turn."""

        async def pass_on() -> None:
            loaded.turn.release()
            await loaded.turn.acquire()

        def report(done: int, n: int) -> None:
            loop.call_soon_threadsafe(progress, done, n)
            asyncio.run_coroutine_threadsafe(pass_on(), loop).result()
            if self._cancelled.is_set():
                raise CancelledError("The run was cancelled.")

        return report

    def _zipped(self, samples: Path, seed: int) -> Path:
        stem = f"medzoo_{self.config.number}_seed{seed}"
        path = self.folder / f"{stem}.zip"
        for earlier in self.folder.glob("*.zip"):  # its link is gone
            earlier.unlink()
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(samples.rglob("*")):
                if file.is_file():
                    archive.write(file, Path(stem) / file.relative_to(samples))
        return path


def formats_for(outputs: Mapping[str, Output]) -> list[str]:
    """The formats that can hold the samples of a model, the most usual one first."""
    return [name for name in FORMATS if not format_class(name).unfit(outputs)]
