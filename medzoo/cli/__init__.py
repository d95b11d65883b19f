"""The command line: one module per group of commands, with its arguments beside what it does."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from .. import __version__
from .._worker import threads
from ..console import readable
from ..errors import MedzooError, MedzooWarning, without_passwords
from .cache import add_cache, add_install, cache_command, install_command
from .contribute import add_contributing, contribute_command
from .evaluate import add_evaluate, compare_command, evaluate_command
from .export import add_export, export_command
from .generate import add_generate, generate_command
from .help import EXITS, Commands, Parser, exit_codes
from .look import (
    add_look,
    gallery_command,
    interpolate_command,
    serve_command,
    traverse_command,
    visualize_command,
)
from .models import (
    add_models,
    cite_command,
    copy_command,
    info_command,
    list_command,
    search_command,
    update_command,
)
from .modeltest import add_test, test_command
from .publish import add_publish, publish_command
from .sets import add_sets, reproduce_command, verify_command
from .study import add_study, study_command

STOPS = ("SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1")  # of batch systems, such as Slurm

EPILOG = """\
Each command has a page: `medzoo generate --help`.

exit codes:
{exits}

settings (environment):
  MEDZOO_CACHE    where downloads and environments are; `medzoo cache` lists it
  MEDZOO_OFFLINE  1: nothing is fetched
  MEDZOO_MIRROR   folders or addresses to fetch from before Zenodo
  MEDZOO_REGISTRY  address or zip that `medzoo update` takes newer configs from
  MEDZOO_MODEL_CONFIGS  further folders of model configs
  MEDZOO_QUIET    1: no progress bars, no notices
  MEDZOO_KEEP     seconds that a program's last model stays loaded; 0: none
  MEDZOO_TIMEOUT  seconds that a model has to load, and for each batch
  MEDZOO_TORCH_BACKEND  torch in environments: auto, cpu, cu128 ..., index

completion by the shell, with the extra `completion`:
  eval "$(register-python-argcomplete medzoo)"     bash, zsh
  register-python-argcomplete --shell fish medzoo | source

Synthetic samples are for research. They are not for diagnosis.
"""
COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "list": list_command,
    "search": search_command,
    "info": info_command,
    "cite": cite_command,
    "update": update_command,
    "generate": generate_command,
    "visualize": visualize_command,
    "traverse": traverse_command,
    "interpolate": interpolate_command,
    "gallery": gallery_command,
    "serve": serve_command,
    "test": test_command,
    "evaluate": evaluate_command,
    "compare": compare_command,
    "study": study_command,
    "verify": verify_command,
    "reproduce": reproduce_command,
    "publish": publish_command,
    "export": export_command,
    "copy": copy_command,
    "install": install_command,
    "cache": cache_command,
    "contribute": contribute_command,
}
GROUPS: tuple[Callable[[Commands], None], ...] = (
    add_models,
    add_generate,
    add_look,
    add_test,
    add_evaluate,
    add_study,
    add_sets,
    add_publish,
    add_export,
    add_install,
    add_cache,
    add_contributing,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Raises
    ------
    SystemExit
        The arguments do not parse (code 2), or ask for help or the version (code 0).
    """
    readable(sys.stdout, sys.stderr)
    # The modules of torch are hundreds of thousands of objects, and none of them is garbage. Python
    # would look through them again as it ends, which takes as long as a quarter of importing them.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    threads.prepare()
    parser = build_parser(sys.argv[1:] if arguments is None else arguments)
    complete(parser)
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return 0
    if getattr(parsed, "offline", False):
        os.environ["MEDZOO_OFFLINE"] = "1"
    with warnings.catch_warnings(), stopping_cleanly():
        warnings.simplefilter("always", MedzooWarning)
        warnings.showwarning = partial(show_warning, warnings.showwarning)
        return guarded(parsed)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.name = number, signal.Signals(number).name


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Let the signals by which batch systems end a job raise `Stopped`, so that models end and
    temporary folders go. Signals that the caller handles or ignores stay as they are.
    """

    def stop(number: int, _: Any) -> None:
        raise Stopped(number)

    changed = []
    if threading.current_thread() is threading.main_thread():
        for name in STOPS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                changed.append(number)
                signal.signal(number, stop)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell if it asks for words that complete a line; argcomplete then ends this
    process.
    """
    if "_ARGCOMPLETE" not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser)


def guarded(parsed: argparse.Namespace) -> int:
    """Run the command. Errors become a message on stderr and an exit code; ``--debug`` shows the
    traceback.
    """
    try:
        code = COMMANDS[parsed.command](parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # `medzoo list | head`: the reader has ended, and Python must not complain about that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (Exception, KeyboardInterrupt) as error:
        if parsed.debug:
            raise
        code = 1
        text = without_passwords(str(error))
        message = f"unexpected {type(error).__name__}: {text}\n--debug shows a traceback to report."
        if isinstance(error, MedzooError):
            message, code = str(error), error.exit_code
        elif isinstance(error, KeyboardInterrupt):
            message, code = "interrupted" + unfinished(parsed), 130
        if isinstance(error, Stopped):
            message, code = f"ended by {error.name}{unfinished(parsed)}", 128 + error.number
        print(f"medzoo: {message}", file=sys.stderr)
    return code or 0


def unfinished(a: argparse.Namespace) -> str:
    """What an interrupted run leaves behind."""
    if a.command == "generate" and (a.out / "run.log").exists():
        return f"; what was written stays in {a.out}, and the same command continues it"
    if hasattr(a, "offline"):
        from ..packages import cache

        if any(path.suffix == ".part" for path in cache.downloaded()):
            return "; what was downloaded stays in the cache, and the same command continues it"
    return ""


def show_warning(
    otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any
) -> None:
    """A warning of medzoo as one line, any other as Python shows it."""
    if issubclass(category, MedzooWarning):
        print(f"medzoo: warning: {message}", file=sys.stderr)
    else:
        otherwise(message, category, *where)


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """All commands and their options. Parsed, the command's name is in ``command``, and its step in
    ``step``.

    If the first of ``words`` is a command, other groups of commands are left out: nothing reads
    them, and to build them takes as long as to make several pictures.
    """
    parser = Parser(
        prog="medzoo",
        description="Synthetic medical images, masks, labels, volumes, tables "
        "from pretrained models.",
        epilog=EPILOG.format(exits=exit_codes(EXITS)),
    )
    parser.add_argument("--version", action="version", version=f"medzoo {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    chosen = COMMANDS.get(words[0]) if words else None
    group = [add for add in GROUPS if chosen and add.__module__ == chosen.__module__]
    for add in group or GROUPS:
        add(commands)
    return parser
