"""`Study`: a folder with the file of a study, and its key if this is where it was made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import checks
from ..errors import InputError
from ..settings import user_path
from .reading import Reading, checked_experience, key_of
from .store import KEY, Reader, Settings, read_key, store_of

if TYPE_CHECKING:
    from .report import Report


class Study:
    """A reader study in a folder; `medzoo.study.new` makes one, `medzoo.study.load` opens one.

    Parameters
    ----------
    folder : path
        The folder of the study.

    Examples
    --------
    >>> from medzoo import study
    >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
    >>> made.settings.n, made.settings.question
    (8, 'Is this picture real?')
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = user_path(folder, "folder")
        self._store = store_of(self.folder)
        self.settings: Settings = self._store.settings()
        self.id: str = self._store.id()

    @property
    def has_key(self) -> bool:
        """Whether the truth is here, so that a report can be made."""
        return (self.folder / KEY).is_file()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to show both sides alike; empty where the key is not."""
        if not self.has_key:
            return ()
        return tuple(read_key(self.folder, self._store)["notes"])

    def __repr__(self) -> str:
        readers = len(self._store.readers())
        counted = "1 reader" if readers == 1 else f"{readers} readers"
        return (
            f"Study({str(self.folder)!r}: {self.settings.task}, {self.settings.n} items, {counted})"
        )

    def picture(self, name: str) -> bytes:
        """A picture as the content of a PNG file.

        Parameters
        ----------
        name : str
            The name of the picture, from `Item.pictures`.

        Returns
        -------
        bytes
            A PNG of 8 bits, grey or RGB, without any text or date in it.

        Raises
        ------
        InputError
            There is no such picture.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A")
        >>> made.picture(reading.current.pictures[0])[1:4]
        b'PNG'
        """
        return self._store.picture(checks.text(name, "name"))

    def readers(self) -> list[Reader]:
        """All readers, and how far they are.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A", experience=12)
        >>> [(reader.name, reader.answered, reader.total) for reader in made.readers()]
        [('Dr A', 0, 8)]
        """
        return list(self._store.readers().values())

    def start(
        self, reader: str, *, experience: float | None = None, resume: bool = False
    ) -> Reading:
        """Begin as a new reader, or continue with ``resume=True``.

        Parameters
        ----------
        reader : str
            Name, initials or number. Upper and lower case are the same name.
        experience : float, optional
            Years of experience, from 0 to 80. It is stored once, when the reader begins.
        resume : bool, optional
            Continue as a reader who began before.

        Returns
        -------
        Reading
            The way through the study.

        Raises
        ------
        InputError
            The name is taken and ``resume`` is False, or it is unknown and ``resume`` is True.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A", experience=12)
        >>> made.start("dr a", resume=True).reader
        'Dr A'
        """
        shown, key = key_of(reader)
        years = checked_experience(experience)
        if checks.flag(resume, "resume"):
            if key not in self._store.readers():
                raise InputError(f"There is no reader {shown!r} to resume.", "Begin as a new one.")
        elif not self._store.insert("readers", key, shown, years, "{}"):
            raise InputError(
                f"There is a reader {shown!r} already.",
                "If that is you, resume: nothing was lost. Otherwise choose another name.",
            )
        return Reading(self._store, key)

    def export(self, file: str | os.PathLike[str], *, blind: bool = False) -> Path:
        """Write the study, with all answers so far, as one file.

        Parameters
        ----------
        file : path
            A new file, such as ``study.zip``.
        blind : bool, optional
            Leave out the key, so that who gets the file cannot know which pictures are real.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            The file exists, or the study has no key and ``blind`` is False.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> made.export("for-readers.zip", blind=True).name
        'for-readers.zip'
        """
        from .exchange import export

        return export(self.folder, user_path(file, "file"), blind=checks.flag(blind, "blind"))

    def merge(self, files: Any) -> dict[str, int]:
        """Add the answers of exported files or of other folders of this study.

        Parameters
        ----------
        files : path or sequence of paths
            Files that `export` wrote, or folders of studies.

        Returns
        -------
        dict of str to int
            Path, as it was given -> number of answers that were new.

        Raises
        ------
        InputError
            A file is of another study, or has other answers of a reader with the same name. Then
            nothing of any file is added.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> other = study.import_file(made.export("blind.zip", blind=True), "copy/")
        >>> reading = other.start("Dr B")
        >>> reading.answer(reading.current.id, 3)
        >>> made.merge([other.export("answers.zip", blind=True)])
        {'answers.zip': 1}
        """
        from .exchange import merge

        listed = files if isinstance(files, (list, tuple)) else [files]
        return merge(self.folder, [user_path(file, "files") for file in listed])

    def report(self, out: str | os.PathLike[str] | None = None) -> Report:
        """The results: figures of each reader and of all, as text, HTML and CSV.

        Parameters
        ----------
        out : path, optional
            A new or empty folder for ``report.html``, ``figures.csv``, ``readers.csv``,
            ``pictures.csv`` and ``answers.csv``. Nothing is written without it.

        Returns
        -------
        Report
            Figures, which print as a table.

        Raises
        ------
        InputError
            The key is not here.
        IntegrityError
            The key is of another study.

        Examples
        --------
        >>> from medzoo import study
        >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
        >>> reading = made.start("Dr A")
        >>> while item := reading.current:
        ...     reading.answer(item.id, 4)
        >>> report = made.report("report/")
        >>> report.figure("accuracy").value
        0.5
        """
        from .report import report_of

        folder = None if out is None else user_path(out, "out")
        return report_of(self.folder, self._store, folder)


def load(folder: str | os.PathLike[str]) -> Study:
    """Open a study.

    Parameters
    ----------
    folder : path
        The folder that `medzoo.study.new` or `medzoo.study.import_file` made.

    Returns
    -------
    Study
        The study.

    Raises
    ------
    InputError
        There is no study.

    Examples
    --------
    >>> from medzoo import study
    >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
    >>> study.load("turing/").id == made.id
    True
    """
    return Study(folder)


def import_file(file: str | os.PathLike[str], out: str | os.PathLike[str]) -> Study:
    """Make the folder of a study from a file that `Study.export` wrote.

    Parameters
    ----------
    file : path
        The file.
    out : path
        A new or empty folder.

    Returns
    -------
    Study
        The study, with the answers in the file.

    Raises
    ------
    InputError
        It is not the file of a study.
    IntegrityError
        It is damaged, or was changed.
    DatasetError
        ``out`` holds something already.

    Examples
    --------
    >>> from medzoo import study
    >>> made = study.new("turing/", real="real/", model=109, n=4, seed=1)
    >>> copy = study.import_file(made.export("blind.zip", blind=True), "copy/")
    >>> copy.id == made.id, copy.has_key
    (True, False)
    """
    from .exchange import import_to

    target = user_path(out, "out")
    import_to(user_path(file, "file"), target)
    return Study(target)
