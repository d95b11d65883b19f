"""Kills, random input and mixed use, again and again: what `make torture` runs, and a few cases of it in the ordinary tests.

``TORTURE=KILLS,FUZZ,MIXED`` says how much: kills per stage, seconds of random input per target, seconds of mixed use.
Each case is a line of the journal ``build/torture/journal.jsonl``; cases that are in it are not run again, so a run that
was stopped continues. Without ``TORTURE`` a few cases run and nothing is written.

``python tests/torture.py kill SPEC``: run the commands of a stage, kill them, run them again; used by `test_torture`.
``python tests/torture.py report``: write the counts of the journal to ``docs/reliability.md``, and close the journal.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from instants import CHANGES, Instants, fork

ROOT = Path(__file__).resolve().parent.parent
JOURNAL = ROOT / "build" / "torture" / "journal.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts -->\n", "<!-- end of counts -->\n"
PATIENCE = 120  # seconds that a command may take; one that takes longer hangs


@dataclass(frozen=True)
class Amount:
    """How much is run."""

    kills: int = 1  # per stage
    fuzz: float = 0.5  # seconds per target
    mixed: float = 5  # seconds

    @classmethod
    def asked(cls) -> Amount:
        text = os.environ.get("TORTURE", "")
        if not text:
            return cls()
        kills, fuzz, mixed = text.split(",")
        return cls(int(kills), float(fuzz), float(mixed))


def note(**case: Any) -> None:
    """Add a case to the journal of `make torture`."""
    if not os.environ.get("TORTURE"):
        return
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}", **case})
    with JOURNAL.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def noted(what: str, name: str = "") -> list[dict[str, Any]]:
    """The cases that the journal holds."""
    if not os.environ.get("TORTURE") or not JOURNAL.exists():
        return []
    cases = [json.loads(line) for line in JOURNAL.read_text(encoding="utf-8").splitlines()]
    return [c for c in cases if c["what"] == what and (not name or c["name"] == name)]


# ------------------------------------------------------------------------------------------------ kills
def is_write(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a file is opened for writing or changed."""
    is_open = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    return bool(is_open) or event in CHANGES


def start(command: str, place: Path, last: int = 10**9) -> int:
    """A child that runs the command, which finds its folder as ``place``; its process number."""

    def run() -> None:
        instants = Instants(place, last, is_write)
        exec(command, {"place": place})
        (place.parent / "instants").write_text(str(instants.count))

    return fork(run)


def wait(pid: int, seconds: float) -> int | None:
    """The exit code of a child that ends within so many seconds, or None."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.001)


def killed(pid: int) -> bool:
    """End a child; whether it was still running."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def content(place: Path, ignore: str = "(?!)") -> dict[str, str]:
    """The digest of each file that holds something, but those whose name matches ``ignore``: none, if it is not given."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if re.search(ignore, name) or path.is_symlink() or not path.is_file():
            continue
        if data := path.read_bytes():
            found[name] = hashlib.sha256(data).hexdigest()
    return found


class Stage:
    """The command of a stage, which is killed again and again; each case begins with a copy of ``template``."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name, self.command, self._ignore = spec["name"], spec["command"], spec["ignore"]
        self.place, self._template = Path(spec["place"]), Path(spec["template"])
        self._renew()
        exec(self.command, {"place": self.place})  # here, so that the children find all imported
        self._renew()
        began = time.monotonic()
        if (code := wait(start(self.command, self.place), PATIENCE)) != 0:
            raise SystemExit(f"undisturbed, {self.name} ended with {code}")
        self._duration = time.monotonic() - began
        self._whole = content(self.place, self._ignore)
        self._instants = int((self.place.parent / "instants").read_text())
        if not self._whole:
            raise SystemExit(f"{self.name} makes nothing that could be compared")

    def _renew(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self._template, self.place, symlinks=True)

    def kill(self, case: int) -> dict[str, Any]:
        """Kill the command, run it again, and compare. Odd cases are killed by the clock, even ones when they have
        written something, just before they write again.
        """
        chance, by_clock = random.Random(f"{self.name} {case}"), case % 2 == 1 or self._instants < 2
        for tries in range(20):
            self._renew()
            before = content(self.place)
            if by_clock:  # where it ends first, the next try is earlier
                pid = start(self.command, self.place)
                time.sleep(chance.uniform(0, self._duration) * (0.9**tries if case % 2 else 1))
                alive = killed(pid)
            else:
                instant = chance.randint(2, self._instants)
                alive = wait(start(self.command, self.place, instant), PATIENCE) == -signal.SIGKILL
            wrote = content(self.place) != before
            if alive and (wrote or case % 2):
                return {"case": case, "clock": by_clock, "wrote": wrote, **self._again()}
        raise SystemExit(f"{self.name} always ended before it was killed, or had written nothing")

    def _again(self) -> dict[str, Any]:
        """The same command once more: in what its result differs, and what else was wrong."""
        pid = start(self.command, self.place)
        if (code := wait(pid, PATIENCE)) is None:
            killed(pid)
        whole, after = self._whole, content(self.place, self._ignore)
        differs = sorted(n for n in whole.keys() | after.keys() if whole.get(n) != after.get(n))
        fault = "hang" if code is None else f"exit code {code}" if code else ""
        return {"differs": differs, "fault": fault}


def kill(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases of a stage that are not done yet."""
    stage, cases = Stage(spec), []
    for case in range(spec["kills"]):
        if case not in spec["done"]:
            cases.append(stage.kill(case))
            note(what="kill", name=stage.name, **cases[-1])
    return cases


# ----------------------------------------------------------------------------------------------- report
def table(head: str, rows: Iterator[tuple[Any, ...]]) -> str:
    """A table of Markdown."""
    ruler = re.sub(r"[^|]+", "---", head)
    body = "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)
    return f"{head}\n{ruler}\n{body}"


def counts(cases: list[dict[str, Any]]) -> str:
    """What the page says of a journal."""
    kills, fuzz, mixed = ([c for c in cases if c["what"] == w] for w in ("kill", "fuzz", "mixed"))
    days = sorted({c["date"][:10] for c in cases})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"

    def stages() -> Iterator[tuple[Any, ...]]:
        for name in dict.fromkeys(c["name"] for c in kills):
            own = [c for c in kills if c["name"] == name]
            wrong = sum(bool(c["differs"] or c["fault"]) for c in own)
            yield name, len(own), sum(c["wrote"] for c in own), wrong

    def targets() -> Iterator[tuple[Any, ...]]:
        for name in dict.fromkeys(c["name"] for c in fuzz):
            own = [c for c in fuzz if c["name"] == name]
            examples, faults = sum(c["examples"] for c in own), sum(bool(c["fault"]) for c in own)
            yield name, f"{examples:,}", f"{sum(c['seconds'] for c in own):.0f}", faults

    def uses() -> Iterator[tuple[Any, ...]]:
        for name, n in sorted(Counter(c["name"] for c in mixed if c["name"] != "end").items()):
            own = [c for c in mixed if c["name"] == name]
            yield name, n, sum(c["killed"] for c in own), sum(bool(c["fault"]) for c in own)

    wrote = sum(c["wrote"] for c in kills)
    return (
        f"Run of {when}: {len(kills)} kills ({wrote} after something was written), "
        f"{sum(c['examples'] for c in fuzz):,} random inputs, {sum(c['name'] != 'end' for c in mixed)} commands of mixed use.\n\n"
        + table("| stage | kills | after a write | wrong afterwards |", stages())
        + "\n"
        + table("| random input to | inputs | seconds | faults |", targets())
        + "\n"
        + table("| mixed use | commands | killed | faults |", uses())
    )


def report() -> int:
    """Write the counts to the page, and close the journal; 1 if something was wrong."""
    cases = [json.loads(line) for line in JOURNAL.read_text(encoding="utf-8").splitlines()]
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(head + BEGIN + counts(cases) + END + tail, encoding="utf-8")
    JOURNAL.rename(JOURNAL.with_name(f"{datetime.now(timezone.utc):%Y-%m-%d-%H%M}.jsonl"))
    wrong = [c for c in cases if c["fault"] or c.get("differs")]
    print(f"{len(cases)} entries counted in {PAGE.relative_to(ROOT)}")
    print(*[f"wrong: {case}" for case in wrong], sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        print("cases: " + json.dumps(kill(json.loads(sys.argv[2]))))
    else:
        raise SystemExit(report())
