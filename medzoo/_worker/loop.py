"""The life of a model's process: load once, answer each batch, end with its parent. See
`medzoo._worker.protocol`.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import queue
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plugins import plugin
from . import protocol
from .batch import Batch
from .devices import describe, free_memory, pick_device
from .torch_load import Guard

if TYPE_CHECKING:
    from typing import BinaryIO


def main(parent: int, held: list[str]) -> None:
    """Serve the process that holds the other ends of stdin and stdout, until it closes them or
    ends.

    Parameters
    ----------
    parent
        The process that started this one.
    held
        What of this process is contained.
    """
    if sys.platform != "win32" and os.getppid() != parent:
        raise SystemExit("the process that started this one is gone")
    requests, answers = _take_over_pipes()
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to handle
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    worker = Worker(held)
    while (request := waiting.get())["request"] != "close":
        # This timer is in C, so it works even if Python hangs.
        faulthandler.dump_traceback_later(request["timeout"], exit=True)
        answer = worker.answer(request)
        faulthandler.cancel_dump_traceback_later()
        protocol.write(answers, answer)
    # The package's own exit functions run; a full shutdown of Python would take torch long.
    atexit._run_exitfuncs()
    _flush()
    os._exit(0)


class Worker:
    """A contract and its package, once loaded."""

    def __init__(self, held: list[str]) -> None:
        self._held = held
        self._contract: Any = None
        self._guard: Guard | None = None

    def answer(self, request: dict[str, Any]) -> list[bytes | memoryview]:
        """The frame that answers a request. An error is written to the log and is the answer."""
        number = request["number"]
        try:
            return protocol.pack({"number": number, "ok": self._result(request)})
        except BaseException as error:
            failure = protocol.Failure.of(error)
            if failure.kind == "memory" and self._guard is not None:
                self._guard.forget()
            elif failure.kind in {"package", "import"}:
                _print(error)
            _flush()
            return protocol.pack({"number": number, "error": vars(failure)})

    def _result(self, request: dict[str, Any]) -> Any:
        if request["request"] == "start":
            return {"pid": os.getpid(), "sandbox": self._held}
        if request["request"] == "load":
            return self._load(request)
        return self._sample(request["batch"])

    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        contract = plugin("contract", request["contract"])
        self._guard = Guard(trust=request["trust"], threads=request["threads"])
        device = pick_device(request["device"], request["torch"], request["asked"])
        self._contract = contract(
            Path(request["folder"]), request["spec"], device, Path(request["work"])
        )
        return {
            "device": device,
            "free": free_memory(device),
            **describe(request["libraries"], request["torch"]),
        }

    def _sample(self, batch: dict[str, Any]) -> Any:
        return self._contract.sample(Batch(**batch))


def _print(error: BaseException) -> None:
    """Write an error and where it came from to the log, from the package's own code on."""
    here = Path(__file__).parent
    trace = error.__traceback__
    while trace is not None and Path(trace.tb_frame.f_code.co_filename).parent == here:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes, as files that only this module uses.

    Anything else that reads stdin gets nothing, and anything that prints, code in C too, writes to
    the log, which is stderr already.
    """
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for pipe in (requests, answers):
            msvcrt.setmode(pipe, os.O_BINARY)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    return os.fdopen(requests, "rb", 2**20), os.fdopen(answers, "wb")


def _listen(requests: BinaryIO, waiting: queue.SimpleQueue[Any]) -> None:
    """Pass requests on, in a separate thread: it notices at once when the parent is gone, even
    while the model runs.
    """
    while True:
        try:
            request = protocol.read(requests)
        except (EOFError, OSError, ValueError):
            _end()
        waiting.put(request)
        if request["request"] == "close":
            return


def _end() -> None:
    """End this process now, and on POSIX all that the package started."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _flush() -> None:
    """Write out what Python and C have buffered, so that the log has it before the answer."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the package may have put anything there
            stream.flush()
    if sys.platform != "win32":
        _c_library().fflush(None)


def _c_library() -> Any:
    import ctypes

    return ctypes.CDLL(None)
