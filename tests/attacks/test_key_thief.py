# SPDX-License-Identifier: GPL-3.0-or-later
"""The thief of a key: has a copy of one key, or reaches the module or service that keeps them.

Against a stolen log key stands its replacement: the trust file says up to which size it speaks.
"""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from house import attempt
from rotating import believed

from anchoring.fsck import Fsck
from anchoring.rotation import RotationForged
from anchoring.timestamp import obtain
from ledger import clock
from ledger.errors import HistoryRewritten
from ledger.keys import log_key
from ledger.lookup import LOG_ID
from ledger.request import ledger_made
from sealtrail.verify import base64text
from sealtrail.verify.bag import seal
from sealtrail.verify.errors import Refuted
from sealtrail.verify.merkle import leaf_hash
from sealtrail.verify.note import Checkpoint, Note, SignatureLine, VerifierKey, check_note
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.rotation import Rotation
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Bound, Trust
from sealtrail.verify.zip import write_zip

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FORGED = bytes(range(32))


@pytest.fixture
def stolen(rotating):
    """The log's first key, in the thief's hands; the ledger has replaced it since."""
    house = rotating.house
    house.post(attempt())
    secret = house.keys._key(log_key(house.origin), "ed25519").secret
    rotating.thief = Ed25519PrivateKey.from_private_bytes(secret)
    rotating.trust()
    rotating.begin(0)
    rotating.rotation().end()
    house.post(attempt())
    return rotating


def sign(private, origin, size, root=FORGED) -> Note:
    key = VerifierKey.ed25519(origin, private.public_key().public_bytes_raw())
    text = Checkpoint(origin=origin, size=size, root=root).print()
    signature = private.sign(text.encode())
    line = SignatureLine(name=origin, key_id=key.key_id, signature=signature)
    return Note(text=text, signatures=(line,))


def test_signs_a_larger_log_with_a_replaced_key(stolen):
    """Who: a thief of the log key that was replaced.
    Tries: a checkpoint of a log that goes on where the old key ended.
    Caught by: the trust file, which bounds the old key: no key that may speak for this size signed.
    Not caught: by a reader who still has the trust file from before the replacement.
    """
    origin = stolen.house.origin
    size = stolen.house.book.reader.head().size + 1
    note = sign(stolen.thief, origin, size)

    with pytest.raises(Refuted):
        check_note(note, stolen.trust().keys_for(origin, size))


def test_signs_a_smaller_log_with_a_replaced_key(stolen):
    """Who: the same thief.
    Tries: another history of a size that the old key may speak for.
    Caught by: the real log of that size: one origin, one size, two roots; in a packet, by the stamp
    it lacks: see the next attack.
    Not caught: by the signature: the old key did sign logs of this size, and still proves them.
    """
    house = stolen.house
    (rotated,) = stolen.rotation().recorded()
    size = rotated.statement.size

    note = sign(stolen.thief, house.origin, size)

    assert check_note(note, stolen.trust().keys_for(house.origin, size))
    assert house.book.tree.root(size) != Checkpoint.parse(note.text).root


def test_has_such_a_smaller_log_stamped_and_packs_it(stolen, authority):
    """Who: the same thief, who asks an honest time-stamp authority today.
    Tries: a packet with an invented entry, its proof under a checkpoint that the old key signed,
    and a true time stamp over that.
    Caught by: the trust file's time: only a replaced key signed, and the stamp is younger than its
    end; the packet is incomplete, whatever else is right.
    Not caught: if it was stolen, used and stamped before the log's people replaced it.
    """
    house = stolen.house
    invented = house.book.reader.at(0).entry.data.replace(b"18446744073709551615", b"1")
    note = sign(stolen.thief, house.origin, 1, leaf_hash(invented))
    packet = read_packet(packed(invented, note, authority))
    roots = tuple(authority.authority().roots)
    a_while_ago = {
        vkey: Bound(size=one.size, time=one.time - timedelta(minutes=1))
        for vkey, one in stolen.trust().until.items()
    }
    trust = Trust(origins=stolen.trust().origins, tsa_roots=roots, until=a_while_ago)
    unbound = Trust(origins=trust.origins, tsa_roots=roots)

    judged = check_packet(packet, trust=trust, now=clock.now())
    without = check_packet(packet, trust=unbound, now=clock.now())

    assert (judged.verdict, without.verdict) == ("incomplete", "verified")


def packed(entry, note, authority) -> bytes:
    """A packet of one entry, the only one of its log, as a forger packs it."""
    data = note.print()
    token = obtain(authority.authority(), data, now=clock.now(), not_before=None)
    proof = TlogProof(index=0, path=(), checkpoint=data).print()
    files = {
        "data/records/0-GEN_ATTEMPT.entry.json": entry,
        "data/proofs/0.tlog-proof": proof,
        "data/anchors/1/checkpoint": data,
        "data/anchors/1/local.tsr": token.reply,
    }
    bag = seal(files, {"External-Identifier": "forged"})
    return write_zip({f"packet-forged/{name}": content for name, content in bag.items()})


def test_puts_a_checkpoint_of_the_replaced_key_into_the_store(stolen):
    """Who: the same thief, who can write to the checkpoint store.
    Tries: a checkpoint over a larger log, so that the ledger takes itself for rewound, or builds
    upon another root.
    Caught by: the next look: the database does not extend it, and writing stops.
    Not caught: the stop itself; the store is a place where writing must be guarded.
    """
    house = stolen.house
    house.shelf.close()
    (path,) = (
        one
        for one in (house.directory / "checkpoints").glob("*.checkpoint")
        if "access" not in one.name
    )
    path.write_bytes(sign(stolen.thief, house.origin, 1_000).print())

    with pytest.raises(HistoryRewritten):
        house.second_process().book(house.tenant)


def statement_of(thief, own, origin, old_generation=1):
    old, new = (
        VerifierKey.ed25519(origin, one.public_key().public_bytes_raw()) for one in (thief, own)
    )
    said = Rotation(
        origin=origin, old=old, new=new, size=1, overlap_until=clock.rfc3339(clock.now_ms())
    )
    return {
        "key": "log",
        "origin": origin,
        "generation": old_generation + 1,
        "old_key": old.vkey(),
        "new_key": new.vkey(),
        "size": said.size,
        "overlap_until": said.overlap_until,
        "old_signature": base64text.encode(thief.sign(said.statement())),
        "new_signature": base64text.encode(own.sign(said.statement())),
    }


def test_writes_a_statement_that_names_a_key_of_their_own(stolen):
    """Who: the same thief.
    Tries: a genuine KEY_ROTATED statement, signed by the stolen key, about a key of their own.
    Caught by: readers: a statement makes nobody believe a key; new keys come from the trust file.
    Not caught: by its signatures, which are both right.
    """
    own = Ed25519PrivateKey.generate()
    house = stolen.house
    said = Rotation.check(statement_of(stolen.thief, own, house.origin))

    assert said.new not in stolen.trust().origins[house.origin]
    with pytest.raises(Refuted):
        check_note(sign(own, house.origin, 9), stolen.trust().keys_for(house.origin, 9))


def test_has_that_statement_recorded_in_the_log(stolen):
    """Who: the same thief, with a login that may append.
    Tries: the same statement as an entry of the log, so that the ledger publishes their key.
    Caught by: fsck, by its position: it does not go on from the key that the log had; the next
    rotation, which compares each statement with the keystore and publishes nothing.
    Not caught: the entry, which stays: what was appended is never taken away.
    """
    own, house = Ed25519PrivateKey.generate(), stolen.house
    house.book.record_own(
        ledger_made("KEY_ROTATED", LOG_ID, statement_of(stolen.thief, own, house.origin))
    )

    (damage,) = Fsck(house.book).run().damage
    assert damage.what == "rotation"
    before = stolen.trust()
    with pytest.raises(RotationForged):
        stolen.begin()
    assert stolen.trust() == before


def test_takes_the_bound_out_of_the_trust_file(stolen):
    """Who: whoever carries the trust file to a reader.
    Tries: the old trust file in place of the new one.
    Caught by: every receipt since the replacement: the old file knows none of their keys.
    Not caught: if the reader is shown nothing but what the thief signed; get the file twice.
    """
    house = stolen.house
    old = {house.origin: stolen.trust().origins[house.origin][:1]}
    outdated = type(stolen.trust())(origins=old, tsa_roots=())

    with pytest.raises(Refuted):
        believed(stolen.receipt(attempt()), outdated)
    assert check_note(sign(stolen.thief, house.origin, 999), outdated.keys_for(house.origin, 999))
