"""The provenance of samples: every key, once, with its type and its groups.

`medzoo.Samples` have a `Provenance`, and ``provenance.json`` holds one. A group is, for example,
all keys that decide the content of a set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, get_type_hints

from .config import ModelConfig, Output, Version

# Groups of keys.
_SET = "decides a set"
_SAMPLE = "decides a sample, together with its index"
_ARRANGED = "how files are arranged"
_FOUND_OUT = "found out by a run"
_SEAL = "a digest, of a finished set"
_NOT_COMPARED = "may differ when a set is made again"


class Provenance(TypedDict, total=False):
    """All keys, in the order in which differences are named."""

    # the request
    model: Annotated[str, _SET, _SAMPLE]
    version: Annotated[str, _SET, _SAMPLE]
    # Files of the package, and weights that the user gave, with their digests.
    sha256: Annotated[dict[str, str], _SET, _SAMPLE]
    seed: Annotated[int, _SET, _SAMPLE]
    n: Annotated[int, _SET]
    first: Annotated[int, _SET]  # only if it is not 0
    options: Annotated[Mapping[str, Any], _SET, _SAMPLE]  # conditions, latents and inputs too
    precision: Annotated[str, _SET, _SAMPLE]  # only if it is not full
    subset: Annotated[dict[str, Any], _SET]  # only of a set that was saved in part
    # the files
    format: Annotated[str, _SET]
    layout: Annotated[str, _SET, _ARRANGED]
    shard_size: Annotated[int, _SET, _ARRANGED]
    shard_samples: Annotated[int, _SET, _ARRANGED]
    # from the config
    outputs: Annotated[dict[str, dict[str, Any]], _SET]
    label_names: Annotated[dict[str, dict[str, str]], _SET]
    conditions: Annotated[dict[str, list[str]], _SET]
    modality: str
    synthetic: Annotated[bool, _NOT_COMPARED]
    license: Annotated[str, _NOT_COMPARED]
    source: Annotated[str, _NOT_COMPARED]
    registered: Annotated[bool, _NOT_COMPARED]
    # how and where it ran
    trust: Annotated[bool, _NOT_COMPARED]
    # How code was contained that did not come with medzoo; absent for code that did.
    sandbox: Annotated[list[str], _NOT_COMPARED]
    device: str
    env: str
    lock: str
    python: str
    libraries: dict[str, str]
    seeding: str
    threads: int
    written_with: dict[str, str]
    # known only after the run
    batches: Annotated[list[list[int]], _FOUND_OUT, _NOT_COMPARED]  # first sample, batch size
    growth: Annotated[dict[str, Any], _FOUND_OUT, _NOT_COMPARED]
    continued: Annotated[list[dict[str, Any]], _NOT_COMPARED]
    manifest_sha256: Annotated[str, _FOUND_OUT, _SEAL, _NOT_COMPARED]
    provenance_sha256: Annotated[str, _FOUND_OUT, _SEAL, _NOT_COMPARED]


def _keys(group: str) -> tuple[str, ...]:
    """The keys of a group."""
    hints = get_type_hints(Provenance, include_extras=True)
    groups = {key: getattr(kind, "__metadata__", ()) for key, kind in hints.items()}
    return tuple(filter(lambda key: group in groups[key], groups))


DECIDES_SET, DECIDES_SAMPLE = _keys(_SET), _keys(_SAMPLE)
ARRANGED, FOUND_OUT, SEALS = _keys(_ARRANGED), _keys(_FOUND_OUT), _keys(_SEAL)
NOT_COMPARED = frozenset(_keys(_NOT_COMPARED))
# The fields of `Output` that a provenance holds.
OUTPUT_FIELDS = (
    *("name", "kind", "dtype", "shape", "range", "unit", "window", "spacing"),
    *("condition", "columns", "classes", "geometry", "origin"),
)


def of_request(
    config: ModelConfig,
    version: Version,
    *,
    seed: int,
    n: int,
    first: int,
    options: Mapping[str, Any],
) -> Provenance:
    """The part of a provenance that is known before the model is loaded."""
    provenance: Provenance = {
        "synthetic": True,
        "model": config.id,
        "version": version.name,
        "license": version.license,
        "source": version.source,
        "modality": config.modality,
        "seed": seed,
        "n": n,
        "options": options,
        "outputs": outputs_as_json(version.outputs),
        "label_names": _label_names(version),
        "conditions": {c.name: list(c.values) for c in version.conditions.values()},
    }
    if first:
        provenance["first"] = first
    return provenance


def _label_names(version: Version) -> dict[str, dict[str, str]]:
    """Column of labels -> number of a label, as a text -> its name."""
    names: dict[str, dict[str, str]] = {}
    for column, output in version.outputs.items():
        if output.condition:
            names[column] = {}
            for name, number in version.conditions[output.condition].values.items():
                names[column][str(number)] = name
    return names


def of_session(
    version: Version,
    *,
    env: str,
    lock: str,
    trust: bool,
    interpreter: Mapping[str, Any],
    recorded: Provenance,
) -> Provenance:
    """The part of a provenance that describes the session in which the model ran.

    Parameters
    ----------
    interpreter : mapping
        The interpreter that ran the model: ``python``, ``libraries`` (name -> version) and
        ``threads`` (of torch, or None).
    recorded : Provenance
        Further keys of how it ran.
    """
    provenance: Provenance = {
        "env": env,
        "lock": lock,
        "python": interpreter["python"],
        "libraries": interpreter["libraries"],
        "seeding": version.seeding,
        "trust": trust,
        **recorded,
    }
    if interpreter["threads"]:
        provenance["threads"] = interpreter["threads"]
    return provenance


def copied(provenance: Provenance) -> Provenance:
    """A copy that does not change while the run goes on."""
    copy = provenance.copy()
    copy["batches"] = list(map(list, provenance["batches"]))
    return copy


def outputs_as_json(outputs: Mapping[str, Output]) -> dict[str, dict[str, Any]]:
    """The columns of a set as JSON, with all that reading the set needs."""
    columns = {}
    for name, output in outputs.items():
        columns[name] = _output_as_json(output)
    return columns


def _output_as_json(output: Output) -> dict[str, Any]:
    content = {}
    for field in OUTPUT_FIELDS:
        value = getattr(output, field)
        if value not in (None, "", ()):
            content[field] = value
    return content


def outputs_of(provenance: Mapping[str, Any]) -> dict[str, Output]:
    """The columns of a set, from what `outputs_as_json` wrote.

    Raises
    ------
    KeyError, TypeError, AttributeError
        The provenance was changed after it was written.
    """
    return {name: _output(fields) for name, fields in provenance["outputs"].items()}


def _output(fields: Mapping[str, Any]) -> Output:
    values: dict[str, Any] = {"shape": ()}
    for name, value in fields.items():
        values[name] = tuple(value) if isinstance(value, list) else value
    return Output(**values)
