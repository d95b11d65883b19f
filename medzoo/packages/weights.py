"""Weights of networks that judge samples. Each is one file, fetched and verified as archives are.

The digests and sizes are those that public code states for the files; medzoo was developed without
access to the addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ..config import ModelConfig, Version
from . import download
from .store import disk_error

PREFIX = "network-"  # of the name of the folder in the cache


@dataclass(frozen=True)
class Weights:
    """A file of weights, and what is known about it.

    Parameters
    ----------
    name : str
        How ``features`` names it.
    source : str
        Where it lies, as the ``source`` of a version.
    sha256 : str
        Its digest.
    size : int
        Bytes.
    license : str
        As its source states it.
    about : str
        What it was trained on.
    """

    name: str
    source: str
    sha256: str
    size: int
    license: str
    about: str


WEIGHTS = {
    "radimagenet": Weights(
        "radimagenet",
        "https://huggingface.co/MONAI/checkpoints/resolve/main/RadImageNet-ResNet50_notop.pth",
        "2457479b254569e5a81ba48fee6c5b2b84b7a729e507aaa2466101aedb8e5c37",
        94_465_691,
        "MIT (repository BMEII-AI/RadImageNet)",
        "ResNet50, 1.35 million CT, MR and ultrasound pictures",
    ),
    "inception": Weights(
        "inception",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        95_628_359,
        "Apache-2.0 (repository mseitzer/pytorch-fid)",
        "Inception v3 of 2015, ImageNet photographs",
    ),
}


def fetch(name: str, *, progress: bool | None = None) -> Path:
    """The file of weights of a network, from the cache if it is there.

    Raises
    ------
    SourceError
        It cannot be fetched.
    IntegrityError
        It differs from its digest.
    """
    config, version = _as_model(WEIGHTS[name])
    try:
        return download.fetch(config, version, progress=progress).path
    except OSError as error:
        raise disk_error(config.id, error) from error


def using(name: str) -> AbstractContextManager[None]:
    """While the block runs, no process removes the file of weights of a network."""
    return download.using(PREFIX + name)


def places() -> Iterator[tuple[str, download.Place]]:
    """The id and the place in the cache of each file."""
    for weights in WEIGHTS.values():
        config, version = _as_model(weights)
        yield config.id, download.place(config, version)


def _as_model(weights: Weights) -> tuple[ModelConfig, Version]:
    """What `download` needs to know."""
    version = Version(
        weights.sha256[:8],
        weights.source,
        contract="",
        architecture=weights.about,
        generator="",
        year=0,
        authors=(),
        license=weights.license,
        citation="",
        publication="",
        datasets=(),
        requires=(),
        python="",
        outputs={},
        sha256=weights.sha256,
        size=weights.size,
    )
    name, here = PREFIX + weights.name, Path(__file__)
    return ModelConfig(name, name, weights.about, "", "", "", (), version.name, {}, here), version
