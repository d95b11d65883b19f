"""``medzoo.study.new``: real and synthetic pictures, shuffled under names that say nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, files
from ..errors import InputError
from ..evaluation.data import Data, Reading
from ..evaluation.figures import plain
from ..evaluation.sources import data_of
from ..seeds import check_seed
from ..settings import user_path
from .handling import Handling, handling, history_of, values_of
from .store import CLOSING, DATABASE, KEY, SIDES, Settings, Store, text_of
from .study import Study

MOST = 1000  # pictures of each side
FEW_GROUPS = 12  # values of a column by which pictures are grouped
LONGEST = 200  # characters of a scale or a question
PROVENANCE = ("model", "version", "license", "seed", "n", "options", "sha256", "seeding")
# How the model runs, and the condition, which the labels tell: these are not groups of pictures.
NO_GROUPS = {"device", "env", "trust", "sandbox", "condition"}


def _texts(value: Any, name: str) -> tuple[str, ...]:
    """Different texts: a list, or one text with commas for the scales."""
    if isinstance(value, str) and name == "likert":
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name}={checks.shown(value)} is not a list of texts.")
    texts = [" ".join(checks.text(item, name).split()) for item in value]
    for text in texts:
        if not text or len(text) > LONGEST or not text.isprintable():
            raise InputError(
                f"{name}: {checks.shown(text)} is not a valid text.",
                f"Give 1 to {LONGEST} characters.",
            )
    if len(set(texts)) < len(texts):
        raise InputError(f"{name}={checks.shown(value)} names something twice.")
    return tuple(texts)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{name}={checks.shown(value)} is not a mapping of names.")
    return value


OWN_CHECKS: dict[str, checks.Check] = {
    "n": lambda value, name: checks.whole(value, name, "a number of pictures", 1, MOST),
    "training": lambda value, name: checks.whole(value, name, "a number of items", 0, MOST),
    "likert": _texts,
    "closing": _texts,
    "pairs": checks.flag,
    "classes": checks.optional(_mapping),
    "options": checks.optional(_mapping),
    "patient": checks.optional(checks.text),
    "seed": checks.optional(checks.seed),
}


@checks.checked(**OWN_CHECKS)
def new(
    folder: str | os.PathLike[str],
    real: Any,
    model: Any,
    n: int = 50,
    *,
    likert: str | Sequence[str] = (),
    pairs: bool = False,
    training: int = 0,
    closing: Sequence[str] = CLOSING,
    classes: Mapping[str, str] | None = None,
    patient: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    env: str = "auto",
    trust: bool = False,
    sandbox: str = "auto",
) -> Study:
    """Make a study: ``n`` real and ``n`` synthetic pictures, handled alike and shuffled.

    Parameters
    ----------
    folder : path
        A new or empty folder. It gets ``study.sqlite`` (what readers see and answer) and
        ``key.json`` (the truth, and how the study was made).
    real : Samples, path, array or dict
        Real pictures, as for `medzoo.evaluate`: a folder or zip of images, one folder per class if
        there are classes. Those of another size are brought to the size of the synthetic ones.
    model : model id, Samples or path
        A model, which generates, or samples, or a folder of pictures.
    n : int, optional
        Pictures of each side, 1 to 1000; with ``pairs``, the number of pairs.
    likert : str or sequence of str, optional
        Further scales from 1 to 5: a list, or names separated by commas.
    pairs : bool, optional
        Show a real and a synthetic picture at a time: which one is synthetic?
    training : int, optional
        Further items that come first, with the truth after each, and do not count.
    closing : sequence of str, optional
        Questions at the end.
    classes : Mapping[str, str], optional
        Name of a folder or label -> name of the class, where the sides name them differently.
    patient : str, optional
        A column of metadata.csv, or a regular expression that finds the patient in the path of a
        file. Real pictures are then of as many patients as possible.
    options : Mapping[str, Any], optional
        Options of the model, such as ``{"plane": "axial"}``.
    seed : int, optional
        The same seed and data make the same study, byte for byte. By default a fresh one, which is
        kept in ``key.json``. Who knows it can find out the truth.
    device, env, trust, sandbox : optional
        How the model runs, as for `medzoo.generate`.

    Returns
    -------
    Study
        The study.

    Raises
    ------
    InputError
        There are fewer pictures than needed, in all or of a class, or the sides cannot be shown
        alike.
    DatasetError
        ``folder`` holds something already.

    Examples
    --------
    >>> from medzoo import study
    >>> made = study.new("turing/", real="real/", model=109, n=4, likert="realism", seed=1)
    >>> made.settings.scales
    ('realism',)
    """
    scales = _texts(likert, "likert")
    if pairs and scales:
        raise InputError(
            "likert: a scale asks about one picture, and pairs shows two.",
            "Make two studies, or leave one of them out.",
        )
    target = user_path(folder, "folder")
    with files.new_folder(target) as aside:
        chosen = check_seed(seed)
        run = {"device": device, "env": env, "trust": trust, "sandbox": sandbox, **(options or {})}
        maker = Maker(chosen, n, training, classes or {}, patient, pairs=pairs)
        pictures, key = maker.pictures(model, real, run)
        size = pictures[0].pixels.shape
        settings = Settings(
            "pairs" if pairs else "rating",
            n if pairs else 2 * n,
            training,
            scales,
            tuple(closing),
            (size[0], size[1]),
        )
        _write(aside, settings, pictures, key, chosen)
    return Study(target)


@dataclass
class Picture:
    """A picture on its way into a study."""

    pixels: NDArray[np.uint8]
    synthetic: bool
    training: bool
    source: str
    groups: dict[str, str]


def shuffled(values: Sequence[int], seed: int, use: str) -> list[int]:
    """Numbers in an order that depends on the seed and the use alone."""
    return sorted(values, key=lambda value: name_of(seed, use, value))


def name_of(seed: int, use: str, number: int) -> str:
    """A name that says nothing without the seed."""
    return hashlib.sha256(f"{seed}/{use}/{number}".encode()).hexdigest()[:16]


class Maker:
    """Chooses the pictures of both sides and handles them alike."""

    def __init__(
        self,
        seed: int,
        n: int,
        training: int,
        classes: Mapping[str, str],
        patient: str | None,
        *,
        pairs: bool,
    ) -> None:
        self.seed, self.n, self.classes, self.patient = seed, n, classes, patient
        # With single pictures, half of the training is real; the odd one is synthetic.
        self.training = (training, training) if pairs else (training - training // 2, training // 2)
        self.notes: list[str] = []
        self.grouping: tuple[list[str], list[str]] = [], []

    def pictures(
        self, model: Any, real: Any, run: Mapping[str, Any]
    ) -> tuple[list[Picture], dict[str, Any]]:
        """All pictures, the synthetic ones first, and the part of the key that describes them."""
        needed = self.n + self.training[0]
        how = Reading(needed, self.seed, self.classes, None, run)
        one = data_of(model, "model", how)
        if len(one) < needed:
            raise InputError(
                f"model: {one.name} has {len(one)} pictures, and {needed} are needed: {self.n}, "
                f"and {self.training[0]} for the training.",
                "Give more, or a smaller n.",
            )
        column = one.column("image")
        size = one.samples.outputs[column].shape[-2:] if column else None
        other = data_of(real, "real", Reading(0, 0, self.classes, size, {}, history_of))
        self.grouping = _grouping(one, run), _grouping(other)
        found = handling(one, other, self.notes)
        made = one.at(np.array(shuffled(range(len(one)), self.seed, "synthetic")[:needed]))
        kept = other.at(np.array(self._real_rows(made, other, run)))
        key = {"model": one.name, "real": other.name, "notes": self.notes}
        provenance = {k: v for k, v in one.samples.provenance.items() if k in PROVENANCE}
        key["provenance"] = json.loads(json.dumps(plain(provenance), default=str))
        return [*self._made(made, kept, found, run), *self._kept(kept, found)], key

    def _real_rows(self, made: Data, real: Data, run: Mapping[str, Any]) -> list[int]:
        """Rows of real pictures, in the groups in which the synthetic ones are."""
        needed = self.n + self.training[1]
        if len(real) < needed:
            raise InputError(
                f"real: {real.name} has {len(real)} pictures, and {needed} are needed: {self.n}, "
                f"and {self.training[1]} for the training.",
                f"Give more real pictures, or n={len(real) - self.training[1]} at most.",
            )
        one, other = groups_of(made, run), groups_of(real)
        common = [name for name in self.grouping[0] if name in other]
        order = self._by_patient(real)
        waiting: dict[Hashable, list[int]] = {}
        for row in order:
            waiting.setdefault(tuple(other[name][row] for name in common), []).append(row)
        wanted = [tuple(one[name][row] for name in common) for row in range(needed)]
        short = Counter(wanted)
        for group, count in sorted(short.items()):
            if count > len(waiting.get(group, [])):
                named = " and ".join(f"{k} {v!r}" for k, v in zip(common, group, strict=True))
                raise InputError(
                    f"real: {real.name} has {len(waiting.get(group, []))} pictures of {named}, and "
                    f"{count} are needed, as many as there are synthetic ones.",
                    "Give more, a smaller n, or classes={'name in real': 'name in model'} "
                    "(--class A=B) if only the names differ.",
                )
        return [waiting[group].pop(0) for group in wanted]

    def _by_patient(self, real: Data) -> list[int]:
        """All rows in random order: first one picture of each patient, then a second one."""
        rows = shuffled(range(len(real)), self.seed, "real")
        patients = real.patients(self.patient)
        if patients is None:
            self.notes.append(
                "Patients of real pictures are not known, so a study may show one twice."
            )
            return rows
        seen: Counter[str] = Counter()
        turns = {}
        for row in rows:
            turns[row] = seen[str(patients[row])]
            seen[str(patients[row])] += 1
        return sorted(rows, key=lambda row: turns[row])  # stable: random within a turn

    def _made(
        self, made: Data, kept: Data, found: Handling, run: Mapping[str, Any]
    ) -> list[Picture]:
        groups, values = groups_of(made, run), values_of(made)
        pictures = []
        for row in range(len(made)):
            history = kept.inspected[row % len(kept)] if kept.inspected else None
            pixels = found.of_synthetic(values[row], history)
            own = {name: groups[name][row] for name in self.grouping[0]}
            pictures.append(Picture(pixels, True, row >= self.n, made.row_name(row), own))
        return pictures

    def _kept(self, kept: Data, found: Handling) -> list[Picture]:
        groups, values = groups_of(kept), values_of(kept)
        pictures = []
        for row in range(len(kept)):
            own = {name: groups[name][row] for name in self.grouping[1]}
            pixels = found.of_real(values[row])
            pictures.append(Picture(pixels, False, row >= self.n, kept.row_name(row), own))
        return pictures


def groups_of(side: Data, run: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """Name of a group -> its value for each picture: class, columns of metadata.csv, options."""
    label = side.column("label")
    groups = {}
    for name, value in (run or {}).items():
        if isinstance(value, str) and name not in NO_GROUPS:
            groups[name] = [value] * len(side)
    for name, texts in side.texts.items():
        if name != "patient":
            groups["class" if name == label else name] = texts.tolist()
    return groups


def _grouping(side: Data, run: Mapping[str, Any] | None = None) -> list[str]:
    """The groups with few values, which do not merely name each picture."""
    groups = groups_of(side, run)
    return [name for name in groups if len(set(groups[name])) <= FEW_GROUPS]


# ------------------------------------------------------------------------------------------ writing
def _write(
    folder: Path, settings: Settings, pictures: list[Picture], key: dict[str, Any], seed: int
) -> None:
    store = Store(folder / DATABASE)
    store.create(settings)
    names = [name_of(seed, "picture", number) for number in range(len(pictures))]
    # Sorted by their names, so that no order in the file says how they were made.
    rows = sorted((name, png_of(p.pixels)) for name, p in zip(names, pictures, strict=True))
    store.insert_all("pictures", rows)
    make = _pairs if settings.task == "pairs" else _singles
    store.insert_all("items", sorted(make(names, pictures, seed)))
    truths = {}
    for name, picture in zip(names, pictures, strict=True):
        truths[name] = {
            "synthetic": picture.synthetic,
            "source": picture.source,
            "groups": picture.groups,
        }
    content = {**key, "study": store.seal(), "seed": seed, "pictures": truths}
    files.write_json(folder / KEY, content)


def _singles(names: list[str], pictures: list[Picture], seed: int) -> list[tuple[str, str, str]]:
    items = []
    for number, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        truth = "synthetic" if picture.synthetic else "real"
        shown = truth if picture.training else ""
        items.append((name_of(seed, "item", number), text_of([name]), shown))
    return items


def _pairs(names: list[str], pictures: list[Picture], seed: int) -> list[tuple[str, str, str]]:
    half = len(pictures) // 2
    on_the_left = set(shuffled(range(half), seed, "side")[: half // 2])
    items = []
    for number in range(half):
        left = number in on_the_left
        both = names[number], names[half + number]
        side = SIDES[0] if left else SIDES[1]
        shown = side if pictures[number].training else ""
        ordered = both if left else both[::-1]
        items.append((name_of(seed, "item", number), text_of(list(ordered)), shown))
    return items


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file without compression, so that all pictures of a size are files of one length."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="png", compress_level=0)
    return buffer.getvalue()
