"""Memory per sample, measured in a process that does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config import Version
from ..generation.api import load
from ..runtime import Execution
from .report import OK, WARNING, WRONG, Finding

SLACK, MARGIN = 16.0, 1.5  # MiB that a batch may take once; how far a statement may be exceeded


def about_memory(version: Version, model_id: Any, execution: Execution, inputs: Any) -> Finding:
    """What a batch takes beyond one sample, against the config's ``memory_per_sample``."""
    n = max(2, version.batch_size)
    model = os.fspath(model_id) if isinstance(model_id, os.PathLike) else model_id
    where = {"version": version.name, **asdict(execution)}
    asked = json.dumps({"model_id": model, "where": where, "inputs": inputs, "n": n}, default=str)
    command, quiet = (
        [sys.executable, "-c", f"from {__name__} import main; main()", asked],
        {**os.environ, "MEDZOO_QUIET": "1"},
    )
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        why = (done.stderr.strip() or "killed").splitlines()[-1]
        return Finding(
            "memory",
            WRONG,
            f"a process that makes {n} samples at once fails: {why}",
            "Is `batch_size` too large?",
        )
    peaks = json.loads(done.stdout.splitlines()[-1])
    if peaks is None:
        return Finding(
            "memory", OK, "not measured: it works in another process, or this system does not tell"
        )
    taken, stated = max(0.0, peaks[1] - peaks[0]) / (n - 1), version.memory_per_sample
    text = f"{taken:.2g} MiB per sample in a batch of {n}; its config says {stated:g}"
    say = f"State `memory_per_sample: {max(0.1, taken * 1.2):.1g}`."
    if not stated:
        return Finding("memory", WARNING, text, say)
    if taken > MARGIN * stated + SLACK / n:
        return Finding("memory", WRONG, text, say)
    return Finding("memory", OK, text)


def peak() -> float | None:
    """The most memory that this process had so far, in MiB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists() and "VmHWM:" in (text := status.read_text(encoding="utf-8")):
        return (
            int(text.split("VmHWM:")[1].split()[0]) / 2**10
        )  # not ru_maxrss: a child inherits its parent's
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return None


def main() -> None:
    """In that process: print the peaks after one sample and after a batch of ``n``."""
    asked = json.loads(sys.argv[1])
    with load(asked["model_id"], **asked["where"]) as model:
        peaks = []
        for n in (1, asked["n"]):
            samples = model.generate(
                n, seed=1, batch_size=n, inputs=asked["inputs"], progress=False
            )
            peaks.append(peak())
    here = samples.provenance.get("env", "current") == "current"
    print(json.dumps(peaks if here and None not in peaks else None))
