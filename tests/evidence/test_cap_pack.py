# SPDX-License-Identifier: GPL-3.0-or-later
"""A CAP pack of a day is what CAP's own text asks for, whoever checks it."""

import json
from pathlib import Path

import cap_checker
import cap_story
import pytest
from cap_world import CAP, by_type, events_in, key_of, needs_cap, pack_of
from house import house_in

from anchoring.night import Night

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def studio(pattern, authority, tmp_path_factory):
    """A house with one day's story, anchored."""
    with house_in(pattern, tmp_path_factory.mktemp("studio")) as house:
        roots = list(authority.authority().roots)
        (house.directory / "trust.json").write_bytes(house.trust(roots).print())
        house.calls = cap_story.tell(house)
        Night(house.book, [authority.authority()]).interim()
        yield house


@pytest.fixture(scope="module")
def pack(studio):
    return pack_of(studio)


@pytest.fixture(scope="module")
def events(pack):
    return events_in(pack)


def test_a_stranger_finds_nothing_wrong(studio, pack):
    """With CAP's text and our public key alone: hashes, chain, signatures, counts, checksums."""
    assert cap_checker.check(pack.data, key_of(studio)) == []
    assert pack.complete


@needs_cap
def test_each_event_is_what_caps_own_schemas_ask_for(studio, pack, events):
    """All nine types that the schemas know, and v1.0's GEN_ERROR by the common one."""
    schemas = cap_checker.Schemas(CAP / "schemas")

    assert cap_checker.check(pack.data, key_of(studio), schemas) == []
    assert {one["EventType"] for one in events} == {
        "INGEST", "TRAIN", "EXPORT", "GEN_ATTEMPT", "GEN", "GEN_DENY", "GEN_ERROR", "GEN_WARN",
        "GEN_QUARANTINE",
    }  # fmt: skip


@needs_cap
def test_a_schema_is_asked_for_real(events):
    """The check above would see a member that is missing or misspelled."""
    schemas = cap_checker.Schemas(CAP / "schemas")
    (denied, *_) = by_type(events, "GEN_DENY")

    assert list(schemas.faults(denied)) == []
    assert list(schemas.faults({**denied, "RiskScore": 1.5})) != []
    assert list(schemas.faults({**denied, "EventID": "no uuid"})) != []
    assert list(schemas.faults({k: v for k, v in denied.items() if k != "AttemptID"})) != []


def test_no_value_of_a_person_is_in_a_pack(pack):
    """Only digests of disclosures; the prompt, the person and the address stay in the vault."""
    inside = b"".join(cap_checker.files_of(pack.data).values())

    for value in (b"a lighthouse", b"employee-7", b"192.0.2.7", b"somebody", b"design"):
        assert value not in inside


def test_whoever_is_shown_a_disclosure_can_hold_it_against_the_event(studio, events):
    """PromptHash is the SHA-256 of the prompt's RFC 9901 disclosure, in hexadecimal."""
    stream = studio.calls["denied"]
    (attempt_,) = (one for one in events if one["Sealtrail"]["AggregateID"] == stream
                   and one["EventType"] == "GEN_ATTEMPT")  # fmt: skip

    opened = studio.book.vault.open(attempt_["EventID"])

    def hashed(name):
        return "sha256:" + cap_checker.hashlib.sha256(opened.disclosures[name].encode()).hexdigest()

    assert attempt_["PromptHash"] == hashed("prompt.user")
    assert attempt_["ActorHash"] == hashed("actor.subject_id")
    assert attempt_["Context"]["UserID"] == hashed("actor.subject_id")
    assert attempt_["Context"]["UserHash"] == hashed("actor.subject_id")
    assert attempt_["ReferenceImageHash"] == hashed("inputs[0].sha256")
    assert attempt_["Context"]["ClientIP_Hash"] == hashed("net.ip")
    assert attempt_["Sealtrail"]["PromptHashOf"] == "prompt.user"


def test_what_the_record_says_of_a_refusal_is_said_in_caps_words(events):
    """Category, score and classifier come from the filter's judgement before it."""
    denied = next(one for one in by_type(events, "GEN_DENY") if one["RiskCategory"] == "NCII_RISK")

    assert denied["RiskSubCategories"] == ["UPLOADED_PERSON"]
    assert denied["RiskScore"] == 0.94
    assert denied["ModelDecision"] == "DENY"
    assert denied["HumanOverride"] is False
    assert denied["DecisionMetadata"] == {
        "processingTime": 50,
        "classifierVersion": "ncii-detect 2.1.0",
        "confidenceThreshold": 0.85,
    }
    assert "Assumed" not in denied["Sealtrail"]


def test_what_cap_asks_for_and_nobody_recorded_is_named(events):
    """A refusal that nobody measured, an attempt that names no policy and has no prompt."""
    bare = next(one for one in by_type(events, "GEN_DENY") if "Assumed" in one["Sealtrail"])
    asked = next(one for one in events if one["EventID"] == bare["AttemptID"])

    assert bare["Sealtrail"]["Assumed"] == ["RiskCategory", "RiskScore"]
    assert (bare["RiskCategory"], bare["RiskScore"]) == ("OTHER", 1)
    assert asked["Sealtrail"]["Assumed"] == ["PolicyID"]
    assert asked["Sealtrail"]["PromptHashOf"] == "_sd"


def test_a_warning_and_a_quarantine_are_outcomes_of_their_own(events):
    """Which output is meant, and a category that CAP does not know, are said too."""
    (warned,), (held,) = by_type(events, "GEN_WARN"), by_type(events, "GEN_QUARANTINE")

    assert warned["WarningMessage"] == "w-7"
    assert warned["UserAcknowledged"] is True
    assert (warned["RiskCategory"], warned["RiskSubCategories"][0]) == (
        "OTHER",
        "COPYRIGHT_VIOLATION",
    )
    assert held["OutputAssetID"].endswith(":h-1")
    assert held["OutputAssetHash"] != cap_story.D  # It was sealed, so its commitment stands here.
    assert [one["AssetID"][-3:] for one in held["Sealtrail"]["Outputs"]] == ["h-0", "h-1"]
    assert held["ReviewStatus"] == {"status": "PENDING"}


def test_identifiers_become_caps_names_and_can_be_read_back(events):
    """A URN stays; what is none gets one that no other identifier has."""
    (train,), (delivered,) = by_type(events, "TRAIN"), by_type(events, "EXPORT")
    (ingested,) = by_type(events, "INGEST")

    assert ingested["Asset"]["AssetID"] == "urn:cap:asset:acme:char-1"
    assert train["OutputModelID"] == "urn:cap:model:acme:painter"
    assert train["BaseModelID"].endswith(":flux_2e1")
    assert train["InputAssetIDs"][0].endswith(":photos_2f2026")
    assert delivered["AssetID"].endswith(":gen_2fchar_3a1")
    assert delivered["AssetID"] == by_type(events, "GEN")[0]["Generation"]["OutputAssetID"]
    assert train["TrainingConfig"] == {"epochs": 3, "learningRate": 0.0000015}
    assert delivered["Sealtrail"]["RecipientType"] == "COURT"
    assert ingested["Rights"]["PermittedUse"]["Attribution"] is True


def test_statistics_and_manifest_count_what_is_there(pack):
    """Six attempts, each with its own end."""
    files = cap_checker.files_of(pack.data)
    manifest = json.loads(files["manifest.json"])
    stats = json.loads(files["statistics/refusal_stats.json"])

    assert manifest["CompletenessVerification"] == {
        "TotalAttempts": 6,
        "TotalGEN": 1,
        "TotalGEN_DENY": 2,
        "TotalGEN_ERROR": 1,
        "TotalGEN_WARN": 1,
        "TotalGEN_ESCALATE": 0,
        "TotalGEN_QUARANTINE": 1,
        "InvariantValid": True,
        "MissingOutcomes": [],
    }
    assert stats["summary"]["refusalRate"] == round(2 / 6, 6)
    assert stats["byCategory"]["NCII_RISK"] == {"attempts": 1, "refusals": 1, "refusalRate": 1}
    assert stats["completenessVerification"]["calculation"] == "6 == 1 + 2 + 1 + 1 + 0 + 1"
    assert stats["performance"]["p50DecisionTimeMs"] >= 0
    assert manifest["ConformanceLevel"] == "Silver"


def test_each_event_leads_to_the_stamped_root_of_the_log(pack, events):
    """Its entry's leaf, its path, the root in the checkpoint that the authority stamped."""
    from sealtrail.verify.merkle import check_inclusion

    files = cap_checker.files_of(pack.data)
    anchor = json.loads(files["anchors/anchor_001.json"])
    stamped = cap_checker.base64.b64decode(anchor["Sealtrail"]["Checkpoint"])
    root = cap_checker.base64.b64decode(stamped.split(b"\n")[2])
    paths = json.loads(files["merkle/proofs/ledger_proofs_001.json"])

    assert anchor["MerkleRoot"] == f"sha256:{root.hex()}"
    assert cap_checker.hashlib.sha256(stamped).digest() in cap_checker.base64.b64decode(
        anchor["AnchorProof"]
    )
    assert [one["EventID"] for one in paths] == [one["EventID"] for one in events]
    assert anchor["EventCount"] == len(events)
    for one in paths:
        check_inclusion(
            leaf=bytes.fromhex(one["Leaf"][7:]),
            index=one["Position"],
            size=one["Size"],
            path=[bytes.fromhex(node[7:]) for node in one["Path"]],
            root=root,
        )


def test_the_same_question_has_the_same_events(studio, events):
    """Chain id, hashes and signatures are of the record, not of the moment."""
    again = events_in(pack_of(studio))

    assert again == events


def test_the_page_says_which_entry_becomes_which_event():
    """docs/cap.md, row by row, and every type that a pack can hold."""
    from evidence.cap_range import DIRECT
    from evidence.cap_statistics import ATTEMPT, OUTCOMES

    page = (Path(__file__).resolve().parents[2] / "docs" / "cap.md").read_text("utf-8")
    table = page.partition("| here | in CAP |")[2].partition("\n\n")[0]

    named = {line.split("|")[2].strip(" `") for line in table.splitlines()[2:]}

    assert named == {*DIRECT, ATTEMPT, *OUTCOMES}
