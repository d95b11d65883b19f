"""A loaded model, and one run of it: batches, a memory that runs out, provenance."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from . import capacity, checks, settings
from ._worker.defaults import default_settings
from .config import ModelConfig, Version
from .datasets.layout import Arrangement
from .datasets.reader import read
from .datasets.writer import Target
from .errors import DatasetError, InputError, OutOfMemoryError
from .registry import is_local
from .request import Request, check_count, provenance, requested
from .runtime import Session
from .samples import Samples, concatenate, gathered
from .version import __version__


class Model:
    """A loaded model; made by `load`.

    ``config`` and ``version`` say what it is, ``device`` and ``actors`` where it runs, and how
    often. Calling it generates.
    """

    def __init__(self, config: ModelConfig, version: Version, session: Session) -> None:
        self.config, self.version = config, version
        self._session: Session | None = session
        self._most = sys.maxsize  # samples at once, as far as is known
        self.device, self.actors = session.device, session.actors

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.config.id}, version {self.version.name}, on {self.device if self._session else 'nothing: closed'}>"

    def close(self) -> None:
        """Let go of the model's memory."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @checks.checked()
    def generate(
        self,
        n: int | None = None,
        *,
        out: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002
        layout: str | None = None,
        shard_size: int | str | None = None,
        shard_samples: int | None = None,
        seed: int | None = None,
        first: int = 0,
        batch_size: int | None = None,
        inputs: Any = None,
        progress: bool | None = None,
        **options: Any,
    ) -> Samples:
        """Make ``n`` samples; see `medzoo.generate`."""
        asked: dict[str, Any] = {
            "out": out,
            "format": format,
            "seed": seed,
            "first": first,
            "inputs": inputs,
            "options": options,
            "arrangement": Arrangement(layout, shard_size, shard_samples),
        }
        request = requested(self.config, self.version, n, **asked)
        return self.fulfil(
            request, out=out, format=format, batch_size=batch_size, progress=progress
        )

    __call__ = generate

    @checks.checked()
    @default_settings()
    def fulfil(
        self,
        request: Request,
        *,
        out: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Samples:
        """Make the samples of a request that `requested` checked."""
        if out is None:
            capacity.check_memory(self.config, self.version, request.n)
        else:
            capacity.check_disk(self.config, self.version, request.n, out, format)
        run = Run(self, request, batch_size)
        if out is None:
            return gathered(with_bar(run, progress), request.n)
        with Target(
            out,
            outputs=self.version.outputs,
            format=format,
            n=request.n,
            provenance=run.provenance,
            arrangement=request.arrangement,
        ) as target:
            if not target.finished:
                run.go_on(target)
                batches = with_bar(run, progress)
                left = request.n - target.done
                target.fill(capacity.measured(batches, target, left))
        return read(target.path)

    @checks.checked()
    def stream(
        self,
        n: int,
        *,
        batch_size: int | None = None,
        seed: int | None = None,
        first: int = 0,
        inputs: Any = None,
        progress: bool | None = None,
        **options: Any,
    ) -> Iterator[Samples]:
        """Make samples ``first`` to ``first + n - 1`` of a run, batch by batch; see
        `medzoo.stream`.
        """
        request = Request.of(
            self.config, self.version, n, seed=seed, inputs=inputs, options=options, first=first
        )
        return with_bar(Run(self, request, batch_size), progress)

    @default_settings()
    def at(self, indices: Sequence[int], request: Request) -> Samples:
        """The samples with the numbers ``indices`` of a request, in one piece or, when memory runs
        out, in several.
        """
        session, parts, done = self._open_session(), [], 0
        while done < len(indices):
            batch = request.batch(indices[done : done + self._most])
            try:
                columns = session.sample(batch)
            except MemoryError as error:
                if batch.n == 1:
                    raise capacity.too_big(self.config, self.version, self.device) from error
                columns = {}
            if not columns:  # out of the handler, which keeps what did not fit alive
                self._most = batch.n // 2
                continue
            made = made_by(self, session, request, batch.n)
            parts.append(Samples(columns, self.version.outputs, batch.indices, made))
            done += batch.n
        return concatenate(parts)

    def _open_session(self) -> Session:
        if self._session is None:
            raise InputError(
                f"{self.config.id} is closed.", "Generate inside the `with medzoo.load(...)` block."
            )
        return self._session


class Run:
    """The batches of one request, once; ``provenance`` grows by what the run finds out.

    Parameters
    ----------
    model, request
        What is asked of what.
    batch_size
        Samples a batch; what suits the model and the memory that is free if None.
    batches
        Boundaries of an earlier run, which make the same bits again: pairs of a first sample and a
        batch size.
    """

    def __init__(
        self,
        model: Model,
        request: Request,
        batch_size: int | None = None,
        batches: list[list[int]] | None = None,
    ) -> None:
        size = model._open_session().batch_size
        if batch_size is not None:
            size = check_count(batch_size, "batch_size")
            capacity.check_batch(model.config, model.version, request.n, size)
        self._model, self._request = model, request
        self._own_size = batch_size is not None
        self._start = request.first
        self._target: Target | None = None
        self.provenance: dict[str, Any] = made_by(
            model, model._open_session(), request, min(size, request.n)
        )
        if batches:
            self.provenance["batches"] = batches

    def go_on(self, target: Target) -> None:
        """Continue where ``target`` is good, with its batch boundaries; tell it when they change.

        Raises
        ------
        DatasetError
            Another batch size is asked for than it was begun with, of a model whose samples depend
            on that.
        """
        asked, begun = self.provenance["batches"][0][1], target.batches[0][1]
        self.provenance["batches"], self._target = target.batches, target
        self._start += target.done
        if self._own_size and asked != begun:
            if not self._model.version.per_sample:
                raise DatasetError(
                    f"{target.path} was started with batches of {begun} samples, not {asked}, and "
                    "what the model "
                    "makes depends on them.",
                    f"Nothing was changed. Ask for batch_size={begun}.",
                )
            self._resize(asked)

    def __iter__(self) -> Iterator[Samples]:
        series = None
        while batch := next(self._ranges(), None):
            session = self._model._open_session()  # closed meanwhile, it says so
            series = series or session.series(self._request.batch, self._ranges())
            try:
                columns = next(series)
            except MemoryError as error:
                if self._size(batch.start) == 1:
                    raise self._too_big() from error
                columns = {}
            if not columns:  # out of the handler, which keeps what did not fit alive
                self._resize(self._size(batch.start) // 2)
                series = None
                continue
            numbers, outputs = np.arange(batch.start, batch.stop), self._model.version.outputs
            yield Samples(columns, outputs, numbers, self.provenance)
            self._start = batch.stop

    def _too_big(self) -> OutOfMemoryError:
        return capacity.too_big(self._model.config, self._model.version, self._model.device)

    def _ranges(self) -> Iterator[range]:
        """The batches that are left, as far as is known."""
        first, stop = self._start, self._request.first + self._request.n
        while first < stop:
            yield range(first, first := min(first + self._size(first), stop))

    def _size(self, first: int) -> int:
        batches: list[list[int]] = self.provenance["batches"]
        return next(size for start, size in reversed(batches) if start <= first)

    def _resize(self, size: int) -> None:
        # Boundaries decide the last bits, so a set can be made again only with them.
        others = (b for b in self.provenance["batches"] if b[0] != self._start)
        self.provenance["batches"] = sorted([*others, [self._start, size]])
        if self._target is not None:
            self._target.note(self.provenance["batches"])

    @property
    def counts(self) -> tuple[int, int]:
        """How many samples are made, and how many there will be."""
        return self._start - self._request.first, self._request.n


def with_bar(run: Run, progress: bool | None) -> Iterator[Samples]:
    """The run's batches, beside a progress bar where one is to be drawn."""
    if not settings.show_progress(progress):
        yield from run
        return
    done, n = run.counts
    with settings.progress_bar()(
        total=n, initial=done, unit="sample", desc=run.provenance["model"], file=sys.stderr
    ) as bar:
        for batch in run:
            yield batch
            bar.update(len(batch))


def made_by(model: Model, session: Session, request: Request, batch_size: int) -> dict[str, Any]:
    """The provenance of what a session makes."""
    return {
        **provenance(model.config, model.version, request),
        "registered": not is_local(model.config) and "weights" not in session.digests,
        "sha256": session.digests,
        "batches": [[request.first, batch_size]],  # from sample -> batch size
        "device": model.device,
        **session.provenance,
        "libraries": {"medzoo": __version__, **session.provenance["libraries"]},
    }
