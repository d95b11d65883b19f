"""Names inside a set of samples: relative, without ``..``, and without links on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import DatasetError

STRANGE = "Nothing was read or written there."
# Left in any folder by version control, notebooks, editors and storage systems.
LEFT_BESIDE = {
    ".directory",
    ".dvc",
    ".dvcignore",
    ".fseventsd",
    ".git",
    ".gitattributes",
    ".gitignore",
    ".gitkeep",
    ".hgignore",
    ".ipynb_checkpoints",
    ".localized",
    ".Spotlight-V100",
    ".svn",
    ".TemporaryItems",
    ".Trashes",
    ".vscode",
    ".idea",
    "#recycle",
    "$RECYCLE.BIN",
    "@eaDir",
    "@Recycle",
    "Icon\r",
    "System Volume Information",
}
PAGES = {"README", "README.md", "README.txt", "README.rst", "LICENSE", "LICENSE.md", "LICENSE.txt"}


def is_left_beside(path: PurePosixPath | Path) -> bool:
    """Whether a file belongs to a well-known program, or is a page about the set.

    ``path`` is relative to the set's folder. Locks and backups of office programs
    (``~$samples.csv``, ``.~lock.samples.csv#``), placeholders of NFS and files of DVC count too.
    """
    name = path.name
    return (
        any(part in LEFT_BESIDE for part in path.parts)
        or str(path) in PAGES
        or name.startswith(("~$", ".~lock.", ".nfs", ".fuse_hidden", ".syncthing."))
        or name.endswith((".dvc", ".swp", "~"))
    )


def is_plain(name: object) -> bool:
    """Whether ``name`` is a relative path below a folder, on any system."""
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        return False
    parts = set(name.split("/")) - {"", "."}
    has_drive = name[1:2] == ":"  # as in C:file
    return bool(parts) and ".." not in parts and name[0] != "/" and not has_drive


def inside(folder: Path, name: object) -> Path:
    """The path of the file ``name`` of a set.

    Raises
    ------
    DatasetError
        The name points outside the folder, or the file or a folder on the way is a link.
    """
    if not isinstance(name, str) or not is_plain(name):
        raise DatasetError(
            f"{folder} names a file {name!r:.80}, which is not inside the folder.", STRANGE
        )
    path = folder
    for part in PurePosixPath(name).parts:
        path /= part
        if path.is_symlink():
            raise link_error(path)
    return path


def refuse_links(folder: Path) -> None:
    """Raise DatasetError if anything below ``folder`` is a link."""
    for path in links(folder):
        raise link_error(path)


def links(folder: Path) -> Iterator[Path]:
    """The links below a folder, which are not followed."""
    for name, is_link in walk(folder):
        if is_link:
            yield folder / name


def walk(folder: Path, within: str = "") -> Iterator[tuple[str, bool]]:
    """Relative names of all files and links below a folder, and whether each is a link."""
    with os.scandir(folder / within) as entries:
        for entry in entries:
            name = within + entry.name
            if entry.is_symlink():
                yield name, True
            elif entry.is_dir(follow_symlinks=False):
                yield from walk(folder, f"{name}/")
            else:
                yield name, False


def link_error(path: Path) -> DatasetError:
    """The error for a link inside a set."""
    return DatasetError(
        f"{path} is a link, and links inside a set of samples are not followed.",
        "Put the file or folder itself in its place, or choose another folder.",
    )


def nature_of(path: Path) -> str:
    """What a damaged file really is, as the end of a sentence; empty if unknown."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return ""
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the file"
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, saved instead of the file"
    if not head:
        return "it is empty"
    return ""
