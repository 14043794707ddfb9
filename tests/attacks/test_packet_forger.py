# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet's forger: may change any file of a packet, and list it rightly again.

What he lacks are the log's and the authority's keys. The packets here come from a real ledger; what
the verifier makes of each single file is tested beside it, in tests/verify/test_packet_forgery.py.
"""

import pytest

from anchoring.checkpoint import verifier_key
from evidence.attack.defences import judge
from evidence.attack.forgery import pack, proof_of, two, unpack
from ledger import clock
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.tlog_proof import TlogProof, check_tlog_proof
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

REFUTED = {"packet:refuted", "packet"}


def test_packs_a_genuine_packet_again(spoiled):
    """Who: whoever passes a packet on.
    Tries: takes it apart and packs it again, rightly.
    Caught by: nothing, and rightly so: it is the packet, and still verified.
    Not caught: nothing; what follows is therefore refuted for what was changed.
    """
    files = unpack(two(spoiled, 1))

    report = check_packet(read_packet(pack(files)), trust=spoiled.trust, now=clock.now())

    assert report.verdict == "verified"


def test_changes_an_entry(caught):
    """Who: a party to a trial.
    Tries: another content in an entry, listed again with right checksums.
    Caught by: the proof: the entry's hash is not the leaf that it proves.
    Not caught: an entry that is left out of the packet; a packet shows what somebody asked for.
    """
    assert caught("packet-entry-changed") == REFUTED


def test_shows_another_entry_with_a_genuine_proof(caught):
    """Who: a party to a trial.
    Tries: the bytes of one entry, the proof of its neighbour.
    Caught by: the proof, which binds leaf and position.
    Not caught: nothing of this.
    """
    assert caught("packet-another-leaf") == REFUTED


def test_shows_an_entry_with_anothers_proof(caught):
    """Who: a party to a trial.
    Tries: the proof of another position beside an entry.
    Caught by: the proof, which binds leaf and position.
    Not caught: nothing of this.
    """
    assert caught("packet-another-proof") == REFUTED


def test_shows_a_node_of_the_tree_as_an_entry(caught):
    """Who: somebody who knows Merkle trees.
    Tries: two children's hashes as an entry's bytes, one level up, with the path from there.
    Caught by: entries and nodes are hashed differently (0x00 and 0x01 before them), and such bytes
    are no entry in canonical form.
    Not caught: nothing of this.
    """
    assert caught("packet-inner-node") == REFUTED


def test_adds_an_outcome_for_an_attempt_that_never_was(caught):
    """Who: a party to a trial.
    Tries: a record of a call that nobody made, under a neighbour's proof.
    Caught by: the proof: no path leads from it to the signed root.
    Not caught: one that the ledger was made to record; see the operator.
    """
    assert caught("packet-outcome-of-nothing") == REFUTED


def test_writes_a_key_twice(caught):
    """Who: somebody who counts on two readers that see two entries in the same bytes.
    Tries: a member twice in an entry.
    Caught by: the one canonical form; its hash.
    Not caught: nothing of this.
    """
    assert caught("packet-key-twice") == REFUTED


def test_spells_an_entry_otherwise(caught):
    """Who: somebody who wants a genuine packet to look damaged, or a changed one genuine.
    Tries: the same JSON with spaces.
    Caught by: the one canonical form; its hash.
    Not caught: nothing of this.
    """
    assert caught("packet-spelled-otherwise") == REFUTED


def test_strips_the_signatures(caught):
    """Who: somebody who hopes that what is not signed is not checked.
    Tries: checkpoints without their signature lines.
    Caught by: a checkpoint without a signature of the log is no checkpoint.
    Not caught: nothing of this.
    """
    assert caught("packet-unsigned") == REFUTED


def test_brings_a_trust_file_of_his_own(caught):
    """Who: somebody with a key of his own.
    Tries: signs every checkpoint with it, and puts keys and trust file into the packet.
    Caught by: trust comes from outside the packet; his key is not in it, so nothing is signed.
    Not caught: a reader who takes the trust file out of the packet; the verifier never does.
    """
    assert caught("packet-own-trust") == REFUTED


def test_offers_what_another_ledger_has_signed(caught):
    """Who: somebody with a ledger of his own, such as a development ledger.
    Tries: a packet whose checkpoints another log has signed rightly.
    Caught by: the trust file names each log's key by its origin, and this log is not in it.
    Not caught: a court that was given the other ledger's trust file.
    """
    assert caught("packet-of-another-ledger") == REFUTED


def test_offers_a_receipt_of_a_development_ledger(spoiled):
    """Who: a pipeline that was set up against the wrong ledger, or says so.
    Tries: a receipt of another log where this log's is asked for.
    Caught by: the origin in the checkpoint, and the key that must have signed it.
    Not caught: which of the two logs the event belongs into.
    """
    proof = unpack(two(spoiled, 1))[proof_of(1)]
    leaf = spoiled.running.reader.at(1).leaf
    production = [verifier_key(spoiled.keys, spoiled.other)]

    for origin in (spoiled.other, spoiled.origin):
        with pytest.raises(VerifyError):
            check_tlog_proof(proof, leaf=leaf, origin=origin, keys=production)
    ours = spoiled.trust.origins[spoiled.origin]
    assert check_tlog_proof(proof, leaf=leaf, origin=spoiled.origin, keys=ours)[1] == 1


def test_shows_another_text_as_what_was_asked(caught):
    """Who: a party to a trial, about a prompt.
    Tries: a disclosure of another text beside the entry.
    Caught by: the entry's salted digests: none of them is of this text.
    Not caught: a text that the pipeline committed to and that was never the prompt.
    """
    assert caught("packet-false-disclosure") == REFUTED


def test_damages_the_time_stamp(caught):
    """Who: somebody who wants no proof of when.
    Tries: changes one bit of the authority's signature.
    Caught by: the token's signature, checked by code of ours or by OpenSSL.
    Not caught: nothing of this.
    """
    assert caught("packet-token-damaged") == REFUTED


def test_takes_the_time_stamp_out(spoiled):
    """Who: somebody who wants no proof of when.
    Tries: a packet without the authority's tokens and queries, listed rightly.
    Caught by: the verdict, which is `incomplete` and says what is missing.
    Not caught: who took it out; the ledger's own copy tells, if it is asked.
    """
    files = {n: d for n, d in unpack(two(spoiled, 1)).items() if not n.endswith((".tsr", ".tsq"))}

    report = check_packet(read_packet(pack(files)), trust=spoiled.trust, now=clock.now())

    assert report.verdict == "incomplete"


def test_takes_witnesses_and_further_signatures_out(spoiled):
    """Who: somebody who wants a split view to stay unseen.
    Tries: removes from each checkpoint every line that is not the log's own.
    Caught by: NOT CAUGHT: no witness cosigns yet, and the verifier says so in every report.
    Not caught: a log that shows two histories to two audiences that never compare.
    """
    files = unpack(two(spoiled, 1))
    proof = TlogProof.parse(files[proof_of(1)])

    report = check_packet(read_packet(pack(files)), trust=spoiled.trust, now=clock.now())

    assert proof.checkpoint.count(b"\xe2\x80\x94 ") == 1  # The log's own line is the only one.
    assert any("witness" in line for line in report.not_checked)


def test_flips_one_byte(caught):
    """Who: a bad disk, or somebody in a hurry.
    Tries: one byte of an entry where it lies; no checksum follows.
    Caught by: the archive's checksum, the packet's list, and the proof.
    Not caught: nothing of this.
    """
    assert caught("packet-byte-flipped") == REFUTED


def test_leaves_trust_to_the_packet(spoiled):
    """Who: a reader who gives the verifier no trust from outside, or an empty one.
    Tries: to have a genuine packet called verified all the same.
    Caught by: the verdict: `incomplete`, since the keys came with the packet.
    Not caught: a reader who does not read the verdict.
    """
    packet = read_packet(two(spoiled, 1))

    for trust in (None, Trust(origins={}, tsa_roots=())):
        assert check_packet(packet, trust=trust, now=clock.now()).verdict == "incomplete"
    assert judge(spoiled, two(spoiled, 1)) == {}
