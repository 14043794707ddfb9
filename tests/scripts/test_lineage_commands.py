# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server trace`, `lineage`, `usage` and `upgrades` as an operator types them."""

import pytest
from house import attempt, event_id, gen, ingest
from typer.testing import CliRunner

from ledger import clock
from ledger.request import Identity, prepare
from ledger.settings import Settings
from scripts import cli
from scripts.assembly import open_ledger

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

WHO = ("--book=acme", "--person=auditor-7", "--purpose=incident-42")


@pytest.fixture
def made(ledger):
    """A picture, a call that was given it, and what came of it; returns their names."""
    identity = Identity(
        credential="cred_test", tenant="acme", role="pipeline", kind="pipeline", name="renderer"
    )
    source, out, trace = event_id(), event_id(), event_id().replace("-", "")
    digest = "sha256:" + event_id().replace("-", "") * 2
    start = attempt(trace={"trace_id": trace})
    start["body"]["inputs"] = [{"ref_asset": source, "type": "image", "role": "source"}]
    done = gen(start["aggregate_id"], out)
    done["body"]["outputs"][0]["sha256"] = digest
    done["body"]["usage"] = {"cost": "0.04", "currency": "EUR"}
    done["body"]["provider"] = {"request_id": f"req_{out}", "model_returned": f"painter-{out}"}
    with open_ledger(Settings.from_environment(ledger.environment)) as opened:
        book = opened.shelf.book("acme")
        for one in (ingest(source), start, done):
            prepared = prepare(one, identity, received_ms=clock.now_ms(), pipelines=frozenset())
            book.record([prepared]).result(timeout=30)
    return {"source": source, "out": out, "trace": trace, "digest": digest}


def text(ledger, *arguments):
    done = CliRunner().invoke(cli.app, list(arguments), env=ledger.environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_trace_is_drawn_and_told(ledger, made):
    """As text for people, as one document for programs, with the disclosure of who looked."""
    told = ledger.here("trace", made["trace"], *WHO)
    drawn = text(ledger, "trace", made["trace"], *WHO)

    assert told["calls"] == 1
    assert told["access"]["disclosures"]["actor.subject_id"]
    assert drawn.startswith(f"trace {made['trace']}: 1 call\n└─ generate acme/painter 3 · GEN")
    assert ledger.here("trace", "0" * 32, *WHO, code=2)["error"] == "not-found"


def test_a_lineage_is_drawn_in_three_ways(ledger, made):
    """By digest, by id, by the name of a thing."""
    told = ledger.here("lineage", made["digest"], *WHO)

    assert {f"Asset/{made['source']}", f"Asset/{made['out']}"} <= {
        one["thing"] for one in told["things"]
    }
    by_id = ledger.here("lineage", made["out"], *WHO)
    assert by_id["things"] == told["things"]
    assert f"Asset/{made['source']}" in text(ledger, "lineage", f"Asset/{made['out']}", *WHO)
    assert text(ledger, "lineage", made["out"], *WHO, "--dot").startswith("digraph")
    assert text(ledger, "lineage", made["out"], *WHO, "--mermaid").startswith("flowchart")


def test_costs_and_an_invoice(ledger, made, tmp_path):
    """By model on the screen, all of it in a sheet; an invoice is matched line by line."""
    invoice = tmp_path / "invoice.csv"
    invoice.write_text(f"request_id,cost,currency\nreq_{made['out']},0.04,EUR\nreq_x,1,EUR\n")
    costs, sheet = tmp_path / "costs.csv", tmp_path / "lines.csv"

    shown = ledger.here("usage", "show", *WHO, "--by=day", f"--csv={costs}")
    told = ledger.here("usage", "reconcile", str(invoice), *WHO, f"--csv={sheet}")
    again = ledger.here("usage", "reconcile", str(invoice), *WHO, f"--csv={sheet}", code=2)
    bad = ledger.here("usage", "reconcile", str(invoice), *WHO, "--tolerance=x", code=2)

    assert shown["groups"][0]["cost"][0]["currency"] == "EUR"
    assert costs.read_text().splitlines()[0].startswith("day,calls")
    assert (told["counts"]["matched"], told["counts"]["missing-here"]) == (1, 1)
    assert sheet.read_text().splitlines()[1].startswith("matched,2,")
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert "exists already" in again["detail"]
    assert "decimal number" in bad["detail"]


def test_answers_that_nobody_registered_are_listed(ledger, made):
    """Each with how often and since when."""
    told = ledger.here("upgrades", *WHO, "--alarming")

    (one,) = [one for one in told["answers"] if one["model_returned"] == f"painter-{made['out']}"]
    assert (one["standing"], one["answers"]) == ("unregistered", 1)
    assert f"answered as painter-{made['out']}" in text(ledger, "upgrades", *WHO)
