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
from ..config.columns import PICTURES, ROWS, Batch, known_range, names_of_kind, warn_if_clipped
from ..errors import DatasetError
from .columns import FileColumn, Index
from .csv import Rows, Table
from .formats import Format, Line, arrays_of, entries_of, labels_of, metadata_row
from .layout import METADATA, class_column


class OneFileEach(Format):
    """One file per picture, ``images/000007_malignant.png``, or one folder per volume.

    Tables are in a CSV in the same folder. With the layout ``classes`` the picture is
    ``images/malignant/000007.png``, and ``metadata.jsonl`` has a line for each sample.
    """

    one_file_each = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._class = class_column(self._provenance)
        names = names_of_kind(self._outputs, *PICTURES)
        self._pictures = {name: self._outputs[name] for name in names}
        tables = names_of_kind(self._outputs, *ROWS)
        self._table = Rows(self._journal, self._outputs, self._provenance) if tables else None
        self._clipped: set[str] = set()  # columns that a warning has named
        for name in self._pictures:
            (self._folder / name).mkdir(exist_ok=True)

    @abstractmethod
    def encode(
        self, values: NDArray[Any], output: Output, metadata: Mapping[str, Any]
    ) -> Iterable[tuple[str, bytes]]:
        """Endings of file names, ``.png`` or ``/0003.dcm``, and the contents of these files."""

    @staticmethod
    @abstractmethod
    def decode(paths: Sequence[Path], output: Output) -> NDArray[Any]:
        """The values (C, *spatial) that `encode` wrote to these files."""

    def write(self, batch: Batch) -> list[Line]:
        """Encode a batch in a few threads."""
        columns = arrays_of(batch)
        for name, output in self._pictures.items():
            if self.step(output):
                self._check_scaled(columns[name], output)
        if self._table:
            self._table.write(columns, batch.indices)

        def encode(row: int) -> list[Line]:
            return self._files(columns, row, int(batch.indices[row]))

        lines: list[Line] = []
        metadata = ""
        for of_sample in self.in_threads(encode, range(len(batch))):
            lines += of_sample
            if self._class:
                metadata += json.dumps(metadata_row(of_sample), ensure_ascii=False) + "\n"
        if self._class:
            self._journal.append(METADATA, metadata.encode())
        return lines

    def finish(self) -> list[Line]:
        """The manifest's lines for the table and the metadata."""
        lines = [self._table.finish(self._n)] if self._table else []
        if self._class and (self._folder / METADATA).exists():
            digest = files.sha256_of(self._folder / METADATA)
            labels = sorted(names_of_kind(self._outputs, "label"))
            lines.append(
                {"file": METADATA, "sha256": digest, "samples": self._n, "columns": labels}
            )
        return lines

    def _check_scaled(self, values: NDArray[Any], output: Output) -> None:
        """Refuse floats that grey levels cannot hold; warn once about values outside the range."""
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
        """Write the files of one sample; returns the manifest's lines for them."""
        labels = labels_of(columns, row, self._outputs, self._provenance)
        entry = self.entry(index, labels)
        stem = self._stem(index, labels)
        origin = entries_of(self._provenance, "model", "version", "seed", "license")
        lines = []
        for name, output in self._pictures.items():
            metadata = {"synthetic": True, "index": index, "column": name, **labels, **origin}
            encoded = self.encode(columns[name][row], output, metadata)
            for piece, (ending, data) in enumerate(encoded):
                path = f"{name}/{stem}{ending}"
                with files.atomic(self._folder / path) as file:
                    file.write(data)
                digest = hashlib.sha256(data).hexdigest()
                line = {**entry, "column": name, "file": path, "sha256": digest}
                if ending.startswith("/"):
                    line["piece"] = piece
                lines.append(line)
        return lines

    def _stem(self, index: int, labels: Mapping[str, Any]) -> str:
        """The file name of a sample without its ending: ``000007_malignant``."""
        stem = f"{index:06d}"
        for name, label in labels.items():
            if name != self._class:
                stem += "_" + re.sub(r"[^\w.-]+", "-", str(label))
        return f"{labels[self._class]}/{stem}" if self._class else stem

    @classmethod
    def listed(cls, outputs: Mapping[str, Output]) -> list[str]:
        """The columns whose values are in files, which the manifest lists."""
        return names_of_kind(outputs, *PICTURES)

    @classmethod
    def read(
        cls, folder: Path, outputs: Mapping[str, Output], provenance: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """The columns; a picture is read from its files when it is used."""
        index = Index.of(folder, outputs, provenance, cls.listed(outputs))
        columns: dict[str, Any] = {}
        if names_of_kind(outputs, *ROWS):
            table = Table(folder, outputs, provenance)
            table.require_indices(index.numbers)
        for name, output in outputs.items():
            if output.kind == "label":
                columns[name] = index.labels[name]
            elif output.kind in ROWS:
                columns[name] = table.column(name, len(index.numbers))
            else:
                columns[name] = FileColumn(index.manifest, index.lines[name], output, cls.decode)
        return columns, index.numbers
