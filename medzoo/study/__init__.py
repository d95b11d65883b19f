"""Reader studies: whether people can distinguish a model's samples from real images.

>>> from medzoo import study
>>> made = study.new("turing/", real="brain.zip", model=102, n=50, training=5)
>>> reading = made.start("Dr A", experience=12)  # or made.start("Dr A", resume=True)
>>> item = reading.current                       # None when all is answered
>>> png = made.picture(item.pictures[0])         # two pictures in a study of pairs
>>> feedback = reading.answer(item.id, 6, comment="smeared skull")  # None unless it is training
>>> reading.close({"What gave synthetic pictures away?": "the noise"})
>>> print(made.report("turing-report/"))

A study is a folder with ``study.sqlite``, which holds what readers see and what they answered, and
``key.json``, which holds the truth. Only `Study.report` reads the key, so a reader's machine does
not need it (``export(file, blind=True)``).

How a face of it (the web app) works: `Study.settings` says what to ask: ``question``, ``choices``
(the k-th is the rating k, from 1, so keys 1 to 6 fit), ``scales`` (each from 1 to 5) and
``closing`` questions. `Reading.current` is the item to show, and starts its clock; `Reading.pause`
and `Reading.resume` stop and restart it; `Reading.answer` stores the answer on the disk before it
returns. A face keeps nothing: after a kill, ``start(name, resume=True)`` continues. All refusals
are `medzoo.errors.InputError`, with a text for the reader. Objects may be used from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..plugins import public

if TYPE_CHECKING:
    from .making import new as new
    from .reading import Feedback as Feedback
    from .reading import Reading as Reading
    from .report import Report as Report
    from .store import Item as Item
    from .store import Reader as Reader
    from .store import Settings as Settings
    from .study import Study as Study
    from .study import import_file as import_file
    from .study import load as load

_HOMES = {
    "Feedback": "reading",
    "Item": "store",
    "Reader": "store",
    "Reading": "reading",
    "Report": "report",
    "Settings": "store",
    "Study": "study",
    "import_file": "study",
    "load": "study",
    "new": "making",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)
