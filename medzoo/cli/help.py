"""The parser of the command line, and the form of its help pages."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, TypeAlias

from .. import checks
from ..config.arguments import ADVICE, ELSEWHERE

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
    16: "gate not passed",
    130: "interrupted",
    141: "broken pipe",
}
FETCH = (3, 4, 5, 6)  # exit codes of fetching a package
RUN = (*FETCH, 7, 8, 12, 13, 14)  # and of running it
# a command's name in other programs -> its name here
COMMANDS_ELSEWHERE = {
    "list_models": "list",
    "ls": "list",
    "models": "list",
    "find": "search",
    "show": "info",
    "describe": "info",
    "sample": "generate",
    "create": "generate",
    "make": "generate",
    "download": "install",
    "pull": "install",
    "fetch": "install",
    "remove": "cache remove",
    "delete": "cache remove",
    "prune": "cache prune",
    "help": "--help",
    "upgrade": "update",
    "check": "verify",
    "check_models": "test",
    "new": "contribute new",
    "pack": "contribute pack",
    "submit": "contribute submit",
    "cite_model": "cite",
}
Commands: TypeAlias = "argparse._SubParsersAction[Any]"


class Page(argparse.RawDescriptionHelpFormatter):
    """A help page with room for the longest option, and for a command before its summary."""

    def __init__(self, prog: str, **layout: Any) -> None:
        super().__init__(prog, **{"max_help_position": 28, **layout})
        self._action_max_length = 14  # argparse forgets how far it indents commands


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the wrong word and the closest right one. It reports wrong words
    before missing ones.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": Page, "allow_abbrev": False, **settings})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, after a look at the options."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words[: words.index("--")] if "--" in words else words:
            if not word.startswith("-"):
                if self._subparsers is not None:
                    break  # what follows is for the command's own parser
                continue
            name = word.partition("=")[0]
            short = name[:2] if not name.startswith("--") else name
            if re.match(r"-(\d|$)", word) or " " in name or {name, short} & {*self._own_options()}:
                continue
            self.error(f"there is no {name}. {self._closest(name)}")
        return super().parse_known_args(args, namespace)

    def _own_options(self) -> list[str]:
        return list(self._option_string_actions)

    def _closest(self, typed: str) -> str:
        """What to type instead of an option."""
        options = {name.lstrip("-").replace("-", "_"): name for name in self._own_options()}
        word = typed.lstrip("-").replace("-", "_")
        positionals = [a.metavar for a in self._actions if not a.option_strings]
        if word in {"model_id", "model", "id"} and "MODEL" in positionals:
            return f"The model is a positional argument: {self.prog} 8"
        if word in options:
            return f"Did you mean {options[word]}?"
        if word in ADVICE and "out" in options:
            return ADVICE[word].replace("`out`", "--out").strip()
        if (ours := ELSEWHERE.get(word)) in options:
            return f"It is called {options[str(ours)]} here."
        if near := checks.close(word, options):
            return f"Did you mean {' or '.join(options[n] for n in near)}?"
        own = "--option NAME=VALUE gives the model's own options" if "option" in options else ""
        if own and "inputs" in options:
            own += ", --inputs NAME=FILE your pictures and masks"
        own += "; " if own else ""
        return f"{own}{self.prog} --help lists the options."

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(c) for c in action.choices]
        ours = COMMANDS_ELSEWHERE.get(str(value), "") if action.dest == "command" else ""
        hint = f"Try `medzoo {ours}`. " if ours else checks.meant(value, choices)
        raise argparse.ArgumentError(
            action, f"there is no {value!r}. {hint}Known are {', '.join(choices)}."
        )


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
    child: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description="\n".join(textwrap.wrap(f"{summary[0].upper()}{summary[1:]}. {more}", 78)),
        epilog="\n  ".join(["examples:", *examples])
        + f"\n\nexit codes:\n{exit_codes((0, *codes))}",
    )
    child.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
    return child


def exit_codes(codes: Iterable[int]) -> str:
    """The codes and what they mean, as a paragraph."""
    entries = [f"{code} {EXITS[code]}" for code in sorted(codes)]
    text = ", ".join(entry.replace(" ", "\0") for entry in entries)  # no break inside an entry
    return textwrap.fill(text, 78, initial_indent="  ", subsequent_indent="  ").replace("\0", " ")
