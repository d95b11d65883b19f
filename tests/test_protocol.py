"""What crosses between processes: trees and arrays come back as they were, and nothing else gets through."""

from __future__ import annotations

import io
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medzoo._worker import protocol
from medzoo.errors import InputError, PackageError, TrustError

DTYPES = st.one_of(
    arrays.integer_dtypes(),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(),
    arrays.boolean_dtypes(),
    arrays.complex_number_dtypes(),
    arrays.unicode_string_dtypes(min_len=1, max_len=4),
)
ARRAYS = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ARRAYS
TREES = st.recursive(
    LEAVES,
    lambda t: st.lists(t, max_size=4) | st.dictionaries(st.text(), t, max_size=4),
    max_leaves=12,
)


def crossed(tree: Any) -> Any:
    file = io.BytesIO()
    protocol.write(file, protocol.pack(tree))
    file.seek(0)
    found = protocol.read(file)
    assert not file.read()
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@given(TREES)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    assert same(tree, crossed(tree))


def test_arrays_of_any_memory_layout_come_back_by_value() -> None:
    whole = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    for array in (
        whole.T,
        whole[:, ::2],
        np.asfortranarray(whole),
        np.broadcast_to(whole[0], (5, 3, 4)),
        whole.astype(">i2"),
    ):
        found = crossed({"a": [array]})["a"][0]
        assert np.array_equal(found, array)
        assert found.dtype == array.dtype
        assert found.flags.writeable


def test_numbers_of_numpy_become_plain_ones_and_tuples_lists() -> None:
    found = crossed({"i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True), "t": (1, 2)})
    assert found == {"i": 3, "f": 0.5, "b": True, "t": [1, 2]}
    assert type(found["i"]) is int


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", np.array([None]), np.array([{}, []], dtype=object), print]
)
def test_what_is_no_tree_is_refused_before_anything_is_sent(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot cross"):
        protocol.pack({"before": np.zeros(3), "it": value})


@given(TREES, st.data())
def test_a_frame_that_is_cut_off_is_no_frame(tree: Any, data: st.DataObject) -> None:
    whole = b"".join(protocol.pack(tree))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises((EOFError, ValueError)):
        protocol.read(io.BytesIO(whole[:cut]))


@given(st.binary(max_size=200))
def test_noise_is_no_frame(noise: bytes) -> None:
    with pytest.raises((EOFError, ValueError)):
        protocol.read(io.BytesIO(noise))


def test_no_pickle_is_read(tmp_path: Any) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    file = io.BytesIO()
    np.save(file, np.array([Payload()], dtype=object), allow_pickle=True)
    for content in (file.getvalue(), pickle.dumps(Payload())):
        frame = protocol.HEAD.pack(protocol.START, 2, 1) + b"[]" + content
        with pytest.raises(ValueError):  # noqa: PT011  (of numpy's or of ours)
            protocol.read(io.BytesIO(frame))
    assert not (tmp_path / "ran").exists()


def test_an_array_that_no_memory_holds_is_a_memory_error() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**57,)}
    )
    frame = protocol.HEAD.pack(protocol.START, 2, 1) + b"[]" + header.getvalue()
    with pytest.raises(MemoryError):
        protocol.read(io.BytesIO(frame), lambda: 2**40)


def wrapped(inner: Exception, outer: Exception) -> Exception:
    outer.__context__ = RuntimeError("between")
    outer.__context__.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ZeroDivisionError("division by zero"), "package"),
        (SystemExit(3), "package"),
        (ModuleNotFoundError("No module named 'x'"), "import"),
        (PackageError("`sample` returned nothing."), "contract"),
        (InputError("device='cuda:9'"), "input"),
        (MemoryError(), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB."), "memory"),
        (RuntimeError("could not create a primitive"), "memory"),  # oneDNN's words
        (RuntimeError("could not create a primitive descriptor for a matmul"), "package"),
        (TrustError("x.pt", "trust=True"), "trust"),
        (wrapped(TrustError("x.pt", "trust=True"), RuntimeError("no weights")), "trust"),
    ],
)
def test_errors_are_sorted(error: BaseException, kind: str) -> None:
    failure = protocol.Failure.of(error)
    assert failure.kind == kind
    assert json.loads(json.dumps(vars(failure)))["kind"] == kind


# What foreign code may have written


class Counted(io.BytesIO):
    """A stream that notes how much memory is asked for at once."""

    largest = 0

    def readinto(self, buffer: Any) -> int:
        self.largest = max(self.largest, len(buffer))
        return super().readinto(buffer)


def test_nothing_is_allocated_on_a_promise() -> None:
    promised = Counted(protocol.HEAD.pack(protocol.START, protocol.MAX_JSON, 0) + b"[]")
    with pytest.raises(EOFError):
        protocol.read(promised)
    assert promised.largest <= protocol.PIECE
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(header, fields)
    head = protocol.HEAD.pack(protocol.START, 2, 1) + b"[]"
    promised = Counted(head + header.getvalue() + b"x" * 1000)
    with pytest.raises(EOFError):
        protocol.read(promised)
    assert promised.largest <= protocol.PIECE


def test_an_array_larger_than_one_piece_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PIECE", 100)
    array = np.arange(1000)
    assert np.array_equal(crossed([array])[0], array)


def test_no_more_arrives_than_the_reader_allows() -> None:
    file = io.BytesIO(b"".join(protocol.pack([np.zeros(1000), np.zeros(1000)])))
    with pytest.raises(MemoryError):
        protocol.read(file, lambda: 12_000)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"[" * 100_000, 0),  # deep
        (b'{"$array": 3}', 1),
        (b'{"$array": -1}', 1),
        (b'{"$array": "0"}', 1),
        (b'{"$array": true}', 1),
        (b"\xff", 0),
        (b"", 0),
    ],
)
def test_a_tree_that_is_not_one(text: bytes, count: int) -> None:
    _, *array = protocol.pack([np.zeros(1)] * count)
    pieces = [bytes(piece) for piece in array[1:]]
    head = protocol.HEAD.pack(protocol.START, len(text), count)
    with pytest.raises(ValueError):  # noqa: PT011  (of json's or of ours)
        protocol.read(io.BytesIO(head + text + b"".join(pieces)))


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '<f8', 'fortran_order': True, 'shape': (1,)}",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': 'x'}",
        b"{'descr': '<f8', 'fortran_order': False}",
        b"(" * 1000,
        b"not a header",
    ],
)
def test_a_header_of_an_array_that_this_protocol_does_not_send(header: bytes) -> None:
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 8
    frame = protocol.HEAD.pack(protocol.START, 2, 1) + b"[]" + array
    with pytest.raises(ValueError):  # noqa: PT011
        protocol.read(io.BytesIO(frame))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        7,
        [],
        {},
        {"other": 1},
        {"ok": 7},
        {"number": 2, "ok": 7},
        {"number": 1},
        {"number": 1, "ok": 1, "error": {}},
        {"number": 1, "ok": 1, "more": 2},
        {"number": 1, "error": {"x": 1}},
        {"number": 1, "error": "text"},
        {"number": 1, "error": {"kind": "new", "type": "a", "message": "b", "hint": ""}},
        {"number": 1, "error": {"kind": "memory", "type": "a", "message": 3, "hint": ""}},
    ],
)
def test_what_is_not_an_answer(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"it (is|holds)|its error"):
        protocol.checked_answer(answer, 1)


def test_texts_of_errors_are_cut_and_escaped() -> None:
    error = {"kind": "package", "type": "E", "message": "\x1b[2J" + "x" * 10**6, "hint": ""}
    message = protocol.checked_answer({"number": 1, "error": error}, 1)["error"].message
    assert message.startswith("\\x1b[2Jxxx")
    assert len(message) < 5000
    assert "1,000,004 characters" in message
