"""Formats with one file per picture: what PNG, NIfTI and DICOM share."""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import Output
from ..config.columns import Batch, known_range, warn_if_clipped
from ..errors import DatasetError
from .columns import FileColumn, Index
from .csv import Rows, Table
from .formats import Format, Line, labels_of, metadata_row
from .layout import METADATA, class_column


class OneFileEach(Format):
    """One file per picture, ``images/000007_malignant.png``, or one folder per volume; tables go
    to a CSV beside them.

    With the layout ``classes`` it is ``images/malignant/000007.png``, and ``metadata.jsonl`` beside
    the folders of the columns has a line for each sample.
    """

    one_file_each = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._class = class_column(self._provenance)
        self._pictures = {
            n: o for n, o in self._outputs.items() if o.kind not in {"label", "table"}
        }
        tables = any(o.kind == "table" for o in self._outputs.values())
        self._table = Rows(self._journal, self._outputs, self._provenance) if tables else None
        self._clipped: set[str] = set()  # columns that a warning has named
        for name in self._pictures:
            (self._folder / name).mkdir(exist_ok=True)

    @abstractmethod
    def encode(
        self, values: NDArray[Any], output: Output, about: Mapping[str, Any]
    ) -> Iterable[tuple[str, bytes]]:
        """Endings of file names, ``.png`` or ``/0003.dcm``, and what goes into these files."""

    @staticmethod
    @abstractmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """What `encode` made files of."""

    def write(self, batch: Batch) -> list[Line]:
        """Encode a batch in a few threads."""
        columns = {name: getattr(batch, name) for name in batch.columns}
        for name, output in self._pictures.items():
            if self.step(output):
                self._check_scaled(columns[name], output)
        if self._table:
            self._table.write(columns, batch.indices)
        encoded = self.in_threads(
            lambda row: self._files(columns, row, int(batch.indices[row])), range(len(batch))
        )
        if self._class:
            rows = "".join(json.dumps(metadata_row(e), ensure_ascii=False) + "\n" for e in encoded)
            self._journal.append(METADATA, rows.encode())
        return [line for lines in encoded for line in lines]

    def finish(self) -> list[Line]:
        """The lines of the table and of the metadata."""
        lines = [self._table.finish(self._n)] if self._table else []
        if self._class and (self._folder / METADATA).exists():
            digest = files.sha256_of(self._folder / METADATA)
            labels = sorted(n for n, o in self._outputs.items() if o.kind == "label")
            lines.append(
                {"file": METADATA, "sha256": digest, "samples": self._n, "columns": labels}
            )
        return lines

    def _check_scaled(self, values: NDArray[Any], output: Output) -> None:
        """Refuse floats that steps of gray cannot hold; warn, once, of those outside the range."""
        if not np.isfinite(values).all():
            raise DatasetError(
                f"{output.name!r} has values that are not finite, which this format cannot hold.",
                "format='npz' and format='nifti' keep every value.",
            )
        low, high = known_range(output)
        if output.name not in self._clipped and ((values < low) | (values > high)).any():
            self._clipped.add(output.name)
            warn_if_clipped(values, output)

    def _files(self, columns: Mapping[str, NDArray[Any]], row: int, index: int) -> list[Line]:
        labels = labels_of(columns, row, self._outputs, self._provenance)
        about = self.about(index, labels)
        named = [str(v) for n, v in labels.items() if n != self._class]
        stem = "_".join([f"{index:06d}", *(re.sub(r"[^\w.-]+", "-", v) for v in named)])
        if self._class:
            stem = f"{labels[self._class]}/{stem}"
        lines = []
        for name, output in self._pictures.items():
            inside = {"synthetic": True, "index": index, "column": name, **labels}
            inside |= {
                k: self._provenance[k]
                for k in ("model", "version", "seed", "license")
                if k in self._provenance
            }
            for piece, (ending, data) in enumerate(self.encode(columns[name][row], output, inside)):
                path = f"{name}/{stem}{ending}"
                with files.atomic(self._folder / path) as file:
                    file.write(data)
                line = {
                    **about,
                    "column": name,
                    "file": path,
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
                lines.append(line | ({"piece": piece} if ending.startswith("/") else {}))
        return lines

    @classmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The columns: pictures read from their files when asked for."""
        index = Index.of(
            folder,
            outputs,
            provenance,
            [n for n, o in outputs.items() if o.kind not in {"label", "table"}],
        )
        columns: dict[str, Any] = {}
        if any(o.kind == "table" for o in outputs.values()):
            table = Table(folder, outputs, provenance)
            table.require_indices(index.numbers)
        for name, output in outputs.items():
            if output.kind == "label":
                columns[name] = index.labels[name]
            elif output.kind == "table":
                columns[name] = table.column(name, len(index.numbers))
            else:
                columns[name] = FileColumn(index.manifest, index.lines[name], output, cls.decode)
        return columns, index.numbers
