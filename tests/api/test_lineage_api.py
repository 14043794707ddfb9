# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees, lineages, costs, registers and upgrades over HTTP; each of them a look."""

import pytest
from house import attempt, event_id, gen, ingest, record_key

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

CASE = {"sealtrail-purpose": "audit-7"}


@pytest.fixture(scope="module")
def request_made(service):
    """A call with one output made of one ingested picture, answered by a model."""
    source, made, trace = event_id(), event_id(), event_id().replace("-", "")
    person = f"person-{made}"
    digest = "sha256:" + event_id().replace("-", "") * 2
    start = attempt(trace={"trace_id": trace}, on_behalf_of=person)
    start["body"]["inputs"] = [{"ref_asset": source, "type": "image", "role": "source"}]
    start["sealed"]["actor.session_id"] = "s-1"
    done = gen(start["aggregate_id"], made, on_behalf_of=person)
    done["body"]["outputs"][0]["sha256"] = digest
    done["body"]["usage"] = {"cost": "0.04", "currency": "EUR", "input_tokens": 3}
    done["body"]["provider"] = {
        "request_id": f"req_{made}",
        "model_returned": "painter-3-q",
        "system_fingerprint": "fp_1",
    }
    for one in (ingest(source), start, done):
        answer = service.post(one)
        assert answer.status_code == 201, answer.text
    return {
        "trace": trace,
        "digest": digest,
        "start": start,
        "made": made,
        "source": source,
        "person": person,
    }


def looked(service, ask):
    before = len(service.looks)
    answer = ask()
    return answer, service.looks[before:]


def test_a_tree_is_one_look_at_all_that_it_shows(service, request_made):
    """By its trace id or an event of it; as a drawing for those who like one."""
    path = f"/v1/traces/{request_made['trace']}/tree"

    answer, (look,) = looked(service, lambda: service.get(path, headers=CASE))
    text = service.get(path, headers={"accept": "text/plain"})
    (by_event,) = service.get(f"/v1/traces/{request_made['start']['event_id']}/tree").json()[
        "roots"
    ]

    assert answer.status_code == 200
    (root,) = answer.json()["roots"]
    assert root["generation"] == by_event["generation"] == request_made["start"]["aggregate_id"]
    assert look["body"]["path"] == "/v1/traces/{id}/tree"
    assert look["body"]["purpose"] == "audit-7"
    assert request_made["start"]["event_id"] in look["body"]["target_event_ids"]
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.startswith(f"trace {request_made['trace']}: 1 call\n└─ generate acme/painter")


def test_an_asset_is_found_by_digest_by_id_and_by_a_body(service, request_made):
    """Three ways to ask, one answer; and drawings of it."""
    digest, made = request_made["digest"], request_made["made"]

    answer, (look,) = looked(service, lambda: service.get(f"/v1/assets/{digest}"))
    posted = service.ask(
        "POST", "/v1/assets:lineage", token=service.auditor, json={"digest": digest}
    )
    by_id = service.get("/v1/assets", params={"id": made})
    dot = service.get(f"/v1/assets/{digest}", headers={"accept": "text/vnd.graphviz"})
    mermaid = service.get(f"/v1/assets/{digest}", headers={"accept": "text/vnd.mermaid"})

    assert answer.status_code == posted.status_code == by_id.status_code == 200
    things = [one["thing"] for one in answer.json()["things"]]
    assert {f"Asset/{made}", f"Asset/{request_made['source']}"} <= set(things)
    assert answer.json()["found"][0]["what"] == "bytes"
    assert posted.json()["things"] == answer.json()["things"] == by_id.json()["things"]
    assert look["body"]["path"] == "/v1/assets/{digest}"
    assert dot.text.startswith("digraph")
    assert mermaid.text.startswith("flowchart")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/traces/00000000000000000000000000000000/tree",
        "/v1/assets/sha256:" + "0" * 64,
        "/v1/assets?id=nothing",
    ],
    ids=["trace", "digest", "id"],
)
def test_what_is_not_found_was_looked_for_all_the_same(service, path):
    """The look is recorded with no result."""
    answer, (look,) = looked(service, lambda: service.get(path))

    assert answer.status_code == 404
    assert look["body"]["result_count"] == 0


@pytest.mark.usefixtures("request_made")
def test_usage_is_told_by_model_and_as_a_sheet(service):
    """Decimal strings by currency; a sheet has a line for each group and currency."""
    answer, (look,) = looked(service, lambda: service.get("/v1/usage?by=model"))
    sheet = service.get("/v1/usage?by=model", headers={"accept": "text/csv"})

    (group,) = [one for one in answer.json()["groups"] if one["model"] == "painter"]
    assert {"currency": "EUR", "amount": "0.04", "calls": 1} in group["cost"]
    assert look["body"]["path"] == "/v1/usage"
    assert sheet.headers["content-type"].startswith("text/csv")
    assert "acme,painter,3,1,3,0,0,0.04,EUR" in sheet.text.splitlines()


def test_a_person_s_cost_needs_a_purpose_and_no_name_in_an_address(service, request_made):
    """Groups have random names; a name to look for comes in a body, and is recorded nowhere."""
    refused, looks = looked(service, lambda: service.get("/v1/usage?by=person"))
    answer, (look,) = looked(service, lambda: service.get("/v1/usage?by=person", headers=CASE))
    person = request_made["person"]
    body = {"by": "day", "person": person}
    posted, (posted_look,) = looked(
        service,
        lambda: service.ask("POST", "/v1/usage", token=service.auditor, json=body, headers=CASE),
    )

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/headers/sealtrail-purpose"
    assert looks == []
    assert person not in answer.text
    assert look["body"]["fields_disclosed"] == ["actor.subject_id"]
    assert [one["calls"] for one in posted.json()["groups"]] == [1]
    assert person not in str(posted_look)
    nobody = {"by": "model", "person": "nobody-we-know"}
    empty = service.ask("POST", "/v1/usage", token=service.auditor, json=nobody, headers=CASE)
    assert empty.json()["groups"] == []


def test_an_invoice_is_held_against_the_record(service, request_made):
    """As CSV in, as JSON or CSV out."""
    made = request_made["made"]
    text = f"request_id,cost,currency\nreq_{made},0.05,EUR\nreq_unknown,1,EUR\n"

    def send(**headers):
        return service.ask(
            "POST", "/v1/usage:reconcile", token=service.auditor, content=text, headers=headers
        )

    answer, (look,) = looked(service, send)
    sheet = send(accept="text/csv")
    named = service.ask(
        "POST",
        "/v1/usage:reconcile?column=request_id=Nr&format=csv",
        token=service.auditor,
        content=text.replace("request_id", "Nr"),
    )

    found = answer.json()
    assert found["counts"]["differs"] == found["counts"]["missing-here"] == 1
    assert found["findings"][0]["differing"] == {"cost": {"here": "0.04", "there": "0.05"}}
    assert look["body"]["path"] == "/v1/usage:reconcile"
    assert sheet.text.splitlines()[1].startswith("differs,2,")
    assert named.json()["counts"] == found["counts"]


def test_an_invoice_says_what_it_is_and_how_its_numbers_are_written(service, request_made):
    """NDJSON by its media type; a decimal comma by the reader, where a number leaves a doubt."""
    here = ("POST", "/v1/usage:reconcile")
    made, who = request_made["made"], {"token": service.auditor}
    lines = f'{{"request_id": "req_{made}", "cost": "0.04"}}\n{{"request_id": "req_x"}}\n'
    table = f"request_id;cost\nreq_{made};0,040\nreq_x;1.234\n"

    listed = service.ask(
        *here, **who, content=lines, headers={"content-type": "application/x-ndjson"}
    )
    doubtful = service.ask(*here, **who, content=table)
    known = service.ask(here[0], f"{here[1]}?decimal=comma", **who, content=table)

    assert listed.json()["counts"] | {"missing-there": 0} == {
        "matched": 1, "differs": 0, "missing-here": 1, "missing-there": 0, "malformed": 0,
    }  # fmt: skip
    assert doubtful.json()["counts"]["malformed"] == 1
    assert known.json()["counts"]["missing-here"] == known.json()["counts"]["matched"] == 1


@pytest.mark.usefixtures("request_made")
def test_registers_and_answers_are_read(service):
    """What is registered, by version and with its entries; and that another answered."""
    model = f"urn:cap:model:acme:{event_id()}"
    registered = {
        "event_id": event_id(),
        "type": "MODEL_REGISTERED",
        "schema": 1,
        "aggregate_id": model,
        "on_behalf_of": "engineer-1",
        "body": {
            "model": {"provider": "acme", "name": "etcher", "version": "1"},
            "weights": {"unavailable": "hosted"},
            "change_ticket": "CHG-7",
        },
        "record_key": record_key(),
    }
    assert service.post(registered).status_code == 201

    answer, (look,) = looked(service, lambda: service.get(f"/v1/registers/models?id={model}"))
    upgrades = service.get("/v1/upgrades?alarming=true").json()["answers"]

    (thing,) = answer.json()["things"]
    (version,) = thing["versions"]
    assert (version["version"], version["status"]) == ("1", "registered")
    assert version["change_ticket"] == "CHG-7"
    assert version["events"][0]["event_id"] == registered["event_id"]
    assert look["body"]["path"] == "/v1/registers/{kind}"
    (one,) = [one for one in upgrades if one["model_returned"] == "painter-3-q"]
    assert one["standing"] == "unregistered"
    assert one["asked"] == {"provider": "acme", "name": "painter", "version": "3"}
    assert service.get("/v1/registers/people").status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/traces/00000000000000000000000000000000/tree"),
        ("GET", "/v1/assets/sha256:" + "0" * 64),
        ("GET", "/v1/assets?id=x"),
        ("POST", "/v1/assets:lineage"),
        ("GET", "/v1/usage"),
        ("POST", "/v1/usage"),
        ("POST", "/v1/usage:reconcile"),
        ("GET", "/v1/registers/models"),
        ("GET", "/v1/upgrades"),
    ],
)
def test_nobody_but_auditors_reads_them(service, method, path):
    """Without a token 401, with a pipeline's 403; no body is read first."""
    body = {"json": {"digest": "sha256:" + "0" * 64}} if method == "POST" else {}

    assert service.ask(method, path, **body).status_code == 401
    assert service.ask(method, path, token=service.pipeline, **body).status_code == 403
