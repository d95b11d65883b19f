"""What is recorded of samples: every key of a provenance, once, and how the parts are made.

`Provenance` is what `medzoo.Samples` carry and what ``provenance.json`` holds. Each key says beside
its type which groups it belongs to, such as the keys that decide what a set is.
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

    # what is asked for
    model: Annotated[str, _SET, _SAMPLE]
    version: Annotated[str, _SET, _SAMPLE]
    sha256: Annotated[
        dict[str, str], _SET, _SAMPLE
    ]  # of the package's files and the user's weights
    seed: Annotated[int, _SET, _SAMPLE]
    n: Annotated[int, _SET]
    first: Annotated[int, _SET]  # where it is not 0
    options: Annotated[Mapping[str, Any], _SET, _SAMPLE]  # conditions, latents and inputs too
    precision: Annotated[str, _SET, _SAMPLE]  # where it is not full
    subset: Annotated[dict[str, Any], _SET]  # of a set that was saved in part
    # the files
    format: Annotated[str, _SET]
    layout: Annotated[str, _SET, _ARRANGED]
    shard_size: Annotated[int, _SET, _ARRANGED]
    shard_samples: Annotated[int, _SET, _ARRANGED]
    # what the config says
    outputs: Annotated[dict[str, dict[str, Any]], _SET]
    label_names: Annotated[dict[str, dict[str, str]], _SET]
    conditions: Annotated[dict[str, list[str]], _SET]
    modality: str
    synthetic: Annotated[bool, _NOT_COMPARED]
    license: Annotated[str, _NOT_COMPARED]
    source: Annotated[str, _NOT_COMPARED]
    registered: Annotated[bool, _NOT_COMPARED]
    # the circumstances
    trust: Annotated[bool, _NOT_COMPARED]
    device: str
    env: str
    lock: str
    python: str
    libraries: dict[str, str]
    seeding: str
    threads: int
    written_with: dict[str, str]
    # what the run found out
    batches: Annotated[list[list[int]], _FOUND_OUT, _NOT_COMPARED]  # first sample, batch size
    growth: Annotated[dict[str, Any], _FOUND_OUT, _NOT_COMPARED]
    continued: Annotated[list[dict[str, Any]], _NOT_COMPARED]
    manifest_sha256: Annotated[str, _FOUND_OUT, _SEAL, _NOT_COMPARED]
    provenance_sha256: Annotated[str, _FOUND_OUT, _SEAL, _NOT_COMPARED]


def _keys(group: str) -> tuple[str, ...]:
    hints = get_type_hints(Provenance, include_extras=True)
    return tuple(key for key, kind in hints.items() if group in getattr(kind, "__metadata__", ()))


DECIDES_SET, DECIDES_SAMPLE = _keys(_SET), _keys(_SAMPLE)
ARRANGED, FOUND_OUT, SEALS = _keys(_ARRANGED), _keys(_FOUND_OUT), _keys(_SEAL)
NOT_COMPARED = frozenset(_keys(_NOT_COMPARED))


def of_request(
    config: ModelConfig,
    version: Version,
    *,
    seed: int,
    n: int,
    first: int,
    options: Mapping[str, Any],
) -> Provenance:
    """What is known of samples before the model is loaded."""
    known: Provenance = {
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
        "label_names": {
            name: {str(v): k for k, v in version.conditions[o.condition].values.items()}
            for name, o in version.outputs.items()
            if o.condition
        },
        "conditions": {c.name: list(c.values) for c in version.conditions.values()},
    }
    if first:
        known["first"] = first
    return known


def of_session(
    version: Version,
    *,
    env: str,
    lock: str,
    trust: bool,
    found: Mapping[str, Any],
    recorded: Provenance,
) -> Provenance:
    """What a set of samples records of the session that made it.

    Parameters
    ----------
    found
        ``python``, ``libraries`` (name -> version) and ``threads`` (of torch, or None) of the
        interpreter that ran the model.
    recorded
        What else is recorded of how it ran.
    """
    known: Provenance = {
        "env": env,
        "lock": lock,
        "python": found["python"],
        "libraries": found["libraries"],
        "seeding": "sample" if version.per_sample else "batch",
        "trust": trust,
        **recorded,
    }
    if found["threads"]:
        known["threads"] = found["threads"]
    return known


def copied(provenance: Provenance) -> Provenance:
    """A copy that does not change when the run finds out more."""
    copy = provenance.copy()
    copy["batches"] = [list(batch) for batch in provenance["batches"]]
    return copy


def outputs_as_json(outputs: Mapping[str, Output]) -> dict[str, dict[str, Any]]:
    """What must be known of the columns when a set is read."""
    fields = (
        "name",
        "kind",
        "dtype",
        "shape",
        "range",
        "unit",
        "window",
        "spacing",
        "condition",
        "columns",
    )
    return {
        name: {f: v for f in fields if (v := getattr(output, f)) not in (None, "", ())}
        for name, output in outputs.items()
    }


def outputs_of(provenance: Mapping[str, Any]) -> dict[str, Output]:
    """The columns, from what `outputs_as_json` wrote.

    Raises
    ------
    KeyError, TypeError, AttributeError
        It is not as it was written.
    """
    return {name: _output(fields) for name, fields in provenance["outputs"].items()}


def _output(fields: Mapping[str, Any]) -> Output:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Output(**{"shape": (), **values})
