"""YAML as PyYAML's safe loader reads it, in two fifths of its time, for registries of thousands.

PyYAML makes a node of each text, determines its type, and builds each value in several steps, since
a value may refer to itself. Here values are built while the document is parsed, and the values of
plain texts are remembered. A document with references or tags, or with a mistake, is left to
PyYAML.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import yaml

TEXT, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "merge"))
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C, if installed
_RESOLVER = SafeLoader("")


class _UnusualError(Exception):
    """A document has something that only PyYAML itself reads."""


def load_yaml(text: str) -> Any:
    """The content of a YAML document.

    Raises
    ------
    yaml.YAMLError
        It is not YAML, has tags of other languages, or has a key twice in one mapping. (PyYAML
        itself takes the last one.)
    """
    try:
        return _document(SafeLoader(text).get_event)
    except (_UnusualError, yaml.YAMLError):
        return _by_pyyaml(text)


def _by_pyyaml(text: str) -> Any:
    loader = SafeLoader(text)
    try:
        node = loader.get_single_node()
        _refuse_repeated_keys(node, set())
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_repeated_keys(node: Any, seen: set[int]) -> None:
    """Raise YAMLError if a mapping has a key twice; ``seen`` holds the nodes that were checked."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, seen)
        return
    keys = set()
    for key, value in node.value:
        _refuse_repeated_keys(value, seen)
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
            continue
        if (key.tag, key.value) in keys:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} is there twice", key.start_mark
            )
        keys.add((key.tag, key.value))


def _document(event: Callable[[], Any]) -> Any:
    """The value of the only document of a stream; ``event`` gives the next event."""
    kinds = [type(event()), type(event())]
    if kinds != [yaml.StreamStartEvent, yaml.DocumentStartEvent]:
        raise _UnusualError  # it is empty
    value = _value(event(), event)
    kinds = [type(event()), type(event())]
    if kinds != [yaml.DocumentEndEvent, yaml.StreamEndEvent]:
        raise _UnusualError  # there is a second document
    return value


def _value(first: Any, event: Callable[[], Any]) -> Any:
    """The value that begins with the event ``first``."""
    kind = type(first)
    if kind is yaml.AliasEvent or first.anchor is not None or first.tag is not None:
        raise _UnusualError
    if kind is yaml.ScalarEvent:
        is_plain, _ = first.implicit
        return _plain(first.value) if is_plain else first.value
    if kind is yaml.SequenceStartEvent:
        return _list(event)
    return _mapping(event)


def _list(event: Callable[[], Any]) -> list[Any]:
    values = []
    first = event()
    while type(first) is not yaml.SequenceEndEvent:
        values.append(_value(first, event))
        first = event()
    return values


def _mapping(event: Callable[[], Any]) -> dict[Any, Any]:
    mapping = {}
    key = event()
    while type(key) is not yaml.MappingEndEvent:
        if type(key) is not yaml.ScalarEvent:
            raise _UnusualError
        name = _value(key, event)
        if name in mapping:
            raise _UnusualError
        mapping[name] = _value(event(), event)
        key = event()
    return mapping


@lru_cache(maxsize=4096)  # most texts of a config are keys, which recur
def _plain(text: str) -> Any:
    """The value of a text without quotes: itself, or a number, a date, a truth value or nothing."""
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    if tag == TEXT:
        return text
    if tag == MERGE:
        raise _UnusualError
    return _RESOLVER.construct_document(yaml.ScalarNode(tag, text))  # keeps nothing of it
