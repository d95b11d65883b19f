"""A folder that a run fills with a set of samples, and that a stopped run finds again."""

from __future__ import annotations

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

from .. import files, settings
from ..config import Output
from ..errors import DatasetError, MedzooWarning
from ..samples import Samples
from ..version import __version__
from .formats import Format, Line, format_class, pick_format
from .journal import (
    LOG,
    MANIFEST,
    PROVENANCE,
    RECORD,
    SEALS,
    UNFINISHED,
    Journal,
    is_whole,
    recorded,
    sealed,
)
from .layout import ARRANGED, UNARRANGED, Arrangement

if TYPE_CHECKING:
    from collections.abc import Iterator

DECIDES = (  # of a provenance: what decides a set
    "model",
    "version",
    "sha256",
    "seed",
    "n",
    "first",
    "options",
    "precision",
    "subset",
    "format",
    *ARRANGED,
    "outputs",
    "label_names",
    "conditions",
)
FOUND_OUT = ("batches", *SEALS)  # by a run
NAMED = 4  # of what differs
UNTOUCHED = "Nothing was changed. Choose another folder."


class Target:
    """A folder that one run writes ``n`` samples to; a context manager, inside which no other
    process writes there.

    Entering it looks at what the folder holds. Where that is the very set that ``provenance``
    describes, it is ``finished`` and there is nothing to do. Where that is an unfinished part of
    it, ``done`` samples are good and ``batches`` are the batch boundaries so far. A new or empty
    folder is begun. Anything else is an error.

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
        change while the run goes on. For `look` alone, what is known of it.
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
        self.path = settings.user_path(folder, "out")
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
        self._state: dict[str, Any] = {}
        self._continued: list[dict[str, Any]] = []
        self.done, self.finished = 0, False
        self.batches: list[list[int]] = []

    def look(self) -> bool:
        """Whether the set is there and finished, as far as the provenance is known; begins nothing.

        Raises
        ------
        DatasetError
            The folder holds something else.
        """
        with self._writing("opened"):
            if self._is_finished():
                self._clean_up()
                return True
            with suppress(FileNotFoundError):  # nothing begun, or just finished by another process
                self._read_record()
            return False

    def __enter__(self) -> Target:
        with self._writing("opened"):
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

    def fill(self, batches: Iterable[Samples]) -> None:
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
                    "This is a bug of medzoo's.",
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
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)

    def _lock_out_others(self) -> None:
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
            self._refuse_other(_read(self.path / PROVENANCE), "another set of samples")
            return True
        if others := [
            name
            for name in inside
            if name not in {LOG, UNFINISHED} and not files.is_strewn(Path(name))
        ]:
            raise DatasetError(f"{self.path} holds other things ({others[0]} ...).", UNTOUCHED)
        return False

    def _read_record(self) -> dict[str, Any]:
        record = _read(self.path / RECORD)
        if not record["resumes"]:
            raise DatasetError(
                f"{self.path} holds a part of samples that were being saved from memory.",
                "Nothing was changed. Remove it, or choose another folder.",
            )
        self._refuse_other(record["provenance"], "an unfinished set of other samples")
        return record

    def _refuse_other(self, found: Mapping[str, Any], what: str) -> None:
        for keys in (("model", "version"), DECIDES):  # another model has other options, columns ...
            known = [k for k in keys if k != "sha256" or k in self._asked]
            then, now = ({k: about.get(k) for k in known} for about in (found, self._asked))
            if differ := list(differences(then, now)):
                more = f"; and {len(differ) - NAMED:,} more" * (len(differ) > NAMED)
                raise DatasetError(
                    f"{self.path} holds {what}: {'; '.join(differ[:NAMED])}{more}.", UNTOUCHED
                )

    def _begin(self) -> None:
        """Begin a new set, or go back to where an unfinished one is good."""
        if not (self.path / RECORD).exists():
            self._begin_anew()
            return
        record = self._read_record()
        found = self._journal.go_back()
        self.done, self._state = found["done"], found["state"]
        self.batches, self._continued = (
            found.get("batches", record["batches"]),
            found.get("continued", []),
        )
        before = dict(record["provenance"])
        for change in self._continued:
            before = _updated(before, change)
        changed = changes(before, self._asked)
        if (
            changed and not self.done
        ):  # it failed before its first sample, perhaps for lack of what changed
            self._begin_anew()
            return
        self._asked = record["provenance"]
        if changed:
            self._continued = [*self._continued, {"done": self.done, **changed}]
            self._journal.note(continued=self._continued)
            warnings.warn(
                f"{self.path} was begun under other circumstances ({', '.join(changed)}). Its further samples may differ in "
                "the last bits from those of one run; its provenance will say from where on.",
                MedzooWarning,
                stacklevel=4,
            )
        self._log("continued", f"{self.done} of {self._n} samples are there")

    def _begin_anew(self) -> None:
        self.batches = [list(b) for b in self._provenance.get("batches", [])]
        self._journal.begin(
            {"resumes": self._again, "batches": self.batches, "provenance": self._asked}
        )
        self._log("began", f"{self._n} samples")

    # --------------------------------------------------------------------------------------------------
    # writing it
    def _wait(self, pending: Future[None] | None) -> None:
        if pending is not None:
            with self._writing("written"):
                pending.result()

    def _write(self, writer: Format, batch: Samples) -> None:
        """A batch, and then the line in the journal that makes it count."""
        self._add(writer.write(batch))
        self._journal.commit(self.done + len(batch), writer.state())
        self.done += len(batch)

    def _add(self, lines: list[Line]) -> None:
        text = "".join(
            json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines
        )
        self._journal.append(MANIFEST, text.encode())

    def _finish(self, writer: Format, began: float) -> None:
        self._add(writer.finish())
        self._journal.close()
        batches = (
            {"batches": _as_json(self._provenance["batches"])}
            if "batches" in self._provenance
            else {}
        )
        continued = {"continued": self._continued} if self._continued else {}
        digest = files.sha256_of(self.path / MANIFEST)
        self._log(
            "ended",
            f"{self._n} samples, {time.monotonic() - began:.1f} s since it was begun or continued",
        )
        with files.atomic(self.path / PROVENANCE) as file:
            file.write(sealed({**self._asked, **batches, **continued, "manifest_sha256": digest}))
        self.finished = True

    def _log(self, what: str, more: str) -> None:
        with (self.path / LOG).open("a", encoding="utf-8") as file:
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
    """The seed of the set in a folder, finished or not: what a run without a seed of its own takes."""
    seed = recorded(settings.user_path(folder, "out")).get("seed")
    return seed if isinstance(seed, int) else None


def save(
    samples: Samples,
    folder: str | os.PathLike[str],
    format: str | None,  # noqa: A002
    provenance: Mapping[str, Any],
    batch: int,
    *,
    arrangement: Arrangement = UNARRANGED,
) -> Path:
    """Write samples that are there already, so many at a time, into a new folder; returns it."""
    n = len(samples)
    with Target(
        folder,
        outputs=samples.outputs,
        format=format,
        n=n,
        provenance=provenance,
        again=False,
        arrangement=arrangement,
    ) as target:
        target.fill(samples[k : k + batch] for k in range(0, n or 1, batch))
    return target.path


def bytes_a_sample(batch: Samples, format: str) -> float:  # noqa: A002
    """What a sample like these takes on disk, in bytes, by writing them to a place that is then
    removed.
    """
    with tempfile.TemporaryDirectory(prefix="medzoo-") as folder:
        save(batch, folder, format, batch.provenance, len(batch))
        return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / len(batch)


def _writers(format: str) -> dict[str, str]:  # noqa: A002
    """The versions of what turns samples into files."""
    names = filter(None, ("medzoo", format_class(format).encoder))
    return {name: __version__ if name == "medzoo" else metadata.version(name) for name in names}


def _as_json(value: Any) -> Any:
    """What comes back when ``value`` is written as JSON and read again."""
    return json.loads(json.dumps(value))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", UNTOUCHED) from error


def differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs, entry by entry of mappings and lists, however deep: ``options.gain 3, now 4``."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            yield from differences(then.get(key), now.get(key), f"{name}.{key}".removeprefix("."))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for k, pair in enumerate(zip(then, now, strict=True)):
            yield from differences(*pair, f"{name}[{k}]")
    elif then != now:
        yield f"{name} {then!r:.60}, now {now!r:.60}"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as it was; of mappings, the entries."""
    found = {}
    for key, value in now.items():
        if before.get(key) != value:
            both = isinstance(value, dict) and isinstance(before.get(key), dict)
            found[key] = (
                {k: v for k, v in value.items() if before[key].get(k) != v} if both else value
            )
    return found


def _updated(before: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``before`` after `changes`."""
    for key, value in change.items():
        old = before.get(key)
        before = {
            **before,
            key: {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value,
        }
    return before


def _last_start(folder: Path) -> str:
    """Since when and where the folder is being written, from its log."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
        starts = [line for line in lines if line.startswith(("began", "continued"))]
    except OSError:
        starts = []
    return starts[-1].rpartition(": ")[0] if starts else "it has just begun"
