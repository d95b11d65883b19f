"""A run on the actors of a Ray cluster writes what one process writes, whatever is lost on the way."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from sets import Toy, python, same

import medzoo
from medzoo.cli import main
from medzoo.datasets import journal
from medzoo.errors import (
    DatasetError,
    InputError,
    MedzooWarning,
    OutOfMemoryError,
    PackageError,
    WorkerError,
)
from medzoo.runtime.cluster import AHEAD, LOSSES
from medzoo.runtime.engine import share

Ray = medzoo.Ray
posix = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")

# What it makes tells of batch boundaries. A file NAME-FIRST in its folder has it do something at the batch with that sample.
CODE = """
import os, signal, time
from importlib import metadata
from pathlib import Path
import numpy as np

FLAGS = Path({flags!r})
if (FLAGS / "other").exists():  # as on a machine with another numpy
    metadata.version = lambda name: "0.0"

def told(what, batch, keep=False):
    flag = FLAGS / f"{{what}}-{{batch.indices[0]}}"
    if not flag.exists():
        return False
    keep or flag.unlink()
    return True

class Model:
    def sample(self, batch):
        with open(FLAGS / "log", "a") as log:
            log.write(f"{{batch.indices[0]}}\\n")
        time.sleep(batch.options["seconds"])
        if told("kill", batch) or told("murder", batch, keep=True):
            os.kill(os.getpid(), signal.SIGKILL)
        if told("fail", batch, keep=True):
            raise ArithmeticError("as it was told")
        if batch.n > 2 and told("memory", batch):
            raise MemoryError
        images = np.stack([batch.rng(i).bytes(64).reshape(1, 8, 8) for i in range(batch.n)])
        images[:, 0, 0, :2] = batch.n, batch.indices[0]
        return {{"images": images}}

def load(weights_dir, device):
    (FLAGS / f"loaded-{{os.getpid()}}").touch()
    return Model()
"""
SECONDS = {"seconds": {"type": "float", "default": 0, "help": "Time a batch takes."}}


HEAD = """
import logging, sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray of two cores on this machine, which all tests share: ``engine="ray"`` finds this process connected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))  # none in the home of who tests
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, "-c", HEAD], **pipes) as head:  # type: ignore[call-overload]
            where = head.stdout.readline().strip()
            import ray

            ray.init(where, log_to_driver=False, logging_level=logging.ERROR)
            yield where
            ray.shutdown()
            head.stdin.close()


@pytest.fixture
def flags(toy: Toy, tmp_path: Path) -> Path:
    """The folder of model 901."""
    folder = tmp_path / "flags"
    folder.mkdir()
    toy(CODE.format(flags=str(folder)), options=SECONDS)
    return folder


def made(folder: Path) -> list[int]:
    """The first sample of each batch that was begun."""
    return [int(line) for line in (folder / "log").read_text().split()]


# ----------------------------------------------------------------------------------------------------------- the same
@pytest.mark.slow
@pytest.mark.parametrize("format_", ["png", "npz", "webdataset"])
def test_actors_write_what_one_process_writes(
    address: str, flags: Path, tmp_path: Path, format_: str
) -> None:
    asked = {"n": 43, "seed": 1, "format": format_, "batch_size": 5}
    medzoo.generate(901, out=tmp_path / "one", **asked)
    found = medzoo.generate(901, out=tmp_path / "many", engine="ray", **asked)
    assert same(tmp_path / "one", tmp_path / "many") == []
    assert len(list(flags.glob("loaded-*"))) in (2, 3), (
        "this process, and two actors unless the first was done so soon"
    )
    assert found.images[42, 0, 0, :2].tolist() == [3, 40]
    batches = len(made(flags))
    assert main(["reproduce", str(tmp_path / "one"), "--engine", "ray", "--actors", "1"]) == 0
    assert len(made(flags)) == batches + 9
    assert len(list(flags.glob("loaded-*"))) > 2, "an actor made them"


@pytest.mark.slow
def test_a_model_stays_loaded_and_samples_in_memory_are_the_same(address: str, flags: Path) -> None:
    expected = medzoo.generate(901, 10, seed=1)
    latents = np.ones((6, 4), np.float32)
    with medzoo.load(901, engine=Ray(actors=2)) as model:
        assert model.actors == 2
        assert np.array_equal(model.generate(10, seed=1).images, expected.images)
        left = model.stream(400, seed=1)
        assert np.array_equal(next(left).images, expected.images[:4])
        left.close()  # type: ignore[attr-defined]
        listed = model.generate(
            6, seed=1, latents=latents, condition=["benign", "malignant", "malignant"] * 2
        )
        assert listed.labels.tolist() == [0, 1, 1] * 2
        assert listed.provenance["options"]["latents"].startswith("sha256:")
        assert len(list(flags.glob("loaded-*"))) in (2, 3)
    with pytest.raises(InputError, match="is closed"):
        model.generate(1)


@pytest.mark.slow
def test_little_is_made_ahead_of_what_is_taken(address: str, flags: Path) -> None:
    with medzoo.load(901, engine=Ray(actors=2)) as model:
        batches = model.stream(4000, seed=1)
        for _ in range(3):
            next(batches)
        time.sleep(1)
        assert 3 <= len(made(flags)) <= 3 + AHEAD * 2


# --------------------------------------------------------------------------------------------------- what is lost
@posix
@pytest.mark.slow
def test_a_killed_actor_is_replaced_and_nothing_is_lost_or_doubled(
    address: str, flags: Path, tmp_path: Path
) -> None:
    asked = {"n": 80, "seed": 1, "seconds": 0.02}
    medzoo.generate(901, out=tmp_path / "one", **asked)
    for name in ("kill-12", "kill-16", "kill-40"):
        (flags / name).touch()
    with pytest.warns(
        MedzooWarning, match="an actor was lost, and another one makes its samples"
    ) as caught:
        medzoo.generate(901, out=tmp_path / "many", engine=Ray(actors=2), **asked)
    assert len(caught) == 3
    assert same(tmp_path / "one", tmp_path / "many") == []
    assert not list(flags.glob("kill-*"))


@posix
@pytest.mark.slow
def test_samples_that_end_every_actor_are_an_error(
    address: str, flags: Path, tmp_path: Path
) -> None:
    (flags / "murder-8").touch()
    with (
        pytest.warns(MedzooWarning, match="an actor was lost"),
        pytest.raises(
            WorkerError,
            match=f"^{LOSSES} actors were lost over samples 8 to 11 of 00901.*\n.*too little memory",
        ),
    ):
        medzoo.generate(901, 40, seed=1, out=tmp_path / "set", engine=Ray(actors=2))
    (flags / "murder-8").unlink()
    medzoo.generate(901, 40, seed=1, out=tmp_path / "set")  # continues, without Ray
    medzoo.generate(901, 40, seed=1, out=tmp_path / "one")
    assert same(tmp_path / "one", tmp_path / "set") == []


@posix
@pytest.mark.slow
def test_a_killed_driver_is_continued(address: str, flags: Path, tmp_path: Path) -> None:
    asked = [
        "generate",
        "901",
        "-n",
        "120",
        "--seed",
        "1",
        "--option",
        "seconds=0.1",
        "--out",
        str(tmp_path / "set"),
    ]
    code = "import sys; from medzoo.cli import main; sys.exit(main(sys.argv[1:]))"
    driver = python(
        tmp_path, "-c", code, *asked, "--engine", "ray", "--address", address, "--actors", "2"
    )
    lines, deadline = tmp_path / "set" / journal.JOURNAL, time.monotonic() + 300
    while not lines.exists() or lines.read_text().count("\n") < 3:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    with pytest.raises(DatasetError, match="no finished set"):
        medzoo.read(tmp_path / "set")
    medzoo.generate(901, 120, out=tmp_path / "set", engine=Ray(actors=1), seconds=0.1)
    medzoo.generate(901, 120, seed=1, out=tmp_path / "one", seconds=0.1)
    assert same(tmp_path / "one", tmp_path / "set") == []
    assert "continued" in (tmp_path / "set/run.log").read_text()


@posix
@pytest.mark.slow
def test_an_actor_that_is_not_like_the_others_makes_nothing(address: str, flags: Path) -> None:
    with medzoo.load(901, engine=Ray(actors=1)) as model:
        (flags / "kill-8").touch()
        (flags / "other").touch()
        with (
            pytest.warns(MedzooWarning, match="an actor was lost"),
            pytest.raises(
                WorkerError,
                match=r"one actor is not like the first: .*libraries.numpy '0.0', not '\d",
            ),
        ):
            model.generate(40, seed=1)


# ----------------------------------------------------------------------------------------------------------- errors
@pytest.mark.slow
def test_an_error_of_the_package_arrives_in_its_turn(
    address: str, flags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flags / "fail-20").touch()
    with pytest.raises(
        PackageError, match="failed on samples 20 to 23: ArithmeticError: as it was told"
    ):
        medzoo.generate(901, 80, seed=1, out=tmp_path / "set", engine="ray")
    assert (
        main(["generate", "901", "-n", "80", "--out", str(tmp_path / "set"), "--engine", "ray"])
        == PackageError.exit_code
    )
    assert "as it was told" in capsys.readouterr().err
    (flags / "fail-20").unlink()
    medzoo.generate(901, 80, out=tmp_path / "set", engine="ray")
    assert "20 of 80 samples are there" in (tmp_path / "set/run.log").read_text()
    medzoo.generate(901, 80, seed=1, out=tmp_path / "one")
    assert same(tmp_path / "one", tmp_path / "set") == []


@pytest.mark.slow
def test_too_little_memory_halves_batches_as_in_one_process(
    address: str, flags: Path, tmp_path: Path
) -> None:
    for name, engine in (("one", None), ("many", "ray")):
        (flags / "memory-8").touch()
        (flags / "memory-20").touch()
        found = medzoo.generate(901, 60, seed=1, batch_size=8, out=tmp_path / name, engine=engine)
        assert found.provenance["batches"] == [[0, 8], [8, 4], [20, 2]]
    assert same(tmp_path / "one", tmp_path / "many") == []


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_says_why(address: str, toy: Toy) -> None:
    toy("def load(weights_dir, device):\n    1 / 0\n")
    with pytest.raises(PackageError, match="did not load: ZeroDivisionError"):
        medzoo.load(901, engine="ray")
    toy("def load(weights_dir, device):\n    raise MemoryError\n")
    with pytest.raises(OutOfMemoryError, match="cannot be loaded by an actor"):
        medzoo.load(901, engine="ray")


@pytest.mark.slow
def test_what_an_actor_warns_of_reaches_the_user_once(address: str, toy: Toy) -> None:
    toy(requires=["numpy", "no-such-package"])
    with pytest.warns(MedzooWarning) as caught:
        medzoo.generate(901, 4, engine=Ray(actors=2), env="current")
    (said,) = (str(w.message) for w in caught)
    assert (
        "this interpreter is not what 00901_TOY_MRI_NOISE, version 1.0.0, declares: no-such-package"
        in said
    )


@pytest.mark.slow
def test_what_the_cluster_has_no_room_for(address: str, flags: Path) -> None:
    with pytest.raises(
        InputError, match="An actor takes 64 CPU; the largest machine of the Ray cluster has 2 CPU"
    ):
        medzoo.load(901, engine=Ray(cpus_per_actor=64))
    with pytest.raises(InputError, match=r"An actor takes 1 CPU and 1 GPU; .* has 2 CPU and 0 GPU"):
        medzoo.load(901, engine=Ray(gpus_per_actor=1))
    with (
        pytest.warns(MedzooWarning, match="room for 2 of 5 actors"),
        medzoo.load(901, engine=Ray(actors=5)) as model,
    ):
        assert len(model.generate(40, seed=1)) == 40


@pytest.mark.slow
def test_the_command_starts_a_ray_of_its_own_and_ends_it(
    flags: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    asked = [
        "generate",
        "901",
        "-n",
        "4_0",
        "--seed",
        "1",
        "--out",
        str(tmp_path / "set"),
        "--engine",
        "ray",
        "--actors",
        "1",
    ]
    code = "import sys; from medzoo.cli import main; code = main(sys.argv[1:]); import ray; sys.exit(code + ray.is_initialized())"
    run = python(tmp_path, "-c", code, *asked)
    said, complaint = run.communicate()
    assert run.returncode == 0, complaint
    assert said.startswith("40 samples of 00901_TOY_MRI_NOISE")
    assert complaint == ""
    assert main(["verify", str(tmp_path / "set")]) == 0


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray's folder after a head that was killed: its note says where that was. The path is short, as its sockets lie there."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_that_was_killed_is_not_waited_for(
    flags: Path, gone: Path, tmp_path: Path
) -> None:
    asked = [
        "generate",
        "901",
        "-n",
        "8",
        "--seed",
        "1",
        "--out",
        str(tmp_path / "set"),
        "--engine",
        "ray",
        "--actors",
        "1",
    ]
    said, complaint = python(tmp_path, "-m", "medzoo", *asked).communicate()
    assert said.startswith("8 samples of 00901_TOY_MRI_NOISE"), complaint
    with pytest.raises(
        InputError, match=r"Ray cannot be reached or started \(address='auto'\): .*refused"
    ):
        medzoo.generate(901, 1, engine=Ray("auto"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@posix
def test_the_slurm_script_starts_ray_and_generates(gone: Path, tmp_path: Path) -> None:
    """On one node, with stand-ins for Slurm's two commands: `srun` runs here what it was to run there."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, does in {
        "srun": f'while [ "${{1:0:2}}" = -- ]; do echo "$1" >> {tmp_path}/srun.log; shift; done; exec "$@"',
        "scontrol": "echo here",
    }.items():
        (commands / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (commands / name).chmod(0o755)
    job = {
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_ID": "7",
    }
    asked = {
        "MODEL": "109",
        "N": "40",
        "ACTORS": "2",
        "FORMAT": "npz",
        "OUT": str(tmp_path / "set"),
    }
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])
    script = ROOT / "examples" / "slurm_generate.sh"
    environment = {**os.environ, **job, **asked, "PATH": path}
    done = subprocess.run(
        ["bash", str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(medzoo.read(tmp_path / "set")) == 40
    assert (
        "--cpus-per-task=2" in (tmp_path / "srun.log").read_text().split()
    )  # srun takes none over from sbatch


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"address": ""}, "address='' is not a valid address"),
        ({"address": 6379}, "address=6379 is not a valid address"),
        ({"actors": 0}, "actors=0 is not a number of actors"),
        ({"actors": True}, "actors=True"),
        ({"actors": 1.0}, "actors=1.0"),
        ({"cpus_per_actor": 0}, "cpus_per_actor=0 is not a number of cores"),
        ({"cpus_per_actor": 1.5}, "cpus_per_actor=1.5"),
        ({"cpus_per_actor": float("inf")}, "cpus_per_actor=inf"),
        ({"gpus_per_actor": -1}, "gpus_per_actor=-1 is not a number of GPUs"),
        ({"gpus_per_actor": float("nan")}, "gpus_per_actor=nan"),
        ({"gpus_per_actor": "1"}, "gpus_per_actor='1'"),
    ],
)
def test_an_engine_of_numbers_that_are_none(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Ray(**given)


@pytest.mark.parametrize(
    ("given", "device", "says"),
    [
        ({}, "cuda:1", "Ray chooses which GPU"),
        ({}, "tpu", "is not a valid device"),
        ({"gpus_per_actor": 1}, "cpu", "device='cpu' needs no GPU"),
    ],
)
def test_a_device_that_does_not_suit_actors(
    flags: Path, given: dict[str, Any], device: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        medzoo.generate(901, 1, engine=Ray(**given), device=device)


@pytest.mark.parametrize(
    ("nodes", "given", "device", "torch", "expected"),
    [
        ([{"CPU": 4.0}, {"CPU": 3.0}], {"cpus_per_actor": 2}, "auto", True, ({"CPU": 2}, 3)),
        (
            [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 4.0}],
            {},
            "auto",
            True,
            ({"CPU": 1, "GPU": 1}, 6),
        ),
        ([{"CPU": 2.0, "GPU": 4.0}, {"CPU": 8.0}], {}, "cuda", True, ({"CPU": 1, "GPU": 1}, 2)),
        ([{"CPU": 16.0, "GPU": 2.0}], {}, "auto", False, ({"CPU": 1}, 16)),
        ([{"CPU": 16.0, "GPU": 2.0}], {}, "cpu", True, ({"CPU": 1}, 16)),
        (
            [{"CPU": 16.0, "GPU": 2.0}],
            {"gpus_per_actor": 0.5},
            "auto",
            True,
            ({"CPU": 1, "GPU": 0.5}, 4),
        ),
        (
            [{"CPU": 16.0, "GPU": 2.0}],
            {"gpus_per_actor": 0, "actors": 3},
            "auto",
            True,
            ({"CPU": 1}, 3),
        ),
    ],
)
def test_actors_fill_the_machines(
    toy: Toy,
    nodes: list[dict[str, float]],
    given: dict[str, Any],
    device: str,
    torch: bool,
    expected: Any,
) -> None:
    class Cluster:
        @staticmethod
        def nodes() -> list[dict[str, Any]]:
            return [{"Alive": True, "Resources": n} for n in nodes] + [
                {"Alive": False, "Resources": {"CPU": 99, "GPU": 99}}
            ]

    from medzoo.registry import resolve

    version = resolve(toy(requires=["numpy", "torch"] if torch else ["numpy"])).default
    assert share(Ray(**given), Cluster, version, device) == expected


def test_without_ray_the_message_says_how_to_get_it(
    flags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError, match=r"needs the package ray, .*\n`pip install medzoo\[cluster\]` brings it"
    ):
        medzoo.generate(901, 1, engine="ray")


def test_an_address_where_nobody_is(flags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with pytest.raises(
        InputError, match=r"Ray cannot be reached or started \(address='127.0.0.1:9'\): .*refused"
    ):
        medzoo.generate(901, 1, engine=Ray("127.0.0.1:9"))
    monkeypatch.setenv("RAY_ADDRESS", "[::1]:9")
    with pytest.raises(InputError, match="Ray cannot be reached or started"):
        medzoo.generate(901, 1, engine="ray")


def test_flags_of_the_engine_alone_are_an_error(
    flags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["generate", "901", "--out", str(tmp_path / "set")]
    assert main([*asked, "--cpus-per-actor", "2"]) == 2
    assert (
        "--cpus-per-actor is for many processes.\nSay --engine ray as well."
        in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main([*asked, "--engine", "spark"])
    assert not (tmp_path / "set").exists()
