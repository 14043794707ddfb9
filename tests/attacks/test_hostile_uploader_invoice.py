# SPDX-License-Identifier: GPL-3.0-or-later
"""An invoice is a file from outside, and what it is held against was named by pipelines: both may
be made to harm the program that reads them, or the spreadsheet of whoever reads the result.
"""

import csv
import io
import tracemalloc

import pytest
from house import attempt, gen, house_in
from served_house import serving

from evidence.usage_sheets import findings_csv
from ledger.usage.invoice import LINE_MAX, Charge, charges
from ledger.usage.reconcile import Finding

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FORMULA = "=HYPERLINK(CONCAT(A1:A9))"


@pytest.fixture
def served(pattern, tmp_path):
    with house_in(pattern, tmp_path) as house, serving(house) as made:
        yield made


def send(service, data, query=""):
    path = f"/v1/usage:reconcile{query}"
    return service.ask("POST", path, token=service.auditor, content=data)


def test_writes_formulas_into_cells(served):
    """Who: whoever can name a model, or write a line of an invoice.
    Tries: a formula in a cell, which the auditor's spreadsheet would compute and send away.
    Caught by: a formula is no amount and no time, so its line is named by its number alone; and no
    cell of a sheet that leaves here begins like a formula.
    Not caught: what a spreadsheet does with a plain number or a date.
    """
    start = attempt()
    start["body"]["model"] = {"provider": "acme", "name": FORMULA, "version": "3"}
    done = gen(start["aggregate_id"])
    done["body"]["usage"] = {"cost": "-0.04", "currency": "EUR"}
    served.house.post(start)
    served.house.post(done)

    answer = send(served, f"request_id,cost\n{FORMULA},1\nreq_1,{FORMULA}\n")
    sheet = served.get("/v1/usage", headers={"accept": "text/csv"}).text
    lines = b"".join(findings_csv([Finding("matched", 1, detail=FORMULA)])).decode()

    malformed = [one for one in answer.json()["findings"] if one["kind"] == "malformed"]
    assert [one["line"] for one in malformed] == [3]
    assert "HYPERLINK" not in answer.text
    cells = [
        cell for text in (sheet, lines) for row in csv.reader(io.StringIO(text)) for cell in row
    ]
    assert f"'{FORMULA}" in cells
    assert not any(cell.startswith(("=", "+", "@", "\t")) for cell in cells)
    assert "-0.04" in cells


def test_sends_fields_without_an_end():
    """Who: whoever writes an invoice.
    Tries: a field of 8 MiB, a quotation mark that never closes, and NUL bytes between.
    Caught by: the bound of a line: never more than it is held, and the lines after it are read.
    Not caught: lines that a quotation mark has swallowed, up to 256 KiB of them, have one number.
    """
    huge = io.BytesIO(
        b"request_id,timestamp\n"
        + b"x" * (8 * 1024 * 1024)
        + b'\nreq_1,"2026-01-01\n'
        + (b"\x00" * 4_096 + b",\n") * (LINE_MAX // 2_048)
        + b"req_2,2026-01-01\n"
    )
    tracemalloc.start()

    found = list(charges(huge, "csv"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [one.request_id for one in found if isinstance(one, Charge)] == ["req_2"]
    assert peak < 4 * 1024 * 1024


def test_sends_what_is_no_invoice(served):
    """Who: whoever holds an auditor's token, by mistake or not.
    Tries: nothing, a picture, brackets without end, numbers of a million digits, other columns.
    Caught by: strict reading: each is refused with a rule, and none is repeated or a fault of ours.
    Not caught: an invoice that is well formed and false; it is what the comparison is for.
    """
    files = {
        b"": 422,
        b"\x89PNG\r\n\x1a\n" + bytes(1000): 422,
        b"[" * 200_000: 422,
        b'[{"id": "a", "cost": 1e999999999}]': 200,
        b'[{"id": "a", "cost": ' + b"9" * 1_000_000 + b"}]": 200,
        b"request_id,cost\n" + b"," * 100_000 + b"\n": 200,
    }

    answers = [send(served, data) for data in files]

    assert [one.status_code for one in answers] == list(files.values())
    assert send(served, b"a,b\n1,2\n", "?column=nonsense=a").status_code == 422
    assert send(served, b"a,b\n1,2\n", "?tolerance=NaN").status_code == 422
    assert all(one.json()["counts"]["malformed"] == 1 for one in answers if one.status_code == 200)
