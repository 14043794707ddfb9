# SPDX-License-Identifier: GPL-3.0-or-later
"""Posting: what is sent, what is sent again, and what each kind of failure tells the caller."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time

import pytest
from small_ledger import TOKEN

from sealtrail import AuditUnavailable, OutcomeLate, Recorder, Refused
from sealtrail.request import new_event_id
from sealtrail.verify import canonical, merkle
from sealtrail.verify.canonical import NotCanonical
from sealtrail.verify.disclosure import PERSON, check_disclosure
from sealtrail.wire import Wire

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PROMPT = "a cat in a spacesuit"
ATTEMPT = {
    "aggregate_id": "0198c0de-0000-7000-8000-000000000001",
    "on_behalf_of": "emp-7",
    "sealed": {"prompt.user": PROMPT},
    "body": {"operation": "generate", "params": {"seed": "18446744073709551615", "n": 1}},
    "links": [{"rel": "input-asset", "type": "Asset", "id": "astronaut"}],
    "source": {"id": "pipeline-1", "n": 0},
    "trace": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
    "time": {"processing_started": "2026-11-20T10:00:00.000Z"},
}


def post(recorder, kind="GEN_ATTEMPT", **changes):
    return recorder.post(kind, **(ATTEMPT | changes))


def test_a_posted_event_comes_back_with_its_proof(recorder, ledger):
    """The receipt holds the exact entry, its place, and what opens its commitments."""
    receipt = post(recorder)

    assert receipt.position == 0
    assert receipt.size == 1
    assert receipt.entry == ledger.entries[0]
    assert receipt.leaf == merkle.leaf_hash(ledger.entries[0])
    assert receipt.type == "GEN_ATTEMPT"
    assert receipt.signature_checked
    assert not receipt.repeat


def test_the_prompt_and_the_person_are_in_the_entry_as_commitments_only(recorder):
    """Clear text travels to the ledger, but not into the bytes that are hashed."""
    receipt = post(recorder)

    entry = canonical.decode(receipt.entry)
    assert PROMPT.encode() not in receipt.entry
    assert b"emp-7" not in receipt.entry
    opened = dict(check_disclosure(text, entry["_sd"]) for text in receipt.disclosures.values())
    assert opened == {"prompt.user": PROMPT, PERSON: "emp-7"}


def test_every_receipt_of_a_growing_log_is_proved(recorder):
    """Positions count up and each path leads to the checkpoint of its own moment."""
    receipts = [post(recorder, aggregate_id=f"asset-{n}") for n in range(9)]

    assert [receipt.position for receipt in receipts] == list(range(9))
    assert [receipt.size for receipt in receipts] == list(range(1, 10))


def test_a_link_binds_the_content_of_another_event(recorder):
    """A child names its parent's leaf, not only its id."""
    parent = post(recorder)
    link = parent.link("parent-call")

    child = post(recorder, links=[link | {"type": "GEN_ATTEMPT"}])

    assert link == {
        "rel": "parent-call",
        "id": parent.event_id,
        "leaf": "sha256:" + parent.leaf.hex(),
    }
    assert parent.leaf.hex().encode() in child.entry


@pytest.mark.parametrize(
    "mishap", ["hang up before", "hang up after", "half an answer", "429", "502", "503", "504"]
)
def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(recorder, ledger, mishap):
    """Whether or not the ledger had recorded it, the event is recorded once."""
    ledger.mishaps = [mishap]

    receipt = post(recorder)

    assert len(ledger.entries) == 1
    assert ledger.requests[0] == ledger.requests[1]
    assert receipt.position == 0
    assert receipt.repeat == (mishap in {"hang up after", "half an answer"})


def test_a_repeat_proves_the_same_position_in_a_larger_log(recorder):
    """Between the lost answer and the repeat, others wrote: the path is fresh, the leaf is not."""
    first = post(recorder, event_id=new_event_id(), record_key=b"k" * 32)
    post(recorder)

    again = post(recorder, event_id=first.event_id, record_key=b"k" * 32)

    assert again.repeat
    assert (again.position, again.leaf, again.disclosures) == (0, first.leaf, first.disclosures)
    assert again.size == 2


def test_after_the_last_attempt_nobody_knows_and_the_error_says_how_to_ask(recorder, ledger):
    """The error carries id and key; posting with them finds out, and records nothing twice."""
    ledger.mishaps = ["hang up after"] * 4

    with pytest.raises(AuditUnavailable) as unavailable:
        post(recorder)
    lost = unavailable.value
    receipt = post(recorder, event_id=lost.event_id, record_key=lost.record_key)

    assert lost.attempts == 4
    assert receipt.repeat
    assert len(ledger.entries) == 1
    assert PROMPT not in str(lost)


def test_a_ledger_that_is_not_there_is_unavailable():
    """Connection refused is retried and then reported, as everything nobody knows about."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with (
        Recorder(f"http://127.0.0.1:{port}", TOKEN, attempts=2) as recorder,
        pytest.raises(AuditUnavailable, match="no answer came"),
    ):
        post(recorder)


def test_an_answer_that_never_ends_is_given_up():
    """A server that trickles bytes for ever can not hold a pipeline for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    trickle = threading.Thread(target=_trickle, args=(listener,))
    trickle.start()
    wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, timeout_s=0.5, attempts=1)

    with pytest.raises(AuditUnavailable, match="no answer came"):
        wire.send("GET", "/v1/checkpoint", answer_max=1000)

    wire.close()
    trickle.join(timeout=5)
    listener.close()
    assert not trickle.is_alive()


def _trickle(listener):
    """One byte in a twentieth of a second, until the other side hangs up."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        for _ in range(90):
            connection.sendall(b"x")
            time.sleep(0.05)


@pytest.mark.parametrize("status", [401, 403, 413])
def test_a_refusal_after_a_lost_answer_is_no_proof_that_nothing_was_recorded(
    recorder, ledger, status
):
    """The token was taken away between two attempts, of which the first was recorded."""
    ledger.mishaps = ["hang up after", str(status)]

    with pytest.raises(AuditUnavailable) as unavailable:
        post(recorder)

    assert unavailable.value.status == status
    assert len(ledger.entries) == 1


def test_a_ledger_that_contradicts_itself_is_not_asked_again(recorder, ledger):
    """500 means stop: more attempts would not help, and nobody knows."""
    ledger.mishaps = ["500"]

    with pytest.raises(AuditUnavailable) as unavailable:
        post(recorder)

    assert unavailable.value.status == 500
    assert len(ledger.requests) == 1


def test_a_redirect_is_not_followed(recorder, ledger):
    """The token must not travel to wherever an answer points."""
    ledger.mishaps = ["307"]

    with pytest.raises(AuditUnavailable) as unavailable:
        post(recorder)

    assert unavailable.value.status == 307
    assert len(ledger.requests) == 1


def test_a_refusal_names_the_field_and_the_rule(recorder, ledger):
    """4xx is not retried; the message holds pointers and rules and no value."""
    ledger.refusal = (
        422,
        {
            "status": 422,
            "code": "malformed-event",
            "title": "The body does not fit",
            "detail": f"seen: {PROMPT}",
            "errors": [
                {"pointer": "/body/params/seed", "rule": "pattern", "detail": "digits"},
                {"pointer": f"/{PROMPT}", "rule": "unknown", "detail": PROMPT},
            ],
        },
    )

    with pytest.raises(Refused) as refused:
        post(recorder)

    assert len(ledger.requests) == 1
    assert refused.value.status == 422
    assert refused.value.code == "malformed-event"
    assert refused.value.errors[0].pointer == "/body/params/seed"
    assert "/body/params/seed pattern" in str(refused.value)
    assert PROMPT not in str(refused.value)
    assert refused.value.event_id is not None


def test_a_refusal_in_another_format_is_still_a_refusal(recorder, ledger):
    """A proxy that answers 403 with a page of its own."""
    ledger.refusal = (403, ["not", "a", "problem"])

    with pytest.raises(Refused, match="403 unnamed"):
        post(recorder)


def test_another_request_under_the_same_id_is_refused(recorder):
    """An id stands for one request for ever."""
    first = post(recorder)

    with pytest.raises(Refused) as refused:
        post(recorder, event_id=first.event_id, body={"operation": "edit"})

    assert refused.value.status == 409


def test_a_late_outcome_raises_and_carries_its_receipt(recorder, ledger):
    """The entry is proved, and the output must not be handed on."""
    ledger.late = True

    with pytest.raises(OutcomeLate) as late:
        post(recorder, "GEN", body={"result": "success"})

    assert late.value.receipt.type == "OUTCOME_LATE"
    assert late.value.receipt.position == 0
    assert late.value.event_id == late.value.receipt.event_id


def test_a_person_of_the_token_is_accepted_and_disclosed(recorder, ledger):
    """A personal token needs no on_behalf_of; the ledger commits its person with our key."""
    ledger.person_of_token = "emp-9"

    receipt = post(recorder, on_behalf_of=None)

    assert PERSON in receipt.disclosures


def test_without_trust_the_receipt_says_that_no_signature_was_checked(url):
    """Everything else is checked all the same."""
    with Recorder(url, TOKEN) as recorder:
        receipt = post(recorder)

    assert not receipt.signature_checked


def test_a_saved_receipt_is_the_answer_again_and_nobody_else_may_read_it(recorder, tmp_path):
    """The file has the wire's members; its disclosures are personal."""
    receipt = post(recorder)
    path = tmp_path / "receipt.json"

    receipt.save(path)

    assert canonical.parse(path.read_bytes()) == receipt.wire()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"body": {"cfg_scale": 1.5}}, NotCanonical),
        ({"body": {"n": 2**53}}, NotCanonical),
        ({"colour": "red"}, ValueError),
        ({"sealed": {PERSON: "emp-8"}}, ValueError),
    ],
)
def test_what_can_not_be_recorded_is_never_sent(recorder, ledger, changes, error):
    """Floats, numbers beyond 2^53, unknown members, a person in two places."""
    with pytest.raises(error):
        post(recorder, **changes)

    assert ledger.requests == []


@pytest.mark.parametrize(
    "url", ["ftp://ledger.example", "ledger.example", "https://user:word@ledger.example", "http://"]
)
def test_a_url_that_could_leak_or_mislead_is_refused(url):
    """Also: no password in a URL, because URLs end up in logs."""
    with pytest.raises(ValueError, match="URL"):
        Recorder(url, TOKEN)


def test_a_token_with_a_line_break_is_refused_without_being_shown():
    """It would end up in a header of its own."""
    with pytest.raises(ValueError, match="token") as refused:
        Recorder("http://127.0.0.1:1", "abc\r\nx-evil: 1")

    assert "abc" not in str(refused.value)


def test_event_ids_are_uuids_of_version_7_and_differ():
    """RFC 9562: version and variant in place, and no two alike."""
    ids = [new_event_id() for _ in range(200)]

    shape = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(shape.fullmatch(one) for one in ids)
    assert len(set(ids)) == 200


def test_the_verifier_is_imported_without_the_http_client():
    """`sealtrail.verify` has to work where nothing but Python is installed."""
    program = "import sealtrail.verify.entry, sys; assert 'httpx2' not in sys.modules"

    subprocess.run([sys.executable, "-c", program], check=True)
