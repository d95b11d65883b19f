"""How the files of a set are arranged: in which folders, and how many samples in a shard."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import checks
from ..config import Output
from ..errors import InputError
from ..provenance import ARRANGED

CLASSES = "classes"
METADATA = "metadata.jsonl"  # a name that the readers of folders of pictures look for
LONGEST = 200  # bytes of the labels in a name: the index, an ending and a temporary name fit beside
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
SIZE = re.compile(r"(\d+(?:\.\d+)?) *([kmg]i?|)b?", re.IGNORECASE)
MOST = 2**62  # bytes in a shard
# What Windows, macOS or Linux do not allow in the name of a folder.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|^[. ]|[. ]$|^$')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Arrangement:
    """What a user asks of it; all None leaves the choice to the format.

    Parameters
    ----------
    layout
        ``classes``: one folder per label, inside the folder of each column. ``classes:NAME``
        names the label column, where there are several.
    shard_size
        Bytes after which a shard of a webdataset ends; or a text such as ``64MB``.
    shard_samples
        Samples in a shard of a webdataset, at most.
    """

    layout: str | None = None
    shard_size: int | str | None = None
    shard_samples: int | None = None

    @classmethod
    def recorded(cls, provenance: Mapping[str, Any]) -> Arrangement:
        """The one that a provenance records."""
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
        """What the provenance says of it.

        Raises
        ------
        InputError
            The format or the columns cannot be arranged so, or a label makes no name of a file.
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
    """The label column whose values name folders; None where none does."""
    layout = provenance.get("layout")
    return layout.partition(":")[2] if layout else None


def _class_column(layout: object, outputs: Mapping[str, Output]) -> str:
    labels = [name for name, output in outputs.items() if output.kind == "label"]
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
        problem = (
            f"There is no label column {name!r}" if name else "There are several label columns"
        )
        choices = ", ".join(f"{CLASSES}:{label}" for label in labels)
        raise InputError(f"layout={layout!r}: {problem}.", f"Give one of {choices}.")
    return name or labels[0]


def check_folder_names(labels: Iterable[str]) -> None:
    """Refuse labels that cannot be the names of folders on every disk, as they are.

    Raises
    ------
    InputError
        A label has a character, an end or a length that a file system does not allow; or two are
        the same where case does not count.
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
    """The bytes of ``shard_size``: a whole number, or a text such as ``64MB`` or ``256MiB``.

    Raises
    ------
    InputError
        It is neither, or less than one byte.
    """
    number: float = -1
    size = checks.size(size, "shard_size")
    if isinstance(size, int):
        number = size
    elif found := SIZE.fullmatch(size.strip()):
        number = float(found[1]) * UNITS[found[2].lower()]
    if not 1 <= number < MOST:
        raise InputError(
            f"shard_size={checks.shown(size)} is not a size.",
            "Give bytes, or a text such as '64MB'.",
        )
    return int(number)
