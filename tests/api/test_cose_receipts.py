# SPDX-License-Identifier: GPL-3.0-or-later
"""COSE receipts over HTTP: who may have which, and never a root that was not signed before."""

import base64

import pytest
import scitt_cose
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from house import attempt, event_id, house_in

from anchoring.checkpoint import verifier_key
from anchoring.cose_receipt import NoPath, consistency_receipt, inclusion_receipt
from ledger.errors import HistoryRewritten, NotFound, Unavailable
from ledger.keys import log_key
from sealtrail.verify.cose_receipt import (
    MEDIA_TYPE,
    CoseReceipt,
    check_consistency_receipt,
    check_inclusion_receipt,
)
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import Checkpoint, Note

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def recorded(service):
    """The receipts, as the ledger's own, of a few entries."""
    return [service.post(attempt()).json() for _ in range(3)]


def key_of(house):
    return verifier_key(house.keys, house.origin)


def test_anybody_has_the_receipt_of_a_position(service, recorded):
    """It proves the same as the answer of the POST did."""
    mine = recorded[1]

    answer = service.public(f"/proofs/{mine['position']}/receipt")

    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPE)
    assert answer.headers["access-control-allow-origin"] == "*"
    leaf = leaf_hash(base64.b64decode(mine["entry"]))
    found = check_inclusion_receipt(
        answer.content, leaf=leaf, origin=mine["origin"], keys=[key_of(service.house)]
    )
    assert found.position == mine["position"]
    checkpoint = Checkpoint.parse(Note.parse(service.public("/checkpoint").content).text)
    assert found.size <= checkpoint.size


def test_another_implementation_takes_what_was_served(service, recorded):
    mine = recorded[2]
    public = Ed25519PublicKey.from_public_bytes(key_of(service.house).key)

    receipt = service.public(f"/proofs/{mine['position']}/receipt").content

    found = scitt_cose.verify_receipt(
        receipt,
        leaf_entry_hex=base64.b64decode(mine["entry"]).hex(),
        log_public_key_pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )
    assert (found.ok, found.errors, found.issuer) == (True, [], mine["origin"])


def test_by_event_id_it_is_an_auditors_and_a_look(service, recorded):
    """As the proof by event id: an id tells who asks for whom."""
    path = f"/v1/events/{recorded[0]['event_id']}/receipt"
    before = len(service.looks)

    answer = service.get(path, headers={"sealtrail-purpose": "case-1"})

    assert answer.status_code == 200
    assert CoseReceipt.parse(answer.content).position == recorded[0]["position"]
    assert answer.headers["cache-control"] == "private, no-cache"
    (look,) = service.looks[before:]
    assert look["body"]["path"] == "/v1/events/{id}/receipt"
    assert look["body"]["target_event_ids"] == [recorded[0]["event_id"]]
    assert service.ask("GET", path).status_code == 401
    assert service.ask("GET", path, token=service.pipeline).status_code == 403
    assert service.get(f"/v1/events/{event_id()}/receipt").status_code == 404
    assert len(service.looks) == before + 2


def test_the_growth_of_the_log_has_a_receipt(service, recorded):
    old = recorded[0]["size"]
    note = Checkpoint.parse(Note.parse(recorded[0]["checkpoint"].encode()).text)
    service.post(attempt())

    answer = service.public(f"/consistency/receipt?from={old}")

    found = check_consistency_receipt(
        answer.content, old_root=note.root, origin=note.origin, keys=[key_of(service.house)]
    )
    assert (found.old_size, found.size > old) == (old, True)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert service.public("/consistency/receipt?from=0").status_code == 422
    assert service.public("/consistency/receipt?from=01").status_code == 422
    assert service.public("/consistency/receipt").status_code == 422
    assert service.public("/consistency/receipt?from=999999").status_code == 404


@pytest.mark.parametrize("position", ["999999", "9223372036854775807", "9999999999999999999"])
def test_there_is_none_where_nothing_is_signed(service, position):
    assert service.public(f"/proofs/{position}/receipt").status_code == 404


@pytest.mark.parametrize("position", ["01", "-1", "1e3", "%D9%A1", "x"])
def test_a_position_has_one_spelling(service, position):
    assert service.public(f"/proofs/{position}/receipt").status_code == 422


def test_the_only_entry_of_a_log_has_none_yet(pattern, tmp_path):
    """RFC 9942 has no empty path; the proof as a tlog-proof is there all the same."""
    with house_in(pattern, tmp_path) as house:
        house.post(attempt())
        with pytest.raises(NoPath):
            inclusion_receipt(house.book, 0)
        with pytest.raises(NoPath):
            consistency_receipt(house.book, 1)

        house.post(attempt())

        assert CoseReceipt.parse(inclusion_receipt(house.book, 0)).size == 2
        assert CoseReceipt.parse(consistency_receipt(house.book, 1)).size == 2


# What the log's key signs


class Counting:
    """A keystore that remembers what it was given to sign."""

    def __init__(self, keys):
        self._keys, self.signed = keys, []

    def __getattr__(self, name):
        return getattr(self._keys, name)

    def sign(self, name, message):
        self.signed.append((name, message))
        return self._keys.sign(name, message)


def test_many_who_ask_get_one_signature_a_second(house, monkeypatch):
    """A stranger cannot keep a key service busy: its signatures cost money and time."""
    house.post(*[attempt() for _ in range(8)])
    notary = house.book.notary
    counting = Counting(house.keys)
    monkeypatch.setattr(notary, "_keys", counting)

    receipts = [inclusion_receipt(house.book, position) for position in range(8)]

    assert len({CoseReceipt.parse(one).signature for one in receipts}) == 1
    assert [name for name, _ in counting.signed] == [log_key(house.origin)]


def test_only_a_root_that_the_store_accepted_is_signed(house, monkeypatch):
    """A head that is committed, but under no accepted checkpoint, gets no receipt either."""
    house.post(attempt(), attempt())
    accepted = house.book.notary.latest()[1]

    def full(*_):
        raise Unavailable("the checkpoint store cannot be written")

    with monkeypatch.context() as broken:
        broken.setattr(type(house.store), "put", full)
        with pytest.raises(Unavailable):
            house.post(attempt())
        assert house.book.reader.head().size > accepted.size

        with pytest.raises(NotFound):
            inclusion_receipt(house.book, accepted.size)
        with pytest.raises(Unavailable):
            house.book.notary.countersign(accepted.size + 1)
        receipt = CoseReceipt.parse(inclusion_receipt(house.book, 0))
        assert receipt.size == accepted.size
        key = key_of(house)
        assert receipt.check(root=accepted.root, keys=[key]) == key


def test_a_stopped_book_signs_nothing(house):
    """What stopped it may be another history; no signature of ours goes under that."""
    house.post(attempt(), attempt())
    house.book.writer._stopped = HistoryRewritten()

    with pytest.raises(HistoryRewritten):
        inclusion_receipt(house.book, 0)
    with pytest.raises(HistoryRewritten):
        consistency_receipt(house.book, 1)
