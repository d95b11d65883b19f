"""A folder that a run fills with a set of samples, and that a stopped run finds again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__, files, settings
from ..config import Output
from ..config.columns import Batch
from ..errors import DatasetError, MedzooWarning
from ..provenance import ARRANGED, DECIDES_SET, FOUND_OUT, SEALS, Provenance
from . import growth
from .differences import changes, differences, updated
from .formats import Format, Line, format_class, pick_format
from .journal import (
    LOG,
    MANIFEST,
    PROVENANCE,
    RECORD,
    UNFINISHED,
    Base,
    Journal,
    is_whole,
    read_record,
    recorded,
    sealed,
    unsealed,
)
from .layout import UNARRANGED, Arrangement
from .paths import inside, is_left_beside, refuse_links
from .reader import finished, require_indices

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED = 4  # of what differs
AT_ONCE = 64  # samples in memory, when some that are there already are written
UNTOUCHED = "Nothing was changed. Choose another folder."


class Target:
    """A folder that one run writes ``n`` samples to; a context manager, inside which no other
    process writes there.

    Entering it looks at what the folder holds. Where that is the very set that ``provenance``
    describes, it is ``finished`` and there is nothing to do. Where that is an unfinished part of
    it, ``done`` samples are good and ``batches`` are the batch boundaries so far. Where it is a set
    of the first samples alone, it grows, and ``done`` are in it. A new or empty folder is begun.
    Anything else is an error.

    Parameters
    ----------
    folder
        Where to write.
    outputs
        The columns.
    format
        One of `medzoo.datasets.FORMATS`, or None for what fits.
    n
        How many samples there will be.
    provenance
        What decides the samples, and under what circumstances they are made. Its ``batches`` may
        change while the run continues. For `look` alone, what is known of it.
    arrangement
        Layout and shards, checked at once.
    again
        False refuses a folder with a set in it, finished or not, whatever it is.

    Raises
    ------
    DatasetError
        The folder holds something else, is being written by another process, or cannot be written.
    InputError
        The format is unknown or does not fit the columns, or it cannot be arranged so.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        outputs: Mapping[str, Output],
        format: str | None,  # noqa: A002
        n: int,
        provenance: Mapping[str, Any],
        again: bool = True,
        arrangement: Arrangement = UNARRANGED,
    ) -> None:
        self.path = settings.user_path(folder, "out").absolute()
        self._outputs, self._n, self._again = outputs, n, again
        self._format = pick_format(format, outputs)
        self._provenance = provenance
        kind = format_class(self._format)
        arranged = arrangement.checked(
            self._format,
            outputs,
            provenance.get("label_names", {}),
            shards=kind.shards,
            one_file_each=kind.one_file_each,
        )
        self._asked = _as_json(
            {
                **{k: v for k, v in provenance.items() if k not in {*FOUND_OUT, *ARRANGED}},
                "format": self._format,
                **arranged,
                "written_with": _writers(self._format),
            }
        )
        self._journal = Journal(self.path)
        self._lock = ExitStack()
        self._grows: Provenance | None = None  # provenance of a smaller set that is there
        self._point = growth.Point()
        self._before: dict[str, Any] = {}  # what counted before the last batch
        self._state: dict[str, Any] = {}
        self._continued: list[dict[str, Any]] = []
        self.done, self.finished = 0, False
        self.batches: list[list[int]] = []

    @property
    def format(self) -> str:
        """The format of the set, one of `medzoo.datasets.FORMATS`."""
        return self._format

    def look(self) -> bool:
        """Whether the set is there and finished, as far as the provenance is known; begins nothing.

        Raises
        ------
        DatasetError
            The folder holds something else.
        """
        with self._writing("opened"):
            self._settle()
            if self._is_finished():
                self._clean_up()
                return True
            with suppress(FileNotFoundError):  # nothing begun, or just finished by another process
                self._read_record()
            return False

    def _settle(self) -> None:
        """Move the files of a set that has grown, if a run was killed before all were moved."""
        place = growth.growing(self.path)
        if self._again and place is not None and growth.is_moving(place):
            with self._lock:
                self._lock_out_others()
                if growth.growing(self.path) == place and growth.is_moving(place):
                    growth.move(place, self.path)

    def __enter__(self) -> Target:
        with self._writing("opened"):
            self._settle()
            if not self._is_finished():
                self._lock_out_others()
        try:
            with self._writing("written"):
                self.finished = self._is_finished()  # by now perhaps by that other process
                if not self.finished:
                    self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.close()
        self._lock.close()
        if self.finished:
            self._clean_up()

    def fill(self, batches: Iterable[Batch]) -> None:
        """Write the samples that are not done; a batch is written while the next is made.

        Raises
        ------
        DatasetError
            The folder cannot be written; what is there stays, and the same run continues it.
        """
        began = time.monotonic()
        with self._writing("written"):
            writer = format_class(self._format)(
                self._journal, self._outputs, self._asked, self._n, self._state
            )
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="medzoo-write") as thread:
                pending: Future[None] | None = None
                for batch in batches:
                    self._wait(pending)
                    pending = thread.submit(self._write, writer, batch)
                self._wait(pending)
            if self.done != self._n:
                raise DatasetError(
                    f"{self.path} got {self.done} samples of {self._n}.",
                    "This is a bug in medzoo.",
                )
            with self._writing("written"):
                self._finish(writer, began)
        finally:
            writer.close()

    def note(self, batches: list[list[int]]) -> None:
        """Remember that batches are smaller from now on."""
        with self._writing("written"):
            self._journal.note(batches=batches)

    def _clean_up(self) -> None:
        if growth.growing(self.path) is None:
            shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)

    def _lock_out_others(self) -> None:
        if self.path.exists():
            refuse_links(self.path)
        path = self.path / UNFINISHED / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not files.has_locks(path):
            warnings.warn(
                f"The disk of {self.path} has no locks: nothing keeps another process from writing there as well. "
                "See that none does.",
                MedzooWarning,
                stacklevel=4,
            )
        elif not self._lock.enter_context(files.locked(path, timeout=0)):
            raise DatasetError(
                f"Another process is writing to {self.path} ({_last_start(self.path)}).",
                "Wait until it is done, or choose another folder.",
            )

    # ------------------------------------------------------------------------------------------------
    # what is there
    def _is_finished(self) -> bool:
        """Whether the folder holds the very set that is asked for; an error where it holds
        something else.
        """
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise DatasetError(f"{self.path} is a file, not a folder.", "Choose another folder.")
        inside = sorted(p.name for p in self.path.iterdir())
        if (self.path / RECORD).exists() and not is_whole(self.path):
            if not self._again:
                raise DatasetError(f"{self.path} holds an unfinished set of samples.", UNTOUCHED)
            return False
        if is_whole(self.path):
            if not self._again:
                raise DatasetError(f"{self.path} holds a set of samples already.", UNTOUCHED)
            return self._is_the_set(unsealed((self.path / PROVENANCE).read_bytes()))
        if others := [
            name
            for name in inside
            if name not in {LOG, UNFINISHED}
            and not (files.is_strewn(Path(name)) or is_left_beside(Path(name)))
        ]:
            raise DatasetError(
                f"{self.path} already holds other files ({others[0]} ...).", UNTOUCHED
            )
        return False

    def _is_the_set(self, there: Mapping[str, Any] | None) -> bool:
        """Whether a finished set is the one that is asked for; False if it is its beginning."""
        if there is None:
            raise DatasetError(
                f"{self.path / PROVENANCE} is not as it was written: its sha256 is not the one that "
                "it states.",
                "Nothing was changed. `medzoo verify` names what else has changed.",
            )
        if not growth.extends(there, self._asked):
            self._refuse_other(there, "another set of samples")
            self._grows = None
            return True
        asked = growth.beginning(self._asked, there["n"])
        self._refuse_other(there, "another set of samples", asked)
        self._grows = finished(self.path)  # a damaged set does not grow
        self._point, self.batches = growth.point_of(
            self.path, there, self._provenance.get("batches", there["batches"])
        )
        place = growth.place_of(self.path, there)
        lengths = self._point.lengths
        with suppress(FileNotFoundError):
            lengths = read_record(place)["lengths"]  # as it was begun
        if lengths is None:
            self._point = growth.Point()
        base = None if lengths is None else Base(self.path, lengths, there[SEALS[0]])
        self._journal = Journal(place, base)
        return False

    def _read_record(self) -> dict[str, Any]:
        record = read_record(self._journal.folder)
        if not record["resumes"]:
            raise DatasetError(
                f"{self.path} holds part of a set that was being saved from memory.",
                "Nothing was changed. Remove it, or choose another folder.",
            )
        self._refuse_other(record["provenance"], "an unfinished set of other samples")
        return record

    def _refuse_other(
        self, found: Mapping[str, Any], what: str, asked: Mapping[str, Any] | None = None
    ) -> None:
        asked = asked or self._asked
        for keys in (
            ("model", "version"),
            DECIDES_SET,
        ):  # another model has other options, columns ...
            known = [k for k in keys if k != "sha256" or k in asked]
            then, now = ({k: about.get(k) for k in known} for about in (found, asked))
            if differ := list(differences(then, now)):
                more = f"; and {len(differ) - NAMED:,} more" * (len(differ) > NAMED)
                hint = UNTOUCHED
                if keys == DECIDES_SET and growth.extends(asked, found) and len(differ) == 1:
                    hint = f"{UNTOUCHED} The samples that you ask for are the first of the set: "
                    hint += f"medzoo.read({str(self.path)!r})[:{asked['n']}]."
                raise DatasetError(
                    f"{self.path} holds {what}: {'; '.join(differ[:NAMED])}{more}.", hint
                )

    def _begin(self) -> None:
        """Begin a new set, or go back to where an unfinished one is good."""
        anew = not (self._journal.folder / RECORD).exists()
        if anew:
            self._begin_anew()
        if anew and not self._point.done:
            return
        record = self._read_record()
        found = self._journal.go_back(self._point.done, self._point.state or {}, self._n)
        self.done, self._state = found["done"], found["state"]
        self._before = self._journal.before
        self.batches = found.get("batches", record["batches"])
        self._continued = found.get("continued", record["continued"])
        before = dict(record["provenance"])
        for change in self._continued:
            before = updated(before, change)
        changed = changes(before, self._asked)
        # It failed before its first sample, perhaps for lack of what changed.
        if changed and not self.done:
            self._begin_anew()
            return
        self._asked = record["provenance"]
        if changed:
            self._continued = [*self._continued, {"done": self.done, **changed}]
            self._journal.note(continued=self._continued)
            warnings.warn(
                f"{self.path} was started under other conditions ({', '.join(changed)}). Its "
                "further samples may differ in "
                "the last bits from those of one run; its provenance records where the change "
                "begins.",
                MedzooWarning,
                stacklevel=4,
            )
        if not anew:
            self._log("continued", f"{self.done} of {self._n} samples are there")

    def _begin_anew(self) -> None:
        asked, continued = self._asked, []
        if self._grows is None:
            self.batches = [list(b) for b in self._provenance.get("batches", [])]
        elif self._point.done:  # the circumstances of the samples that are there
            continued = self._grows.get("continued", [])
            left_out = (*FOUND_OUT, "continued")
            there = {k: v for k, v in self._grows.items() if k not in left_out}
            asked = {**there, **{k: asked[k] for k in ("n", "options")}}
        record = {"resumes": self._again, "batches": self.batches, "continued": continued}
        lengths = self._point.lengths if self._grows is not None else None
        self._journal.begin({**record, "lengths": lengths, "provenance": asked})
        grown = f", of {self._grows['n']} that were there" if self._grows is not None else ""
        self._log("began", f"{self._n} samples{grown}")

    # --------------------------------------------------------------------------------------------------
    # writing it
    def _wait(self, pending: Future[None] | None) -> None:
        if pending is not None:
            with self._writing("written"):
                pending.result()

    def _write(self, writer: Format, batch: Batch) -> None:
        """A batch, and then the line in the journal that makes it count."""
        first = self._asked.get("first", 0) + self.done
        if "subset" not in self._asked and "batches" in self._provenance:
            require_indices(self.path, batch.indices, {"first": first, "n": len(batch)})
        if self.done + len(batch) == self._n:
            lengths = dict(self._journal.lengths)
            state = writer.state() if self.done else {}
            self._before = {"done": self.done, "state": state, "lengths": lengths}
        self._add(writer.write(batch))
        self._journal.commit(self.done + len(batch), writer.state())
        self.done += len(batch)

    def _add(self, lines: list[Line]) -> None:
        text = "".join(
            json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines
        )
        self._journal.append(MANIFEST, text.encode())

    def _finish(self, writer: Format, began: float) -> None:
        last = {"done": self._n, "state": writer.state(), "lengths": dict(self._journal.lengths)}
        self._add(writer.finish())
        self._journal.close()
        place = self._journal.folder
        self._require_all(place)
        provenance = dict(self._asked)
        if "batches" in self._provenance:
            provenance["batches"] = _as_json(self._provenance["batches"])
        if self._continued:
            provenance["continued"] = self._continued
        if self._again and "batches" in provenance:
            full = _is_full(provenance["batches"], self._asked.get("first", 0), self._n)
            point = last if full else self._before
            anew = format_class(self._format).ANEW
            provenance["growth"] = _as_json(growth.point_before(self._journal, point, anew))
        provenance["manifest_sha256"] = files.sha256_of(place / MANIFEST)
        self._log(
            "ended",
            f"{self._n} samples, {time.monotonic() - began:.1f} s since it was begun or continued",
        )
        with files.atomic(place / PROVENANCE) as file:
            file.write(sealed(provenance))
        if place != self.path:
            growth.move(place, self.path)
        self.finished = True

    def _require_all(self, place: Path) -> None:
        """Read back which samples were written, before the set is sealed: all, and no others."""
        columns, indices = format_class(self._format).read(place, self._outputs, self._asked)
        require_indices(self.path, indices, self._asked)
        if len(indices) != self._n:
            raise DatasetError(f"{self.path} got {len(indices)} samples of {self._n}.")
        if self._grows is None:
            return
        before, _ = format_class(self._format).read(self.path, self._outputs, self._grows)
        again = range(self._point.done, self._grows["n"])  # of a batch that was not full
        if differ := growth.differing(before, columns, again):
            first = self._asked.get("first", 0)
            warnings.warn(
                f"{self.path} has grown. Samples {first + differ[0]} to {first + differ[-1]} were "
                "made again in a larger batch, and are not the same to the last bit as before.",
                MedzooWarning,
                stacklevel=5,
            )

    def _log(self, what: str, more: str) -> None:
        with inside(self.path, LOG).open("a", encoding="utf-8") as file:
            file.write(
                f"{what} {time.strftime('%Y-%m-%d %H:%M:%S')} on {platform.node()}, pid {os.getpid()}: {more}\n"
            )

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            kept = (
                "the same command continues it"
                if self._again
                else "remove it, or choose another folder"
            )
            hint = (
                f"What was written stays: {kept}."
                if what == "written"
                else "Choose another folder."
            )
            raise DatasetError(f"{self.path} could not be {what}: {why}.", hint) from error


def recorded_seed(folder: str | os.PathLike[str]) -> int | None:
    """The seed of the set in a folder, finished or not, for a run without a seed."""
    seed = recorded(settings.user_path(folder, "out").absolute()).get("seed")
    return seed if isinstance(seed, int) else None


def save(
    samples: Batch,
    folder: str | os.PathLike[str],
    format: str | None,  # noqa: A002
    *,
    arrangement: Arrangement = UNARRANGED,
) -> Path:
    """Write samples that are there already into a new folder; returns it."""
    provenance, n = dict(samples.provenance), len(samples)
    first, whole = provenance.get("first", 0), provenance.get("n")
    if whole is not None and not np.array_equal(samples.indices, np.arange(first, first + whole)):
        digest = hashlib.sha256(samples.indices.tobytes()).hexdigest()
        provenance["subset"] = {"n": n, "indices": f"sha256:{digest}"}
    with Target(
        folder,
        outputs=samples.outputs,
        format=format,
        n=n,
        provenance=provenance,
        again=False,
        arrangement=arrangement,
    ) as target:
        target.fill(samples[k : k + AT_ONCE] for k in range(0, n or 1, AT_ONCE))
    return target.path


def bytes_a_sample(batch: Batch, format: str) -> float:  # noqa: A002
    """What a sample like these takes on disk, in bytes, by writing them to a place that is then
    removed.
    """
    with tempfile.TemporaryDirectory(prefix="medzoo-") as folder:
        save(batch, folder, format)
        return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / len(batch)


def _writers(format: str) -> dict[str, str]:  # noqa: A002
    """The versions of what turns samples into files."""
    names = filter(None, ("medzoo", format_class(format).encoder))
    return {name: __version__ if name == "medzoo" else metadata.version(name) for name in names}


def _as_json(value: Any) -> Any:
    """What comes back when ``value`` is written as JSON and read again."""
    return json.loads(json.dumps(value))


def _is_full(batches: list[list[int]], first: int, n: int) -> bool:
    """Whether the last batch of ``n`` samples is as large as batches were."""
    start = max(b[0] for b in batches if b[0] < first + n)
    size = next(b[1] for b in batches if b[0] == start)
    return (first + n - start) % size == 0


def _last_start(folder: Path) -> str:
    """Since when and where the folder is being written, from its log."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
        starts = [line for line in lines if line.startswith(("began", "continued"))]
    except OSError:
        starts = []
    return starts[-1].rpartition(": ")[0] if starts else "it has just begun"
