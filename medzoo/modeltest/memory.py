"""Memory per sample, measured in a process that does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .._worker.shaping import to_array
from ..config import Version
from ..generation.api import load
from ..runtime import Execution
from ..scratch import scratch
from .report import OK, WARNING, WRONG, Finding

SLACK = 16.0  # MiB that a batch may take in addition, whatever its size
MARGIN = 1.5  # the factor by which the config's figure may be exceeded


def about_memory(version: Version, model_id: Any, execution: Execution, inputs: Any) -> Finding:
    """Compare the memory of each further sample in a batch with ``memory_per_sample``."""
    n = max(2, version.batch_size)
    model = os.fspath(model_id) if isinstance(model_id, os.PathLike) else model_id
    options = {"version": version.name, **asdict(execution)}
    with scratch("memory") as folder:
        given = _named(inputs, folder)
        request = {"model_id": model, "options": options, "inputs": given, "n": n}
        # Not what lies in the working directory, which Python would add to its path.
        code = f"import sys; sys.path[:] = {sys.path}; from {__name__} import main; main()"
        process = subprocess.run(  # noqa: S603
            [sys.executable, "-c", code, json.dumps(request, default=str)],
            env={**os.environ, "MEDZOO_QUIET": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if process.returncode:
        reason = (process.stderr.strip() or "killed").splitlines()[-1]
        return Finding(
            "memory",
            WRONG,
            f"a process that makes {n} samples at once fails: {reason}",
            "Is `batch_size` too large?",
        )
    peaks = json.loads(process.stdout.splitlines()[-1])
    if peaks is None:
        return Finding(
            "memory", OK, "not measured: it works in another process, or this system does not tell"
        )
    taken, stated = max(0.0, peaks[1] - peaks[0]) / (n - 1), version.memory_per_sample
    text = f"{taken:.2g} MiB per sample in a batch of {n}; its config says {stated:g}"
    hint = f"State `memory_per_sample: {max(0.1, taken * 1.2):.1g}`."
    if not stated:
        return Finding("memory", WARNING, text, hint)
    if taken > MARGIN * stated + SLACK / n:
        return Finding("memory", WRONG, text, hint)
    return Finding("memory", OK, text)


def _named(inputs: Any, folder: Path) -> Any:
    """Inputs by the names of files. Arrays are saved in ``folder``: another process reads them."""
    if isinstance(inputs, Mapping):
        return {name: _named(value, folder) for name, value in inputs.items()}
    listed = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if inputs is None or all(isinstance(one, (str, os.PathLike)) for one in listed):
        return inputs
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    several = isinstance(inputs, (list, tuple))
    np.save(path, np.stack(list(map(to_array, inputs))) if several else to_array(inputs))
    return str(path)


def peak() -> float | None:
    """The most memory that this process has used so far, in MiB; None if that is unknown."""
    status = Path("/proc/self/status")
    text = status.read_text(encoding="utf-8") if status.exists() else ""
    if "VmHWM:" in text:  # not ru_maxrss, which a child inherits from its parent
        return int(text.split("VmHWM:")[1].split()[0]) / 2**10
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return None


def main() -> None:
    """In that process: print the peaks after one sample and after a batch of ``n``."""
    request = json.loads(sys.argv[1])
    inputs = request["inputs"]
    with load(request["model_id"], **request["options"]) as model:
        peaks = []
        for n in (1, request["n"]):
            samples = model.generate(n, seed=1, batch_size=n, inputs=inputs, progress=False)
            peaks.append(peak())
    in_this_process = samples.provenance.get("env", "current") == "current"
    print(json.dumps(peaks if in_this_process and None not in peaks else None))
