"""A model's process: the same samples as in this one, nothing of the caller's in it, and no end of it that goes unexplained."""

from __future__ import annotations

import ast
import gc
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import NUMPY_MODEL, ROOT

from medzoo import settings
from medzoo.environments import Interpreter
from medzoo.errors import InputError, PackageError, TrustError, WorkerError
from medzoo.files import sha256_of
from medzoo.generation.model import Model
from medzoo.generation.request import Batch, Request
from medzoo.packages.store import package
from medzoo.registry import resolve
from medzoo.runtime import Execution, log
from medzoo.runtime.native import NativeSession
from medzoo.runtime.worker import WorkerSession, visible_devices

Toy = Callable[..., int]
Opened = Callable[..., WorkerSession]
CPU = Execution(device="cpu")
HERE = Interpreter(Path(sys.executable), "current")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX's")

PIDS = "import os, pathlib\npathlib.Path({mark!r}).write_text(str(os.getpid()))\n"
ACTS = """
import ctypes, os, signal, sys, threading, time
import numpy as np

class Model:
    def sample(self, batch):
        if batch.options["gain"] == 9:
            ACT
        return {"images": np.full((batch.n, 1, 8, 8), os.getpid() % 251, np.uint8)}

def load(weights_dir, device):
    return Model()
"""


def open_number(number: int, python: Interpreter = HERE, **options: Any) -> WorkerSession:
    config = resolve(number)
    found = package(config, config.default)
    execution = Execution(**{"device": "cpu", "sandbox": "off", **options})
    return WorkerSession(config, config.default, found, execution, interpreter=python)


@pytest.fixture
def opened(toy: Toy) -> Iterator[Opened]:
    """Open a worker session on a small package; closed at the end."""
    sessions: list[WorkerSession] = []

    def open_session(
        code: str = NUMPY_MODEL,
        python: Interpreter = HERE,
        *,
        options: dict[str, Any] | None = None,
        **changes: Any,
    ) -> WorkerSession:
        sessions.append(open_number(toy(code, **changes), python, **options or {}))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


def acting(opened: Opened, act: str, **changes: Any) -> WorkerSession:
    """A model that does ``act`` when its option is 9."""
    return opened(
        ACTS.replace("ACT", textwrap.indent(textwrap.dedent(act), " " * 12).strip()), **changes
    )


def batch(n: int = 2, **options: Any) -> Batch:
    return Request.of(resolve(901), resolve(901).default, n, seed=5, options=options).batch(
        range(n)
    )


def pid_of(session: WorkerSession) -> int:
    assert session._held.process is not None
    return session._held.process.pid


def ended(pid: int, within: float = 5.0) -> bool:
    """Whether a process is gone, or about to be."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if (
                psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
                and psutil.Process(pid).ppid() != os.getpid()
            ):
                return True  # whoever it was left to has yet to notice
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


# The same samples


def test_a_worker_makes_the_samples_that_this_process_makes(opened: Opened) -> None:
    session = opened()
    config = resolve(901)
    here = NativeSession(config, config.default, package(config, config.default), CPU)
    for n in (1, 7, 64):
        ours, theirs = here.sample(batch(n, gain=n % 9)), session.sample(batch(n, gain=n % 9))
        assert list(ours) == list(theirs) == ["images", "labels"]
        for name in ours:
            assert np.array_equal(ours[name], theirs[name])
            assert ours[name].dtype == theirs[name].dtype
    assert session.device == here.device == "cpu"
    assert session.digests == here.digests
    assert session.provenance == here.provenance
    assert session.provenance["libraries"]["numpy"] == np.__version__
    assert session.provenance["seeding"] == "sample"


def test_model_8_is_byte_equal_with_the_threads_of_this_process() -> None:
    import torch

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        config = resolve(8)
        found = package(config, config.default)
        eight = Request.of(config, config.default, 6, seed=0, options={}).batch(range(6))
        here = NativeSession(config, config.default, found, CPU).sample(eight)
        session = open_number(8)
        there = session.sample(eight)
        assert session.provenance["threads"] == 1
        session.close()
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(here[name], there[name]) for name in here)


def test_what_a_package_gets_is_a_batch_like_any_other(opened: Opened) -> None:
    code = """
    import numpy as np
    from medzoo._worker.batch import Batch

    class Model:
        def sample(self, batch):
            assert type(batch) is Batch, type(batch)
            assert batch.seed == 2**64 - 1 and batch.n == 2
            assert batch.indices.dtype == np.int64 and batch.latents.dtype == np.float32
            batch.latents[:] = 0  # its own
            images = np.zeros((2, 1, 8, 8), np.uint8)
            images[:, 0, 0, 0] = batch.indices % 251
            return {"images": images, "more": object()}

    def load(weights_dir, device):
        assert (weights_dir / "model.py").is_file() and device == "cpu"
        return Model()
    """
    session = opened(code)
    request = Request.of(
        resolve(901), resolve(901).default, 10**6, seed=2**64 - 1, options={}, first=2**61
    )
    asked = request.batch([2**61 + 3, 2**61 + 5])
    assert session.sample(asked)["images"][:, 0, 0, 0].tolist() == [
        (2**61 + 3) % 251,
        (2**61 + 5) % 251,
    ]
    assert asked.latents.any()


def test_weights_of_the_users_own_reach_the_worker(opened: Opened, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    code = """
    import numpy as np
    from safetensors.numpy import load_file

    class Model:
        def __init__(self, value):
            self.value = value

        def sample(self, batch):
            return {"images": np.full((batch.n, 1, 8, 8), self.value, np.uint8)}

    def load(weights_dir, device):
        return Model(load_file(weights_dir / "weights.safetensors")["value"][0])
    """
    (tmp_path / "configs" / "package").mkdir(parents=True)
    weights = tmp_path / "configs" / "package" / "weights.safetensors"
    save_file({"value": np.array([3], np.float32)}, weights)
    (weights.parent / "model.py").write_text(textwrap.dedent(code))
    files = {p.name: sha256_of(p) for p in weights.parent.iterdir()}
    mine = tmp_path / "mine.safetensors"
    save_file({"value": np.array([4], np.float32)}, mine)
    assert opened(code, files=files).sample(batch(1))["images"].max() == 3
    tuned = opened(code, files=files, options={"weights": mine})
    assert tuned.sample(batch(1))["images"].max() == 4
    assert tuned.digests["weights"] == sha256_of(mine)
    save_file({"value": np.ones(2, np.float32)}, mine)
    with pytest.raises(InputError, match="do not fit"):
        opened(code, files=files, options={"weights": mine})


def test_a_picture_takes_little_longer_than_in_this_process(opened: Opened) -> None:
    session, one = opened(), batch(1)
    took = []
    for _ in range(50):
        began = time.perf_counter()
        session.sample(one)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries have settings of their own"
)
def test_memory_that_a_batch_frees_serves_the_next(opened: Opened, tmp_path: Path) -> None:
    act = f"""
    import resource
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(2**25)  # 256 MiB
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    open({str(tmp_path / "pages")!r}, "a").write(f"{{pages}} ")
    """
    session = acting(opened, act)
    for _ in range(3):
        session.sample(batch(gain=9))
    first, *later = map(int, (tmp_path / "pages").read_text().split())
    assert first < 1.2 * 2**16  # 4 KiB each, for one of the four arrays
    assert max(later) < 100


# Its life


def test_one_process_lives_as_long_as_the_session(opened: Opened) -> None:
    session = acting(opened, "pass")
    pid, folder = pid_of(session), session._held.folder
    assert {int(v) for _ in range(3) for v in session.sample(batch())["images"].ravel()} == {
        pid % 251
    }
    assert folder.is_dir()
    session.close()
    assert ended(pid, 0.1)
    assert not folder.exists()
    assert not list((settings.cache_folder() / "logs").iterdir())  # it had nothing to say
    with pytest.raises(WorkerError, match="its session is closed"):
        session.sample(batch())
    session.close()


def test_a_session_that_nobody_holds_any_more_ends(toy: Toy) -> None:
    session = open_number(toy())
    pid, folder = pid_of(session), session._held.folder
    del session
    gc.collect()
    assert ended(pid, 0.1)
    assert not folder.exists()


def test_a_session_opened_in_a_thread_outlives_the_thread(toy: Toy) -> None:
    found: list[WorkerSession] = []
    number = toy()
    thread = threading.Thread(target=lambda: found.append(open_number(number)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert found[0].sample(batch())["images"].shape == (2, 1, 8, 8)
    found[0].close()


def test_threads_that_share_a_session_take_turns(opened: Opened) -> None:
    session = opened()
    expected = [session.sample(batch(n))["images"] for n in range(1, 9)]
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: session.sample(batch(n))["images"]}))
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[n], expected[n - 1]) for n in range(1, 9))


@posix
@pytest.mark.parametrize(
    "act", ["while True: pass", "time.sleep(600)", "ctypes.PyDLL(None).sleep(600)"]
)
def test_closing_ends_a_model_that_computes_or_hangs_at_once(opened: Opened, act: str) -> None:
    session = acting(opened, act)
    pid, asked = pid_of(session), batch(gain=9)
    errors: list[BaseException] = []

    def sample() -> None:
        try:
            session.sample(asked)
        except WorkerError as error:
            errors.append(error)

    thread = threading.Thread(target=sample)
    thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    session.close()
    assert ended(pid, 0.1)
    thread.join(5)
    assert time.monotonic() - began < 2
    assert len(errors) == 1


PARENT = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell started in the background
sys.path.insert(0, {tests!r})
from medzoo.registry import resolve
from medzoo.generation.request import Request
from test_worker import batch, open_number, pid_of
session = open_number(901)
print(pid_of(session), flush=True)
{then}
"""


def parent(then: str) -> tuple[subprocess.Popen[str], int]:
    """A process with a session of its own that goes on with ``then``; the process and its worker's number."""
    code = PARENT.format(tests=str(ROOT / "tests"), then=then)
    popen = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert popen.stdout is not None
    return popen, int(popen.stdout.readline())


@posix
@pytest.mark.parametrize("act", ["idle", "while True: pass", "ctypes.PyDLL(None).sleep(600)"])
def test_a_parent_that_is_killed_leaves_no_worker(toy: Toy, act: str) -> None:
    if "PyDLL" in act and not sys.platform.startswith("linux"):
        pytest.skip("only Linux ends a process with its parent")
    toy(ACTS.replace("ACT", act))
    then = "time.sleep(600)" if act == "idle" else "session.sample(batch(gain=9))"
    popen, worker = parent(then)
    time.sleep(0.5)
    assert psutil.pid_exists(worker)
    popen.kill()
    popen.communicate()
    assert ended(worker, 2)


@posix
def test_a_ctrl_c_ends_parent_and_worker_cleanly(toy: Toy) -> None:
    toy(ACTS.replace("ACT", "ctypes.PyDLL(None).sleep(600)"))
    popen, worker = parent("session.sample(batch(gain=9))")
    time.sleep(0.5)
    began = time.monotonic()
    popen.send_signal(signal.SIGINT)
    _, errors = popen.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert errors.strip().endswith("KeyboardInterrupt")
    assert ended(worker, 0.5)


@posix
def test_after_a_ctrl_c_the_next_batch_gets_its_own_answer(toy: Toy) -> None:
    toy(ACTS.replace("ACT", "time.sleep(600)"))
    then = """
threading.Timer(0.5, lambda: os.kill(os.getpid(), 2)).start()
try:
    session.sample(batch(gain=9))
except KeyboardInterrupt:
    print(session.sample(batch(3))["images"].shape, pid_of(session))
"""
    popen, worker = parent(then)
    out, errors = popen.communicate(timeout=30)
    assert out.startswith("(3, 1, 8, 8)"), errors
    assert int(out.split()[-1]) != worker
    assert ended(worker, 0.5)


@posix
def test_a_parent_that_simply_ends_or_forks_is_no_trouble(toy: Toy) -> None:
    toy(ACTS.replace("ACT", "pass"))
    then = """
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    sys.exit(session.sample(batch(1))["images"].shape != (1, 1, 8, 8))  # by a worker of the child's own
assert os.waitpid(child, 0)[1] == 0
assert session.sample(batch(1))["images"].max() == pid_of(session) % 251
print(pid_of(session))
"""
    popen, worker = parent(then)
    out, errors = popen.communicate(timeout=30)
    assert int(out) == worker, errors  # the child's end did not end it
    assert not errors
    assert ended(worker, 0.5)


@posix
def test_what_the_model_started_ends_with_it(opened: Opened, tmp_path: Path) -> None:
    mark = tmp_path / "child"
    act = f"""
    child = os.fork()
    if not child:
        time.sleep(600)
    open({str(mark)!r}, "w").write(str(child))
    """
    session = acting(opened, act)
    session.sample(batch(gain=9))
    child = int(mark.read_text())
    assert psutil.pid_exists(child)
    session.close()
    assert ended(child, 1)
    session = acting(opened, act.rstrip() + "\n    os._exit(3)")
    began = time.monotonic()
    with pytest.raises(WorkerError, match="exit code 3"):  # though its child holds the pipe open
        session.sample(batch(gain=9))
    assert time.monotonic() - began < 5
    assert ended(int(mark.read_text()), 1)


# Its ends, told apart


@posix
@pytest.mark.parametrize(
    ("act", "says"),
    [
        (
            "ctypes.string_at(0)",
            r"its process crashed \(SIGSEGV\)\.\nIt last wrote \((.|\n)*Segmentation fault(.|\n)*in sample",
        ),
        ("os.abort()", r"its process crashed \(SIGABRT\)"),
        ("os._exit(3)", r"its process ended by itself \(exit code 3\)"),
        ("os._exit(0)", r"its process ended by itself \(exit code 0\)"),
        ("os.kill(os.getpid(), signal.SIGTERM)", r"its process was killed \(SIGTERM\)"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            r"its process was killed \(SIGKILL\)(.|\n)*short of memory",
        ),
        (
            "print('the last words', flush=True); os._exit(1)",
            r"its process ended by itself \(exit code 1\)\.\nIt last wrote \((.|\n)*\.log\):\n  the last words",
        ),
    ],
)
def test_a_process_that_ends_says_how_and_the_next_batch_starts_anew(
    opened: Opened, act: str, says: str
) -> None:
    session = acting(opened, act)
    session.sample(batch())
    first = pid_of(session)
    with pytest.raises(
        WorkerError, match=rf"00901_TOY_MRI_NOISE, version 1\.0\.0 failed on samples 0 to 1: {says}"
    ):
        session.sample(batch(gain=9))
    assert ended(first, 0.1)
    assert session.sample(batch(3))["images"].shape == (3, 1, 8, 8)
    assert pid_of(session) != first


@posix
def test_a_process_that_dies_between_batches_is_noticed(opened: Opened) -> None:
    session = opened()
    os.kill(pid_of(session), signal.SIGKILL)
    time.sleep(0.1)
    with pytest.raises(WorkerError, match="killed"):
        session.sample(batch())
    assert session.sample(batch())["images"].shape == (2, 1, 8, 8)


@posix
@pytest.mark.parametrize(
    "act",
    ["while True: pass", "ctypes.PyDLL(None).sleep(600)", "os.kill(os.getpid(), signal.SIGSTOP)"],
)
def test_a_hang_ends_at_the_time_out_and_says_where(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    session = acting(opened, act)
    monkeypatch.setenv("MEDZOO_TIMEOUT", "1")
    pid, began = pid_of(session), time.monotonic()
    with pytest.raises(
        WorkerError, match="samples 0 to 1: its process gave no answer within 1 s"
    ) as caught:
        session.sample(batch(gain=9))
    assert 0.9 < time.monotonic() - began < 4
    assert "MEDZOO_TIMEOUT=SECONDS" in caught.value.hint
    assert ended(pid, 0.1)
    if "SIGSTOP" not in act:
        assert "model.py" in caught.value.problem
        assert "in sample" in caught.value.problem
    assert session.sample(batch())["images"].shape == (2, 1, 8, 8)


@posix
def test_a_stopped_process_does_not_hold_up_a_large_batch(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(latent=2**20, batch_size=8)
    large = batch(8)
    os.kill(pid_of(session), signal.SIGSTOP)
    monkeypatch.setenv("MEDZOO_TIMEOUT", "1")
    with pytest.raises(WorkerError, match="no answer within 1 s"):
        session.sample(large)


def test_a_load_that_hangs_or_crashes_is_told_too(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_TIMEOUT", "1")
    with pytest.raises(WorkerError, match="did not load: its process gave no answer within 1 s"):
        opened("import time\ntime.sleep(600)")
    with pytest.raises(WorkerError, match="did not load: its process ended by itself"):
        opened("import os\nos._exit(4)")
    assert not list(Path(settings.cache_folder()).rglob("medzoo-*"))


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf"])
def test_a_time_out_that_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MEDZOO_TIMEOUT", value)
    with pytest.raises(InputError, match="MEDZOO_TIMEOUT="):
        settings.timeout()


def test_memory_that_python_lacks_halves_the_batch_in_the_same_process(opened: Opened) -> None:
    session = acting(opened, "np.ones((batch.n // 3) * 2**55)  # three samples are too many")
    pid = pid_of(session)
    with pytest.raises(MemoryError, match="00901"):
        session.sample(batch(3, gain=9))
    config = resolve(901)
    found = Model(config, config.default, session).generate(8, batch_size=8, gain=9)
    assert [b[1] for b in found.provenance["batches"]] == [2]
    assert pid_of(session) == pid


@posix
def test_memory_that_c_lacks_is_told_from_a_crash(opened: Opened) -> None:
    words = "terminate called after throwing an instance of 'std::bad_alloc'"
    session = acting(opened, f'os.write(2, b"{words}"); os.abort()')
    with pytest.raises(MemoryError, match=r"SIGABRT(.|\n)*bad_alloc"):
        session.sample(batch(gain=9))
    assert session.sample(batch())["images"].shape == (2, 1, 8, 8)


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group of 600 MiB, where this user may make one."""
    for line in (
        Path("/proc/self/cgroup").read_text().splitlines()
        if Path("/proc/self/cgroup").exists()
        else []
    ):
        _, controllers, group = line.split(":", 2)
        if controllers in {"", "memory"}:
            folder = Path(f"/sys/fs/cgroup/{controllers}{group}") / f"medzoo-{os.getpid()}"
            limit = folder / ("memory.limit_in_bytes" if controllers else "memory.max")
            try:
                folder.mkdir()
                limit.write_text(str(600 * 2**20))
            except OSError:
                if folder.is_dir():
                    folder.rmdir()
                continue
            yield folder
            while (folder / "cgroup.procs").read_text():  # its last process is about to end
                time.sleep(0.05)
            folder.rmdir()
            return
    pytest.skip("this user may not make control groups of memory")


def test_the_kernels_kill_for_memory_halves_the_batch_in_a_new_process(
    toy: Toy, memory_group: Path
) -> None:
    toy(ACTS.replace("ACT", "np.ones(batch.n * 2**24).sum()  # 128 MiB a sample"))
    code = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
open({str(memory_group / "cgroup.procs")!r}, "w").write(str(os.getpid()))
from test_worker import *
session, config = open_number(901), resolve(901)
first = pid_of(session)
try:
    session.sample(batch(8, gain=9))
except MemoryError as error:
    print(error)
found = Model(config, config.default, session).generate(8, batch_size=8, gain=9)
print(json.dumps([found.provenance["batches"], len(found), first == pid_of(session)]))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    said, made = run.stdout.splitlines()
    assert said.endswith(
        "failed on samples 0 to 7: the system ended its process, since memory ran out."
    )
    batches, n, same = json.loads(made)
    assert n == 8
    assert batches[-1][1] in {1, 2, 4}
    assert not same


# What the package writes and raises


def test_a_package_that_raises_is_named_with_what_it_wrote(opened: Opened) -> None:
    session = acting(opened, "print('step 1'); sys.stderr.write('a warning\\n'); 1 / 0")
    pid = pid_of(session)
    session.sample(batch())
    says = (
        r"^00901_TOY_MRI_NOISE, version 1\.0\.0 failed on samples 0 to 1: ZeroDivisionError: division by zero\n"
        r"It last wrote \(.*00901_TOY_MRI_NOISE-1\.0\.0-.*\.log\):\n(.|\n)*  step 1(.|\n)*model\.py\", line \d+, in sample"
        r"(.|\n)*ZeroDivisionError: division by zero\nIf the package is not yours, tell its authors\.$"
    )
    with pytest.raises(PackageError, match=says):
        session.sample(batch(gain=9))
    assert session.sample(batch())["images"].shape == (2, 1, 8, 8)
    assert pid_of(session) == pid  # an exception ends no process


@pytest.mark.parametrize(
    ("act", "says"),
    [
        ("exit(3)", "failed on samples 0 to 1: SystemExit: 3"),
        ("raise KeyboardInterrupt", "failed on samples 0 to 1: KeyboardInterrupt"),
        (
            "import nothing_of_that_name",
            "No module named 'nothing_of_that_name'(.|\n)*It needs numpy",
        ),
        ("return {'images': np.zeros((1, 1, 8, 8), np.uint8)}", r"shape \(1, 1, 8, 8\)"),
        ("return {'images': [[1], [1, 2]]}", "returned 'images' as no array"),
        ("return {'images': None}", "returned 'images' as no array: NoneType holds no numbers"),
        ("return None", "returned NoneType, not a dict"),
        ("return {'pictures': 1}", "returned no 'images', only pictures"),
        ("input('a question')", "EOFError"),
    ],
)
def test_what_sample_may_not_do(opened: Opened, act: str, says: str) -> None:
    session = acting(opened, act)
    with pytest.raises(PackageError, match=f"00901_TOY_MRI_NOISE, version 1.0.0.*{says}"):
        session.sample(batch(gain=9))
    assert session.sample(batch())["images"].shape == (2, 1, 8, 8)


@posix
def test_whatever_is_printed_goes_to_the_log_and_not_between_the_answers(opened: Opened) -> None:
    act = """
    print("from Python, é \\udc80")
    os.write(1, b"from a file descriptor\\n")
    ctypes.CDLL(None).puts(b"from C")
    os.system("echo from a child")
    sys.stdout.buffer.write(b"\\xff\\xfe" * 10)
    sys.__stdout__ = sys.stdout = None
    """
    session = acting(opened, act)
    for _ in range(2):
        assert session.sample(batch(gain=9) if _ == 0 else batch())["images"].shape == (2, 1, 8, 8)
    session.close()
    (file,) = (settings.cache_folder() / "logs").iterdir()
    text = file.read_text(encoding="utf-8", errors="replace")
    for words in ("from Python, é \\udc80", "from a file descriptor", "from C", "from a child"):
        assert words in text


def test_the_tail_shows_what_this_batch_wrote_and_not_all_of_it(opened: Opened) -> None:
    session = opened(
        ACTS.replace("ACT", "[print('line', i) for i in range(1000)]; 1 / 0").replace(
            "return {", "print('harmless')\n        return {"
        )
    )
    session.sample(batch())
    with pytest.raises(PackageError) as caught:
        session.sample(batch(gain=9))
    assert "harmless" not in caught.value.problem
    assert "line 999" in caught.value.problem
    assert "line 900\n" not in caught.value.problem


def test_logs_are_few_and_do_not_grow_without_end(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.cache_folder() / "logs"
    folder.mkdir(parents=True)
    for i in range(30):
        (folder / f"old-{i:02d}.log").write_text("old")
        os.utime(folder / f"old-{i:02d}.log", (i, i))
    monkeypatch.setattr(log, "LOG_BYTES", 10**5)
    session = acting(opened, "print('x' * 80000)")
    for _ in range(5):
        session.sample(batch(gain=9))
    session.close()
    kept = sorted(folder.iterdir())
    assert len(kept) == log.LOGS
    assert "old-29.log" in {p.name for p in kept}
    assert "old-10.log" not in {p.name for p in kept}
    (own,) = [p for p in kept if not p.name.startswith("old")]
    assert own.stat().st_size < 3 * 10**5


def test_a_cache_that_cannot_be_written_is_no_reason_not_to_run(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    number = toy()
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "file"))
    session = open_number(number)
    assert session.sample(batch())["images"].shape == (2, 1, 8, 8)
    session.close()


# A clean place


SEES = """
import json, os, sys
import numpy as np
from pathlib import Path

class Model:
    def sample(self, batch):
        return {"images": np.zeros((batch.n, 1, 8, 8), np.uint8)}

def load(weights_dir, device):
    absent = []
    for name in ("config", "models", "src", "utils", "batch", "guard", "loop", "protocol", "native", "conftest", "pytest"):
        try:
            __import__(name)
        except ImportError:
            absent.append(name)
    from . import config, models, src, utils
    Path(MARK).write_text(json.dumps({"environ": dict(os.environ), "path": sys.path, "absent": absent, "cwd": os.getcwd(),
        "modules": sorted(sys.modules), "own": [config.WHOSE, models.WHOSE, src.WHOSE, utils.WHOSE], "argv": sys.argv,
        "user_site": sys.flags.no_user_site, "device": device, "main": dir(sys.modules["__main__"])}))
    return Model()
"""


@pytest.fixture
def sees(opened: Opened, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Open a package that has siblings of common names, and tell what it sees."""

    def look(**options: Any) -> dict[str, Any]:
        code = SEES.replace("MARK", repr(str(tmp_path / "seen")))
        folder = tmp_path / "configs" / "package"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config", "models", "src", "utils"):
            (folder / f"{name}.py").write_text("WHOSE = 'the package'\n")
        (folder / "model.py").write_text(code)
        files = {p.name: sha256_of(p) for p in folder.glob("*.py")}
        opened(code, files=files, **options)
        assert not list(folder.rglob("__pycache__"))
        return json.loads((tmp_path / "seen").read_text())  # type: ignore[no-any-return]

    return look


def test_a_package_meets_neither_our_modules_nor_the_callers(
    sees: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("config", "models", "src", "utils"):
        (tmp_path / f"{name}.py").write_text("WHOSE = 'the caller'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    seen = sees(python=Interpreter(Path(sys.executable), "isolated"))
    assert {
        "config",
        "models",
        "src",
        "utils",
        "batch",
        "guard",
        "loop",
        "protocol",
        "native",
        "conftest",
    } <= set(seen["absent"])
    assert seen["own"] == ["the package"] * 4
    assert str(tmp_path) not in seen["path"]
    assert not [p for p in seen["path"] if Path(p).name in {"", "_worker", "tests"}]
    ours = {m for m in seen["modules"] if m.partition(".")[0] == "medzoo"}
    assert ours <= {
        "medzoo",
        *(f"medzoo.{m}" for m in ("errors", "plugins", "seeds", "_worker")),
    } | {m for m in ours if "._worker." in m}
    assert seen["user_site"] == 1
    assert Path(seen["cwd"]) != Path.cwd()


def test_the_environment_holds_what_is_needed_and_nothing_secret(
    sees: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = (
        "GITHUB_TOKEN",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "MEDZOO_CACHE",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONHOME2",
        "VIRTUAL_ENV",
        "LD_PRELOAD",
        "http_proxy",
        "SSH_AUTH_SOCK",
        "CUDA",
        "NVIDIA_API_KEY",
        "CUDA_x_TOKEN",
        "OMP_SECRET",
        "LC_PASSWORD",
    )
    for name in secrets:
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    found = sees()["environ"]
    assert not set(secrets) & set(found)
    assert found["OMP_NUM_THREADS"] == "3"
    assert found["LC_ALL"] == "C.UTF-8"
    assert found["PATH"] == os.environ["PATH"]
    assert found["CUDA_VISIBLE_DEVICES"] == ""  # of no use to a package without torch
    assert found["TMPDIR"] != os.environ.get("TMPDIR")


def test_a_package_without_torch_does_not_load_it(sees: Callable[..., dict[str, Any]]) -> None:
    assert not {"torch", "PIL", "matplotlib", "yaml"} & set(sees()["modules"])


def test_texts_hash_alike_in_every_process(opened: Opened) -> None:
    code = ACTS.replace("os.getpid() % 251", "hash('a text') % 251")
    assert (
        opened(code).sample(batch())["images"].max() == opened(code).sample(batch())["images"].max()
    )


# Devices


@pytest.mark.parametrize(
    ("asked", "given", "expected"),
    [
        ("cpu", None, ("", "cpu")),
        ("cpu", "0,1", ("", "cpu")),
        ("auto", None, (None, "auto")),
        ("auto", "1", (None, "auto")),
        ("mps", None, (None, "mps")),
        ("cuda", None, ("0", "cuda:0")),
        ("cuda:1", None, ("1", "cuda:0")),
        ("cuda:1", "2,3", ("3", "cuda:0")),
        ("cuda", "GPU-aa, GPU-bb", ("GPU-aa", "cuda:0")),
        ("cuda:2", "2,3", (None, "cuda:2")),
        ("cuda:x", None, (None, "cuda:x")),
    ],
)
def test_a_worker_sees_the_device_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, given: str | None, expected: tuple[str | None, str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_devices(asked, resolve(8).default) == expected


def test_a_package_without_torch_sees_no_gpu(toy: Toy) -> None:
    assert visible_devices("auto", resolve(toy()).default) == ("", "auto")


def test_a_device_that_the_models_torch_does_not_see(opened: Opened) -> None:
    with pytest.raises(
        InputError, match=r"device='cuda:77': the model's torch .* does not see it\.\nIt sees cpu"
    ):
        opened(requires=["numpy", "torch"], options={"device": "cuda:77"})
    with pytest.raises(InputError, match="device='gpu' is not a valid device"):
        opened(options={"device": "gpu"})


# Trust and weights


LOADS = """
import sys
import numpy as np

class Model:
    def sample(self, batch):
        import torch
        try:
            state = torch.load(WEIGHTS, map_location=lambda storage, location: storage, weights_only=False)
        except Exception as error:
            raise RuntimeError("no weights") from error
        value = float(state["w"].sum())
        state["w"].zero_()  # later loads do not see it
        return {"images": np.full((batch.n, 1, 8, 8), value, np.uint8)}

def load(weights_dir, device):
    return Model()
"""


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.mark,))


def test_weights_that_need_pickle_need_trust(opened: Opened, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "epoch=9.ckpt"
    torch.save({"w": torch.ones(5), "callbacks": Payload(tmp_path / "ran")}, path)
    code = LOADS.replace("WEIGHTS", repr(str(path)))
    session = opened(code, requires=["numpy", "torch"])
    says = r"00901_TOY_MRI_NOISE, version 1\.0\.0: epoch=9\.ckpt was not loaded.*it holds posix\.mkdir(.|\n)*Lightning(.|\n)*trust=True"
    with pytest.raises(TrustError, match=says if os.name == "posix" else "was not loaded"):
        session.sample(batch())
    assert not (tmp_path / "ran").exists()
    trusted = opened(code, requires=["numpy", "torch"], options={"trust": True})
    assert trusted.sample(batch())["images"].max() == 5
    assert (tmp_path / "ran").exists()
    assert (session.provenance["trust"], trusted.provenance["trust"]) == (False, True)


def test_weights_loaded_at_every_call_are_the_same_each_time_and_new_ones_count(
    opened: Opened, tmp_path: Path
) -> None:
    import torch

    path = tmp_path / "weights"
    torch.save({"w": torch.ones(5)}, path)
    session = opened(LOADS.replace("WEIGHTS", repr(str(path))), requires=["numpy", "torch"])
    assert {int(session.sample(batch())["images"].max()) for _ in range(4)} == {5}
    torch.save({"w": torch.ones(7)}, path)
    assert int(session.sample(batch())["images"].max()) == 7


# Other Pythons


def worker_files() -> list[Path]:
    folder = ROOT / "medzoo"
    return [
        *sorted((folder / "_worker").glob("*.py")),
        folder / "__init__.py",
        folder / "errors.py",
        folder / "seeds.py",
    ]


@pytest.mark.parametrize("path", worker_files(), ids=lambda p: p.name)
def test_what_runs_in_a_models_environment_is_python_3_8_and_needs_numpy_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        and isinstance(block.test, ast.Name)
        and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    functions = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only or not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""] * (not node.level)
        )
        for name in {n.partition(".")[0] for n in names if n}:
            allowed = name in sys.stdlib_module_names or name in {"numpy", "medzoo"}
            assert allowed or id(node) in functions, (
                f"{path.name} imports {name}"
            )  # inside: what the package brings


@pytest.fixture(scope="session")
def python_3_8() -> Interpreter:
    """A Python 3.8 with numpy, where there is one."""
    candidates = [
        os.environ.get("MEDZOO_PYTHON38"),
        *Path.home().glob(".pyenv/versions/3.8*/bin/python"),
        shutil.which("python3.8"),
    ]
    for candidate in filter(None, candidates):
        if not subprocess.run(
            [str(candidate), "-c", "import numpy"], check=False, capture_output=True
        ).returncode:
            return Interpreter(Path(candidate), "isolated", lock="0123")
    pytest.skip("MEDZOO_PYTHON38 names no Python 3.8 with numpy")


@posix
def test_python_3_8_makes_the_same_samples(opened: Opened, python_3_8: Interpreter) -> None:
    session = opened(python=python_3_8)
    assert session.provenance["python"].startswith("3.8.")
    assert session.provenance["libraries"]["numpy"].startswith("1.")
    assert (session.provenance["env"], session.provenance["lock"]) == ("isolated", python_3_8.lock)
    config = resolve(901)
    here = NativeSession(config, config.default, package(config, config.default), CPU)
    for n in (1, 16):
        ours, theirs = here.sample(batch(n)), session.sample(batch(n))
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    pid = pid_of(session)
    session.close()
    assert ended(pid, 0.1)
    with pytest.raises(PackageError, match=r"ZeroDivisionError(.|\n)*model\.py\", line"):
        acting(opened, "1 / 0", python=python_3_8).sample(batch(gain=9))


def test_an_interpreter_that_is_not_there_or_has_no_numpy(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="does not start"):
        opened(python=Interpreter(tmp_path / "nowhere", "isolated"))
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True
    )
    bare = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"
    with pytest.raises(
        WorkerError,
        match=r"did not start: its process ended by itself(.|\n)*No module named 'numpy'",
    ):
        opened(python=Interpreter(bare, "isolated"))


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of Linux")
def test_a_user_who_has_many_large_pipes_gets_small_ones(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux refuses to enlarge the pipes of a user who has 64 MB of them, unless that is root."""
    import fcntl

    control = fcntl.fcntl

    def refused(file: Any, command: int, *others: Any) -> Any:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(1, "Operation not permitted")
        return control(file, command, *others)

    monkeypatch.setattr(fcntl, "fcntl", refused)
    assert opened().sample(batch(8))["images"].shape == (8, 1, 8, 8)
