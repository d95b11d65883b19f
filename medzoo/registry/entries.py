"""What the index of a registry holds of each config.

Thousands of configs are read by several processes. A process that fails changes nothing: its
configs are then read by this one, which also reports what is wrong with them.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from .._worker.threads import cores
from ..config import ModelConfig
from . import description
from .lookup import config_of
from .words import plain_texts

if TYPE_CHECKING:
    import subprocess

Key = tuple[str, str, int, int]  # of a config: id, path and stamp
Entry = tuple[tuple[Any, ...], tuple[Any, ...]]  # a row of `models` and a row of `texts`

EACH = 1000  # configs for which a further process is started; its start takes as long as 200


class Figure(NamedTuple):
    """A metric that a model reports."""

    number: int
    value: float
    dataset: str
    samples: int
    better: str

    @property
    def group(self) -> tuple[str, int]:
        """Figures of one group can be compared."""
        return self.dataset, self.samples


def read_entries(keys: list[Key]) -> list[Entry]:
    """The entries of configs, which are read from their files.

    Raises
    ------
    ConfigError
        A config breaks the schema, or its file has another name than its id.
    """
    count = min(cores(), 1 + len(keys) // EACH)
    size = -(-len(keys) // count)
    own, *others = [keys[k * size : (k + 1) * size] for k in range(count)]
    with ExitStack() as stack:
        processes = [_start(part, stack) for part in others]
        entries = _read_here(own)
        for part, process in zip(others, processes, strict=True):
            entries += _answer(process) or _read_here(part)
    return entries


def _read_here(keys: list[Key]) -> list[Entry]:
    entries = []
    for identifier, path, changed, size in keys:
        config = config_of(identifier, path)
        entries.append(_entry(config, (identifier, path, changed, size)))
    return entries


def _start(keys: list[Key], stack: ExitStack) -> subprocess.Popen[str] | None:
    """A process that reads configs; None if none can be started. It ends with the stack."""
    import subprocess  # most searches find an index, and need no process

    command = f"import sys; sys.path[:] = {sys.path}; from {__name__} import main; main()"
    with suppress(OSError):
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        stack.enter_context(process)
        stack.callback(process.kill)
        assert process.stdin is not None  # noqa: S101
        with process.stdin:
            json.dump(keys, process.stdin)
        return process
    return None


def _answer(process: subprocess.Popen[str] | None) -> list[Entry]:
    """What a process read; nothing if it failed."""
    with suppress(ValueError):
        if process and process.stdout:
            return [(tuple(model), tuple(texts)) for model, texts in json.load(process.stdout)]
    return []


def main() -> None:
    """Answer the keys on standard input with their entries."""
    json.dump(_read_here(json.load(sys.stdin)), sys.stdout)


def _entry(config: ModelConfig, key: Key) -> Entry:
    """A config as a row of `models` and a row of `texts`."""
    default, number = config.default, config.number
    datasets = "\n".join(d.name for d in default.datasets)
    fields = (
        config.modality,
        config.organ,
        config.content,
        default.generator,
        default.license,
        datasets,
    )
    model = (
        number,
        *key,
        config.name.casefold(),
        default.year,
        default.scheme == "bundled",
        *map(str.casefold, fields),
    )
    texts = (
        list(map(plain_texts, _levels(config))),
        description.row(config),
        description.summary(config),
        _figures(config),
    )
    return model, (number, *map(json.dumps, texts))


def _levels(config: ModelConfig) -> tuple[list[str], list[str], list[str]]:
    """The texts of a model, by level."""
    names = [config.id, str(config.number), config.name]
    names += [config.modality, config.organ, config.content]
    tags, descriptions = [*config.tags], [config.description]
    for version in config.versions.values():
        for condition in version.conditions.values():
            tags += [condition.name, *condition.values]
        tags += [dataset.name for dataset in version.datasets]
        descriptions += [version.architecture, version.generator]
    return names, tags, descriptions


def _figures(config: ModelConfig) -> list[tuple[Any, ...]]:
    """Rows of the table `figures`."""
    rows: list[tuple[Any, ...]] = []
    for version in config.versions.values():
        is_default = version is config.default
        for m in version.metrics:
            figure = Figure(config.number, m.value, m.dataset, m.samples or 0, m.better)
            rows.append((m.name, is_default, *figure))
    return rows
