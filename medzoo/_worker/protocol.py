"""What crosses between medzoo and a model's process: frames of JSON and npy buffers, never pickle.

A frame holds a tree of dicts, lists, texts, numbers, booleans, None and numpy arrays::

    <QI        length of the JSON, number of arrays
    JSON       the tree; array number k is represented as {"$array": k}
    arrays     one after the other, each as a version 1.0 npy file holds it

medzoo asks, the worker answers each request once, in order, with ``{"ok": ...}`` or ``{"error":
Failure}``:

``{"request": "load", ...}``
    ``contract`` (native or medigan), ``folder`` (the package), ``spec`` (what the contract needs,
    see below), ``work`` (an empty folder of the worker's own, which is its working directory as
    well), ``device`` (local: what is hidden is not counted) and ``asked`` (as the user called it),
    ``torch`` (whether the package declares it), ``threads`` (of torch, or None), ``trust``,
    ``libraries`` (names whose versions are wanted), ``timeout``. The answer: ``device`` as
    resolved, ``python``, ``libraries`` (name -> version), ``threads`` (of torch, or None).
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

HEAD = struct.Struct("<QI")
MAX_JSON, MAX_ARRAYS = 2**30, 2**20  # a larger frame is not valid
MARK = "$array"


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
    pieces: list[bytes | memoryview] = [HEAD.pack(len(text), len(arrays)), text]
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


def read(file: BinaryIO) -> Any:
    """The next frame's tree.

    Raises
    ------
    EOFError
        The other side is gone.
    ValueError
        The received bytes are not a valid frame.
    """
    length, count = HEAD.unpack(_exactly(file, HEAD.size))
    if length > MAX_JSON or count > MAX_ARRAYS:
        raise ValueError("no frame")
    text = _exactly(file, length)
    arrays = [_read_array(file) for _ in range(count)]

    def resolve(node: dict[str, Any]) -> Any:
        return arrays[node[MARK]] if node.keys() == {MARK} else node

    return json.loads(text, object_hook=resolve if arrays else None)


def _read_array(file: BinaryIO) -> NDArray[Any]:
    if npy.read_magic(file) != (1, 0):
        raise ValueError("no array of version 1.0")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if fortran or dtype.hasobject:
        raise ValueError("no array that this protocol sends")
    array = np.empty(shape, dtype)
    if array.nbytes:
        _fill(file, array.reshape(-1).view(np.uint8).data)
    return array


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = bytearray(size)
    _fill(file, memoryview(data))
    return bytes(data)


def _fill(file: BinaryIO, target: memoryview) -> None:
    readinto: Callable[[memoryview], int] = file.readinto  # type: ignore[attr-defined]
    while len(target):
        got = readinto(target)
        if not got:
            raise EOFError("the other side is gone")
        target = target[got:]


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
