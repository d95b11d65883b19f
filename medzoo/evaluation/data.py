"""The sides of an evaluation, and how they are read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.columns import names_of_kind
from ..errors import InputError, MedzooWarning
from ..samples import Samples

NAMES = ("patient", "indices")
Array = NDArray[Any]
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class Data:
    """One side of an evaluation.

    Parameters
    ----------
    samples : Samples
        Columns of arrays, and what is known about each.
    name : str
        What it is called in tables and messages.
    texts : Mapping[str, numpy.ndarray]
        Column -> the text of each sample: the names of labels, and the columns of metadata.csv.
    files : tuple of str
        The file of each sample, if they were read from a folder of pictures.
    inspected : tuple
        What `Reading.inspect` returned for each of these files.
    held_out : Data, optional
        The part ``val`` or ``test`` of a folder that has a part ``train``.
    """

    samples: Samples
    name: str
    texts: Mapping[str, Texts] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    inspected: tuple[Any, ...] = ()
    held_out: Data | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, rows: Array) -> Data:
        """Fewer samples."""
        texts = {name: values[rows] for name, values in self.texts.items()}
        names = tuple(self.files[row] for row in rows) if self.files else ()
        inspected = tuple(self.inspected[row] for row in rows) if self.inspected else ()
        return replace(
            self,
            samples=self.samples[rows],
            texts=texts,
            files=names,
            inspected=inspected,
            held_out=None,
        )

    def column(self, *kinds: str) -> str | None:
        """The name of the first column of these kinds, or None."""
        return next(iter(names_of_kind(self.samples.outputs, *kinds)), None)

    def row_name(self, row: int) -> str:
        """How a message names a sample."""
        return self.files[row] if self.files else f"sample {self.samples.indices[row]}"

    def patients(self, patient: str | None, *, required: bool = True) -> Texts | None:
        """The patient of each sample; None if it is not known.

        ``patient`` is the name of a column, or a regular expression for the paths of the files. By
        default it is the column called patient, if there is one. Samples mostly have no patients:
        unless they are ``required``, a path in which the expression does not occur means that they
        are not known.
        """
        if patient is None:
            return self.texts.get("patient")
        if patient in self.texts:
            return self.texts[patient]
        if not self.files:
            return None
        try:
            expression = re.compile(patient)
        except re.error as error:
            raise InputError(
                f"patient={patient!r} is not a regular expression: {error}.",
                "Such as 'P_[0-9]+', or the name of a column of metadata.csv.",
            ) from None
        names = []
        for name in self.files:
            match = expression.search(name)
            found = match[1 if expression.groups else 0] if match else None
            if found is None and not required:
                return None
            if found is None:
                raise InputError(
                    f"patient={patient!r} does not occur in the path {name!r}.",
                    "Give a regular expression that finds the patient in each path, or the name "
                    "of a column of metadata.csv.",
                )
            names.append(found)
        return np.array(names)


@dataclass(frozen=True)
class Reading:
    """How to read what a user gives.

    Parameters
    ----------
    n, seed : int
        Of samples that are generated.
    classes : Mapping[str, str]
        Name of a folder or label -> name of the class.
    size : tuple of int, optional
        Size (H, W) to which pictures of files are brought; as they are by default.
    options : Mapping[str, Any]
        How a model is run: device, env, trust; and its own options.
    inspect : callable, optional
        Called with the path of each picture of a folder, while its file exists.
    patient : str, optional
        The column that tells patients apart, also if it holds numbers.
    """

    n: int = 1000
    seed: int = 0
    classes: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    inspect: Callable[[Path], Any] | None = None
    patient: str | None = None

    def is_name(self, column: str) -> bool:
        """Whether the numbers of a column only tell samples apart, so that they are texts."""
        return column in NAMES or column == self.patient


def warn(text: str, notes: list[str]) -> None:
    """Warn, and keep the text for the report."""
    notes.append(text)
    warnings.warn(text, MedzooWarning, stacklevel=8)
