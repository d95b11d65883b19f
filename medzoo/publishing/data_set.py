"""``medzoo publish``: a finished, verified set of samples as a data set on Zenodo."""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from .. import __version__, checks, files, settings
from ..config import DataSet, ModelConfig, Version
from ..datasets.journal import MANIFEST, PROVENANCE
from ..datasets.reader import finished
from ..datasets.verification import PUBLISHED, entries, verify
from ..errors import ContributionError, DatasetError, MedzooError
from ..provenance import outputs_of
from ..registry import resolve
from .record import STATE, Record, Upload, asked_version, require_token
from .sheet import sheet_of_set
from .zenodo_metadata import NOT_FOR_DIAGNOSIS, card_as_html, creators, license_id, related

CARD, SHEET = "README.md", "sheet.png"
LARGEST = 50 * 10**9  # bytes of a record
MOST = 100  # files of a record
NEEDED = ("model", "version", "n", "license", "source")  # what a record says of a set
# What a license may ask of those who use the data, and how it is written.
TERMS = {
    "non-commercial use": re.compile(r"\bnc\b|non-?commercial"),
    "the same license": re.compile(r"\bsa\b|share-?alike|\b[al]?gpl|\bodbl"),
    "no changed copies": re.compile(r"\bnd\b|no-?deriv"),
}


@dataclass(frozen=True)
class SetResult:
    """A set on Zenodo; print it for the next step.

    Parameters
    ----------
    folder
        The set.
    record
        The record: its DOI, its page, and whether it is published.
    license
        Of the data set, as Zenodo names it.
    size
        Bytes of all files together.
    production
        Whether this is Zenodo itself, not its sandbox.
    """

    folder: Path
    record: Record
    license: str
    size: int
    production: bool

    def __str__(self) -> str:
        state = "published" if self.record.published else "draft, which only you can see"
        lines = [
            f"{self.record.page}  ({state})",
            f"DOI      {self.record.doi}, written into {self.folder / PUBLISHED}",
            f"license  {self.license}",
            f"files    {', '.join(self.record.files)} ({self.size / 1e6:.2f} MB)",
        ]
        if not self.record.published:
            flags = " --production" if self.production else ""
            lines += [
                "",
                "Look at the page. Nothing can be changed or removed after it is published.",
                f"To publish it: medzoo publish {quote(str(self.folder))}{flags} --publish",
            ]
        return "\n".join(lines)


@checks.checked(production=checks.flag, publish=checks.flag)
def publish(
    folder: str | os.PathLike[str],
    *,
    authors: Iterable[str],
    license: str | None = None,  # noqa: A002
    title: str | None = None,
    version: str = "1.0.0",
    production: bool = False,
    publish: bool = False,
    confirm: Callable[[Record], bool] | None = None,
    new_version: bool | int | str = False,
    progress: bool | None = None,
) -> SetResult:
    """Upload a finished set of samples to Zenodo as a data set. Repeated, it continues the draft.

    The set is verified first. A zip of it, or the shards of a WebDataset, goes into a record with a
    card and a sample sheet. ``published.json`` in the set then holds the DOI. The token is read
    from ``ZENODO_SANDBOX_TOKEN`` or ``ZENODO_TOKEN``, or from the keyring.

    Parameters
    ----------
    folder : str or os.PathLike
        A set that `medzoo.generate` or `Samples.save` wrote.
    authors : iterable of str
        Who made the set, each "Last, First".
    license : str, optional
        An SPDX identifier, such as CC-BY-4.0. By default the license of the model, if none of the
        licenses of its training data asks for more.
    title : str, optional
        Of the record. By default model, number of samples and seed.
    version : str, optional
        Of the data set.
    production : bool, optional
        Upload to zenodo.org. By default to its sandbox, where nothing is permanent.
    publish : bool, optional
        Publish the record, which cannot be undone. By default it remains a draft.
    confirm : callable, optional
        Asked before the record is published. It gets the record, and returns whether to go on.
    new_version : bool, int or str, optional
        True for a new version of the record that was uploaded before; or the number or DOI of one.
    progress : bool, optional
        Whether to draw a bar. By default only at a terminal.

    Returns
    -------
    SetResult
        Print it for the page of the record and its DOI.

    Raises
    ------
    DatasetError
        The set is not finished, or is not as it was written.
    ContributionError
        There is no token, no author or no license, no model is named in the provenance, the set is
        too large for a record, or Zenodo refuses or cannot be reached.

    Examples
    --------
    >>> samples = medzoo.generate(8, 4, out="masses", seed=0)
    >>> medzoo.publish("masses", authors=["Curie, Marie"])
    Traceback (most recent call last):
    medzoo.errors.ContributionError: There is no token for Zenodo's sandbox...
    """
    asked = asked_version(new_version)
    require_token(production=production)  # before anything takes time
    path = settings.user_path(folder, "folder").absolute()
    report = verify(path)
    if not report.ok:
        raise DatasetError(
            f"{report}\nIt is not published.", "`medzoo reproduce` makes the set again."
        )
    provenance = finished(path)
    _check_complete(path, provenance)
    names = _authors(authors)
    work = _Set(path, provenance, names, license_text=license, title=title, version=version)
    place = path.with_name(f"{path.name}-published")
    upload = Upload(
        work.files(place),
        work.metadata,
        place / STATE,
        subject=f"the set whose {PROVENANCE} has the sha256 {work.digest}",
        raise_version="Give a higher version of the set (`--set-version`)",
        production=production,
        progress=progress,
    )
    ask = confirm or _agreed
    record = upload.run(new_version=asked, confirm=ask if publish else None)
    size = sum(p.stat().st_size for p in upload.paths.values())
    _write_back(path, record, work.license, provenance)
    return SetResult(path, record, work.license, size, production)


def _check_complete(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Raise ContributionError if a provenance lacks what a record says of a set."""
    missing = [key for key in NEEDED if key not in provenance]
    if missing:
        raise ContributionError(
            f"{folder} does not say how it was made: {', '.join(missing)} is missing from "
            f"{PROVENANCE}.",
            "Publish a set that medzoo generated, or a part of one.",
        )


def _agreed(record: Record) -> bool:  # noqa: ARG001
    return True


def _authors(authors: Iterable[str]) -> list[str]:
    names = [authors] if isinstance(authors, str) else list(authors)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ContributionError(
            "A data set needs an author: who made it, and answers for it.",
            'Give `--author "Last, First"`, once for each.',
        )
    return names


class _Set:
    """What the record of a set holds and says."""

    def __init__(
        self,
        folder: Path,
        provenance: Mapping[str, Any],
        authors: list[str],
        *,
        license_text: str | None,
        title: str | None,
        version: str,
    ) -> None:
        self.folder, self.provenance = folder, provenance
        self.config, self.model = _model_of(provenance)
        self.license = _license(provenance, self.model, license_text)
        self.n = self._subset.get("n", provenance["n"])  # not of the run, if it is a part
        self.part = f", part of {provenance['n']:,}" if self.n < provenance["n"] else ""
        name, seed = f"{provenance['model']} {provenance['version']}", provenance.get("seed")
        self.title = title or f"{self.n:,} synthetic samples of {name}, seed {seed}{self.part}"
        self.digest = files.sha256_of(folder / PROVENANCE)
        self.card = self._card(authors)
        datasets = self.model.datasets if self.model else ()
        source = DataSet(name, "", doi=self.model.doi if self.model else "")
        self.metadata = {
            "title": self.title,
            "upload_type": "dataset",
            "description": "\n".join(card_as_html(self.card)),
            "creators": creators(authors),
            "access_right": "open",
            "license": self.license,
            "version": version,
            "keywords": ["medzoo", "synthetic data", str(provenance.get("modality", "medical"))],
            # A lost draft is found again by its notes, too: sets of other options have this title.
            "notes": f"{NOT_FOR_DIAGNOSIS} sha256 of {PROVENANCE}: {self.digest}",
            "prereserve_doi": True,
            **related([source, *datasets], ""),
        }

    def _card(self, authors: list[str]) -> str:
        p, model = self.provenance, self.model
        data = "none named"
        if model is not None:
            data = "; ".join(f"{d.name} ({d.license})" for d in model.datasets) or "no data"
        columns = []
        for output in outputs_of(p).values():
            shape = "x".join(map(str, output.shape)) or "one"
            columns.append(f"- `{output.name}`: {output.kind}, {shape} {output.dtype} per sample")
        given = [f"{one['count']:,} as `{name}`" for name, one in _given(p).items()]
        pictures = f"Made from pictures of the authors: {', '.join(given)}.\n\n" if given else ""
        described = f"{self.config.description}\n\n" if self.config else ""
        same = ", from the same pictures" if given else ""
        again = "" if self._subset else f" `medzoo reproduce`\nmakes the set again{same}."
        shards = f"The shards belong in a folder `shards` beside {MANIFEST}.\n\n"
        listed = "\n".join(columns)
        return f"""# {self.title}

{described}Made by {", ".join(authors)} with medzoo {__version__} and the model {p["model"]},
version {p["version"]}. {NOT_FOR_DIAGNOSIS}

## Content

{listed}

{self.n:,} samples{self.part}, format {p["format"]}, seed {p.get("seed")}. `{PROVENANCE}` says how
each was made, `{MANIFEST}` lists every file with its sha256. `medzoo verify` compares them.{again}

{pictures}{shards if self._is_sharded else ""}## License

{self.license}. Model: {p["license"]}, from {p["source"]}. Training data: {data}.

sha256 of `{PROVENANCE}`: {self.digest}
"""

    @property
    def _subset(self) -> Mapping[str, Any]:
        """What the provenance says of a set that was saved in part; empty for a whole one."""
        return self.provenance.get("subset") or {}

    @property
    def _is_sharded(self) -> bool:
        return bool(self.provenance["format"] == "webdataset")

    def files(self, place: Path) -> list[Path]:
        """The files of the record, made in ``place`` beside the set.

        Raises
        ------
        ContributionError
            They are too many or too large.
        """
        names = sorted({entry["file"] for entry in entries(self.folder)})
        total = sum((self.folder / name).stat().st_size for name in names)
        if total > LARGEST or (self._is_sharded and len(names) > MOST - 4):
            raise ContributionError(
                f"{self.folder} has {total / 1e9:.1f} GB in {len(names):,} files. A record holds "
                f"{LARGEST / 1e9:.0f} GB and {MOST} files.",
                "Publish several sets, or generate it with a larger `shard_size`.",
            )
        place.mkdir(exist_ok=True)
        self._write_card(place)
        beside = [place / name for name in (CARD, SHEET) if (place / name).exists()]
        if self._is_sharded:
            own = [self.folder / name for name in (*names, MANIFEST, PROVENANCE)]
            return [*own, *beside]
        archive = place / f"{self.folder.name}.zip"
        _write_zip(self.folder, [*names, MANIFEST, PROVENANCE], archive)
        return [archive, *beside]

    def _write_card(self, place: Path) -> None:
        """Card and sheet; those of the same set stay, so that they have the same bytes again."""
        with suppress(OSError):
            if (place / CARD).read_text(encoding="utf-8") == self.card:
                return
        sheet = sheet_of_set(self.folder)
        (place / SHEET).unlink(missing_ok=True)
        if sheet:
            with files.atomic(place / SHEET) as file:
                file.write(sheet)
        with files.atomic(place / CARD) as file:
            file.write(self.card.encode())


def _write_zip(folder: Path, names: list[str], archive: Path) -> None:
    """A zip of the set, with the same bytes from the same files. ``run.log`` is not in it, because
    it names hosts and times.
    """
    with (
        files.atomic(archive, clear=True) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as content,
    ):
        for name in names:
            entry = zipfile.ZipInfo(f"{archive.stem}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            entry.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, content.open(entry, "w") as member:
                shutil.copyfileobj(source, member, 2**20)


def _model_of(provenance: Mapping[str, Any]) -> tuple[ModelConfig | None, Version | None]:
    """Config and version of the model that made a set, if they are registered here."""
    if provenance.get("registered"):
        with suppress(MedzooError):
            config = resolve(provenance["model"])
            return config, config.version(provenance["version"])
    return None, None


def _given(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pictures that the samples were made from, by input; empty if the model had no need."""
    return (provenance.get("options") or {}).get("inputs") or {}


def _license(provenance: Mapping[str, Any], model: Version | None, asked: str | None) -> str:
    """The license of the data set: that of the model, unless its data ask for more.

    Raises
    ------
    ContributionError
        It cannot be derived.
    """
    if asked is not None:
        return license_id(asked)
    hint = "Read the licenses, then give `--license`, such as CC-BY-NC-4.0."
    if given := _given(provenance):
        raise ContributionError(
            f"The samples were made from your pictures ({', '.join(given)}), and medzoo does not "
            "know what their license allows.",
            hint,
        )
    if model is None:
        raise ContributionError(
            f"{provenance['model']} {provenance['version']} is not registered here, so the "
            "licenses of its training data are not known.",
            hint,
        )
    own = _terms(model.license)
    for data in model.datasets:
        more = _terms(data.license) - own
        try:
            license_id(data.license)
        except ContributionError:
            more = more or {"something that medzoo cannot tell"}
        if more:
            raise ContributionError(
                f"The model's license is {model.license}, but its training data {data.name} "
                f"({data.license}) ask for {' and '.join(sorted(more))}.",
                hint,
            )
    return license_id(model.license)


def _terms(license_text: str) -> set[str]:
    text = license_text.lower().replace("_", "-")
    return {term for term, pattern in TERMS.items() if pattern.search(text)}


def _write_back(
    folder: Path, record: Record, license_name: str, provenance: Mapping[str, Any]
) -> None:
    """Write the DOI into the set."""
    content = asdict(record) | {
        "page": record.page,
        "license": license_name,
        "manifest_sha256": provenance["manifest_sha256"],
    }
    files.write_json(folder / PUBLISHED, content)
