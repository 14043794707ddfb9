# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a provider's invoice or usage export: CSV, JSON or NDJSON, line by line.

    header or members ──► columns (named by the reader, else recognised) ──► Charge, or Malformed

What comes in was made elsewhere and is believed nothing: a line that breaks a rule is named by its
number, by column and rule, never by its text, and the others go on. Lines, fields and numbers have
bounds, so that no file is larger in memory than a few lines; a JSON document is read whole, and so
is at most JSON_MAX bytes.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import IO, Any, Final, Literal, NamedTuple

from ledger.errors import FieldError, MalformedEvent
from ledger.usage.amounts import Mark, Marks, Unread, amount, count
from ledger.usage.columns import ADDED, NAMES

Format = Literal["csv", "json", "ndjson"]

LINE_MAX: Final = 256 * 1024
FIELD_MAX: Final = 4_096  #: Characters of one field that is looked at.
COLUMNS_MAX: Final = 512
JSON_MAX: Final = 64 * 1024 * 1024


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffd]")
_EPOCH: Final = re.compile(r"[0-9]{9,13}(?:\.[0-9]{1,9})?")
_ZONE: Final = re.compile(r" ?(?:UTC|GMT)$")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CURRENCY: Final = re.compile(r"[A-Za-z]{3,8}")
_TOKEN: Final = re.compile(r"[!-~]{1,256}")
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_HEADER_LINES: Final = 64


class Charge(NamedTuple):
    """One line of an invoice; None where it says nothing."""

    line: int  #: Of the file; of a JSON document, the number of the record. From 1.
    request_id: str | None
    at_ms: int | None  #: When the call was; None for a line over a span.
    span: tuple[int, int] | None  #: A line that adds up many calls: from, and before.
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    images: int | None
    requests: int | None
    cost: Decimal | None
    currency: str | None


class Malformed(NamedTuple):
    """A line that breaks a rule; its text is not repeated."""

    line: int
    column: str  #: Which member of a Charge; '' for the line as a whole.
    rule: str


class _Broken(ValueError):  # noqa: N818 - news, not an accident
    """A line that breaks a rule."""

    def __init__(self, column: str, rule: str) -> None:
        super().__init__(rule)
        self.column, self.rule = column, rule


def charges(
    stream: IO[bytes],
    form: Format,
    columns: Mapping[str, str] | None = None,
    decimal: Mark | None = None,
) -> Iterator[Charge | Malformed]:
    """Yield every line of an invoice, read or named as malformed.

    columns: names in the file by member of a Charge, where they are not recognised. decimal: the
    file's decimal mark, where its numbers leave a doubt. Raises MalformedEvent if nothing in the
    file can be told apart: no header, or no column that is known.
    """
    marks = Marks(decimal, ".")
    if form == "csv":
        comma, records = _csv(stream)
        marks = Marks(decimal, "." if comma == "," else None)
    else:
        records = {"json": _json, "ndjson": _ndjson}[form](stream)
    wanted = _wanted(columns or {})
    known: dict[str, tuple[str, ...]] | None = None
    for line, record in records:
        if isinstance(record, _Broken):
            yield Malformed(line, record.column, record.rule)
            continue
        named = {_plain(name): value for name, value in record.items()}
        try:
            if known is None or form != "csv":  # Every record of JSON has members of its own.
                known = _known(wanted, named, first=known is None)
            yield _charge(line, named, known, marks)
        except _Broken as error:
            yield Malformed(line, error.column, error.rule)


def form_of(name: str, start: bytes) -> Format:
    """Guess the format of a file by its name and its first bytes."""
    suffix, start = name.rpartition(".")[2].lower(), start.removeprefix(_UTF8_MARK)
    if suffix in ("ndjson", "jsonl"):
        return "ndjson"
    if suffix == "json" or (suffix != "csv" and start.lstrip()[:1] in (b"{", b"[")):
        return "json"
    return "csv"


Records = Iterator[tuple[int, dict[str, Any] | _Broken]]


def _csv(stream: IO[bytes]) -> tuple[str, Records]:
    """Return what stands between fields, and the records."""
    csv.field_size_limit(LINE_MAX)
    lines = _Lines(stream)
    header = next((one for one in lines if one.strip()), "")
    comma = ""
    if header.startswith("sep=") and header.strip()[4:] in (",", ";", "\t"):  # Excel's own line.
        comma, header = header.strip()[4:], next(lines, "")
    while header.count('"') % 2 and lines.count < _HEADER_LINES and (more := next(lines, "")):
        header += more
    bare = re.sub(r'"[^"]*"', "", header)
    comma = comma or max(",;\t", key=bare.count)
    try:
        names = next(csv.reader([f"{one}\n" for one in header.split("\n")], delimiter=comma), [])
    except csv.Error:
        names = []
    if not 1 < len(names) <= COLUMNS_MAX:
        raise _unknown("the first line of a CSV file names its columns, 2 to 512 of them")
    alike = [name for name, count in Counter(map(_plain, names)).items() if name and count > 1]
    if any(name in known for known in NAMES.values() for name in alike):
        raise _unknown(f"two columns are named {alike[0]}: which of them counts is not guessed")
    return comma, _rows(lines, names, comma)


def _rows(lines: "_Lines", names: list[str], comma: str) -> Records:
    rows = csv.reader(lines, delimiter=comma)
    while True:
        before = lines.count + 1
        try:
            row = next(rows, None)
        except csv.Error:
            rule = "a line ends in LF or CR LF, and has at most 256 KiB, as has a field in quotes"
            yield before, _Broken("", rule)
            rows = csv.reader(lines, delimiter=comma)
            continue
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(names):
            yield before, _Broken("", "a line has as many fields as the header")
            continue
        yield before, dict(zip(names, row, strict=True))


def _ndjson(stream: IO[bytes]) -> Records:
    lines = _Lines(stream)
    for text in lines:
        if not text.strip():
            continue
        value = _parsed(text)
        broken = _Broken("", "a line is one JSON object")
        yield lines.count, _flat(value) if isinstance(value, dict) else broken


def _json(stream: IO[bytes]) -> Records:
    data = stream.read(JSON_MAX + 1)
    if len(data) > JSON_MAX:
        raise _unknown("a JSON document is at most 64 MiB; send larger ones as NDJSON or CSV")
    value = _parsed(data.removeprefix(_UTF8_MARK).decode("utf-8", "replace"))
    if isinstance(value, dict):
        value = next((value[one] for one in ("data", "results", "rows") if one in value), [value])
    if not isinstance(value, list):
        raise _unknown("the file is no JSON list of records, nor an object with `data`")
    number = 0
    for record in value:
        inner = record.get("results") if isinstance(record, dict) else None
        for one in inner if isinstance(inner, list) else [record]:
            number += 1
            if not isinstance(one, dict):
                yield number, _Broken("", "a record is a JSON object")
            elif one is record:
                yield number, _flat(one)
            else:  # A bucket of time with its results, as usage APIs give them.
                yield number, _flat({k: v for k, v in record.items() if k != "results"} | one)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the members of its objects beside its own, such as `amount_value`."""
    found = dict(record)
    for name, value in record.items():
        if isinstance(value, dict):
            found |= {f"{name}_{inner}": one for inner, one in value.items()}
            if name == "usage":
                found |= {inner: one for inner, one in value.items() if inner not in record}
    return found


def _parsed(text: str) -> Any:
    """Return what JSON says, numbers as they are spelled; None for what is no JSON."""
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None


class _Lines:
    """A file's lines as text, counted; one that is too long comes as what no field may hold."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        data = self._stream.readline(LINE_MAX + 1)
        if not data:
            raise StopIteration
        if not self.count:
            if data.startswith(_UTF16_MARKS):
                raise _unknown("the file is in UTF-16; save it as UTF-8")
            data = data.removeprefix(_UTF8_MARK)
        self.count += 1
        if len(data) <= LINE_MAX:
            return data.decode("utf-8", "replace")
        while data and not data.endswith(b"\n"):
            data = self._stream.readline(LINE_MAX)
        return "\ufffd\n"


def _wanted(columns: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    unknown = [name for name in columns if name not in NAMES]
    if unknown:
        raise _unknown("columns are named by: " + ", ".join(NAMES))
    return {
        name: tuple(_plain(one) for one in columns[name].split("+")) if name in columns else known
        for name, known in NAMES.items()
    }


def _known(
    wanted: Mapping[str, tuple[str, ...]], named: Mapping[str, Any], *, first: bool
) -> dict[str, tuple[str, ...]]:
    """Return which columns are which members of a Charge; the `first` line has to have some."""
    found = {}
    for member, names in wanted.items():
        here = tuple(
            one for one in names if one in named and not isinstance(named[one], (dict, list))
        )
        if here:
            found[member] = here if member in ADDED else here[:1]
    if first and not {"request_id", "at", "start"} & found.keys():
        raise _unknown(
            "no column of the file is recognised as the request's id or its time; name them"
        )
    return found


def _charge(
    line: int, named: Mapping[str, Any], known: Mapping[str, tuple[str, ...]], marks: Marks
) -> Charge:
    def text(member: str, which: int = 0) -> str | None:
        names = known.get(member, ())
        return _text(member, named.get(names[which])) if len(names) > which else None

    def number(member: str) -> int | None:
        found = [text(member, which) for which in range(len(known.get(member, ())))]
        whole = [_whole(member, one, marks) for one in found if one is not None]
        return sum(whole) if whole else None

    request_id = text("request_id")
    if request_id is not None and not _TOKEN.fullmatch(request_id):
        raise _Broken("request_id", "an id is 1 to 256 printable ASCII characters without spaces")
    at, start, end = (text(one) for one in ("at", "start", "end"))
    span = None
    if at is None and start is not None:
        span = _span(start, end)
    if request_id is None and at is None and span is None:
        raise _Broken("", "a line has a request's id or a time")
    currency, cost = _money(text("currency"), text("cost"), marks)
    if currency is None and cost is not None and known["cost"][0].endswith("usd"):
        currency = "USD"
    return Charge(
        line=line,
        request_id=request_id,
        at_ms=None if at is None else _moment("at", at),
        span=span,
        model=text("model"),
        input_tokens=number("input_tokens"),
        output_tokens=number("output_tokens"),
        images=number("images"),
        requests=number("requests"),
        cost=cost,
        currency=currency,
    )


def _text(member: str, value: Any) -> str | None:
    """Return a field without the spaces around it; None if it is empty."""
    if value is None or isinstance(value, (dict, list, bool)):
        return None
    text = str(value).strip()
    if len(text) > FIELD_MAX:
        raise _Broken(member, "a field is at most 4,096 characters long")
    if _CONTROL.search(text):
        raise _Broken(member, "a field is UTF-8 without control characters")
    return text or None


def _whole(member: str, text: str, marks: Marks) -> int:
    try:
        return count(text, marks)
    except Unread as error:
        raise _Broken(member, str(error)) from None


def _money(
    currency: str | None, cost: str | None, marks: Marks
) -> tuple[str | None, Decimal | None]:
    """Return currency and amount; the one may stand beside the other."""
    if currency is not None and not _CURRENCY.fullmatch(currency):
        raise _Broken("currency", "a currency is a code of 3 to 8 letters, such as EUR")
    stated = None if currency is None else currency.upper()
    if cost is None:
        return stated, None
    try:
        value, beside = amount(cost, marks)
    except Unread as error:
        raise _Broken("cost", str(error)) from None
    # Many dollars have one sign; any other says which currency it is.
    if stated is not None and beside not in (None, "USD", stated):
        raise _Broken("currency", "the amount has another currency beside it")
    return stated or beside, value


def _moment(member: str, text: str) -> int:
    """Return a time in ms: seconds or milliseconds since 1970, or ISO 8601, in UTC if unsaid."""
    if _EPOCH.fullmatch(text):
        number = Decimal(text)
        return int(number if number >= 10**12 else number * 1000)
    try:
        moment = datetime.fromisoformat(_ZONE.sub("+00:00", text))
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        ms = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        ms = -1
    if ms < 0:
        raise _Broken(member, "a time is ISO 8601, or seconds since 1970")
    return ms


def _span(start: str, end: str | None) -> tuple[int, int]:
    """Return the span of a line: to its end, or the day of its beginning."""
    from_ms = _moment("start", start)
    to_ms = _moment("end", end) if end is not None else from_ms + 86_400_000
    if to_ms <= from_ms:
        raise _Broken("end", "a span ends after it has begun")
    return from_ms, to_ms


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(name).strip().lower()[:256]).strip("_")


def _unknown(detail: str) -> MalformedEvent:
    return MalformedEvent(detail, errors=[FieldError("", "invoice", detail)])
