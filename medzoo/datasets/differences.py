"""What is not the same in two provenances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs, entry by entry of mappings and lists, however deep: ``options.gain 3, now 4``."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            yield from differences(then.get(key), now.get(key), f"{name}.{key}".removeprefix("."))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for k, pair in enumerate(zip(then, now, strict=True)):
            yield from differences(*pair, f"{name}[{k}]")
    elif then != now:
        yield f"{name} {then!r:.60}, now {now!r:.60}"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as it was; of mappings, the entries."""
    found = {}
    for key, value in now.items():
        if before.get(key) != value:
            both = isinstance(value, dict) and isinstance(before.get(key), dict)
            found[key] = (
                {k: v for k, v in value.items() if before[key].get(k) != v} if both else value
            )
    return found


def updated(before: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``before`` after `changes`."""
    for key, value in change.items():
        old = before.get(key)
        before = {
            **before,
            key: {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value,
        }
    return before
