# SPDX-License-Identifier: GPL-3.0-or-later
"""`usage show`, `usage reconcile`: what calls cost, and a provider's invoice held against it."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from api.lineage import as_of_json
from api.usage import columns_of, span_of, tolerated
from evidence.usage_sheets import FINDINGS_MAX, finding_json, findings_csv, groups_csv, groups_json
from ledger import durable
from ledger.errors import Refused
from ledger.readmodel.follower import catch_up
from ledger.usage.amounts import MARKS, Decimals
from ledger.usage.costs import SESSION, By, Question, printed, usage
from ledger.usage.invoice import Charge, Format, Malformed, charges, form_of
from ledger.usage.reconcile import WITHIN_S, Finding, Reconciliation, Terms
from scripts.looking import OneBook, Person, Purpose, looking_into
from scripts.options import DataDir, Json
from scripts.output import exits, progress, show
from sealtrail.verify.disclosure import PERSON

app = typer.Typer(help="What calls cost, and whether an invoice agrees.", no_args_is_help=True)

From = Annotated[str | None, typer.Option("--from", help="A UTC day, or a time.")]
To = Annotated[str | None, typer.Option(help="Until before this day or time.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="A new file; all of it.")]


@app.command("show")
def show_usage(
    book: OneBook,
    person: Person,
    purpose: Purpose,
    *,
    by: Annotated[By, typer.Option(help="What to add up by.")] = "model",
    from_: From = None,
    to: To = None,
    csv: Csv = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Add up what calls used and cost; the last 31 days unless said. A look at content."""
    with exits(as_json=as_json), looking_into(data, book, person, purpose) as looking:
        begin, end = span_of(from_, to)
        database, schema = looking.book.database, looking.book.row.schema
        as_of = catch_up(database, schema, ["lineage"])
        groups = usage(database, schema, looking.book.vault, Question(by, begin, end))
        fields = {"person": [PERSON], "session": [SESSION]}.get(by, [])
        looking.note(
            "sealtrail-server usage show",
            count=len(groups),
            size=as_of.position,
            fields=fields,
            exported=csv is not None,
        )
        if csv is not None:
            written(csv, [groups_csv(groups, by)]).rename(csv)
        told = {**as_of_json(as_of), "by": by, "groups": groups_json(groups, by)}
        lines = [
            f"{' '.join(one.key):48} {one.calls:>9,} calls  "
            + ", ".join(f"{printed(m.cost)} {m.currency or '?'}" for m in one.money.values())
            for one in groups
        ]
        show(told, "\n".join(lines) or "no call says what it used", as_json=as_json)


@app.command("reconcile")
def reconcile(
    file: Path,
    book: OneBook,
    person: Person,
    purpose: Purpose,
    *,
    form: Annotated[Format | None, typer.Option("--format", help="Else by name.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Such as request_id=Vorgang; may be repeated.")
    ] = None,
    decimal: Annotated[
        Decimals | None, typer.Option(help="The decimal mark, where numbers leave a doubt.")
    ] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Whose invoice it is.")] = None,
    from_: From = None,
    to: To = None,
    within_s: Annotated[int, typer.Option(min=0, max=3_600, help="Seconds apart.")] = WITHIN_S,
    tolerance: Annotated[str, typer.Option(help="Amount by which two may differ.")] = "0",
    csv: Csv = None,
    data: DataDir = None,
    as_json: Json = False,
) -> None:
    """Hold a provider's invoice or usage export (CSV, JSON, NDJSON) against the record."""
    with (
        exits(as_json=as_json),
        file.open("rb") as invoice,
        looking_into(data, book, person, purpose) as looking,
    ):
        begin = None if from_ is None else span_of(from_, None)[0]
        end = None if to is None else span_of(None, to)[1]
        terms = Terms(
            from_ms=begin,
            to_ms=end,
            providers=tuple(provider or ()),
            within_s=within_s,
            tolerance=tolerated(tolerance),
        )
        database, schema = looking.book.database, looking.book.row.schema
        as_of = catch_up(database, schema, ["lineage"])
        mark = decimal and MARKS[decimal]
        lines = charges(invoice, form or _form(invoice, file.name), columns_of(column or ()), mark)
        work = Reconciliation(database, schema, terms)
        first: list[dict[str, Any]] = []
        with progress("invoice", quiet=as_json) as update:
            found = _kept(work.findings(_counted(lines, invoice, file, update)), first)
            if csv is not None:
                sheet = written(csv, findings_csv(found))
            else:
                deque(found, maxlen=0)
        count = sum(work.summary.counts.values())
        looking.note(
            "sealtrail-server usage reconcile",
            count=count,
            size=as_of.position,
            exported=csv is not None,
        )
        if csv is not None:
            sheet.rename(csv)
        told = {**as_of_json(as_of), **work.summary.json(), "findings": first}
        show(told, _text(told), as_json=as_json)


def _form(invoice: IO[bytes], name: str) -> Format:
    """Guess the format of a file, and go back to its beginning."""
    start = invoice.read(64)
    invoice.seek(0)
    return form_of(name, start)


def _kept(findings: Iterable[Finding], first: list[dict[str, Any]]) -> Iterator[Finding]:
    """Pass findings on, and keep the first of those that do not match."""
    for one in findings:
        if one.kind != "matched" and len(first) < FINDINGS_MAX:
            first.append(finding_json(one))
        yield one


def _counted(
    lines: Iterable[Charge | Malformed], invoice: IO[bytes], file: Path, update: Any
) -> Iterator[Charge | Malformed]:
    """Pass lines on, and show how far the file is read."""
    size = file.stat().st_size
    for number, line in enumerate(lines):
        if number % 1_000 == 0:
            update(invoice.tell(), size)
        yield line


def written(path: Path, parts: Iterable[bytes]) -> Path:
    """Write beside a new file, for its owner alone; the caller renames it once the look is in."""
    if path.exists() or not path.parent.is_dir():
        raise Refused(f"{path} exists already, or its directory does not; name a new file")
    beside = durable.temporary(path)
    beside.unlink(missing_ok=True)
    with beside.open("xb") as file:
        beside.chmod(0o600)
        for part in parts:
            file.write(part)
    return beside


def _text(told: dict[str, Any]) -> str:
    lines = [f"{kind:14} {count:>9,}" for kind, count in told["counts"].items()]
    for name in ("charged", "recorded"):
        sums = ", ".join(f"{amount} {currency}" for currency, amount in told[name].items())
        lines.append(f"{name:14} {sums or '-'}")
    for one in told["findings"][:20]:
        where = f"line {one['line']}" if "line" in one else f"event {one['event_id']}"
        differing = "; ".join(
            f"{name} {pair['here']} here, {pair['there']} there"
            for name, pair in one.get("differing", {}).items()
        )
        lines.append(f"  {one['kind']} {where} {differing or one.get('detail', '')}".rstrip())
    if len(told["findings"]) > 20:
        lines.append("  … and more: --json, or --csv FILE for all of them")
    return "\n".join(lines)
