"""A folder that a run fills with a set of samples. A run that was stopped continues it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
import warnings
import zlib
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
from ..provenance import ARRANGED, DECIDES_SET, FOUND_OUT, SEALS, Provenance, outputs_as_json
from . import growth
from .differences import changes, differences, updated
from .formats import Format, Line, format_class, pick_format, require_different, require_types
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

NAMED = 4  # differences that an error names
AT_ONCE = 64  # samples that are read at once from samples on disk, to write them again
UNTOUCHED = "Nothing was changed. Choose another folder."


class Target:
    """A folder that one run writes ``n`` samples to.

    This is a context manager; inside it no other process can write to the folder. It looks at what
    the folder holds when it is entered:

    - the set that ``provenance`` describes: it is ``finished``, and there is nothing to do;
    - an unfinished part of this set: ``done`` samples are complete, and ``batches`` are the batch
      boundaries up to there;
    - a set of only the first samples: it grows, and ``done`` samples are in it;
    - nothing: a new set begins.

    Anything else is an error.

    Parameters
    ----------
    folder : str or os.PathLike
        Where to write.
    outputs : Mapping[str, Output]
        The columns.
    format : str or None
        One of `medzoo.datasets.FORMATS`, or None for the first that fits.
    n : int
        Number of samples of the finished set.
    provenance : Mapping[str, Any]
        What decides the samples, and the circumstances in which they are made. Its ``batches`` may
        change while the run continues. `look` needs only a part of it.
    arrangement : Arrangement, optional
        Layout and shards, which are checked at once.
    again : bool, optional
        If False, any folder with a set in it is refused. True by default.

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
        asked = _without(provenance, *FOUND_OUT, *ARRANGED)
        asked |= {"format": self._format, **arranged, "written_with": _writers(self._format)}
        self._asked = _as_json(asked)
        self._journal = Journal(self.path)
        self._lock = ExitStack()
        self._grows: Provenance | None = None  # provenance of a smaller set that is there
        self._point = growth.Point()
        self._before: dict[str, Any] = {}  # done, state and lengths before the last batch
        self._state: dict[str, Any] = {}
        self._continued: list[dict[str, Any]] = []
        self.done, self.finished = 0, False
        self.batches: list[list[int]] = []

    @property
    def format(self) -> str:
        """The format of the set, one of `medzoo.datasets.FORMATS`."""
        return self._format

    def look(self) -> bool:
        """Whether the set is there and finished, as far as the provenance says; writes nothing.

        Raises
        ------
        DatasetError
            The folder holds something else.
        """
        with self._writing("opened"):
            self._settle()
            if self._examine():
                self._clean_up()
                return True
            # There is no record if nothing has begun, or another process has just finished.
            with suppress(FileNotFoundError):
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
            if not self._examine():
                self._lock_out_others()
        try:
            with self._writing("written"):
                self.finished = self._examine()  # perhaps by another process, meanwhile
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
        """Write the samples that are not done yet; a batch is written while the next is made.

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
                f"The disk of {self.path} has no locks: nothing keeps another process from "
                "writing there as well. See that none does.",
                MedzooWarning,
                stacklevel=4,
            )
        elif not self._lock.enter_context(files.locked(path, timeout=0)):
            raise DatasetError(
                f"Another process is writing to {self.path} ({_last_start(self.path)}).",
                "Wait until it is done, or choose another folder.",
            )

    # ----------------------------------------------------------------------------------------------
    # what is there
    def _examine(self) -> bool:
        """Whether the folder holds the set that is asked for. Anything else in it is an error."""
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise DatasetError(f"{self.path} is a file, not a folder.", "Choose another folder.")
        if (self.path / RECORD).exists() and not is_whole(self.path):
            if not self._again:
                raise DatasetError(f"{self.path} holds an unfinished set of samples.", UNTOUCHED)
            return False
        if is_whole(self.path):
            if not self._again:
                raise DatasetError(f"{self.path} holds a set of samples already.", UNTOUCHED)
            return self._compare(unsealed((self.path / PROVENANCE).read_bytes()))
        for path in sorted(self.path.iterdir()):
            name = Path(path.name)
            if path.name in {LOG, UNFINISHED} or files.is_strewn(name) or is_left_beside(name):
                continue
            raise DatasetError(f"{self.path} already holds other files ({name} ...).", UNTOUCHED)
        return False

    def _compare(self, provenance: Mapping[str, Any] | None) -> bool:
        """Whether a finished set is the one asked for. A smaller one is prepared to be extended."""
        if provenance is None:
            raise DatasetError(
                f"{self.path / PROVENANCE} is not as it was written: its sha256 is not the one "
                "that it states.",
                "Nothing was changed. `medzoo verify` names what else has changed.",
            )
        if not growth.extends(provenance, self._asked):
            self._refuse_other(provenance, "another set of samples")
            self._grows = None
            return True
        asked = growth.beginning(self._asked, provenance["n"])
        self._refuse_other(provenance, "another set of samples", asked)
        self._prepare_to_extend(provenance)
        return False

    def _prepare_to_extend(self, provenance: Mapping[str, Any]) -> None:
        """Find where the smaller set continues, and the journal of its further samples."""
        self._grows = finished(self.path)  # a damaged set does not grow
        batches = self._provenance.get("batches", provenance["batches"])
        self._point, self.batches = growth.point_of(self.path, provenance, batches)
        place = growth.place_of(self.path, provenance)
        lengths = self._point.lengths
        with suppress(FileNotFoundError):
            lengths = read_record(place)["lengths"]  # those it began with
        if lengths is None:
            self._point = growth.Point()
        base = None if lengths is None else Base(self.path, lengths, provenance[SEALS[0]])
        self._journal = Journal(place, base)

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
        self, there: Mapping[str, Any], what: str, asked: Mapping[str, Any] | None = None
    ) -> None:
        """Raise DatasetError if the set with the provenance ``there`` is another one."""
        asked = asked or self._asked
        # Of another model, options and columns differ too: then only the model is named.
        for keys in (("model", "version"), DECIDES_SET):
            compared = [key for key in keys if key != "sha256" or key in asked]
            then = {key: there.get(key) for key in compared}
            now = {key: asked.get(key) for key in compared}
            if differ := list(differences(then, now)):
                hint = UNTOUCHED
                if keys == DECIDES_SET and growth.extends(asked, there) and len(differ) == 1:
                    hint = f"{UNTOUCHED} The samples that you ask for are the first of the set: "
                    hint += f"medzoo.read({str(self.path)!r})[:{asked['n']}]."
                text = "; ".join(differ[:NAMED])
                if len(differ) > NAMED:
                    text += f"; and {len(differ) - NAMED:,} more"
                raise DatasetError(f"{self.path} holds {what}: {text}.", hint)

    def _begin(self) -> None:
        """Begin a new set, or go back to the last good batch of an unfinished one."""
        anew = not (self._journal.folder / RECORD).exists()
        if anew:
            self._begin_anew()
        if anew and not self._point.done:
            return
        record = self._read_record()
        notes = self._journal.go_back(self._point.done, self._point.state or {}, self._n)
        self.done, self._state = notes["done"], notes["state"]
        self._before = self._journal.before
        self.batches = notes.get("batches", record["batches"])
        self._continued = notes.get("continued", record["continued"])
        before = dict(record["provenance"])
        for change in self._continued:
            before = updated(before, change)
        changed = changes(before, self._asked)
        # It failed before its first sample, perhaps because of what has changed since.
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
            self.batches = list(map(list, self._provenance.get("batches", [])))
        elif self._point.done:  # the circumstances of the samples that are there
            continued = self._grows.get("continued", [])
            there = _without(self._grows, *FOUND_OUT, "continued")
            asked = {**there, "n": asked["n"], "options": asked["options"]}
        record = {"resumes": self._again, "batches": self.batches, "continued": continued}
        lengths = self._point.lengths if self._grows is not None else None
        self._journal.begin({**record, "lengths": lengths, "provenance": asked})
        grown = f", of {self._grows['n']} that were there" if self._grows is not None else ""
        self._log("began", f"{self._n} samples{grown}")

    # ----------------------------------------------------------------------------------------------
    # writing it
    def _wait(self, pending: Future[None] | None) -> None:
        if pending is not None:
            with self._writing("written"):
                pending.result()

    def _write(self, writer: Format, batch: Batch) -> None:
        """Write a batch, and then the line of the journal that makes it part of the set."""
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
        """Append lines to the manifest."""
        text = ""
        for line in lines:
            text += json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n"
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
        """Check, before the set is sealed, that it has exactly the samples that are asked for."""
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
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with inside(self.path, LOG).open("a", encoding="utf-8") as file:
            file.write(f"{what} {now} on {platform.node()}, pid {os.getpid()}: {more}\n")

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            hint = "Choose another folder."
            if what == "written" and self._again:
                hint = "What was written stays: the same command continues it."
            elif what == "written":
                hint = "What was written stays: remove it, or choose another folder."
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
    """Write existing samples into a new folder; returns its path."""
    # The user may have changed columns, or left some out.
    outputs = {name: o for name, o in samples.outputs.items() if name in samples.columns}
    indices = np.asarray(samples.indices, np.int64)
    require_different(indices, pick_format(format, outputs))
    require_types(samples)
    provenance, n = _without(samples.provenance, "subset"), len(samples)
    provenance["outputs"] = outputs_as_json(outputs)
    first, whole = provenance.get("first", 0), provenance.get("n")
    if whole is not None and not np.array_equal(indices, np.arange(first, first + whole)):
        digest = hashlib.sha256(indices.tobytes()).hexdigest()
        provenance["subset"] = {"n": n, "indices": f"sha256:{digest}"}
    with Target(
        folder,
        outputs=outputs,
        format=format,
        n=n,
        provenance=provenance,
        again=False,
        arrangement=arrangement,
    ) as target:
        target.fill(samples[k : k + AT_ONCE] for k in range(0, n or 1, AT_ONCE))
    return target.path


def bytes_a_sample(batch: Batch, format: str) -> float:  # noqa: A002
    """Bytes on disk of a sample like these, measured by writing them to a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="medzoo-") as folder:
        save(batch, folder, format)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return size / len(batch)


def _writers(format: str) -> dict[str, str]:  # noqa: A002
    """The versions of the packages that encode the files."""
    versions = {"medzoo": __version__}
    if encoder := format_class(format).encoder:
        is_zlib = encoder == "zlib"
        versions[encoder] = zlib.ZLIB_RUNTIME_VERSION if is_zlib else metadata.version(encoder)
    return versions


def _without(entries: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The entries with other keys than these."""
    return {key: value for key, value in entries.items() if key not in keys}


def _as_json(value: Any) -> Any:
    """``value`` as it is after it was written as JSON and read again."""
    return json.loads(json.dumps(value))


def _is_full(batches: list[list[int]], first: int, n: int) -> bool:
    """Whether the last batch of ``n`` samples is as large as the others.

    ``batches`` has pairs: the first sample from which batches have a size, and the size.
    """
    end = first + n
    start, size = batches[0]
    for begin, next_size in batches:
        if start < begin < end:
            start, size = begin, next_size
    return (end - start) % size == 0


def _last_start(folder: Path) -> str:
    """When and where the folder began to be written, from its log."""
    with suppress(OSError):
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
        for line in reversed(lines):
            if line.startswith(("began", "continued")):
                return line.rpartition(": ")[0]
    return "it has just begun"
