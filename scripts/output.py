# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command says: data on standard output, talk on standard error, and one exit code.

0 verified or done · 1 refuted · 2 usage or refused · 3 incomplete or unavailable · 4 unreadable
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ledger.errors import IntegrityViolation, LedgerError, Unavailable
from sealtrail.verify.errors import VerifyError

DONE: Final = 0
REFUTED: Final = 1
USAGE: Final = 2
INCOMPLETE: Final = 3
UNREADABLE: Final = 4
FAULT: Final = 70  #: sysexits.h: an internal fault. Python would end with 1.

_talk: Final = Console(stderr=True, highlight=False)


def show(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result: JSON for programs, sentences for people."""
    sys.stdout.write((json.dumps(data) if as_json else text.rstrip("\n")) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print talk: never data."""
    _talk.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def exits(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error into its sentence and exit code; a bug keeps its traceback."""
    try:
        yield
    except LedgerError as error:
        code = USAGE
        if isinstance(error, Unavailable):
            code = INCOMPLETE
        elif isinstance(error, IntegrityViolation):
            code = REFUTED
        _fail(error.problem, str(error), code, as_json=as_json)
    except VerifyError as error:
        _fail("unreadable", str(error), UNREADABLE, as_json=as_json)
    except OSError as error:
        named = f"{error.filename}: " if error.filename is not None else ""
        _fail("file-refused", f"{named}{error.strerror}", USAGE, as_json=as_json)
    except Exception as error:
        sqlstate = getattr(error, "sqlstate", None)
        if sqlstate is None:
            raise
        sentence = f"PostgreSQL refused: {type(error).__name__} ({sqlstate})"
        _fail("database-refused", sentence, USAGE, as_json=as_json)


def _fail(problem: str, sentence: str, code: int, *, as_json: bool) -> None:
    if as_json:
        show({"error": problem, "detail": sentence}, "", as_json=True)
    else:
        say(f"{problem}: {sentence}")
    raise typer.Exit(code)


@contextlib.contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Any]:
    """Show a bar on standard error; yields `update(done, all)`."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not _talk.is_terminal
    with Progress(*columns, console=_talk, transient=True, disable=hidden) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)
