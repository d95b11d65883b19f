"""Metadata of records on Zenodo: of a model from config and card, of a set from its provenance."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..config import DataSet, ModelConfig, Version
from ..errors import ContributionError

NOT_FOR_DIAGNOSIS = "Synthetic samples are for research. They are not for diagnosis."
# Zenodo's names of licenses, by their usual ones; all lower case, without spaces.
LICENSES = {
    "apache": "apache-2.0",
    "apache-2": "apache-2.0",
    "bsd": "bsd-3-clause",
    "bsd-3": "bsd-3-clause",
    "bsd-2": "bsd-2-clause",
    "cc0": "cc0-1.0",
    "cc-zero": "cc0-1.0",
    "public-domain": "cc0-1.0",
    "gpl-3": "gpl-3.0-only",
    "gplv3": "gpl-3.0-only",
    "agpl-3": "agpl-3.0-only",
    "lgpl-3": "lgpl-3.0-only",
}
KNOWN = re.compile(
    r"mit|apache-2\.0|bsd-[23]-clause|cc0-1\.0|isc|mpl-2\.0|unlicense|"
    r"cc-by(-nc)?(-sa|-nd)?-[1-4]\.0|(a|l)?gpl-[23]\.[01]-(only|or-later)"
    r"|odbl-1\.0|odc-by-1\.0|pddl-1\.0"
)


def license_id(text: str) -> str:
    """Zenodo's identifier of a license, such as cc-by-4.0 for "CC BY 4.0".

    Raises
    ------
    ContributionError
        The text is not a known license. Zenodo would silently take its own default.
    """
    name = re.sub(r"[\s_]+", "-", text.strip().lower()).removesuffix("-license")
    name = re.sub(r"^cc-?by", "cc-by", name.replace("cc-0", "cc0"))
    name = LICENSES.get(name, name)
    if not KNOWN.fullmatch(name):
        raise ContributionError(
            f"{text!r} is not a license that Zenodo knows by this name.",
            "Give an SPDX identifier such as MIT, Apache-2.0, CC-BY-4.0 or CC0-1.0.",
        )
    return name


def of_model(config: ModelConfig, version: Version, card: str) -> dict[str, Any]:
    """The metadata of a model's record.

    Raises
    ------
    ContributionError
        The license has no identifier.
    """
    about = [f"<p>{html.escape(config.description)}</p>"]
    about.append(
        f"<p>A package for <a href='https://github.com/medzoo/medzoo'>medzoo</a>: "
        f"{html.escape(version.architecture)}. {NOT_FOR_DIAGNOSIS}</p>"
    )
    return {
        "title": f"{config.name} ({config.id[6:]} {version.name})",
        "upload_type": "software",
        "description": "\n".join([*about, *card_as_html(card)]),
        "creators": creators(version.authors),
        "access_right": "open",
        "license": license_id(version.license),
        "version": version.name,
        "keywords": ["medzoo", "generative model", "synthetic data", config.modality, config.organ],
        "notes": NOT_FOR_DIAGNOSIS,
        "prereserve_doi": True,
        **related(version.datasets, version.publication),
    }


def creators(authors: Iterable[str]) -> list[dict[str, str]]:
    """Authors as Zenodo takes them."""
    return [{"name": author} for author in authors]


def related(datasets: Iterable[DataSet], publication: str) -> dict[str, Any]:
    """Identifiers of the data and the paper, and citations, as metadata."""
    related = [_relation(dataset.doi, "isDerivedFrom") for dataset in datasets if dataset.doi]
    if publication:
        related.append(_relation(publication, "isSupplementTo"))
    references = [dataset.citation for dataset in datasets if dataset.citation]
    content: dict[str, Any] = {}
    if related:
        content["related_identifiers"] = related
    if references:
        content["references"] = references
    return content


def _relation(identifier: str, relation: str) -> dict[str, str]:
    return {"identifier": identifier, "relation": relation}


def card_as_html(card: str) -> list[str]:
    """A Markdown card as plain HTML: headings, lists and paragraphs."""
    blocks = []
    for block in re.split(r"\n\s*\n", re.sub(r"(?m)^(#+ .*)$", r"\n\1\n", card)):
        text = html.escape(" ".join(block.split()))
        if heading := re.match(r"#+ (.+)", text):
            blocks.append(f"<h3>{heading[1]}</h3>")
        elif re.match(r"\s*[-*] ", block):
            items = re.split(r"(?m)^\s*[-*] ", block)[1:]
            lines = "".join(f"<li>{html.escape(' '.join(item.split()))}</li>" for item in items)
            blocks.append(f"<ul>{lines}</ul>")
        elif text:
            blocks.append(f"<p>{text}</p>")
    return blocks


def require_license(sent: Mapping[str, Any], deposit: Mapping[str, Any]) -> None:
    """Check that Zenodo took the license that it was given.

    Raises
    ------
    ContributionError
        It took another one.
    """
    taken = (deposit.get("metadata") or {}).get("license")
    taken = taken.get("id") if isinstance(taken, dict) else taken
    same = {"cc-zero": "cc0-1.0"}
    if taken and same.get(str(taken).lower(), str(taken).lower()) != sent["license"]:
        raise ContributionError(
            f"Zenodo was given the license {sent['license']} and took {taken}.",
            "Nothing was published. Choose the license on the page of the draft.",
        )
