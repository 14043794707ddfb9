# SPDX-License-Identifier: GPL-3.0-or-later
"""The fail-closed matrix: every row in every case, what has to come of it, and the page of it.

    python tests/fail_closed/closed_matrix.py             runs it and writes docs/fail-closed.md
    python tests/fail_closed/closed_matrix.py litellm     only the rows of rows_litellm.py

A row whose library is not installed here keeps its line of the page as it was, with the versions
that it was run with; tests/fail_closed/test_fail_closed.py compares all others.
"""

import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from closed_rows import PARTS, Row, rows, seen
from closed_world import AFTER, BEFORE, CASES, Seen, World, world

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fail-closed.md"

#: Hooks that could not be run here, from the source of the programs that have them.
READ_ONLY = {
    "ComfyUI `PromptServer.trigger_on_prompt` handlers that raise": (
        "`trigger_on_prompt` logs what a handler raises and queues the prompt all the same "
        "(`server.py`); a handler that returns a dictionary without `prompt` is answered with 400."
    ),
    "AUTOMATIC1111 `script_callbacks`, `Script.process*`": (
        "Each callback stands in a `try` that reports and goes on (`errors.report`); take the "
        "gateway in front of `/sdapi/v1/*`."
    ),
}

_HEAD = """# What happens while the ledger is away

Made from its tests (`python tests/fail_closed/closed_matrix.py`); do not edit. Measured on
{date}, each row in seven cases against a provider on this machine that speaks the real
wire formats and keeps its own books:

{cases}

*Calls* are what the provider's own books say: what an invoice would be made of. *Nothing* means
that the program got no output; *withheld*, that the model had been called and its output was thrown
away; *no end*, that parts of a stream had gone on, and the event that ends it had not, so that the
SDK raises instead of ending well. *Attempts* are counted where an SDK tried again by itself. Rows
marked `harness` ran on a restatement of the program's own code, not on the program.

An attempt that a slow ledger records after all, when nobody waits any more, was never made: it has
no outcome, and the ledger closes it at its deadline.

## Fails closed
"""

_OPEN = """## Cannot fail closed

Hooks of others that many tools plug into. What they raise is swallowed, so a model is called and
its output released without a record. Nothing of ours uses them; this is what they did in the same
cases.
"""

_READ = """## Not run here

From the source of the programs, which are not installed where these tests run.
"""


@cache
def observed(row: type[Row], shared: World) -> dict[str, Seen]:
    """Return what a row did in each case."""
    return {case: seen(row, case, shared) for case in CASES}


def broken(row: type[Row], found: dict[str, Seen]) -> list[str]:
    """Return where a row did not do what it must; one that cannot hold must be seen to fail."""
    well = found["well"]
    wrong = [] if (well.calls, well.output, well.error) == (1, "all", "") else [f"well: {well}"]
    if not row.holds:
        let_by = [found[case].output == "all" and not found[case].error for case in BEFORE + AFTER]
        return wrong if any(let_by) else [*wrong, "it holds: nothing was let by"]
    if well.types != ("GEN_ATTEMPT", "GEN"):
        wrong.append(f"well: recorded {well.types}")
    for case in BEFORE:
        one = found[case]
        if one.calls or one.output != "none" or not one.error:
            wrong.append(f"{case}: {one}")
    for case in AFTER:
        one = found[case]
        allowed = {"none", "part"} if row.stream else {"none"}
        if one.calls != 1 or one.output not in allowed or not one.error:
            wrong.append(f"{case}: {one}")
    return wrong


def line(row: type[Row], found: dict[str, Seen]) -> str:
    """Return a row's line of the page."""
    name = f"{row.name} `harness`" if row.harness else row.name
    cells = [name, row.versions()]
    cells += [_cell(found[case]) for case in CASES if case != "well"]
    told = dict.fromkeys(f"`{found[case].error}`" for case in BEFORE + AFTER if found[case].error)
    cells.append(", ".join(told) if row.holds else row.reason)
    return f"| {' | '.join(cells)} |"


def _cell(one: Seen) -> str:
    calls = "1 call" if one.calls == 1 else f"{one.calls} calls"
    got = {
        "all": "released",
        "part": "no end",
        "none": "withheld" if one.calls else "nothing",
    }[one.output]
    again = f" ({one.attempts} attempts)" if one.attempts > 1 else ""
    return f"{calls}, {got}{again}"


def named(text: str) -> dict[str, str]:
    """Return the lines of a page's tables by their rows' names."""
    lines = [one for one in text.splitlines() if one.startswith("| ")]
    return {one.split(" | ")[0].removeprefix("| ").removesuffix(" `harness`"): one for one in lines}


def behaviour(text: str) -> list[str]:
    """Return the cells of a line without the versions, which differ between machines."""
    cells = text.strip("| ").split(" | ")
    return [cells[0], *cells[2:]]


def page(shared: World, before: str, only: list[str]) -> str:
    """Return docs/fail-closed.md. before: the page as it was, for what is not run here."""
    kept = named(before)
    lines = {
        row: line(row, observed(row, shared)) if runs(row, only) else kept.get(row.name, "")
        for row in rows()
    }
    cases = "\n".join(f"* **{_WORDS[case]}**: {text}" for case, text in CASES.items())
    date = datetime.now(UTC).strftime("%-d %B %Y")
    out = [_HEAD.format(date=date, cases=cases)]
    for part in PARTS:
        below = [lines[row] for row in lines if row.part == part and row.holds and lines[row]]
        if below:
            out += [f"### {part}", "", *_table("the user sees"), *below, ""]
    out += [_OPEN, *_table("why, and what instead")]
    out += [lines[row] for row in lines if not row.holds and lines[row]]
    unread = {name: why for name, why in READ_ONLY.items() if name not in {r.name for r in lines}}
    if unread:
        out += ["", _READ, "| hook | why, and what instead |", "| --- | --- |"]
        out += [f"| {name} | {why} |" for name, why in unread.items()]
    return "\n".join(out) + "\n"


_WORDS = {
    "well": "well",
    "down-before": "down before",
    "down-after": "down after",
    "slow": "slow",
    "garbage": "garbage before",
    "garbage-after": "garbage after",
    "late": "late",
}


def runs(row: type[Row], only: list[str]) -> bool:
    return row.missing() is None and (not only or row.__module__.removeprefix("rows_") in only)


def _table(last: str) -> list[str]:
    heads = ["integration", "run with", *(_WORDS[one] for one in CASES if one != "well"), last]
    return [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]


if __name__ == "__main__":
    with world() as made:
        old = PAGE.read_text("utf-8") if PAGE.exists() else ""
        PAGE.write_text(page(made, old, sys.argv[1:]), "utf-8")
        wrong = {
            row.name: found
            for row in rows()
            if runs(row, sys.argv[1:]) and (found := broken(row, observed(row, made)))
        }
    for name, found in wrong.items():
        print(f"{name}: {'; '.join(found)}")
    sys.exit(1 if wrong else 0)
