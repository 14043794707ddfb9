# SPDX-License-Identifier: GPL-3.0-or-later
"""Invoices as providers export them, and files that nobody should have to read."""

import io
import json
from decimal import Decimal

import pytest

from ledger.errors import MalformedEvent
from ledger.usage.invoice import LINE_MAX, Charge, Malformed, charges, form_of

#: What is asked here does not depend on any database.
pytestmark = pytest.mark.once

NOON = 1_767_268_800_000  # 2026-01-01T12:00:00Z
EMPTY = Charge(1, None, None, None, None, None, None, None, None, None, None)


def read(text, form="csv", columns=None):
    data = text if isinstance(text, bytes) else text.encode()
    return list(charges(io.BytesIO(data), form, columns))


def test_a_plain_csv_is_read_by_its_header():
    """Whatever the case and the spacing of its names, with commas, semicolons or tabs."""
    expected = EMPTY._replace(
        line=2,
        request_id="req_1",
        at_ms=NOON,
        model="painter-3",
        input_tokens=12,
        output_tokens=3,
        images=1,
        cost=Decimal("0.040"),
        currency="EUR",
    )
    for comma in ",;\t":
        header = ["Request ID", "Timestamp", "MODEL", "Prompt Tokens", "completion-tokens",
                  "Images", "Cost", "Currency"]  # fmt: skip
        line = ["req_1", "2026-01-01T12:00:00Z", "painter-3", "12", "3", "1", "0.040", "eur"]

        assert read(comma.join(header) + "\r\n" + comma.join(line) + "\r\n") == [expected]


def test_token_columns_are_added_up():
    """Cached and uncached input are both input."""
    header = "request_id,uncached_input_tokens,cache_read_input_tokens,output_tokens"

    (found,) = read(f"{header}\nmsg_1,10,90,4\n")

    assert (found.input_tokens, found.output_tokens) == (100, 4)


@pytest.mark.parametrize(
    ("document", "span", "tokens", "cost"),
    [
        (
            {
                "object": "page",
                "data": [
                    {
                        "object": "bucket",
                        "start_time": 1767225600,
                        "end_time": 1767312000,
                        "results": [
                            {
                                "input_tokens": 1000,
                                "output_tokens": 500,
                                "num_model_requests": 5,
                                "model": "painter-3",
                            }
                        ],
                    }
                ],
            },
            (1_767_225_600_000, 1_767_312_000_000),
            (1000, 500, 5),
            None,
        ),
        (
            {
                "data": [
                    {
                        "starting_at": "2026-01-01T00:00:00Z",
                        "ending_at": "2026-01-02T00:00:00Z",
                        "results": [
                            {"currency": "USD", "amount": "123.78912", "model": "painter-3"}
                        ],
                    }
                ]
            },
            (1_767_225_600_000, 1_767_312_000_000),
            (None, None, None),
            ("123.78912", "USD"),
        ),
        (
            [
                {
                    "date": "2026-01-01",
                    "model": "painter-3",
                    "amount": {"value": 0.1, "currency": "usd"},
                }
            ],
            (1_767_225_600_000, 1_767_312_000_000),
            (None, None, None),
            ("0.1", "USD"),
        ),
    ],
    ids=["usage-buckets", "cost-buckets", "days-with-amounts"],
)
def test_buckets_of_time_are_read_with_their_results(document, span, tokens, cost):
    """As the usage APIs of two large providers give them; fractions stay decimal."""
    (found,) = read(json.dumps(document), "json")

    assert found.span == span
    assert (found.input_tokens, found.output_tokens, found.requests) == tokens
    assert found.model == "painter-3"
    assert (found.cost, found.currency) == (
        (None, None) if cost is None else (Decimal(cost[0]), cost[1])
    )


def test_records_of_ndjson_have_members_of_their_own():
    """One record a line; the usage of a response is read where it stands."""
    lines = [
        {"id": "gen_1", "created": 1767268800, "usage": {"prompt_tokens": 3}, "model": "m"},
        {"request_id": "req_2", "cost_usd": 0.02},
    ]

    first, second = read("\n".join(map(json.dumps, lines)), "ndjson")

    assert (first.request_id, first.at_ms, first.input_tokens) == ("gen_1", NOON, 3)
    assert (second.request_id, second.cost, second.currency) == ("req_2", Decimal("0.02"), "USD")


def test_columns_may_be_named():
    """What is not recognised, or recognised as another thing; columns of tokens with `+`."""
    text = "id,Vorgang,Eingabe,Cache\n7,req_9,5,6\n"

    (found,) = read(text, columns={"request_id": "Vorgang", "input_tokens": "Eingabe+Cache"})

    assert (found.request_id, found.input_tokens) == ("req_9", 11)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("=cmd|' /C calc'!A0,2026-01-01,1,1", "request_id"),
        ("req_1,=NOW(),1,1", "at"),
        ("req_1,2026-01-01,=1+1,1", "cost"),
        ("req_1,2026-01-01,1e999999999,1", "cost"),
        ("req_1,2026-01-01,NaN,1", "cost"),
        ("req_1,2026-01-01,1,-3", "input_tokens"),
        ("req_1,2026-01-01,1,99999999999999999999", "input_tokens"),
        ("req_1,99999999999999,1,1", "at"),
        ("req\x00_1,2026-01-01,1,1", "request_id"),
        ("r" * 5000 + ",2026-01-01,1,1", "request_id"),
        ("req_1,2026-01-01", ""),
        (",,1,1", ""),
    ],
    ids=[
        "formula-id", "formula-time", "formula-cost", "exponent", "nan", "negative", "long-number",
        "year-three-million", "nul", "long-field", "short-line", "nothing-to-find-it-by",
    ],
)  # fmt: skip
def test_a_bad_line_is_named_and_the_others_are_read(line, column):
    """By its number, its column and a rule; nothing of its text is repeated."""
    text = f"request_id,timestamp,cost,input_tokens\n{line}\nreq_2,2026-01-01,1,1\n"

    bad, good = read(text)

    assert isinstance(bad, Malformed)
    assert (bad.line, bad.column) == (2, column)
    assert good.request_id == "req_2"
    assert line.split(",")[0][:12] not in bad.rule or not line[0].strip(",")


@pytest.mark.parametrize(
    "data",
    [
        b'req_1,"' + b"x" * (LINE_MAX + 10) + b'"\n',
        b"req_1," + b"y" * (3 * LINE_MAX) + b"\n",
        b"req_1,\xff\xfe\n",
    ],
    ids=["quoted", "plain", "not-utf-8"],
)
def test_a_gigantic_or_unreadable_field_costs_its_line_only(data):
    """A line beyond the bound is never held whole, and the one after it is read."""
    found = read(b"request_id,timestamp\n" + data + b"req_2,2026-01-01\n")

    assert [type(one).__name__ for one in found] == ["Malformed", "Charge"]
    assert found[1].request_id == "req_2"


def test_an_open_quote_does_not_swallow_the_file():
    """What a quotation mark opens ends after 256 KiB; then lines are read again."""
    lines = [b'req_0,"open\n', *(b"req_%d,2026-01-01\n" % n for n in range(40_000))]

    found = read(b"request_id,timestamp\n" + b"".join(lines))

    assert isinstance(found[0], Malformed)
    assert sum(isinstance(one, Charge) for one in found) > 20_000


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", "csv"),
        ("just one column\n1\n", "csv"),
        ("colour,shape\nred,round\n", "csv"),
        ("{", "json"),
        ('"text"', "json"),
        ("[" * 100_000, "json"),
    ],
    ids=["empty", "one-column", "other-columns", "cut", "text", "deep"],
)
def test_a_file_that_is_no_invoice_is_refused(text, form):
    """With what would be needed, and nothing of its text."""
    with pytest.raises(MalformedEvent) as caught:
        read(text, form)

    assert caught.value.errors[0].rule == "invoice"


def test_the_format_is_guessed_by_name_and_beginning():
    assert form_of("january.csv", b"[") == "csv"
    assert form_of("january.jsonl", b"") == "ndjson"
    assert form_of("january", b' {"data"') == "json"
    assert form_of("january", b"request_id,") == "csv"
