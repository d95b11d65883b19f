"""Which files make a package: code, weights and card. Unknown files and files that can run code
when they are read are refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile

import numpy as np

from .. import files
from ..config import Version
from ..modeltest.report import MISSING, OK, WARNING, WRONG, Finding, judge
from ..packages.store import FIRST_FILE, TRAINING, package_files
from ..registry import PACKAGE_CONFIG
from .metadata import lines_to_do
from .untrained import about_training

BESIDE = {".md", ".txt", ".yaml", ".png", ".gif"}  # suffixes of files that a run does not need
NAMED = {"LICENSE", *TRAINING, "expected.npz"}
TEXTS = {".py", ".md", ".yaml"}
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".bin", ".h5"}
WEIGHTS = {".safetensors", ".onnx", *PICKLES}
UNSAFE = re.compile(
    r"\btorch\.load\(|\ballow_pickle\s*=\s*True"
    r"|^\s*(?:import|from)\s+(?:pickle|dill|joblib|cloudpickle)\b",
    re.MULTILINE,
)
PLAIN = re.compile(r"[A-Za-z0-9._+-]+")  # a file name that every system allows
LARGE, HUGE = 10 * 10**6, 100 * 10**6  # bytes: of a file beside the weights, of all files


def visible(folder: Path) -> list[str]:
    """Every file of a folder except hidden files and caches, sorted."""
    names = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        is_cache = name.suffix == ".pyc" or files.is_strewn(name)
        is_hidden = any(part.startswith(".") for part in name.parts)
        is_file = path.is_file() or path.is_symlink()
        if is_file and not is_cache and not is_hidden:
            names.append(name.as_posix())
    return sorted(names)


def packed(folder: Path, version: Version | None) -> list[str]:
    """The files that a zip of the package holds, sorted; `check` refuses any others."""
    run = set(run_files(folder, version))

    def belongs(name: str) -> bool:
        return name in run or _is_beside(name)

    return list(filter(belongs, visible(folder)))


def run_files(folder: Path, version: Version | None) -> list[str]:
    """The files that take part in a run, sorted.

    Of a medigan package and a MONAI bundle, these are all but cards and the like: their code may
    read any.
    """
    if _contract(version) == "native":
        return package_files(folder)
    return [name for name in visible(folder) if not _is_beside(name)]


def _is_beside(name: str) -> bool:
    return _suffix(name) in BESIDE or PurePosixPath(name).name in NAMED


def _contract(version: Version | None) -> str:
    return "native" if version is None else version.contract


def about_files(folder: Path, version: Version | None) -> Iterator[Finding]:
    """Findings on placeholders, kinds of files, weights and sizes."""
    names = visible(folder)
    contract = _contract(version)
    pickles = _of_kind(names, PICKLES)
    yield _placeholders(folder, names)
    yield _kinds(folder, names, {*packed(folder, version), *pickles}, contract)
    if contract == "native":
        yield _weights(folder, names, pickles)
        yield about_training(folder, _of_kind(names, {".safetensors"}))
        yield _own_imports(folder)
    else:  # its own folder is on the path while it runs, so its imports are right
        yield Finding("weights", OK, f"as the {contract} contract has them")
    yield _sizes(folder, names)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix


def _of_kind(names: Iterable[str], suffixes: Iterable[str]) -> list[str]:
    """The names that end with one of the suffixes."""
    return [name for name in names if _suffix(name) in suffixes]


def _placeholders(folder: Path, names: list[str]) -> Finding:
    places = []
    for name in _of_kind(names, TEXTS):
        lines = lines_to_do(folder / name)
        if lines:
            more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
            places.append(f"{name} line {lines[0]}{more}")
    problem = f"TODO left in {', '.join(places)}" if places else ""
    return judge("filled in", problem, "no TODO left", "Fill in, or delete.", MISSING)


def _kinds(folder: Path, names: list[str], allowed: set[str], contract: str) -> Finding:
    links, odd, unknown = [], [], []
    for name in names:
        if (folder / name).is_symlink():
            links.append(name)
        if not all(map(PLAIN.fullmatch, PurePosixPath(name).parts)):
            odd.append(name)
        if name not in allowed:
            unknown.append(name)
    for problem, refused, hint in (
        ("links", links, "Put the files themselves here."),
        ("names that not every system can hold", odd, "Use letters, digits and . _ + -"),
        (
            "not of a package's kind",
            unknown,
            "Remove them, or hold what the model reads as .safetensors, .npz or .json.",
        ),
    ):
        if refused:
            return Finding("files", WRONG, f"{problem}: {', '.join(refused[:6])}", hint)
    first = FIRST_FILE[contract]
    return judge(
        "files",
        "" if (folder / first).is_file() else f"there is no {first}",
        f"{len(names)} files",
        "docs/packages.md shows one.",
        MISSING,
    )


def _weights(folder: Path, names: list[str], pickles: list[str]) -> Finding:
    """No file that can run code when it is read, and no code that reads such files."""
    if pickles:
        return Finding(
            "weights",
            WRONG,
            f"not safetensors: {', '.join(pickles)}",
            "Save the state with safetensors.torch.save_file, and delete these.",
        )
    weights = _of_kind(names, {".safetensors"})
    tensors = 0
    for name in weights:
        try:
            tensors += _number_of_tensors(folder / name)
        except (ValueError, OSError) as error:  # noqa: PERF203
            problem = f"{name} is not a safetensors file: {error}"
            return Finding("weights", WRONG, problem, "Write it with safetensors.")
    for name in _of_kind(names, {".npz"}):
        try:
            _read_arrays(folder / name)
        except (ValueError, OSError, BadZipFile) as error:  # noqa: PERF203
            problem = f"{name} does not load without pickle: {error}"
            return Finding("weights", WRONG, problem, "Keep plain arrays in it.")
    unsafe = []
    for name in _of_kind(package_files(folder), {".py"}):
        code = (folder / name).read_text(encoding="utf-8", errors="replace")
        if match := UNSAFE.search(code):
            unsafe.append(f"{name}: {match[0].strip()}")
    return judge(
        "weights",
        f"code that reads pickles: {', '.join(unsafe)}" if unsafe else "",
        f"{tensors} tensors in {', '.join(weights)}" if weights else "none",
        "Read weights with safetensors.torch.load_file.",
    )


def _number_of_tensors(path: Path) -> int:
    """How many tensors a safetensors file holds; ValueError or OSError if it is not one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return len(list(file.keys()))
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_arrays(path: Path) -> None:
    """Read all arrays of an npz file, without pickle."""
    with np.load(path) as arrays:
        for name in arrays.files:
            arrays[name]


def _own_imports(folder: Path) -> Finding:
    """Whether code imports the package's own files with a dot.

    Without a dot, a module with the same name in the caller's program or folder would be used.
    """
    names = _of_kind(package_files(folder), {".py"})
    own = {PurePosixPath(name).parts[0].removesuffix(".py") for name in names}
    wrong = []
    for name in names:
        try:
            tree = ast.parse((folder / name).read_bytes())
        except (SyntaxError, ValueError) as error:
            return Finding("imports", WRONG, f"{name} is not Python: {error}", "Correct it.")
        for line, module in _absolute_imports(tree):
            if module.partition(".")[0] in own:
                wrong.append(f"{name} line {line}: {module}")
    return judge(
        "imports",
        f"own files, taken for installed modules: {', '.join(wrong[:6])}" if wrong else "",
        "own files are imported from the package",
        "Put a dot before the name: `from . import helper`, `from .helper import x`.",
    )


def _absolute_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each module that is imported without a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = getattr(node.args[0], "value", None)
            if called in {"import_module", "__import__"} and isinstance(name, str):
                yield node.lineno, name if name[:1] != "." else ""


def _sizes(folder: Path, names: list[str]) -> Finding:
    total, large = 0, []
    for name in names:
        if (folder / name).is_file():
            size = (folder / name).stat().st_size
            total += size
            if size > LARGE and _suffix(name) not in WEIGHTS:
                large.append(f"{name} ({size / 1e6:.0f} MB)")
    if large:
        return Finding(
            "size",
            WARNING,
            f"large, and no weights: {', '.join(large)}",
            "Does the model need them?",
        )
    if total > HUGE:
        return Finding(
            "size",
            WARNING,
            f"{total / 1e6:.0f} MB",
            "float16 or bfloat16 weights halve what everyone downloads.",
        )
    return Finding("size", OK, f"{total / 1e6:.2f} MB, {PACKAGE_CONFIG} and card included")
