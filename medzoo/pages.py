"""How a command, its help page and its JSON look, and the arguments that several commands share."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

EXITS = {
    0: "done",
    1: "unexpected error",
    2: "bad input",
    3: "no such model",
    4: "bad model config",
    5: "package not fetched",
    6: "files differ from their digest",
    7: "package failed",
    8: "out of memory",
    9: "folder of samples",
    10: "not available yet",
    11: "contribution not ready",
    12: "trust needed",
    13: "environment not built",
    14: "model's process lost",
    15: "cache not cleared",
    130: "interrupted",
    141: "broken pipe",
}
FETCH = (3, 4, 5, 6)  # what getting hold of a package may end with
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Page(argparse.RawDescriptionHelpFormatter):
    """A help page with room for the longest option, and for a command before its summary."""

    def __init__(self, prog: str, **layout: Any) -> None:
        super().__init__(prog, **{"max_help_position": 28, **layout})
        self._action_max_length = 14  # argparse forgets how far it indents commands


def command(
    commands: Commands,
    name: str,
    summary: str,
    more: str = "",
    *,
    examples: Iterable[str],
    codes: Iterable[int] = (),
) -> argparse.ArgumentParser:
    """A command whose help page ends with examples and exit codes."""
    child = commands.add_parser(
        name,
        help=summary,
        description="\n".join(textwrap.wrap(f"{summary[0].upper()}{summary[1:]}. {more}", 78)),
        epilog="\n  ".join(["examples:", *examples])
        + f"\n\nexit codes:\n{exit_codes((0, *codes))}",
        formatter_class=Page,
        allow_abbrev=False,
    )
    child.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
    return child


def exit_codes(codes: Iterable[int]) -> str:
    """The codes and what they mean, as a paragraph."""
    text = ", ".join(
        f"{code}\0{EXITS[code].replace(' ', chr(0))}" for code in sorted(codes)
    )  # no break inside an entry
    return textwrap.fill(text, 78, initial_indent="  ", subsequent_indent="  ").replace("\0", " ")


def count(text: str) -> int:
    """A number of samples, such as 500 or 1_000_000: a whole number of at least 1."""
    if not (re.fullmatch(r"\d+(_\d+)*", text) and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def model_argument(child: argparse.ArgumentParser) -> None:
    """The model, in any of the ways to name it."""
    child.add_argument(
        "model",
        metavar="MODEL",
        help="number, id, the unique beginning of an id, or the path of a package folder",
    )


def package_argument(child: argparse.ArgumentParser) -> None:
    """A package folder to contribute."""
    child.add_argument("folder", type=Path, metavar="DIR", help="the package folder")


def set_argument(child: argparse.ArgumentParser) -> None:
    """A set of samples."""
    child.add_argument(
        "folder", type=Path, metavar="DIR", help="a folder that `medzoo generate` filled"
    )


def version_argument(child: argparse.ArgumentParser) -> None:
    """A version of the model."""
    child.add_argument(
        "--version",
        dest="model_version",
        metavar="V",
        help="version of the model (default: its best)",
    )


def inputs_argument(child: argparse.ArgumentParser) -> None:
    """Images of the user's."""
    child.add_argument(
        "--inputs",
        nargs="+",
        metavar="PATH",
        help="your own images, for a model that works on some: a folder or files; NAME=PATH for a model with several inputs",
    )


def running_arguments(child: argparse.ArgumentParser, device: str = "auto") -> None:
    """Where to run, and whether to run what no registry vouches for."""
    child.add_argument(
        "--device", default=device, help=f"auto, cpu, cuda, cuda:1 or mps (default: {device})"
    )
    environment_arguments(child)


def environment_arguments(child: argparse.ArgumentParser) -> None:
    """With whose packages, on whose word, and whether without a network."""
    child.add_argument(
        "--env",
        default="auto",
        choices=["auto", "current", "isolated"],
        help="whose packages to run with: the model's own environment (isolated), those installed here (current), or "
        "the latter for bundled models that they suit (auto, the default)",
    )
    child.add_argument(
        "--trust",
        action="store_true",
        help="run a package that no registry names, or weights that need pickle",
    )
    offline_argument(child)


def offline_argument(child: argparse.ArgumentParser) -> None:
    """Whether to do without a network."""
    child.add_argument(
        "--offline",
        action="store_true",
        help="no network: use what is in the cache (or set MEDZOO_OFFLINE=1)",
    )


def json_argument(child: argparse.ArgumentParser, *, of_step: bool = False) -> None:
    """Output for scripts; of a step whose command takes the argument too, it may stand before or
    after the step.
    """
    default = (
        argparse.SUPPRESS if of_step else False
    )  # else the step would undo what stands before it
    child.add_argument(
        "--json", action="store_true", default=default, help="print JSON, for scripts"
    )


def print_json(content: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, default=str))
