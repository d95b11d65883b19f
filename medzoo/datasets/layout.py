"""How the files of a set are arranged: in folders, and in shards of many samples."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import checks
from ..config import Output
from ..config.columns import names_of_kind
from ..errors import InputError
from ..provenance import ARRANGED

CLASSES = "classes"
METADATA = "metadata.jsonl"  # a name that the readers of folders of pictures look for
LONGEST = 200  # bytes of the labels in a file name, which also has an index and an ending
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
SIZE = re.compile(r"(\d+(?:\.\d+)?) *([kmg]i?|)b?", re.IGNORECASE)
MOST = 2**62  # bytes in a shard
# Not allowed in the name of a folder on Windows, macOS or Linux.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|^[. ]|[. ]$|^$')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Arrangement:
    """The arrangement that a user asks for. None leaves the choice to the format.

    Parameters
    ----------
    layout : str, optional
        ``classes``: one folder per label, inside the folder of each column. ``classes:NAME``
        names the label column, if there are several.
    shard_size : int or str, optional
        Size at which a shard of a webdataset ends: bytes, or a text such as ``64MB``.
    shard_samples : int, optional
        Largest number of samples in a shard of a webdataset.
    """

    layout: str | None = None
    shard_size: int | str | None = None
    shard_samples: int | None = None

    @classmethod
    def recorded(cls, provenance: Mapping[str, Any]) -> Arrangement:
        """The arrangement that a provenance records."""
        return cls(**{key: provenance[key] for key in ARRANGED if key in provenance})

    def asked(self) -> dict[str, Any]:
        """The values that the user gave, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def checked(
        self,
        format_: str,
        outputs: Mapping[str, Output],
        label_names: Mapping[str, Mapping[str, str]],
        *,
        shards: bool,
        one_file_each: bool,
    ) -> dict[str, Any]:
        """The entries of the provenance for this arrangement.

        Raises
        ------
        InputError
            The format or the columns cannot be arranged so, or a label cannot be part of a file
            name.
        """
        asked = self.asked()
        if sharded := sorted(asked.keys() & {"shard_size", "shard_samples"}):
            if not shards:
                raise InputError(
                    f"{sharded[0]}={asked[sharded[0]]!r} has no effect on format={format_!r}.",
                    "Only format='webdataset' writes shards.",
                )
            if "shard_size" in asked:
                asked["shard_size"] = bytes_of(self.shard_size)
            if "shard_samples" in asked:
                asked["shard_samples"] = checks.count(self.shard_samples, "shard_samples")
        if one_file_each:
            _check_lengths(label_names)
        if self.layout is not None:
            column = _class_column(self.layout, outputs)
            if not one_file_each:
                raise InputError(
                    f"layout={self.layout!r} needs one file per sample; format={format_!r} has "
                    "none.",
                    "format='png', 'png16', 'nifti' and 'dicom' have.",
                )
            check_folder_names(label_names.get(column, {}).values())
            asked["layout"] = f"{CLASSES}:{column}"
        return asked


UNARRANGED = Arrangement()


def class_column(provenance: Mapping[str, Any]) -> str | None:
    """The label column whose values are names of folders; None if there is no such layout."""
    layout = provenance.get("layout")
    return layout.partition(":")[2] if layout else None


def _class_column(layout: object, outputs: Mapping[str, Output]) -> str:
    labels = names_of_kind(outputs, "label")
    kind, _, name = layout.partition(":") if isinstance(layout, str) else ("", "", "")
    if kind != CLASSES:
        raise InputError(
            f"layout={layout!r:.60} is unknown.",
            f"Give {CLASSES!r} for one folder per label, or leave it out.",
        )
    if not labels:
        raise InputError(
            f"layout={layout!r} needs a label column, and these samples have none.",
            "Leave the layout out.",
        )
    if (name and name not in labels) or (not name and len(labels) > 1):
        problem = "There are several label columns"
        if name:
            problem = f"There is no label column {name!r}"
        choices = ", ".join(f"{CLASSES}:{label}" for label in labels)
        raise InputError(f"layout={layout!r}: {problem}.", f"Give one of {choices}.")
    return name or labels[0]


def check_folder_names(labels: Iterable[str]) -> None:
    """Refuse labels that cannot be names of folders on every disk.

    Raises
    ------
    InputError
        A file system does not allow a character, the end or the length of a label; or two labels
        differ only in case.
    """
    same: dict[str, str] = {}
    for label in labels:
        if FORBIDDEN.search(label) or RESERVED.fullmatch(label) or len(label.encode()) > LONGEST:
            raise InputError(
                f"The label {label!r:.80} cannot be the name of a folder on every disk.",
                "Without layout='classes' labels are in manifest.jsonl, as they are.",
            )
        folded = unicodedata.normalize("NFC", label).casefold()
        if folded in same:
            raise InputError(
                f"The labels {same[folded]!r} and {label!r} are the same folder on disks that "
                "ignore case.",
                "Without layout='classes' labels are in manifest.jsonl, as they are.",
            )
        same[folded] = label


def _check_lengths(label_names: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse labels that are too long for the name of a file."""
    longest = [max(names.values(), key=_length) for names in label_names.values() if names]
    if sum(map(_length, longest)) > LONGEST:
        label = max(longest, key=_length)
        raise InputError(
            f"The label {label!r:.40} ... of {len(label)} characters is too long for a file name.",
            "format='npz' and format='webdataset' do not put labels in file names.",
        )


def _length(label: str) -> int:
    return len(label.encode())


def bytes_of(size: Any) -> int:
    """``shard_size`` in bytes: it is a whole number, or a text such as ``64MB`` or ``256MiB``.

    Raises
    ------
    InputError
        It is neither, or less than one byte.
    """
    number: float = -1
    size = checks.size(size, "shard_size")
    if isinstance(size, int):
        number = size
    elif match := SIZE.fullmatch(size.strip()):
        number = float(match[1]) * UNITS[match[2].lower()]
    if not 1 <= number < MOST:
        raise InputError(
            f"shard_size={checks.shown(size)} is not a size.",
            "Give bytes, or a text such as '64MB'.",
        )
    return int(number)
