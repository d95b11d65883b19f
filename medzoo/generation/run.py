"""A loaded model without its public methods, and one run of it: its batches, smaller batches when
memory runs out, and its provenance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

import numpy as np

from .. import __version__, checks, settings
from .._worker.defaults import default_settings
from ..config import ModelConfig, Version
from ..datasets.writer import Target
from ..errors import DatasetError, InputError, OutOfMemoryError
from ..provenance import Provenance, copied, of_request
from ..registry import card, introduce, is_local
from ..runtime import Execution, Session, open_session
from ..runtime.weights import their_file
from ..samples import Samples, concatenate
from . import capacity
from .request import Request

Report = Callable[[int, int], None]
M = TypeVar("M", bound="LoadedModel")


class LoadedModel:
    """A version of a model with an open session; a context manager.

    ``config`` and ``version`` say what it is. ``device`` says where it runs, ``actors`` how many
    actors run it.
    """

    def __init__(self, config: ModelConfig, version: Version, session: Session) -> None:
        self.config, self.version = config, version
        self.execution: Execution | None = None  # how it was loaded, if `open_model` did it
        self._session: Session | None = session
        self._most = sys.maxsize  # samples per batch, after memory ran out
        self.device, self.actors = session.device, session.actors

    def __enter__(self: M) -> M:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.device if self._session is not None else "nothing: closed"
        return f"<{self.config.id}, version {self.version.name}, on {where}>"

    def _repr_html_(self) -> str:
        """What is known about the model, and where it runs, for notebooks."""
        where = self.device if self._session is not None else "nothing: closed"
        return card.html(self.config, self.version, f"version {self.version.name}, on {where}")

    def close(self) -> None:
        """Let go of the model's memory."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def released(self) -> Session:
        """The open session, which `close` then leaves alone."""
        session, self._session = self.session, None
        return session

    @default_settings()
    def at(self, indices: Sequence[int], request: Request) -> Samples:
        """The samples with the numbers ``indices`` of a request, made in one batch or, if memory
        runs out, in several.

        Raises
        ------
        OutOfMemoryError
            Not one sample fits into memory, or the samples depend on their batch, and it does not.
        """
        session, parts, done = self.session, [], 0
        while done < len(indices):
            batch = request.batch(indices[done : done + self._most])
            try:
                columns = session.sample(batch)
            except MemoryError as error:
                if batch.n == 1:
                    raise capacity.too_big(self.config, self.version, self.device) from error
                if not self.version.per_sample:  # nothing here records the smaller batches
                    raise capacity.batch_too_big(self.config, batch.n, self.device) from error
                columns = {}
            if not columns:  # outside of the handler, which keeps the large objects alive
                self._most = batch.n // 2
                continue
            made = made_by(self, session, request, batch.n)
            columns = request.placed(columns, batch.indices)
            parts.append(Samples(columns, request.version.outputs, batch.indices, made))
            done += batch.n
        return concatenate(parts)

    @property
    def session(self) -> Session:
        """The session, while it is open."""
        if self._session is None:
            raise InputError(
                f"{self.config.id} is closed.", "Generate inside the `with medzoo.load(...)` block."
            )
        return self._session


def open_model(kind: type[M], config: ModelConfig, version: Version, execution: Execution) -> M:
    """Load a version of a model, as an object of the class ``kind``.

    Raises
    ------
    OutOfMemoryError
        The model itself does not fit into memory.
    MedzooError
        Whatever `medzoo.runtime.open_session` raises.
    """
    try:
        session = open_session(config, version, execution)
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{config.id} cannot be loaded: {error}", "Free some memory, or try another device."
        ) from error
    introduce(config, version)
    model = kind(config, version, session)
    model.execution = execution
    if execution.weights is not None:  # the current folder may be another one later
        model.execution = replace(execution, weights=their_file(execution.weights))
    return model


class Run:
    """The batches of one request, once. ``provenance`` also gets what is known only in the run.

    Parameters
    ----------
    model, request
        What is asked of what.
    batch_size
        Samples per batch. By default what suits the model and the free memory.
    batches
        Boundaries of an earlier run, which make the same bits again: pairs of a first sample and a
        batch size.
    """

    def __init__(
        self,
        model: LoadedModel,
        request: Request,
        batch_size: int | None = None,
        batches: list[list[int]] | None = None,
    ) -> None:
        size = model.session.batch_size
        if batch_size is not None:
            size = checks.count(batch_size, "batch_size")
            capacity.check_batch(model.config, request.version, request.n, size)
        self._model, self._request = model, request
        self._own_size = batch_size is not None
        self._start = request.first
        self._target: Target | None = None
        self.provenance: Provenance = made_by(model, model.session, request, min(size, request.n))
        if batches:
            self.provenance["batches"] = batches

    def go_on(self, target: Target) -> None:
        """Continue after the good samples of ``target``, with its batch boundaries, and record
        there when they change.

        Raises
        ------
        DatasetError
            The batch size is not the one of the first samples, and the samples of this model depend
            on it.
        """
        size, old_size = self.provenance["batches"][0][1], target.batches[0][1]
        self.provenance["batches"], self._target = target.batches, target
        self._start += target.done
        if self._own_size and size != old_size:
            if not self._model.version.per_sample:
                raise DatasetError(
                    f"{target.path} was started with batches of {old_size} samples, not {size}, "
                    "and what the model makes depends on them.",
                    f"Nothing was changed. Ask for batch_size={old_size}.",
                )
            self._resize(size)

    def __iter__(self) -> Iterator[Samples]:
        series = None
        while batch := next(self._ranges(), None):
            session = self._model.session  # an error if it was closed in the meantime
            series = series or session.series(self._request.batch, self._ranges())
            try:
                columns = next(series)
            except MemoryError as error:
                if self._size(batch.start) == 1:
                    raise self._too_big() from error
                columns = {}
            if not columns:  # outside of the handler, which keeps the large objects alive
                self._resize(self._size(batch.start) // 2)
                series = None
                continue
            numbers = np.arange(batch.start, batch.stop)
            columns = self._request.placed(columns, numbers)
            outputs = self._request.version.outputs
            yield Samples(columns, outputs, numbers, copied(self.provenance))
            self._start = batch.stop

    def _too_big(self) -> OutOfMemoryError:
        return capacity.too_big(self._model.config, self._model.version, self._model.device)

    def _ranges(self) -> Iterator[range]:
        """The remaining batches, with the batch size of now."""
        first, stop = self._start, self._request.first + self._request.n
        while first < stop:
            yield range(first, first := min(first + self._size(first), stop))

    def _size(self, first: int) -> int:
        batches: list[list[int]] = self.provenance["batches"]
        return next(size for start, size in reversed(batches) if start <= first)

    def _resize(self, size: int) -> None:
        # The last bits depend on the boundaries, so a set can be made again only with them.
        others = (b for b in self.provenance["batches"] if b[0] != self._start)
        self.provenance["batches"] = sorted([*others, [self._start, size]])
        if self._target is not None:
            self._target.note(self.provenance["batches"])

    @property
    def counts(self) -> tuple[int, int]:
        """How many samples are made, and how many there will be."""
        return self._start - self._request.first, self._request.n


def with_bar(run: Run, progress: bool | Report | None) -> Iterator[Samples]:
    """The run's batches, with a progress bar if it is wanted.

    A function is called after each batch instead, with the number of samples that are made and of
    all. An error that it raises ends the run.
    """
    if callable(progress):
        done, n = run.counts
        for batch in run:
            yield batch
            done += len(batch)
            progress(done, n)
        return
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


def made_by(model: LoadedModel, session: Session, request: Request, batch_size: int) -> Provenance:
    """The provenance of what a session makes."""
    return {
        **known_before(model.config, request),
        "registered": not is_local(model.config) and "weights" not in session.digests,
        "sha256": session.digests,
        "batches": [[request.first, batch_size]],
        "device": model.device,
        **session.provenance,
        "libraries": {"medzoo": __version__, **session.provenance["libraries"]},
    }


def known_before(config: ModelConfig, request: Request) -> Provenance:
    """The provenance as far as it is known before the model is loaded."""
    return of_request(
        config,
        request.version,
        seed=request.seed,
        n=request.n,
        first=request.first,
        options=request.record,
    )
