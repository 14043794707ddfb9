# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet: verified with trust from outside, incomplete with less.

Each packet is real: an Ed25519 log, a tree of twelve entries, a token by `openssl ts`.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from good_packet import FILES, LOG, PACKET, TRUST, check, failed, without
from packet_maker import (
    NOW,
    ORIGIN,
    Log,
    anchor_files,
    entry,
)

from sealtrail.verify.tlog_proof import TlogProof


def test_a_whole_packet_is_verified_with_trust_from_outside():
    """Two entries, one anchor: each check is well, and what was not checked is said."""
    report = check(PACKET)

    assert report.verdict == "verified"
    assert {f.subject for f in report.findings} == {
        "files",
        "record 3 · GEN",
        "record 7 · GEN",
        f"checkpoint 12 · {ORIGIN}",
        "anchor 12",
        "anchor 12 · test-stamps",
    }
    assert len(report.not_checked) == 6


@pytest.mark.parametrize("backend", ["python", "cryptography"])
def test_the_findings_are_the_same_without_any_package(backend):
    """Arithmetic of our own and `openssl` instead of `cryptography`."""
    assert check(PACKET, backend=backend) == check(PACKET)


def test_without_trust_the_best_verdict_is_incomplete():
    """Keys and roots that came with the packet show only that it agrees with itself."""
    report = check(PACKET, trust=None)

    assert report.verdict == "incomplete"
    assert failed(report) == set()
    assert {"signature", "token"} <= failed(report, "incomplete")
    assert any("the keys came with the packet" in f.sentence for f in report.findings)


def test_trust_without_roots_leaves_the_token_incomplete():
    """The log's key verifies; about the time nothing was brought along."""
    report = check(PACKET, trust=replace(TRUST, tsa_roots=()))

    assert report.verdict == "incomplete"
    assert failed(report, "incomplete") == {"token", "time"}


def test_trust_without_logs_leaves_the_signature_incomplete():
    """The token verifies; that the log signed anything is not shown."""
    report = check(PACKET, trust=replace(TRUST, origins={}))

    assert report.verdict == "incomplete"
    assert "signature" in failed(report, "incomplete")


def test_a_packet_without_entries_proves_nothing():
    """A verified token over a checkpoint that no entry is shown under."""
    report = check(without("data/records", "data/proofs"))

    assert report.verdict == "incomplete"
    assert "contents" in failed(report, "incomplete")


def test_an_entry_without_a_proof_is_incomplete():
    """Nothing shows where it stands."""
    report = check(without("proofs/7."))

    assert failed(report, "incomplete") == {"inclusion"}


def test_an_entry_under_a_receipt_s_checkpoint_only_is_a_promise():
    """Signed by the log, but neither witnessed nor stamped."""
    report = check(without("anchors"))

    assert report.verdict == "incomplete"
    assert failed(report, "incomplete") == {"time"}
    assert all(
        "promise of the log; not yet witnessed or time-stamped" in finding.sentence
        for finding in report.findings
        if finding.check == "time"
    )


def test_an_anchor_without_a_token_is_incomplete():
    """A checkpoint in an anchor's place is not an anchor."""
    assert failed(check(without(".tsr")), "incomplete") == {"token", "time"}


def test_a_token_without_its_request_is_verified():
    """The request makes the check stricter; the token stands without it."""
    assert check(without(".tsq")).verdict == "verified"


def test_an_expired_certificate_alone_is_incomplete():
    """Its key may have been stolen since; a second, valid token would renew it."""
    report = check(PACKET, now=NOW + timedelta(days=4000))

    assert report.verdict == "incomplete"
    assert failed(report, "incomplete") == {"time"}


def test_checkpoints_of_two_sizes_need_a_proof_that_one_extends_the_other():
    """With the proof the older entry is covered by the later stamp; without it nothing is."""
    files = FILES | {"data/proofs/3.tlog-proof": LOG.proof(3, 5)}
    joined = files | {"data/proofs/consistency-5-12.txt": LOG.consistency(5, 12)}

    assert failed(check(files), "incomplete") == {"one history", "time"}
    assert check(joined).verdict == "verified"


def test_a_chain_of_steps_joins_all_cited_checkpoints():
    """From 5 over 9 to 12, where 9 is anchored too."""
    files = FILES | anchor_files(LOG, 9)
    files["data/proofs/3.tlog-proof"] = LOG.proof(3, 5)
    files["data/proofs/consistency-5-9.txt"] = LOG.consistency(5, 9)
    files["data/proofs/consistency-9-12.txt"] = LOG.consistency(9, 12)

    assert check(files).verdict == "verified"
    del files["data/proofs/consistency-9-12.txt"]
    assert check(files).verdict == "incomplete"


def test_the_log_s_own_entry_about_the_anchor_is_checked():
    """It stands under a later checkpoint, which must extend the one stamped."""
    log = Log(entries=[*LOG.entries, entry(12, "ANCHOR", body={"size": "12"})], private=LOG.private)
    files = FILES | {
        "data/anchors/12/anchor.entry.json": log.entries[12],
        "data/anchors/12/anchor.tlog-proof": log.proof(12, 13),
        "data/proofs/consistency-12-13.txt": log.consistency(12, 13),
    }

    assert check(files).verdict == "verified"
    wrong = files | {"data/anchors/12/anchor.entry.json": LOG.entries[3]}
    assert failed(check(wrong)) == {"log's entry"}


def test_files_of_a_later_version_are_named_as_not_checked():
    """They are listed like all others, and nobody is told that they were understood."""
    files = FILES | {
        "data/proofs/completeness-2026-01-14.json": b"{}",
        "data/records/3.withheld.json": b'[{"name":"prompt.negative","ground":"privilege"}]',
    }

    report = check(files)

    assert report.verdict == "verified"
    assert any("completeness-2026-01-14.json" in item for item in report.not_checked)
    assert any("1 fields that the packet's maker withheld" in item for item in report.not_checked)


def test_extra_signatures_in_a_proof_are_kept_and_ignored():
    """A witness's line in the proof's checkpoint; the stamped bytes stay the log's own."""
    proof = TlogProof.parse(FILES["data/proofs/3.tlog-proof"])
    witness = LOG.checkpoint(12) + "— witness.example AAAAAAAA\n".encode()
    files = FILES | {"data/proofs/3.tlog-proof": replace(proof, checkpoint=witness).print()}

    assert check(files).verdict == "verified"
