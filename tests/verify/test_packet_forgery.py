# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet's forger: he may change any file and list it correctly again.

What he lacks are the log's and the authority's keys. Damage without a right list is here too.
"""

import json
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from good_packet import DISCLOSURES, FILES, LOG, PACKET, check, failed, without
from packet_maker import (
    NOW,
    ORIGIN,
    SEALED,
    Log,
    anchor_files,
    authority,
    entry,
    packet_files,
    timestamp,
)

from sealtrail.verify import base64text
from sealtrail.verify.disclosure import commit
from sealtrail.verify.errors import Unreadable, VerifyError
from sealtrail.verify.note import Checkpoint, VerifierKey, key_id
from sealtrail.verify.packet import read_packet
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust
from sealtrail.verify.zip import read_zip, write_zip


def test_a_packet_of_another_ledger_is_refuted():
    """A trust file with keys, none of which can have signed this packet's checkpoint."""
    other = Log(origin="ledger.example/other")

    assert failed(check(PACKET, trust=other.trust())) == {"signature"}
    assert failed(check(PACKET, trust=Log().trust())) == {"signature"}


def test_a_packet_signed_again_by_a_foreign_key_is_refuted():
    """The forger has a log and an honest authority of his own; everything else is perfect."""
    forged = Log(entries=[entry(n, body={"forged": n}) for n in range(12)])

    report = check(packet_files(forged))

    assert failed(report) == {"signature"}
    assert check(packet_files(forged), trust=forged.trust()).verdict == "verified"


def test_a_foreign_authority_is_refuted():
    """A token that does not end at the pinned root, whatever root came along."""
    report = check(PACKET, trust=LOG.trust(authority("Other Stamps")))

    assert failed(report) == {"token"}


def test_trust_inside_the_packet_is_ignored():
    """The forger's trust file, keys and roots travel along and change nothing."""
    forged = Log()
    files = packet_files(forged) | {
        "data/trust/trust.json": forged.trust().print(),
        "trust.json": forged.trust().print(),
    }

    assert check(files).verdict == "refuted"
    assert check(files, trust=None).verdict == "incomplete"
    assert check(files, trust=Trust(origins={}, tsa_roots=())).verdict == "incomplete"


def test_packets_whose_own_keys_do_not_fit_are_refuted_even_without_trust():
    """It does not even agree with itself."""
    stranger = Log().key.vkey() + "\n"

    assert failed(check(without("log.vkey"), trust=None)) == set()
    files = FILES | {"data/trust/log.vkey": stranger.encode()}
    assert failed(check(files, trust=None)) == {"signature"}
    assert check(files).verdict == "verified"


def test_two_hundred_random_flipped_bytes_are_never_verified():
    """Anywhere in the archive; the same byte under a right checksum and manifest is no better."""
    dice = random.Random(200)
    for _ in range(200):
        damaged = bytearray(PACKET)
        damaged[dice.randrange(len(damaged))] ^= dice.randrange(1, 256)
        try:
            report = check(bytes(damaged), backend="cryptography")
        except Unreadable:
            continue
        assert report.verdict in ("refuted", "incomplete")
        assert "archive" in failed(report) | failed(report, "incomplete")


def test_a_flipped_byte_of_evidence_is_refuted_even_if_it_is_listed_again():
    """Everything under data/ that carries proof, each file many times.

    The authority's certificate lies both in its token and beside it, signed by neither: one of
    the two may be damaged, and then every finding is what it was.
    """
    dice = random.Random(100)
    good = check(PACKET)
    evidence = [n for n in FILES if n.startswith(("data/records", "data/proofs", "data/anchors"))]
    for name in evidence:
        spare = name.endswith((".pem", ".tsr"))
        for _ in range(12):
            damaged = bytearray(FILES[name])
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
            report = check(FILES | {name: bytes(damaged)}, backend="cryptography")
            assert report.verdict == "refuted" or (spare and report == good), name


def test_a_changed_file_is_named():
    """What a demonstration shows: one byte of one entry, in the archive as it lies there."""
    name = b"data/records/7-GEN.entry.json"
    at = PACKET.index(name) + len(name) + 20
    damaged = PACKET[:at] + bytes([PACKET[at] ^ 1]) + PACKET[at + 1 :]

    report = check(damaged)

    assert report.verdict == "refuted"
    assert {"archive", "manifest"} <= failed(report)
    assert name.decode() in report.text()


def test_a_file_that_is_missing_added_or_listed_otherwise_is_refuted():
    """The lists are complete, in both directions, for evidence and for the rest."""
    whole = dict(read_zip(PACKET).files)
    top = "packet-0198-test/"
    manifest = whole[top + "manifest-sha256.txt"]
    for files in (
        {n: d for n, d in whole.items() if not n.endswith("7-GEN.entry.json")},
        {n: d for n, d in whole.items() if not n.endswith("verify.pyz")},
        whole | {top + "data/more.txt": b"x"},
        whole | {top + "more.txt": b"x"},
        whole | {top + "manifest-sha256.txt": manifest.replace(b"  ", b" *")},
        whole | {top + "manifest-sha256.txt": manifest + manifest},
        whole | {top + "bagit.txt": b"BagIt-Version: 0.97\n"},
        {n: d for n, d in whole.items() if not n.endswith("/tagmanifest-sha256.txt")},
    ):
        assert "manifest" in failed(check(write_zip(files)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        PACKET[:-1],
        PACKET + b"\0",
        write_zip({"packet-1/data/x": b""}),
        write_zip({"folder/bagit.txt": b""}),
        write_zip({"bagit.txt": b""}),
        write_zip({"packet-1/bagit.txt": b"", "packet-2/bagit.txt": b""}),
    ],
)
def test_what_cannot_be_taken_apart_is_unreadable(data):
    """Not an archive in the one form, or not one packet."""
    with pytest.raises(Unreadable):
        read_packet(data)


@pytest.mark.parametrize(
    ("why", "files"),
    [
        ("another position", {"data/proofs/7.tlog-proof": FILES["data/proofs/3.tlog-proof"]}),
        ("another entry", {"data/records/7-GEN.entry.json": LOG.entries[6]}),
        ("a second spelling", {"data/records/7-GEN.entry.json": LOG.entries[7] + b"\n"}),
        ("not JSON", {"data/records/7-GEN.entry.json": b"{"}),
        ("no proof", {"data/proofs/7.tlog-proof": b"c2sp.org/tlog-proof@v1\n"}),
        ("no checkpoint", {"data/anchors/12/checkpoint": b"text\n"}),
        ("an older checkpoint", {"data/anchors/12/checkpoint": LOG.checkpoint(11)}),
        ("no token", {"data/anchors/12/test-stamps.tsr": b"0"}),
        ("no request", {"data/anchors/12/test-stamps.tsq": b"0"}),
        ("no certificate", {"data/anchors/12/tsa-chain.pem": b"-----BEGIN CERTIFICATE-----\n"}),
        ("disclosures that are no list", {"data/records/3.disclosures.json": b"{}"}),
        ("a broken disclosure", {"data/records/3.disclosures.json": b'["AAAA"]'}),
        ("a disclosure that is no text", {"data/records/3.disclosures.json": b"[1]"}),
        ("a stray record", {"data/records/007-GEN.entry.json": LOG.entries[7]}),
        ("a stray text", {"data/records/read-me.txt": b"entry 9 was deleted"}),
        ("a second entry at 7", {"data/records/7-TRAIN.entry.json": LOG.entries[7]}),
        ("a proof of nothing", {"data/proofs/9.tlog-proof": LOG.proof(9, 12)}),
        ("disclosures of nothing", {"data/records/9.disclosures.json": b"[]"}),
        ("an anchor without a checkpoint", {"data/anchors/5/x.tsr": b"0"}),
        ("a proof between unknown sizes", {"data/proofs/consistency-3-4.txt": b""}),
    ],
)
def test_evidence_that_does_not_fit_is_refuted(why, files):
    """The archive and lists are right; the thing itself is wrong."""
    assert check(FILES | files).verdict == "refuted", why


def test_an_entry_of_another_type_than_its_name_says_is_refuted():
    """A person reads the file's name."""
    files = without("7-GEN") | {"data/records/7-EXPORT.entry.json": LOG.entries[7]}

    assert failed(check(files)) == {"entry"}


def test_a_disclosure_of_another_value_or_twice_is_refuted():
    """Only what the entry committed to can be shown, and each field once."""
    other = commit(bytes(32), SEALED)[1]["prompt.user"]
    name = "data/records/3.disclosures.json"
    twice = [DISCLOSURES["prompt.user"]] * 2

    assert failed(check(FILES | {name: json.dumps([other]).encode()})) == {"disclosures"}
    assert failed(check(FILES | {name: json.dumps(twice).encode()})) == {"disclosures"}
    assert check(FILES | {name: b"[]"}).verdict == "verified"


def test_a_token_over_other_bytes_or_of_another_request_is_refuted():
    """The stamp must lie over these bytes, and answer this request."""
    other = anchor_files(LOG, 11)
    again, _ = authority().stamp(LOG.checkpoint(12))

    for files in (
        {"data/anchors/12/test-stamps.tsr": other["data/anchors/11/test-stamps.tsr"]},
        {"data/anchors/12/test-stamps.tsq": other["data/anchors/11/test-stamps.tsq"]},
        {"data/anchors/12/test-stamps.tsq": again},
    ):
        assert failed(check(FILES | files)) == {"token"}


def test_the_stamped_bytes_hold_the_log_s_signature_and_no_other():
    """A stamp over more or less than that would not say how old the log's signature is."""
    text = Checkpoint.parse(LOG.checkpoint(12).decode().partition("\n\n")[0] + "\n").print()
    signed = LOG.sign(text)
    line = signed[signed.rindex(b"\xe2") :]
    for stamped in (signed + line, signed.replace(line, line.replace(b"ledger", b"edger"))):
        request, reply = authority().stamp(stamped)
        files = FILES | {
            "data/anchors/12/checkpoint": stamped,
            "data/anchors/12/test-stamps.tsq": request,
            "data/anchors/12/test-stamps.tsr": reply,
        }
        assert "checkpoint" in failed(check(files))


def test_an_entry_recorded_after_its_stamp_is_refuted():
    """The ledger's clock ran ahead of the authority's, or somebody dates forward."""
    entries = [entry(n) for n in range(11)]
    entries.append(entry(11, time={"recorded": timestamp(NOW + timedelta(hours=1))}))
    log = Log(entries=entries)

    report = check(packet_files(log, positions=(3, 11)), trust=log.trust())

    assert failed(report) == {"time"}


def test_a_second_history_of_one_log_is_refuted():
    """The operator himself, with the real key, shows an entry that he swapped afterwards."""
    fork = Log(private=LOG.private, entries=[*LOG.entries[:7], entry(99), *LOG.entries[8:]])
    same_size = FILES | {
        "data/records/7-GEN.entry.json": fork.entries[7],
        "data/proofs/7.tlog-proof": fork.proof(7, 12),
    }
    other_size = FILES | {
        "data/records/7-GEN.entry.json": fork.entries[7],
        "data/proofs/7.tlog-proof": fork.proof(7, 10),
        "data/proofs/consistency-10-12.txt": fork.consistency(10, 12),
    }

    assert "signature" in failed(check(same_size))
    assert failed(check(other_size)) == {"consistency"}


def test_a_misspelt_consistency_file_is_refuted():
    """One hash a line, each in its one spelling, each line ended."""
    good = LOG.consistency(5, 12)
    files = FILES | {"data/proofs/3.tlog-proof": LOG.proof(3, 5)}
    for data in (
        b"",
        good[:-1],
        good + b"\n",
        good.replace(b"=", b""),
        good + b"\xff\n",
        good * 99,
    ):
        assert failed(check(files | {"data/proofs/consistency-5-12.txt": data})) == {"consistency"}


def test_a_key_of_small_order_that_came_along_does_not_help():
    """It would accept a signature over anything; as a key in the packet it is not even read."""
    key = b"\x01" + bytes(31)
    vkey = f"{ORIGIN}+{key_id(ORIGIN, 1, key).hex()}+{base64text.encode(bytes([1]) + key)}\n"
    with pytest.raises(VerifyError):
        VerifierKey.parse(vkey.strip())

    report = check(FILES | {"data/trust/log.vkey": vkey.encode()}, trust=None)
    assert "signature" in failed(report, "incomplete")


def test_a_checkpoint_with_more_lines_than_ours_is_refuted():
    """Nobody says what an extension line of our own log would mean."""
    checkpoint = Checkpoint.parse(LOG.checkpoint(12).decode().partition("\n\n")[0] + "\n")
    longer = LOG.sign(replace(checkpoint, extensions=("extra",)).print())
    proof = TlogProof.parse(FILES["data/proofs/3.tlog-proof"])
    files = FILES | {"data/proofs/3.tlog-proof": replace(proof, checkpoint=longer).print()}

    assert "signature" in failed(check(files))
