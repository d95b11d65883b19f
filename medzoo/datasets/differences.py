"""The differences between two provenances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each difference, also inside mappings and lists, as text: ``options.gain 3, now 4``."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            yield from differences(then.get(key), now.get(key), f"{name}.{key}".removeprefix("."))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for k, pair in enumerate(zip(then, now, strict=True)):
            yield from differences(*pair, f"{name}[{k}]")
    elif then != now:
        yield f"{name} {then!r:.60}, now {now!r:.60}"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that have changed; of a mapping, only its entries that have changed."""
    changed: dict[str, Any] = {}
    for key, value in now.items():
        old = before.get(key)
        if old == value:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            changed[key] = {k: v for k, v in value.items() if old.get(k) != v}
        else:
            changed[key] = value
    return changed


def updated(before: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``before`` with the entries of ``change``, which `changes` returned."""
    now = dict(before)
    for key, value in change.items():
        old = now.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            now[key] = {**old, **value}
        else:
            now[key] = value
    return now
