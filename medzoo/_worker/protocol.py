"""What crosses between medzoo and a model's process: frames of JSON and npy buffers, never pickle.

A frame holds a tree of dicts, lists, texts, numbers, booleans, None and numpy arrays::

    <4sQI      the four bytes of `START`, length of the JSON, number of arrays
    JSON       the tree; array number k is represented as {"$array": k}
    arrays     one after the other, each as a version 1.0 npy file holds it

medzoo asks, the worker answers each request once, in order, with ``{"number": ..., "ok": ...}`` or
``{"number": ..., "error": Failure}``. The number is that of the request. What comes from a worker
is believed only as far as `read` and `checked_answer` say: foreign code may have written it.

``{"request": "start"}``
    The answer: ``pid``, and ``sandbox``: what of the process is contained. Until then it has
    imported nothing of the package.
``{"request": "load", ...}``
    ``contract`` (native, medigan or monai), ``folder`` (the package), ``spec`` (what the contract
    needs, see below), ``work`` (an empty folder of the worker's own, which is its working directory
    as well), ``device`` (local: what is hidden is not counted) and ``asked`` (as the user called
    it), ``torch`` (whether the package declares it), ``threads`` (of torch, or None), ``trust``,
    ``libraries`` (names whose versions are wanted), ``timeout``. The answer: ``device`` as
    resolved, ``free`` (bytes of memory that are free on it, or None), ``python``, ``libraries``
    (name -> version), ``threads`` (of torch, or None).
``{"request": "sample", "batch": ..., "timeout": ...}``
    ``batch`` holds the fields of `medzoo._worker.batch.Batch`. The answer is what the contract's
    ``sample`` returned.
``{"request": "close"}``
    No answer; the process ends.

After ``timeout`` seconds the worker writes to its log where it hangs, and ends.

A contract is a class, named in `medzoo.plugins`::

    Contract(folder: Path, spec: dict, device: str, work: Path)
    contract.sample(batch: Batch) -> tree

``spec`` and what ``sample`` returns are trees, so a contract may return arrays, lists of them, and
texts. It raises what the package raised, unchanged, or `medzoo.errors.PackageError` where the
package broke the contract; `Failure` sorts both.
"""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from ..errors import InputError, MedzooError, TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

START = b"mzf1"  # the format of frames
HEAD = struct.Struct("<4sQI")
MAX_JSON, MAX_ARRAYS = 2**28, 2**20  # a larger frame is not valid
MARK = "$array"
PIECE = 2**26  # bytes: memory for more is taken only when so many have arrived
KINDS_OF_ARRAYS = "?biufcSU"  # booleans, numbers and texts
MAX_HEADER = 2**12  # bytes of an array's


def pack(tree: Any) -> list[bytes | memoryview]:
    """The pieces of a frame. All are made before the first is sent, so that nothing is sent of a
    tree that cannot cross.

    Raises
    ------
    TypeError, ValueError
        It holds a value that a tree cannot hold.
    """
    arrays: list[NDArray[Any]] = []

    def other(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray):
            raise TypeError(
                f"{type(value).__name__} cannot cross to another process: {value!r:.60}"
            )
        arrays.append(value)
        return {MARK: len(arrays) - 1}

    text = json.dumps(tree, default=other).encode()
    pieces: list[bytes | memoryview] = [HEAD.pack(START, len(text), len(arrays)), text]
    for array in arrays:
        pieces += _pack_array(array)
    return pieces


def _pack_array(array: NDArray[Any]) -> Iterator[bytes | memoryview]:
    if array.dtype.hasobject:
        raise TypeError(f"an array of {array.dtype} cannot cross to another process")
    array = np.asarray(array, order="C")
    header = _Buffer()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(array))
    yield bytes(header)
    if array.nbytes:
        yield array.reshape(-1).view(np.uint8).data


class _Buffer(bytearray):
    """Just enough of a file for numpy to write a header to."""

    def write(self, data: bytes) -> int:
        self.extend(data)
        return len(data)


def write(file: BinaryIO, pieces: list[bytes | memoryview]) -> None:
    """Send a frame; ``file`` is buffered, so that it takes each piece whole."""
    file.writelines(pieces)
    file.flush()


def read(file: BinaryIO, limit: Callable[[], int | None] = lambda: None) -> Any:
    """The next frame's tree.

    Memory is taken for what has arrived, never for what a frame promises.

    Parameters
    ----------
    limit
        How many bytes its arrays may have, or None; it is asked when a frame arrives.

    Raises
    ------
    EOFError
        The other side is gone.
    ValueError
        The received bytes are not a valid frame.
    MemoryError
        The arrays have more bytes than that.
    """
    start, length, count = HEAD.unpack(_received(file, HEAD.size).tobytes())
    if start != START or length > MAX_JSON or count > MAX_ARRAYS:
        raise ValueError("these bytes are not the beginning of a frame")
    text = _received(file, length).tobytes()
    arrays: list[NDArray[Any]] = []
    most = (limit() if count else 0) or 2**62
    for _ in range(count):
        array = _read_array(file, most)
        arrays.append(array)
        most -= array.nbytes

    def resolve(node: dict[str, Any]) -> Any:
        if node.keys() != {MARK}:
            return node
        number = node[MARK]
        if type(number) is not int or not 0 <= number < len(arrays):
            raise ValueError(f"there is no array {number!r:.20}")
        return arrays[number]

    try:
        return json.loads(text, object_hook=resolve if arrays else None)
    except RecursionError as error:
        raise ValueError("the tree is too deep") from error


def _read_array(file: BinaryIO, most: int) -> NDArray[Any]:
    if npy.read_magic(file) != (1, 0):
        raise ValueError("this is not an array of version 1.0")
    (length,) = struct.unpack("<H", _received(file, 2).tobytes())
    if length > MAX_HEADER:
        raise ValueError("the header of an array is too long")
    header = io.BytesIO(struct.pack("<H", length) + _received(file, length).tobytes())
    try:
        shape, fortran, dtype = npy.read_array_header_1_0(header)
    except Exception as error:  # Python's parser has several for odd bytes
        raise ValueError("the header of an array cannot be read") from error
    if fortran or dtype.kind not in KINDS_OF_ARRAYS or min(shape, default=0) < 0:
        raise ValueError(f"this protocol sends no array of {dtype} and shape {shape}")
    size = dtype.itemsize
    for length in shape:
        size *= int(length)
    if size > most:
        raise MemoryError(f"an array has {size:,} bytes")
    data = _received(file, size)
    return data.view(dtype).reshape(shape) if size else np.empty(shape, dtype)


def _received(file: BinaryIO, size: int) -> NDArray[np.uint8]:
    """The next ``size`` bytes."""
    data = np.empty(min(size, PIECE), np.uint8)
    filled = 0
    while filled < size:
        if filled == len(data):
            data.resize(min(size, 2 * filled), refcheck=False)
        got = file.readinto(data[filled:].data)  # type: ignore[attr-defined]
        if not got:
            raise EOFError("the other side is gone")
        filled += got
    return data


def checked_answer(answer: Any, number: int) -> dict[str, Any]:
    """An answer to request ``number``, or a ValueError."""
    if not isinstance(answer, dict) or answer.get("number") != number:
        raise ValueError(f"it is not an answer to request {number}")
    if answer.keys() == {"number", "error"}:
        return {"error": Failure.received(answer["error"])}
    if answer.keys() == {"number", "ok"}:
        return {"ok": answer["ok"]}
    raise ValueError("it holds neither a result nor an error")


def printable(text: str, most: int = 4000) -> str:
    """A text for an error message: not too long, and without characters that control a terminal."""
    cut = text if len(text) <= most else f"{text[:most]} ... ({len(text):,} characters)"
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in cut)


KINDS = ("memory", "trust", "input", "contract", "import", "package")


@dataclass(frozen=True)
class Failure:
    """An error of a package's, told so that another process can raise the right one.

    Parameters
    ----------
    kind
        ``memory``: it does not fit; ``trust``: it needs `trust=True`; ``input``: the user asked for
        what is not there; ``contract``: the package broke the contract; ``import``: a module is
        missing; ``package``: anything else it raised.
    type, message
        Of the exception; for the kinds ``trust``, ``input`` and ``contract`` the message is
        medzoo's own.
    hint
        What to try, where medzoo knows.
    """

    kind: str
    type: str
    message: str
    hint: str = ""

    @classmethod
    def received(cls, tree: Any) -> Failure:
        """A failure that another process tells; ValueError if it is none."""
        names = {"kind", "type", "message", "hint"}
        if not isinstance(tree, dict) or tree.keys() != names or tree["kind"] not in KINDS:
            raise ValueError("it holds no error")
        if not all(isinstance(text, str) for text in tree.values()):
            raise ValueError("its error holds something other than texts")
        return cls(**{name: printable(text) for name, text in tree.items()})

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Sort an exception that left a contract."""
        if is_out_of_memory(error):
            return cls("memory", type(error).__name__, str(error))
        cause: BaseException | None = error
        while cause is not None:  # a package may wrap what its weights raised
            if isinstance(cause, TrustError):
                return cls("trust", type(cause).__name__, cause.problem, cause.hint)
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, MedzooError):
            kind = "input" if isinstance(error, InputError) else "contract"
            return cls(kind, type(error).__name__, error.problem, error.hint)
        return cls(
            "import" if isinstance(error, ImportError) else "package",
            type(error).__name__,
            str(error),
        )


def is_out_of_memory(error: BaseException | str) -> bool:
    """Whether an error, from Python, numpy, torch or C++, says that memory ran out."""
    says = str(error).lower()
    signs = (
        "out of memory",
        "can't allocate memory",
        "cannot allocate memory",
        "alloc_cpu",
        "bad_alloc",
    )
    # oneDNN, when it cannot have its scratch memory; of a "primitive descriptor" it does not
    # know how to compute something.
    no_scratch = re.search("could not create a primitive(?! descriptor)", says) is not None
    return isinstance(error, MemoryError) or no_scratch or any(sign in says for sign in signs)
