# SPDX-License-Identifier: GPL-3.0-or-later
"""Invoices as spreadsheets and providers of many countries write them."""

import io
from decimal import Decimal

import pytest

from ledger.errors import MalformedEvent
from ledger.usage.amounts import DOUBT
from ledger.usage.invoice import Malformed, charges, form_of

pytestmark = pytest.mark.once


def read(text, form="csv", **how):
    return list(
        charges(io.BytesIO(text if isinstance(text, bytes) else text.encode()), form, **how)
    )


def priced(amount, comma=",", **how):
    """The one line of a file with this amount: what it costs, or the rule that it breaks."""
    text = f'request_id{comma}cost{comma}currency\nreq_1{comma}"{amount}"{comma}\n'
    (found,) = read(text, **how)
    return found.rule if isinstance(found, Malformed) else (found.cost, found.currency)


@pytest.mark.parametrize(
    ("amount", "cost", "currency"),
    [
        ("1,234.56", "1234.56", None),
        ("1.234,56", "1234.56", None),
        ("1,234,567", "1234567", None),
        ("0,04", "0.04", None),
        ("1\u202f234,50", "1234.50", None),
        ("1'234.50", "1234.50", None),
        (".05", "0.05", None),
        ("(5.00)", "-5.00", None),
        ("\u22125.00", "-5.00", None),
        ("5.00-", "-5.00", None),
        ("-$1,234.50", "-1234.50", "USD"),
        ("€5,00", "5.00", "EUR"),
        ("5.00 chf", "5.00", "CHF"),
    ],
)
@pytest.mark.parametrize("comma", [",", ";"])
def test_an_amount_without_a_doubt_is_read_whatever_its_country(amount, cost, currency, comma):
    """Thousands, decimal commas, credits, and the currency that stands beside it."""
    assert priced(amount, comma) == (Decimal(cost), currency)


@pytest.mark.parametrize("amount", ["1.234", "1,234", "-1.234", "12,345 EUR"])
def test_an_amount_that_may_be_two_is_not_guessed(amount):
    """Wrong by a thousand is worse than malformed; who knows the file says its decimal mark."""
    plain = amount.removesuffix(" EUR").replace(",", ".")

    assert priced(amount, ";") == DOUBT
    assert priced(amount, ",")[0] in {Decimal(plain), Decimal(plain) * 1000}
    point, comma = (priced(amount, ";", decimal=mark)[0] for mark in (".", ","))
    assert {point, comma} == {Decimal(plain), Decimal(plain) * 1000}


@pytest.mark.parametrize(
    "amount", ["1,23,456", "1.2.3,4", "1,,000", "--5", "$5€", "1.", "(-5)", "5 %", "٣"]
)
def test_what_is_no_amount_is_none(amount):
    assert "decimal number" in priced(amount)


@pytest.mark.parametrize(
    ("tokens", "count"),
    [("1,234,567", 1_234_567), ("1.234", 1_234), ("12.0", 12), ("1,000", 1_000), ("007", 7)],
)
def test_numbers_of_things_are_whole(tokens, count):
    (found,) = read(f'request_id,input_tokens\nreq_1,"{tokens}"\n')

    assert found.input_tokens == count


@pytest.mark.parametrize("tokens", ["1,5", "1.5", "1.000", "-1", "1e3"])
def test_a_number_of_things_that_is_not_whole_is_malformed(tokens):
    """`1,5` was read as fifteen, and `1.000` may be one or a thousand."""
    (found,) = read(f'request_id,input_tokens\nreq_1,"{tokens}"\n')

    assert (found.line, found.column) == (2, "input_tokens")


def test_a_currency_beside_the_amount_does_not_contradict_the_column():
    found = read('request_id,cost,currency\na,"5 EUR",USD\nb,$5,CAD\nc,"5 EUR",eur\n')

    assert [getattr(one, "column", None) for one in found] == ["currency", None, None]
    assert [one.currency for one in found[1:]] == ["CAD", "EUR"]


@pytest.mark.parametrize(
    "before",
    ["\ufeff", "\n\r\n", "sep=;\r\n", "\ufeffsep=;\r\n"],
    ids=["mark", "empty-lines", "excel", "both"],
)
def test_what_stands_before_the_header_is_passed(before):
    """Byte order mark, empty lines, Excel's own line; fields with line feeds and semicolons."""
    header = 'request_id;"note, and; more, of, it";cost;"cur\nrency"\r\n'
    found = read(f'{before}{header}req_1;"two\nlines; ""quoted""";0,04;EUR\r\n')

    assert [(one.request_id, one.cost) for one in found] == [("req_1", Decimal("0.04"))]


@pytest.mark.parametrize("text", ['[{"request_id": "r"}]', '{"data": [{"request_id": "r"}]}'])
def test_json_may_begin_with_a_byte_order_mark(text):
    """Also line by line, and where the format is guessed."""
    data = b"\xef\xbb\xbf" + text.encode()

    assert form_of("", data) == "json"
    assert [one.request_id for one in read(data, "json")] == ["r"]
    assert read(b'\xef\xbb\xbf{"request_id": "r"}\n', "ndjson")[0].request_id == "r"


@pytest.mark.parametrize(
    ("data", "word"),
    [("request_id,cost\nr,1\n".encode("utf-16"), "UTF-16"), (b"request_id,cost\rr,1\r", "line")],
    ids=["utf-16", "old-mac"],
)
def test_a_file_in_another_encoding_is_refused_by_name(data, word):
    """Not as one without columns, and not as a fault of ours."""
    with pytest.raises(MalformedEvent) as refusal:
        read(data)

    assert word in refusal.value.errors[0].detail


def test_a_time_may_name_its_zone():
    found = read("timestamp,cost\n2026-11-21 10:00:00 UTC,1\n2026-11-21T10:00:00Z,1\n")

    assert found[0].at_ms == found[1].at_ms


def test_two_columns_of_one_name_are_refused():
    """The last one would count in silence; columns that nobody reads may be called alike."""
    with pytest.raises(MalformedEvent, match="two columns are named cost"):
        read("request_id,cost,Cost\nreq_1,1.00,2.00\n")

    (found,) = read("request_id,note,note,cost\nreq_1,a,b,1.00\n")
    assert found.cost == Decimal("1.00")
