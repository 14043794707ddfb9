# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the matrix: one small class for each integration, and what is seen of it in a case.

    class Painter(Row):
        part, name = "In the program", "painter, `paint`"
        tested_with = ("painter",)              # distributions whose versions the page tells

        def run(self, at):
            at.release(sealtrail.painter.wrap(at.trail, at.model).paint("a lighthouse"))

A module `rows_<something>.py` beside this one is read by itself. `run` makes one call the way a
user would, passes on what the user's program gets to `at.release`, and lets every exception out.
"""

import asyncio
import importlib
import importlib.util
import inspect
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

from closed_world import At, Seen, World

HERE = Path(__file__).resolve().parent

PROMPT = "a lighthouse in the fog"
MESSAGES = [{"role": "user", "content": PROMPT}]


class Row:
    """One way to plug in. Subclasses with a `name` are rows."""

    part: ClassVar[str] = "In the program"  #: Heading on the page; see PARTS.
    name: ClassVar[str] = ""
    tested_with: ClassVar[tuple[str, ...]] = ()  #: Distributions.
    needs: ClassVar[tuple[str, ...]] = ()  #: Modules without which it cannot run.
    harness: ClassVar[bool] = False  #: A restatement of the real program's code runs, not itself.
    stream: ClassVar[bool] = False  #: Part of the output goes on before the outcome is known.
    holds: ClassVar[bool] = True  #: False for hooks of others that cannot fail closed.
    reason: ClassVar[str] = ""  #: Why they cannot, and what to take instead.
    person: ClassVar[str | None] = "emp-7"  #: None where the row names its person by itself.

    def run(self, at: At) -> object:
        """Make one call. May be a coroutine function."""
        raise NotImplementedError

    @classmethod
    def missing(cls) -> str | None:
        """Return the library that is not installed here, if one is not."""
        return next((one for one in cls.needs if not _is_there(one)), None)

    @classmethod
    def versions(cls) -> str:
        told = []
        for name in cls.tested_with:
            try:
                told.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                told.append(f"{name} (not installed)")
        return ", ".join(told) or "standard library"


PARTS = ("Gateway", "Watched clients", "In the program", "Programs with hooks")


def rows() -> list[type[Row]]:
    """Return all rows, by the parts of the page and by the names of their modules."""
    for path in sorted(HERE.glob("rows_*.py")):
        importlib.import_module(path.stem)
    found, waiting = [], [Row]
    while waiting:
        waiting += (kind := waiting.pop(0)).__subclasses__()
        if kind.name:
            found.append(kind)
    return sorted(found, key=lambda row: (PARTS.index(row.part), row.__module__))


def seen(row: type[Row], case: str, world: World) -> Seen:
    """Run a row in a case and say what came of it."""
    at, error = world.at(case), ""
    try:
        _run(row(), at)
    except Exception as problem:  # noqa: BLE001 - that is what the user sees
        error = told_of(problem)
    output = "none" if not at.got else "part" if error else "all"
    return Seen(
        calls=at.asked + sum(not one["path"].endswith("/models") for one in world.provider.calls),
        output=output,
        attempts=world.ledger.attempts,
        error=error,
        types=tuple(world.ledger.types),
    )


def told_of(problem: BaseException) -> str:
    """Return an exception as its reader sees it: kind, HTTP status, code."""
    code = getattr(problem, "code", None)
    status = getattr(problem, "status_code", code if isinstance(code, int) else None)
    if status is None:
        status = getattr(getattr(problem, "response", None), "status_code", None)
    if not isinstance(code, str):
        body = getattr(problem, "body", None)
        inner = body.get("error", body) if isinstance(body, dict) else None
        code = inner.get("code") or inner.get("type") if isinstance(inner, dict) else None
    said = [str(one) for one in (status, code) if one is not None]
    return " ".join([type(problem).__name__, *dict.fromkeys(said)])


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # Its package is not there either.


def _run(row: Row, at: At) -> None:
    if inspect.iscoroutinefunction(row.run):
        asyncio.run(_run_async(row, at))
        return
    if row.person is None:
        row.run(at)
        return
    with at.trail.acting_for(row.person):
        row.run(at)


async def _run_async(row: Row, at: At) -> None:
    if row.person is None:
        await row.run(at)  # type: ignore[misc]
        return
    async with at.trail.acting_for(row.person):
        await row.run(at)  # type: ignore[misc]
