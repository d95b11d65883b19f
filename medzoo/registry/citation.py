"""Citations of a model and its training data for reference managers: BibTeX and RIS.

Registered citations of data sets are text. They are not taken apart: the text becomes a note,
beside the name and the DOI of the data set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..config import DataSet, ModelConfig, Version

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
DOI = re.compile(r"10\.\d{4,9}/\S+")


def bibtex(config: ModelConfig, version: Version) -> str:
    """One entry for the model, and one per data set."""
    key = re.sub(r"\W+", "_", config.id)
    fields = {
        "author": " and ".join(_author(name) for name in version.authors),
        "title": "{" + _escaped(f"{config.name} ({config.id})") + "}",
        "year": str(version.year),
        "version": version.name,
        **_links(version.publication),
        "note": _escaped(_credit(version)),
    }
    entries = [_entry("misc", f"medzoo_{key}", fields)]
    for number, dataset in enumerate(version.datasets, start=1):
        fields = {
            "title": "{" + _escaped(dataset.name) + "}",
            **_links(dataset.doi),
            "note": _escaped(_note(dataset)),
        }
        entries.append(_entry("misc", f"medzoo_{key}_data{number}", fields))
    return "\n\n".join(entries)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _author(name: str) -> str:
    """A name; one of a group is kept whole."""
    text = _escaped(name)
    is_group = name.startswith("The ") or "," in name or " and " in name.lower()
    return "{" + text + "}" if is_group else text


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _links(text: str) -> dict[str, str]:
    """The DOI and the address in a text."""
    match = DOI.search(text)
    doi = match[0].rstrip(".,;)") if match else ""
    address = text if text.startswith(("http://", "https://")) else ""
    return {"doi": doi, "url": address}


def _credit(version: Version) -> str:
    """The note of a model: its citation, what no other field says, and its license."""
    links = _links(version.publication)
    parts = [version.citation]
    if not any(links.values()) and version.publication not in version.citation:
        parts.append(version.publication.rstrip(".") + ".")
    if version.doi not in {"", links["doi"]} and version.doi not in version.citation:
        parts.append(f"Package: https://doi.org/{version.doi}.")
    parts.append(f"License: {version.license}")
    return " ".join(filter(None, parts))


def _note(dataset: DataSet) -> str:
    return f"{dataset.citation} License: {dataset.license}".strip()


def ris(config: ModelConfig, version: Version) -> str:
    """One record for the model, and one per data set."""
    links = _links(version.publication)
    records = [
        [
            ("TY", "COMP"),
            *(("AU", name) for name in version.authors),
            ("TI", f"{config.name} ({config.id})"),
            ("PY", str(version.year)),
            ("ET", version.name),
            ("DO", links["doi"]),
            ("UR", links["url"]),
            ("N1", _credit(version)),
        ]
    ]
    for dataset in version.datasets:
        links = _links(dataset.doi)
        records.append(
            [
                ("TY", "DATA"),
                ("TI", dataset.name),
                ("DO", links["doi"]),
                ("UR", links["url"]),
                ("N1", _note(dataset)),
            ]
        )
    return "\n\n".join(map(_record, records))


def _record(fields: Sequence[tuple[str, str]]) -> str:
    lines = [f"{tag}  - {' '.join(text.split())}" for tag, text in fields if text]
    return "\n".join([*lines, "ER  - "])
