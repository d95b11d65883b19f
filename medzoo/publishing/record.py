"""One file, or several, as one record of Zenodo: a draft that is continued, and published once.

``upload.json`` beside the files remembers the draft and what it is of: the files of another set or
model never go into it. If it is lost, the draft is found again among the user's deposits by its
title, version and notes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import checks, files, settings
from ..errors import ContributionError, InputError
from .deposits import MissingError, Zenodo, doi_of, files_of, md5_of
from .tokens import ZENODO, ZENODO_SANDBOX, Token, token
from .zenodo_metadata import require_license

STATE = "upload.json"
SUBJECT = "subject"  # a key of the state beside the fields of a record: what it is a record of


@dataclass(frozen=True)
class Record:
    """A record of Zenodo, draft or published.

    Parameters
    ----------
    zenodo
        The address of Zenodo, or of its sandbox.
    number
        The record's number.
    doi
        Its DOI; reserved until the record is published.
    version
        The version that it holds.
    files
        Name to md5.
    published
        Whether it is public, which is final.
    """

    zenodo: str
    number: int
    doi: str
    version: str
    files: Mapping[str, str]
    published: bool = False

    @property
    def page(self) -> str:
        """The page of the record; of a draft, only its owner can see it."""
        return f"{self.zenodo}/{'records' if self.published else 'uploads'}/{self.number}"

    def source(self, name: str, *, production: bool) -> str:
        """The ``source`` of a config for a file of the record."""
        if production:
            return f"zenodo:{self.number}/{name}"
        return f"{self.zenodo}/records/{self.number}/files/{quote(name)}"


class Upload:
    """One upload to Zenodo.

    Parameters
    ----------
    paths
        The files.
    metadata
        Of the record.
    state
        The file that remembers the record.
    subject
        What is uploaded, in words that differ for another set or model.
    raise_version
        How the user raises the version, for messages.
    production
        Zenodo itself instead of its sandbox.
    progress
        Whether to draw a bar; None: only at a terminal.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        metadata: Mapping[str, Any],
        state: Path,
        *,
        subject: str,
        raise_version: str,
        production: bool,
        progress: bool | None = None,
    ) -> None:
        self.metadata, self.state = metadata, state
        self.subject, self.raise_version = subject, raise_version
        self.paths = {path.name: path for path in paths}
        self.digests = {path.name: files.digest_of(path, "md5") for path in paths}
        self.zenodo = Zenodo(
            settings.deposits(production=production),
            require_token(production=production),
        )
        self.progress = settings.show_progress(progress)

    def run(
        self, *, new_version: bool | int = False, confirm: Callable[[Record], bool] | None = None
    ) -> Record:
        """Send the files into a draft, continue an earlier draft, or find the record published.

        Parameters
        ----------
        new_version
            The number of a published record, of which this is the next version; True for the one
            that the state remembers.
        confirm
            Asked before the draft is published; None leaves it a draft.

        Raises
        ------
        ContributionError
            Zenodo refuses, cannot be reached or received other bytes, the record is published with
            other files, or the draft is of another set, model or record.
        InputError
            ``new_version`` is True, and no earlier upload is known.
        """
        lock = self.state.with_suffix(".lock")
        with files.locked(lock, timeout=1.0) as alone:
            if not alone and files.has_locks(lock):
                raise ContributionError(
                    f"Another process uploads {', '.join(self.paths)}.", "Wait until it has ended."
                )
            record = self._published(new_version)
            if record is None:
                record = self._send(self._draft(new_version))
                if confirm is not None and confirm(record):
                    record = self._publish(record)
            return record

    # ---------------------------------------------------------------------------------------------
    def _published(self, new_version: bool | int) -> Record | None:
        """The record, if it is published with these files already.

        Raises
        ------
        ContributionError
            It is published with other files.
        """
        record = remembered(self.state, self.zenodo.url)
        if record is not None and not record.published:
            with suppress(MissingError):
                deposit = self.zenodo.get(record.number)
                if deposit.get("submitted"):  # in a browser, or by a run that was interrupted
                    record = self._keep(deposit, published=True)
        if record is None:
            record = self._found(published=True)
        if record is None or not record.published:
            return None
        if record.files == self.digests:
            return record
        if new_version and record.version != self.metadata["version"]:
            return None
        hint = f"{self.raise_version}, and give `--new-version`."
        if (other := self._subject_of(record)) != self.subject:
            hint = (
                f"It is of {other}, and this is {self.subject}. {self._aside()} For a new version "
                f"of it: {hint[:1].lower()}{hint[1:]}"
            )
        raise ContributionError(
            f"{record.page} is published with other files under version {record.version}. "
            "Published files cannot be changed.",
            hint,
        )

    def _draft(self, new_version: bool | int) -> dict[str, Any]:
        """An earlier draft, or a new one.

        Raises
        ------
        ContributionError
            The earlier draft is of another set or model, or of another record.
        InputError
            No record is known that could have a new version.
        """
        record = remembered(self.state, self.zenodo.url)
        if record is not None and not record.published:
            with suppress(MissingError):  # deleted in a browser
                deposit = self.zenodo.get(record.number)
                self._require_own(record, deposit, new_version)
                return deposit
            record = None
        number = new_version
        if new_version is True and record is not None:
            number = record.number
        if not isinstance(number, bool):
            return self.zenodo.new_version(number)
        draft = self._found(published=False)
        if draft is not None:
            return self.zenodo.get(draft.number)
        if new_version:
            raise InputError(
                "No earlier upload is known here, so it has no new version. Nothing was sent.",
                "Give the record's number: `--new-version 1234567`. Without `--new-version` it "
                "becomes a new record.",
            )
        return self.zenodo.create()

    def _require_own(
        self, record: Record, deposit: Mapping[str, Any], new_version: bool | int
    ) -> None:
        """Check that the draft that the state remembers is the one to continue.

        Raises
        ------
        ContributionError
            It is of another set or model, or not of the record that gets a new version.
        """
        other = self._subject_of(record)
        problem = f"the draft of {other}, and this is {self.subject}"
        wrong = other != self.subject
        if not isinstance(new_version, bool) and new_version != record.number and not wrong:
            published = self.zenodo.get(new_version)
            problem = f"the draft that was uploaded before, and no version of record {new_version}"
            wrong = str(published.get("conceptrecid")) != str(deposit.get("conceptrecid"))
        if wrong:
            raise ContributionError(
                f"{record.page} is {problem}. It was left as it is.",
                f"If it is no longer needed, delete it on its page. {self._aside()}",
            )

    def _aside(self) -> str:
        """How to get another record than the one that the state remembers."""
        return f"For another record, move {self.state} away, and run the same command again."

    def _subject_of(self, record: Record) -> str:
        """What the state says of a record; what is uploaded now if it says nothing."""
        content = _read(self.state).get(self.zenodo.url)
        if isinstance(content, dict) and content.get("number") == record.number:
            return str(content.get(SUBJECT, self.subject))
        return self.subject

    def _found(self, *, published: bool) -> Record | None:
        """The record among the user's deposits, by title, version and notes."""
        for listed in self.zenodo.recent():
            metadata = listed.get("metadata") or {}
            same = all(metadata.get(key) == self.metadata[key] for key in ("title", "version"))
            # `in`, so that tags around the notes, should Zenodo add them, do not matter.
            same = same and self.metadata["notes"] in str(metadata.get("notes", ""))
            if same and bool(listed.get("submitted")) == published:
                return self._keep(self.zenodo.get(int(listed["id"])), published=published)
        return None

    def _send(self, deposit: dict[str, Any]) -> Record:
        """Metadata and files of a draft."""
        number = int(deposit["id"])
        self._keep(deposit)
        deposit = self.zenodo.describe(number, self.metadata)
        require_license(self.metadata, deposit)
        bucket = str((deposit.get("links") or {}).get("bucket", ""))
        present = files_of(deposit)
        for name, file in present.items():
            if self.digests.get(name) != md5_of(file):  # of the last version, or incomplete
                self.zenodo.remove_file(number, file)
        for name, path in self.paths.items():
            if name not in present or md5_of(present[name]) != self.digests[name]:
                self._send_file(number, bucket, path)
        record = self._keep(self.zenodo.get(number))
        if record.files != self.digests:
            raise ContributionError(
                f"The draft {record.page} holds {', '.join(record.files) or 'no files'}, but it "
                f"should hold {', '.join(self.digests)}.",
                "Nothing was published. Run the same command again.",
            )
        return record

    def _send_file(self, number: int, bucket: str, path: Path) -> None:
        """Send a file; a second time if other bytes arrived."""
        sent, received = self.digests[path.name], ""
        for _ in range(2):
            received = self.zenodo.send_file(bucket, path, path.name, progress=self.progress)
            if received == sent:
                return
        for name, file in files_of(self.zenodo.get(number)).items():
            if name == path.name:
                self.zenodo.remove_file(number, file)
        raise ContributionError(
            f"{path.name} arrived at {self.zenodo.url} with other bytes, twice.\n"
            f"  sent     md5 {sent}\n  received md5 {received}",
            "It was removed from the draft, and nothing was published. Is a proxy in between? Run "
            "the same command again.",
        )

    def _publish(self, record: Record) -> Record:
        deposit = self.zenodo.publish(record.number)
        if not deposit.get("submitted"):
            raise ContributionError(
                f"{record.page} was not published, although Zenodo accepted it.",
                "Look at this page in a browser, then run the same command again.",
            )
        return self._keep(deposit, published=True, known=record)

    def _keep(
        self, deposit: Mapping[str, Any], *, published: bool = False, known: Record | None = None
    ) -> Record:
        """Remember a deposit in the state."""
        held = {name: md5_of(file) for name, file in files_of(deposit).items()}
        record = Record(
            zenodo=self.zenodo.url,
            number=int(deposit["id"]),
            doi=doi_of(deposit) or (known.doi if known else ""),
            version=str((deposit.get("metadata") or {}).get("version", "")),
            files=held or (known.files if known else {}),
            published=published,
        )
        if known is not None and not record.version:
            record = replace(record, version=known.version)
        content = _read(self.state)
        content[self.zenodo.url] = {**asdict(record), SUBJECT: self._subject_of(record)}
        files.write_json(self.state, content)
        return record


def require_token(*, production: bool) -> Token:
    """The user's token for Zenodo or its sandbox.

    Raises
    ------
    ContributionError
        There is none.
    """
    return token(ZENODO if production else ZENODO_SANDBOX)


def remembered(state: Path, zenodo: str) -> Record | None:
    """The record that a state file holds for one Zenodo."""
    with suppress(KeyError, TypeError, ValueError):
        content = dict(_read(state)[zenodo])
        content.pop(SUBJECT, None)
        return Record(**content)
    return None


def _read(state: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(state.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def asked_version(new_version: bool | int | str) -> bool | int:
    """What a user gave as ``new_version``: True, False, or the number of a record.

    Raises
    ------
    InputError
        It is not a record.
    """
    value = checks.plain(new_version)
    return value if isinstance(value, bool) else record_number(value)


def record_number(text: str | int) -> int:
    """A record's number, from the number, a DOI or an address.

    Raises
    ------
    InputError
        The text ends with no number.
    """
    is_plain = isinstance(text, str) or (isinstance(text, int) and abs(text) < 10**12)
    digits = (str(text) if is_plain else "").rstrip("/").rpartition("/")[2].rpartition(".")[2]
    if not digits.isdecimal() or len(digits) > 12 or not int(digits):
        raise InputError(
            f"{checks.shown(text)} is not a record of Zenodo.",
            "Give its number or DOI, such as 1234567.",
        )
    return int(digits)
