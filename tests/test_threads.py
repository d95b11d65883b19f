"""How many threads torch has, and how long they wait: what the user says, else what the system grants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medzoo._worker import threads
from medzoo._worker.threads import choices
from medzoo.runtime.variables import environment

DECIDED = (*threads.WAITING, *threads.COUNTS)


def control_group(system: Path, line: str, **files: str) -> Path:
    """A system whose process is in the group that ``line`` names; path of a file -> content."""
    (system / "proc/self").mkdir(parents=True)
    (system / "proc/self/cgroup").write_text(line + "\n")
    for name, content in files.items():
        path = system / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return system


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 8)


V2, V1 = "0::/job/step", "5:cpu,cpuacct:/job"


@pytest.mark.parametrize(
    ("line", "files", "count"),
    [
        (V2, {"cpu.max": "300000 100000\n"}, "3"),
        (V2, {"job/cpu.max": "max 100000\n", "job/step/cpu.max": "250000 100000\n"}, "2"),
        (V2, {"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "400000 100000\n"}, "2"),
        (V2, {"cpu.max": "50000 100000\n"}, "1"),
        (V2, {"cpu.max": "max 100000\n"}, None),
        (V2, {"cpu.max": "1600000 100000\n"}, None),
        (V1, {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, "4"),
        (V1, {"cpu/job/cpu.cfs_quota_us": "150000", "cpu/job/cpu.cfs_period_us": "100000"}, "1"),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (V2, {"cpu.max": "damaged"}, None),
    ],
)
def test_a_quota_below_the_cores_is_the_number_of_threads(
    tmp_path: Path, line: str, files: dict[str, str], count: str | None
) -> None:
    chosen = choices({}, control_group(tmp_path, line, **files))
    assert chosen.get("OMP_NUM_THREADS") == count
    assert chosen["GOMP_SPINCOUNT"] == str(threads.QUIET)


def test_what_the_user_decided_stays(tmp_path: Path) -> None:
    system = control_group(tmp_path, V2, **{"cpu.max": "200000 100000"})
    assert choices({"OMP_NUM_THREADS": "5", "OMP_WAIT_POLICY": "active"}, system) == {}
    assert choices({"MKL_NUM_THREADS": "5", "GOMP_SPINCOUNT": "7"}, system) == {}


@pytest.mark.parametrize(
    ("cores", "load", "running", "spins"),
    [
        (8, "0.30", 2, threads.QUIET),
        (8, "0.80", 2, threads.CROWDED),  # all cores are asked for, and one is taken
        (8, "0.80", 1, threads.QUIET),  # the load is that of an earlier run
        (2, "6.40", 8, threads.QUIET),  # two of eight are asked for
        (2, "6.60", 8, threads.CROWDED),
        (2, "6.60", 7, threads.QUIET),
        (8, "damaged", 2, threads.QUIET),
    ],
)
def test_threads_sleep_soon_where_others_need_the_cores(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    load: str,
    running: int,
    spins: int,
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: cores)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 8)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text(f"{load} 1.00 1.00 {running}/100 4242")
    assert choices({}, tmp_path) == {"GOMP_SPINCOUNT": str(spins)}


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert set(choices({}, tmp_path)) == {"GOMP_SPINCOUNT"}


def in_a_new_process(code: str, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in DECIDED}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


SPINS = {str(threads.QUIET), str(threads.CROWDED)}  # as this machine is busy or not
SHOW = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"


def test_the_first_use_of_medzoo_decides_before_torch_is_loaded() -> None:
    assert in_a_new_process(f"import medzoo; {SHOW}") == "None"
    assert in_a_new_process(f"import medzoo; medzoo.generate; {SHOW}") in SPINS
    assert in_a_new_process(f"import medzoo; medzoo.generate; {SHOW}", GOMP_SPINCOUNT="5") == "5"


def test_a_torch_that_is_loaded_stays_as_it_is() -> None:
    assert in_a_new_process(f"import torch, medzoo; medzoo.generate; {SHOW}") == "None"


def test_torch_has_as_many_threads_as_the_quota_grants(tmp_path: Path) -> None:
    system = control_group(tmp_path, V2, **{"cpu.max": "100000 100000"})
    code = "import torch; print(torch.get_num_threads())"
    assert in_a_new_process(code, **choices({}, system)) == "1"


def test_a_models_process_gets_the_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DECIDED:
        monkeypatch.delenv(name, raising=False)
    assert environment(tmp_path, "", user_site=False)["GOMP_SPINCOUNT"] in SPINS
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    passed = environment(tmp_path, "", user_site=False)
    assert passed["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in passed
