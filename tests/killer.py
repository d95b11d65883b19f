"""Make a set of samples over and over, in children that are killed (SIGKILL) at one instant after the other.

An instant is a file that is opened, renamed, removed or cut, or a piece of one that is written, in the set's folder;
pieces are written in two halves, with an instant between them. Each killed run is started again with the same command,
and what it ends with is held against a run that nobody killed.

With ``grows``, each set is a copy of a finished one of so many samples, which the killed runs make grow; what a kill
leaves is then either that set, as it was, or it is moving its files and says so.

``python killer.py SPEC`` with a JSON of: ``folder`` to work in, ``asked`` of `medzoo.generate`, ``every`` so many
instants to kill at, ``chains`` of runs that are killed again and again, ``late`` runs that are killed by a clock, and
``shard`` the size of tar files. Prints a JSON with the number of ``instants``, of ``kills`` and what ``differs``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import medzoo
from medzoo.datasets import growth, journal, webdataset
from medzoo.errors import DatasetError

sys.path.insert(0, str(Path(__file__).parent))
from instants import CHANGES, Instants, fork
from sets import same

RESULT = "found: "  # on stdout, before the JSON


def is_instant(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a file is opened or changed."""
    return event == "open" or event in CHANGES


class InHalves(Instants):
    """Each piece that the journal writes is written in two halves, with an instant before each."""

    def __init__(self, folder: Path, last: int) -> None:
        super().__init__(folder, last, is_instant)
        self._write = journal._write
        journal._write = self._in_halves

    def _in_halves(self, file: Any, data: bytes | memoryview, at: int | None = None) -> None:
        half, whole = len(data) // 2, memoryview(data).cast("B")
        self.tick()
        self._write(file, whole[:half], at)
        self.tick()
        self._write(file, whole[half:], None if at is None else at + half)


def start(folder: Path, asked: dict[str, Any], last: int = 10**9) -> int:
    """A child that makes the set; its process number."""

    def make() -> None:
        instants = InHalves(folder, last)
        medzoo.generate(**asked, out=folder, progress=False)
        (folder.parent / "count").write_text(str(instants.count))

    return fork(make)


def ended(pid: int) -> bool:
    """Whether the child was done when it ended; False where it was killed."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run ended with {status}")
    return status == 0


class Small:
    """The finished set that each run makes grow; without ``asked`` there is none."""

    def __init__(self, folder: Path, asked: dict[str, Any] | None) -> None:
        self._folder, self._asked, self.states = folder, asked, set[str]()
        if asked is not None:
            self._old = pictures(medzoo.generate(**asked, out=folder / "small", progress=False))

    def copy(self, name: str) -> Path:
        if self._asked is not None:
            shutil.copytree(self._folder / "small", self._folder / name)
        return self._folder / name

    def look_at(self, target: Path) -> None:
        """After a kill: the set is whole, or the killed run had all samples and was moving files."""
        place = growth.growing(target)
        if place is None:
            return
        with suppress(DatasetError):
            raise SystemExit(f"a growing set is verified: {medzoo.verify(target)}")
        moving = growth.is_moving(place)
        self.states.add("moving" if moving else "growing")
        if not moving:
            assert pictures(medzoo.read(target)) == self._old
            # The old command finds its set, and leaves what has been made.
            again = medzoo.generate(**(self._asked or {}), out=target, progress=False)
            assert pictures(again) == self._old
            assert growth.growing(target) == place


def pictures(samples: Any) -> dict[str, bytes]:
    """What the columns hold."""
    return {name: getattr(samples, name).tobytes() for name in samples.columns}


def main(spec: dict[str, Any]) -> dict[str, Any]:
    webdataset.SHARD = spec.get("shard", webdataset.SHARD)
    folder, asked = Path(spec["folder"]), spec["asked"]
    chance, differs, kills = random.Random(spec.get("chance", 0)), {}, 0
    first, whole = {**asked, "seed": spec["seed"]}, folder / "whole"
    medzoo.generate(**first, out=whole)  # here, so that the children find all imported
    small = Small(folder, {**first, "n": spec["grows"]} if "grows" in spec else None)
    assert ended(start(small.copy("counted"), first))
    instants = int((folder / "count").read_text())

    def check(name: str, target: Path) -> None:
        if names := same(whole, target):
            differs[name] = names
        shutil.rmtree(target)

    check("not killed", folder / "counted")
    for last in range(1 + chance.randrange(spec["every"]), instants + 1, spec["every"]):
        target = small.copy("killed")
        kills += not ended(start(target, first, last))
        small.look_at(target)
        begun = (target / journal.RECORD).exists() or (target / journal.PROVENANCE).exists()
        assert ended(start(target, asked if begun else first))  # without a seed: that of the folder
        check(f"killed at {last}", target)
    for chain in range(spec["chains"]):
        target, runs = small.copy("chain"), 0
        while not ended(start(target, first, chance.randint(1, instants // 2 + 10 * runs))):
            kills, runs = kills + 1, runs + 1
            small.look_at(target)
        check(f"chain {chain} of {runs} kills", target)
    for late in range(spec["late"]):
        target = folder / "late"
        for _ in range(4):
            pid = start(target, first)
            time.sleep(chance.uniform(0, spec["seconds"]))
            os.kill(pid, signal.SIGKILL)
            kills += not ended(pid)
        assert ended(start(target, first))
        check(f"late {late}", target)
    return {
        "instants": instants,
        "kills": kills,
        "differs": differs,
        "states": sorted(small.states),
    }


if __name__ == "__main__":
    print(RESULT + json.dumps(main(json.loads(sys.argv[1]))))
