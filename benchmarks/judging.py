"""A set judged against real data, as a user does it: `medzoo evaluate` with its default figures and
a report, on 1,000 samples and 200 real pictures of 128x128, half of which are held out. Both are
model 109's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import medzoo

from .instruments import command, seconds
from .rows import Found, Row, Size, measures

SAMPLES, REAL = 1000, 200
QUICK = 26  # samples and real pictures that are enough to be judged


@measures(Row("`evaluate`, 1,000 pictures of 128x128 against 200", "s", bar=180))
def judging(size: Size) -> list[Found]:
    counts = (QUICK, QUICK) if size.quick else (SAMPLES, REAL)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("synthetic", "real")]
        for seed, (path, count) in enumerate(zip(paths, counts, strict=True)):
            medzoo.generate(109, count, seed=seed, out=path, progress=False)
        asked = [sys.executable, "-W", "ignore", "-m", "medzoo", "evaluate", str(paths[0])]
        asked += ["--real", str(paths[1]), "--report", str(Path(folder) / "report.html")]
        runs = [seconds(lambda: command(*asked)) for _ in range(size.runs)]
    return [Found(runs, note=f"{counts[0]:,} against {counts[1]:,}, with a report")]
