"""What foreign code tries, with and without the sandbox: each attack of docs/security.md, harmless, in a real process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
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
from test_worker import batch, ended, open_number, pid_of

import medzoo
from medzoo import files, settings
from medzoo._worker import sandbox as own_side
from medzoo.cli import main
from medzoo.environments import Interpreter, records
from medzoo.errors import InputError, MedzooWarning, PackageError, WorkerError
from medzoo.packages.store import package
from medzoo.registry import resolve
from medzoo.runtime import Execution, log, sandbox
from medzoo.runtime.native import NativeSession
from medzoo.runtime.worker import WorkerSession

Attack = Callable[..., WorkerSession]
CONTAINS_ALL = own_side.possible() == own_side.PARTS
pytestmark = pytest.mark.skipif(not CONTAINS_ALL, reason="this kernel cannot contain everything")
both = pytest.mark.parametrize("mode", ["on", "off"])

CODE = """
import ctypes, os, signal, socket, subprocess, sys, time
from pathlib import Path
import numpy as np

def attack():
    ACT

class Model:
    def sample(self, batch):
        try:
            worked = attack()
        except OSError as error:
            print(error)
            worked = False
        return {"images": np.full((batch.n, 1, 8, 8), worked is not False, np.uint8)}

def load(weights_dir, device):
    return Model()
"""
HERE = Interpreter(Path(sys.executable), "current")


@pytest.fixture
def attacking(toy: Callable[..., int]) -> Iterator[Attack]:
    """A model that does ``act`` at each batch; its pictures are 1 if that worked."""
    sessions: list[WorkerSession] = []

    def open_session(act: str, mode: str, python: Interpreter = HERE, **changes: Any) -> Any:
        code = CODE.replace("ACT", textwrap.indent(textwrap.dedent(act), "    ").strip())
        sessions.append(open_number(toy(code, **changes), python, sandbox=mode))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


def worked(session: WorkerSession) -> bool:
    return bool(session.sample(batch(1))["images"].max())


def no_more_than(mode: str, session: WorkerSession) -> None:
    """The attack works without the sandbox, and not with it."""
    assert worked(session) == (mode == "off")


# Files


@both
@pytest.mark.parametrize(
    "act",
    [
        "Path(SECRET).read_text()",
        "os.listdir(Path(SECRET).parent)",
        "os.link(SECRET, 'mine'); Path('mine').read_text()",
        "os.symlink(SECRET, 'linked'); Path('linked').read_text()",
        "Path(SECRET).write_text('changed')",
        "os.truncate(SECRET, 0)",
        "Path(SECRET).unlink()",
        "Path(SECRET).rename(SECRET + '2')",
        "Path(SECRET).with_name('new').mkdir()",
        "os.setxattr(SECRET, 'user.mark', b'1')",
    ],
)
def test_a_token_in_the_home_folder(attacking: Attack, tmp_path: Path, act: str, mode: str) -> None:
    secret = tmp_path / "home" / ".netrc"
    secret.parent.mkdir()
    secret.write_text("token")
    no_more_than(mode, attacking(act.replace("SECRET", repr(str(secret))), mode))
    if mode == "on":
        assert secret.read_text() == "token"
        assert [p.name for p in secret.parent.iterdir()] == [".netrc"]


def test_modes_and_times_of_files_stay(attacking: Attack, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o640)
    os.utime(file, (1, 1))
    name = repr(str(file))
    assert worked(attacking(f"os.chmod({name}, 0o777); os.utime({name}, (5, 5))", "on"))
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.stat().st_mtime == 1
    assert worked(
        attacking("Path('a').touch(); import shutil; shutil.copy2('a', 'b'); os.stat('b')", "on")
    )


@both
@pytest.mark.parametrize("act", ["PATH.read_text()", "PATH.write_text('{}')"])
def test_the_cache(attacking: Attack, act: str, mode: str) -> None:
    digests = settings.cache_folder() / "digests.json"
    digests.parent.mkdir(parents=True, exist_ok=True)
    digests.write_text("{}")
    no_more_than(mode, attacking(act.replace("PATH", f"Path({str(digests)!r})"), mode))


@both
def test_its_package(attacking: Attack, mode: str) -> None:
    act = "Path(__file__).with_name('more.py').write_text('')"
    no_more_than(mode, attacking(act, mode))


@both
def test_its_environment(attacking: Attack, mode: str) -> None:
    venv = records.path_of("abcd")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", venv], check=True
    )
    packages = next(venv.glob("lib/python*/site-packages"))
    base = next(p for p in sys.path if (Path(p) / "numpy").is_dir())
    for name in ("numpy", "numpy.libs", "safetensors"):
        if (Path(base) / name).is_dir():
            shutil.copytree(Path(base) / name, packages / name, copy_function=os.link)
    mark = packages / "evil.pth"
    record: dict[str, Any] = dict.fromkeys(records.NEEDED, "")
    record |= {"key": "abcd", "packages": {}, "models": [], "stamp": records.stamp(venv)}
    files.write_json(records.record_of("abcd"), record)
    python = Interpreter(venv / "bin" / "python", "isolated")
    session = attacking(f"Path({str(mark)!r}).write_text('import os')", mode, python)
    no_more_than(mode, session)
    assert mark.exists() == (mode == "off")
    if mode == "on":
        session.close()
    else:
        with pytest.warns(MedzooWarning, match="changed its environment, which is not used again"):
            session.close()
    assert records.is_unchanged(record) == (mode == "on")


def test_code_in_an_environment_runs_contained(attacking: Attack, tmp_path: Path) -> None:
    """Python runs lines of .pth files at its start, before any of medzoo's code would."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    base = next(p for p in sys.path if (Path(p) / "numpy").is_dir())
    for name in ("numpy", "numpy.libs"):
        if (Path(base) / name).is_dir():
            shutil.copytree(Path(base) / name, packages / name, copy_function=os.link)
    mark = tmp_path / "ran"
    (packages / "evil.pth").write_text(f"import os; os.mkdir({str(mark)!r})\n")
    python = Interpreter(venv / "bin" / "python", "isolated")
    attacking("return", "on", python)
    assert not mark.exists()
    attacking("return", "off", python)
    assert mark.is_dir()


# Other processes


@both
@pytest.mark.parametrize("what", ["cmdline", "environ", "maps", "fd"])
def test_what_proc_tells_of_the_caller(attacking: Attack, what: str, mode: str) -> None:
    read = "os.listdir" if what == "fd" else "open"
    no_more_than(mode, attacking(f"{read}('/proc/{os.getpid()}/{what}')", mode))


@both
def test_signals_to_the_caller(attacking: Attack, mode: str) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGURG, lambda number, _: received.append(number))
    try:
        act = f"os.kill({os.getpid()}, signal.SIGURG)"
        no_more_than(mode, attacking(act, mode))
        time.sleep(0.1)
    finally:
        signal.signal(signal.SIGURG, before)
    assert bool(received) == (mode == "off")


@both
def test_limits_of_the_caller(attacking: Attack, mode: str) -> None:
    act = f"import resource; resource.prlimit({os.getpid()}, resource.RLIMIT_CORE, (0, 0))"
    no_more_than(mode, attacking(act, mode))


@both
@pytest.mark.parametrize(
    "act",
    [
        "child = os.fork()\nif not child:\n    time.sleep(600)",
        "child = os.fork()\nif not child:\n    os.setsid(); time.sleep(600)",
        """
        ends = os.pipe()
        if not os.fork():
            os.setsid()
            grandchild = os.fork()
            if not grandchild:
                time.sleep(600)
            os.write(ends[1], str(grandchild).encode())
            os._exit(0)
        child = int(os.read(ends[0], 20))
        """,
    ],
    ids=["fork", "setsid", "daemon"],
)
@pytest.mark.parametrize("end", ["close", "crash"])
def test_processes_that_it_starts_end_with_it(
    attacking: Attack, act: str, mode: str, end: str
) -> None:
    act = textwrap.dedent(act)
    act += "\nif sys.argv[0] != str(child):\n    sys.argv[0] = str(child)\n"
    act += "print('child', child, flush=True)\n"
    act += "os._exit(3)" if end == "crash" else "return True"
    session = attacking(act, mode)
    if end == "crash":
        with pytest.raises(WorkerError, match="exit code 3") as caught:
            session.sample(batch(1))
        child = int(caught.value.problem.rpartition("child ")[2].split()[0])
    else:
        assert worked(session)
        assert session._held.process is not None
        child = int(session._held.process.log.read().rpartition("child ")[2].split()[0])
        assert psutil.pid_exists(child)
        session.close()
    assert ended(child, 1)


def test_a_child_in_another_session_ends_when_the_caller_is_killed(
    toy: Callable[..., int],
) -> None:
    act = "child = os.fork()\nif not child:\n    os.setsid(); time.sleep(600)\nprint(child)"
    toy(CODE.replace("ACT", textwrap.indent(act, "    ").strip()))
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_worker import *
session = open_number(901, sandbox="on")
session.sample(batch(1))
print(session._held.process.log.read(), flush=True)
time.sleep(600)
"""
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    child = int(caller.stdout.readline())
    assert psutil.pid_exists(child)
    caller.kill()
    caller.communicate()
    assert ended(child, 3)


def test_more_processes_than_it_may_have_end_all(
    attacking: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "MOST_PROCESSES", 8)
    act = "for _ in range(20):\n    if not os.fork():\n        time.sleep(600)\ntime.sleep(600)"
    session = attacking(act, "on")
    pid = pid_of(session)
    with pytest.raises(WorkerError, match="its process"):
        session.sample(batch(1))
    assert ended(pid, 0.1)


# The network


@pytest.fixture
def listening() -> Iterator[tuple[Callable[[str], Any], list[str]]]:
    """Start servers of this machine; they note who reached them."""
    reached: list[str] = []
    sockets: list[socket.socket] = []

    def serve(kind: str, address: Any = ("127.0.0.1", 0)) -> Any:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        is_stream = kind != "udp"
        server = socket.socket(family, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM)
        server.bind(address)
        sockets.append(server)
        if is_stream:
            server.listen()

        def wait() -> None:
            try:
                if is_stream:
                    server.accept()[0].close()
                else:
                    server.recv(10)
                reached.append(kind)
            except OSError:
                pass

        threading.Thread(target=wait, daemon=True).start()
        return server.getsockname()

    yield serve, reached
    for server in sockets:
        server.close()


@both
@pytest.mark.parametrize("kind", ["tcp", "udp", "unix", "abstract"])
def test_a_connection(
    attacking: Attack, listening: Any, tmp_path: Path, kind: str, mode: str
) -> None:
    serve, reached = listening
    local = {"unix": str(tmp_path / "agent"), "abstract": f"\0medzoo-{os.getpid()}-{mode}"}
    address = serve(kind, local[kind]) if kind in local else serve(kind)
    family = "AF_UNIX" if kind in local else "AF_INET"
    if kind == "udp":
        act = f"socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'x', {address!r})"
    else:
        act = f"socket.socket(socket.{family}).connect({address!r})"
    no_more_than(mode, attacking(act, mode))
    time.sleep(0.1)
    assert reached == ([kind] if mode == "off" else [])


@pytest.mark.parametrize(
    "act",
    [
        "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "socket.socket(40, socket.SOCK_STREAM)",  # of virtual machines
        # io_uring opens sockets without the system call `socket`
        "if ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120)) < 0: return False",
        # a new namespace of users would bring rights of root in it
        "if ctypes.CDLL(None).unshare(0x10000000): return False",
    ],
)
def test_other_ways_out_are_closed(attacking: Attack, act: str) -> None:
    assert not worked(attacking(act, "on"))


def test_what_models_need_is_left(attacking: Attack) -> None:
    act = """
    import concurrent.futures, multiprocessing, tempfile, threading
    a, b = socket.socketpair()
    a.send(b"x")
    assert b.recv(1) == b"x"
    one, other = multiprocessing.get_context("fork").Pipe()
    one.send([1, 2]); assert other.recv() == [1, 2]
    assert subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True).stdout == b"7\\n"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a").write_text("b")
    assert Path.home() == Path.cwd() and Path("~/.cache").expanduser().mkdir() is None
    assert list(concurrent.futures.ThreadPoolExecutor(4).map(abs, range(9))) == list(range(9))
    for name in ("/proc/cpuinfo", "/proc/meminfo", "/proc/self/status", "/proc/self/maps"):
        Path(name).read_text()
    Path("/dev/null").write_text("x"); os.urandom(4)
    """
    assert worked(attacking(act, "on"))


# Memory, files, what it prints, what it answers


@both
def test_endless_memory(attacking: Attack, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "free_memory", lambda _: 2**31)
    session = attacking("np.empty(2**29)  # 4 GiB, which nothing fills", mode)
    if mode == "off":
        assert worked(session)
        return
    pid = pid_of(session)
    with pytest.raises(MemoryError):
        session.sample(batch(1))
    assert pid_of(session) == pid


@both
def test_a_huge_file(attacking: Attack, mode: str) -> None:
    no_more_than(mode, attacking("os.truncate(os.open('f', os.O_CREAT | os.O_RDWR), 2**34)", mode))


@both
def test_many_megabytes_of_text(attacking: Attack, mode: str) -> None:
    act = "line = b'x' * 2**20\nfor _ in range(100):\n    os.write(2, line)"
    session = attacking(act, mode)
    assert worked(session)
    session.close()
    (file,) = (settings.cache_folder() / "logs").iterdir()
    assert file.stat().st_size <= log.LOG_BYTES


@both
def test_control_characters_do_not_reach_the_terminal(attacking: Attack, mode: str) -> None:
    session = attacking("print('\\x1b[2Jgone\\x9b2J\\x07'); 1 / 0", mode)
    with pytest.raises(PackageError, match="ZeroDivisionError") as caught:
        session.sample(batch(1))
    assert "\\x1b[2Jgone" in caught.value.problem
    assert all(c.isprintable() or c == "\n" for c in caught.value.problem)


# Writes to the pipe of the answers; medzoo's own is the first number above 2 that is a pipe for writing.
TO_STREAM = """
import fcntl, stat
from medzoo._worker import protocol
for number in range(3, 30):
    try:
        status = os.fstat(number)
    except OSError:
        continue
    if stat.S_ISFIFO(status.st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_WRONLY:
        os.write(number, SENT)
        time.sleep(600)
assert False, "no pipe"
"""


@both
@pytest.mark.parametrize(
    "sent",
    [
        "b'garbage' * 1000",
        "b''.join(protocol.pack({'other': 1}))",
        "b''.join(protocol.pack({'ok': 7}))",
        "b''.join(protocol.pack({'number': 3, 'error': {'x': 1}}))",
        "protocol.HEAD.pack(protocol.START, 2**63, 0)",
        "protocol.HEAD.pack(protocol.START, 100_000, 0) + b'[' * 100_000",
        "b''.join(protocol.pack({'number': 4, 'ok': {}}))",
    ],
)
def test_a_poisoned_stream(attacking: Attack, sent: str, mode: str) -> None:
    session = attacking(TO_STREAM.replace("SENT", sent), mode)
    pid, began = pid_of(session), time.monotonic()
    with pytest.raises(WorkerError, match="sent something that is not an answer"):
        session.sample(batch(1))
    assert time.monotonic() - began < 10
    assert ended(pid, 0.1)


@both
def test_an_answer_of_another_shape(attacking: Attack, mode: str) -> None:
    for tree in ("7", "{}", "{'images': 'text'}", "{'images': [1]}"):
        sent = f"b''.join(protocol.pack({{'number': 3, 'ok': {tree}}}))"
        with pytest.raises(PackageError):
            attacking(TO_STREAM.replace("SENT", sent), mode).sample(batch(1))


@both
def test_an_endless_batch(attacking: Attack, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = attacking("while True: pass", mode)
    monkeypatch.setenv("MEDZOO_TIMEOUT", "1")
    with pytest.raises(WorkerError, match="no answer within 1 s"):
        session.sample(batch(1))


# What is contained, and what is said of it


def test_what_held_is_in_the_provenance(attacking: Attack) -> None:
    assert attacking("return", "on").provenance["sandbox"] == list(own_side.PARTS)
    assert attacking("return", "auto").provenance["sandbox"] == list(own_side.PARTS)
    assert attacking("return", "off").provenance["sandbox"] == []
    assert "sandbox" not in open_number(8, sandbox="auto").provenance


def test_a_refusal_names_the_sandbox(attacking: Attack) -> None:
    import_of = "import urllib.request\ntry:\n    urllib.request.urlopen('http://127.0.0.1:9/')"
    session = attacking(
        f"{import_of}\nexcept OSError as error:\n    raise RuntimeError(error)", "on"
    )
    with pytest.raises(PackageError, match="Operation not permitted") as caught:
        session.sample(batch(1))
    assert "sandbox='off'" in caught.value.hint


def test_info_says_what_would_hold(
    toy: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(toy())]) == 0
    assert "sandbox       files, network, signals, limits, children" in capsys.readouterr().out
    assert main(["info", "8"]) == 0
    assert "sandbox" not in capsys.readouterr().out


def test_samples_are_the_same(toy: Callable[..., int]) -> None:
    number = toy()
    plain, contained = (open_number(number, sandbox=mode) for mode in ("off", "on"))
    for name, column in plain.sample(batch(5)).items():
        assert np.array_equal(column, contained.sample(batch(5))[name])


def test_on_refuses_to_run_with_less(
    toy: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    number = toy(f"open({str(mark)!r}, 'w')")
    monkeypatch.setattr("medzoo.runtime.possible", lambda: ("limits", "children"))
    with pytest.raises(InputError, match="cannot contain files, network, signals"):
        medzoo.load(number, sandbox="on")
    assert not mark.exists()
    with pytest.raises(InputError, match="sandbox='of' is not known"):
        medzoo.load(number, sandbox="of")


def test_a_folder_of_the_user_runs_contained_only_if_asked(toy: Callable[..., int]) -> None:
    number = toy()
    with medzoo.load(number) as model:
        assert isinstance(model._session, NativeSession)
        assert model.generate(2).provenance["sandbox"] == []
    with medzoo.load(number, sandbox="on") as model:
        assert model.generate(2).provenance["sandbox"] == list(own_side.PARTS)
    config = resolve(number)
    assert package(config, config.default)
    assert Execution(sandbox="auto").contains(config.default)
    assert not Execution(sandbox="on").contains(resolve(8).default)
