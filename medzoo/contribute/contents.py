"""Which files make a package: code, weights and card; nothing unknown, nothing that can run when it
is read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile

import numpy as np

from .. import files
from ..config import Version
from ..modeltest.report import MISSING, OK, WARNING, WRONG, Finding, judge
from ..packages.store import TRAINING, package_files
from ..registry import PACKAGE_CONFIG
from .metadata import TODO

BESIDE = {".md", ".txt", ".yaml", ".png"}  # suffixes of what does not take part in a run
NAMED = {"LICENSE", *TRAINING, "expected.npz"}
TEXTS = {".py", ".md", ".yaml"}
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".bin", ".h5"}
UNSAFE = re.compile(
    r"\btorch\.load\(|\ballow_pickle\s*=\s*True|^\s*(?:import|from)\s+(?:pickle|dill|joblib|cloudpickle)\b",
    re.MULTILINE,
)
PLAIN = re.compile(r"[A-Za-z0-9._+-]+")  # of a file's name, so that every system can hold it
LARGE, HUGE = 10 * 10**6, 100 * 10**6  # bytes of a file beside the weights, of all files


def visible(folder: Path) -> list[str]:
    """Every file of a folder but hidden ones and caches, sorted."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file() or p.is_symlink())
    kept = (
        p
        for p in found
        if not files.is_strewn(p) and not any(part.startswith(".") for part in p.parts)
    )
    return sorted(p.as_posix() for p in kept if p.suffix != ".pyc")


def packed(folder: Path) -> list[str]:
    """The files that a zip of the package holds, sorted; `check` has nothing else pass."""
    run = set(package_files(folder))
    return [
        f
        for f in visible(folder)
        if f in run or PurePosixPath(f).suffix in BESIDE or PurePosixPath(f).name in NAMED
    ]


def about_files(folder: Path, version: Version | None) -> Iterator[Finding]:
    """Placeholders, kinds of files, weights, sizes."""
    found = visible(folder)
    todo = {f: _marks(folder / f) for f in found if PurePosixPath(f).suffix in TEXTS}
    left = ", ".join(
        f"{f} line {lines[0]}" + f" and {len(lines) - 1} more" * (len(lines) > 1)
        for f, lines in todo.items()
        if lines
    )
    yield judge(
        "filled in",
        f"TODO left in {left}" if left else "",
        "no TODO left",
        "Fill in, or delete.",
        MISSING,
    )
    medigan = version is not None and version.contract == "medigan"
    pickles = [f for f in found if PurePosixPath(f).suffix in PICKLES]
    yield _kinds(folder, found, [] if medigan else pickles, medigan)
    yield (
        Finding("weights", OK, "as the medigan contract has them")
        if medigan
        else _weights(folder, found, pickles)
    )
    if not medigan:  # whose own folder is on the path while they run
        yield _own_imports(folder)
    yield _sizes(folder, found)


def _marks(path: Path) -> list[int]:
    """The lines of a text with a placeholder."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return [k for k, line in enumerate(text.splitlines(), start=1) if TODO.search(line)]


def _kinds(folder: Path, found: list[str], pickles: list[str], medigan: bool) -> Finding:
    links = [f for f in found if (folder / f).is_symlink()]
    odd = [f for f in found if not all(PLAIN.fullmatch(part) for part in PurePosixPath(f).parts)]
    unknown = [] if medigan else [f for f in found if f not in {*packed(folder), *pickles}]
    for problem, which, hint in (
        ("links", links, "Put the files themselves here."),
        ("names that not every system can hold", odd, "Use letters, digits and . _ + -"),
        (
            "not of a package's kind",
            unknown,
            "Remove them, or hold what the model reads as .safetensors, .npz or .json.",
        ),
    ):
        if which:
            return Finding("files", WRONG, f"{problem}: {', '.join(which[:6])}", hint)
    code = (folder / "model.py").is_file() or medigan
    return judge(
        "files",
        "" if code else "there is no model.py",
        f"{len(found)} files",
        "docs/packages.md shows one.",
        MISSING,
    )


def _weights(folder: Path, found: list[str], pickles: list[str]) -> Finding:
    """No file that can run code when it is read, and no code that would read one."""
    from safetensors import SafetensorError, safe_open

    if pickles:
        return Finding(
            "weights",
            WRONG,
            f"not safetensors: {', '.join(pickles)}",
            "Save the state with safetensors.torch.save_file, and delete these.",
        )
    weights = [f for f in found if f.endswith(".safetensors")]
    tensors, name = 0, ""
    try:
        for name in weights:
            with safe_open(folder / name, "np") as file:
                tensors += len(list(file.keys()))
    except (SafetensorError, OSError) as error:
        return Finding(
            "weights",
            WRONG,
            f"{name} is not a safetensors file: {error}",
            "Write it with safetensors.",
        )
    try:
        for name in (f for f in found if f.endswith(".npz")):
            with np.load(folder / name) as arrays:
                for key in arrays.files:
                    arrays[key]
    except (ValueError, OSError, BadZipFile) as error:
        return Finding(
            "weights",
            WRONG,
            f"{name} does not load without pickle: {error}",
            "Keep plain arrays in it.",
        )
    unsafe = [
        f"{f}: {m[0].strip()}"
        for f in package_files(folder)
        if f.endswith(".py")
        if (m := UNSAFE.search((folder / f).read_text(encoding="utf-8", errors="replace")))
    ]
    text = f"{tensors} tensors in {', '.join(weights)}" if weights else "none"
    return judge(
        "weights",
        f"code that reads pickles: {', '.join(unsafe)}" if unsafe else "",
        text,
        "Read weights with safetensors.torch.load_file.",
    )


def _own_imports(folder: Path) -> Finding:
    """Whether code imports the package's own files by a dot: without one, a module of the same
    name in the caller's program or folder would be taken.
    """
    code = [name for name in package_files(folder) if name.endswith(".py")]
    own = {PurePosixPath(name).parts[0].removesuffix(".py") for name in code}
    wrong = []
    for name in code:
        try:
            tree = ast.parse((folder / name).read_bytes())
        except (SyntaxError, ValueError) as error:
            return Finding("imports", WRONG, f"{name} is not Python: {error}", "Correct it.")
        wrong += [
            f"{name} line {line}: {module}"
            for line, module in _absolute_imports(tree)
            if module.partition(".")[0] in own
        ]
    return judge(
        "imports",
        f"own files, taken for installed modules: {', '.join(wrong[:6])}" if wrong else "",
        "own files are imported from the package",
        "Put a dot before the name: `from . import helper`, `from .helper import x`.",
    )


def _absolute_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The lines and names of modules that are imported from wherever they are found."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = getattr(node.args[0], "value", None)
            if called in {"import_module", "__import__"} and isinstance(name, str):
                yield node.lineno, name if name[:1] != "." else ""


def _sizes(folder: Path, found: list[str]) -> Finding:
    sizes = {f: (folder / f).stat().st_size for f in found if (folder / f).is_file()}
    total = sum(sizes.values())
    big = [
        f"{f} ({size / 1e6:.0f} MB)"
        for f, size in sizes.items()
        if size > LARGE and PurePosixPath(f).suffix not in {".safetensors", ".onnx"}
    ]
    if big:
        return Finding(
            "size", WARNING, f"large, and no weights: {', '.join(big)}", "Does the model need them?"
        )
    if total > HUGE:
        return Finding(
            "size",
            WARNING,
            f"{total / 1e6:.0f} MB",
            "float16 or bfloat16 weights halve what everyone downloads.",
        )
    return Finding("size", OK, f"{total / 1e6:.2f} MB, {PACKAGE_CONFIG} and card included")
