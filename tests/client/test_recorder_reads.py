# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading with an auditor's token: proofs by event id and packets, with the purpose stated."""

import pytest
from test_recorder import post

from sealtrail import ReceiptInvalid, Refused
from sealtrail.request import new_event_id
from sealtrail.verify import canonical
from sealtrail.verify.tlog_proof import check_tlog_proof


def test_a_proof_can_be_fetched_again_later(recorder, ledger):
    """By then the log has grown; the proof is under a newer checkpoint and still holds."""
    receipt = post(recorder)
    post(recorder)

    proof = recorder.proof(receipt.event_id, purpose="audit-1")

    checkpoint, index = check_tlog_proof(
        proof, leaf=receipt.leaf, origin=receipt.origin, keys=[ledger.vkey]
    )
    assert (checkpoint.size, index) == (2, 0)
    assert ledger.purposes == ["audit-1"]


def test_a_proof_of_an_unknown_event_is_refused(recorder):
    """404, and the id is not repeated in the message."""
    unknown = new_event_id()

    with pytest.raises(Refused) as refused:
        recorder.proof(unknown)

    assert refused.value.code == "not-found"
    assert unknown not in str(refused.value)


def test_a_packet_is_asked_for_and_fetched(recorder, ledger):
    """The request names events and disclosures; the purpose goes along with both steps."""
    receipt = post(recorder)

    packet = recorder.packet(
        [receipt.event_id], {receipt.event_id: receipt.disclosures}, "incident-42"
    )

    assert canonical.decode(packet[2:]) == {
        "event_ids": [receipt.event_id],
        "disclosures": {receipt.event_id: dict(receipt.disclosures)},
    }
    assert ledger.purposes == ["incident-42"] * 2


def test_a_packet_that_changed_on_the_way_is_noticed(recorder, ledger, monkeypatch):
    """The digest that the ledger gave for it is compared with the bytes that came."""
    read = ledger.read
    monkeypatch.setattr(
        ledger,
        "read",
        lambda path, content: (200, b"PK!") if path.endswith("00ff") else read(path, content),
    )

    with pytest.raises(ReceiptInvalid) as invalid:
        recorder.packet([], {}, "incident-42")

    assert invalid.value.check == "packet"


def test_a_purpose_in_prose_is_refused(recorder, ledger):
    """It could name persons, and it is recorded."""
    with pytest.raises(ValueError, match="code"):
        recorder.packet([], {}, "because Alice said so")

    assert ledger.purposes == []


@pytest.mark.parametrize("event_id", ["", "../packets", "a/b", "a?b"])
def test_an_id_cannot_leave_its_place_in_the_path(recorder, ledger, event_id):
    """Only an id's characters reach the URL."""
    with pytest.raises(ValueError, match="id"):
        recorder.proof(event_id)

    assert ledger.purposes == []
