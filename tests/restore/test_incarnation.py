# SPDX-License-Identifier: GPL-3.0-or-later
"""After a restore the log goes on under another origin, and every receipt from before is answered.

One ledger, restored once: three entries that were time-stamped, two that were not, and three that
the restore lost. What is asked of it afterwards changes nothing that another question needs.
"""

import json
from types import SimpleNamespace

import pytest
from house import attempt, house_in
from restoring import accept, as_file, backup_of, first_keys, look, post

from anchoring.anchors import Anchors
from anchoring.fsck import Fsck
from anchoring.incarnation import NothingWrong, StillWriting
from anchoring.night import Night
from anchoring.restored_receipt import judge_receipt
from evidence.packet import PacketRequest, build_packet
from ledger import clock
from ledger.errors import HistoryRewritten
from ledger.keys import KeyDestroyed, chain_key, log_key
from sealtrail.errors import ReceiptInvalid
from sealtrail.receipt import check_receipt
from sealtrail.request import prepare
from sealtrail.verify.note import Checkpoint, Note, open_checkpoint
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.tlog_proof import check_tlog_proof
from sealtrail.verify.trust import Trust


@pytest.fixture(scope="module")
def story(pattern, authority, tmp_path_factory):
    """A house that was restored, and what was seen on the way."""
    tsa = authority.authority()
    with house_in(pattern, tmp_path_factory.mktemp("restored")) as house:
        house.roots = list(tsa.roots)
        house.sent = [attempt() for _ in range(3)]
        stamped = post(house, *house.sent)
        Night(house.book, [tsa]).interim()
        plain = post(house, attempt(), attempt())
        with backup_of(house) as backup:
            house.orphan = attempt()
            lost = post(house, house.orphan, attempt(), attempt())
            last_word = house.book.notary.latest()
            house.shelf.close()
            backup.restore()
        shut = house.second_process()
        with pytest.raises(HistoryRewritten) as refusal:
            shut.book(house.tenant)
        found = look(house)
        opened = accept(house, reason="incident-42")
        house.reopen()
        yield SimpleNamespace(
            house=house,
            tsa=tsa,
            stamped=stamped,
            plain=plain,
            lost=lost,
            last_word=last_word,
            refusal=refusal.value,
            found=found,
            opened=opened,
            trust=Trust.parse((house.directory / "trust.json").read_bytes()),
        )


def entry(story, position):
    return story.house.book.reader.at(position).entry.value


def test_an_older_database_is_not_served_and_the_message_says_what_to_do(story):
    """Whoever starts a server over a restored backup reads the next command in the refusal."""
    assert "restore --accept" in str(story.refusal)
    assert "the database ends at 6 entries; 9 were signed before" in str(story.refusal)


def test_looking_says_what_survived_and_whose_receipts_will_be_orphaned(story):
    """Before anything is decided: six entries, three lost, and the origin that would be opened."""
    found = story.found

    assert (found.verdict, found.tag, found.head.size) == ("behind", "ours", 6)
    assert found.orphaned == (6, 9)
    assert found.next_origin == f"{story.house.origin}/i2"
    assert found.known.note == story.last_word[0]


def test_the_first_new_entry_names_what_was_inherited_and_what_was_signed_before(story):
    """INCARNATION_OPENED: the old origin, size and root inherited, the highest old checkpoint."""
    house, (note, signed) = story.house, story.last_word

    value = entry(story, 6)

    body = value["body"]
    assert (value["type"], value["aggregate"]["type"]) == ("INCARNATION_OPENED", "Log")
    assert value["actor"] == {"kind": "system"}
    assert (body["number"], body["origin"]) == (2, f"{house.origin}/i2")
    assert (body["old_origin"], body["size"]) == (house.origin, 6)
    assert body["root"] == f"sha256:{house.book.tree.root(6).hex()}"
    assert body["checkpoint"]["note"].encode() == note
    assert (body["checkpoint"]["size"], body["checkpoint"]["from_store"]) == (signed.size, True)
    assert body["tag_verified"] is True
    assert body["reason"] == "incident-42"


def test_the_trust_file_names_the_old_origin_beside_the_new_one(story):
    """Strangers who check an old packet need the old key, though nobody can sign with it."""
    origins = story.trust.origins

    assert {story.house.origin, f"{story.house.origin}/i2"} <= set(origins)
    assert [key.vkey() for key in origins[story.house.origin]] == [
        entry(story, 6)["body"]["old_key"]
    ]
    open_checkpoint(story.last_word[0], origin=story.house.origin, keys=origins[story.house.origin])


def test_the_old_keys_sign_and_chain_nothing_more(story):
    """Not in this process and not in any other; what they signed stays where it was."""
    house = story.house
    keys = house.shelf.keys

    for job, name in (("sign", log_key(house.origin)), ("mac", chain_key(house.origin, 0))):
        with pytest.raises(KeyDestroyed):
            getattr(keys, job)(name, b"m")

    assert house.store.read(house.origin)[0] == story.last_word[0]


def test_an_old_receipt_still_verifies_under_the_old_key(story):
    """It is a true statement of the old log, be its entry in the new one or not."""
    keys = story.trust.origins[story.house.origin]

    for receipt in (*story.stamped, *story.lost):
        check_tlog_proof(
            receipt.proof.tlog_proof(),
            leaf=receipt.proof.leaf,
            origin=story.house.origin,
            keys=keys,
        )


def test_a_receipt_from_before_is_in_the_log_or_was_orphaned(story):
    """Both checkpoints are shown; what is in the log is proved anew under the new origin."""
    house = story.house
    books = [house.book]

    for receipt in (*story.stamped, *story.plain):
        judged = judge_receipt(as_file(receipt), books)

        assert judged.verdict == "in the log"
        keys = story.trust.origins[house.book.origin]
        check_tlog_proof(judged.proof, leaf=receipt.proof.leaf, origin=None, keys=keys)
    for receipt in story.lost:
        judged = judge_receipt(as_file(receipt), books)

        assert judged.verdict == "orphaned by restore"
        assert judged.signed == receipt.proof.checkpoint
        assert Checkpoint.parse(Note.parse(judged.present).text).origin == f"{house.origin}/i2"


def test_a_receipt_that_nobody_signed_is_refuted_and_not_orphaned(story):
    """Else whoever invents a receipt could blame the restore."""
    members = story.lost[0].json()
    proof = members["proof"].replace(f"index {members['position']}", "index 0")

    judged = judge_receipt(json.dumps({**members, "proof": proof}).encode(), [story.house.book])

    assert judged.verdict == "refuted"


def test_fsck_walks_both_chains_and_says_which_key_it_lacks(story):
    """With both escrowed keys every MAC is checked; without the old one that is said."""
    both = Fsck(story.house.book, first_key=first_keys(story.house)).run()
    present = Fsck(story.house.book).run()

    assert (both.damage, both.not_checked) == ([], [])
    assert present.damage == []
    assert present.not_checked == [
        f"MACs of 1 older epochs (0 to 0) of {story.house.origin}: escrow key needed"
    ]


def test_an_event_that_was_lost_is_recorded_anew_when_it_is_sent_again(story):
    """The client repeats the same request and holds a receipt of the new log; one that survived is
    answered with a proof of the entry that is there.
    """
    house = story.house

    (again,) = post(house, house.orphan)
    (kept,) = post(house, house.sent[1])

    assert (again.repeat, again.origin) == (False, f"{house.origin}/i2")
    assert again.proof.position > 6
    assert (kept.repeat, kept.proof.position) == (True, 1)
    assert kept.origin == f"{house.origin}/i2"
    assert judge_receipt(as_file(again), [house.book]).verdict == "in the log"


def test_a_client_refuses_the_new_origin_until_its_trust_names_it(story):
    """The operator publishes new trust; until then no pipeline takes the new log for the old."""
    house = story.house
    request = attempt()
    receipt = json.dumps(post(house, request)[0].json()).encode()
    members = {name: request[name] for name in request if name not in ("type", "schema")}
    sent = prepare(
        "GEN_ATTEMPT",
        1,
        {key: members[key] for key in ("aggregate_id", "body", "on_behalf_of", "sealed")},
        event_id=request["event_id"],
        record_key=_key(request),
    )
    pinned = Trust(origins={house.origin: story.trust.origins[house.origin]}, tsa_roots=())

    with pytest.raises(ReceiptInvalid) as refusal:
        check_receipt(receipt, sent, trust=pinned, repeat=False)

    assert refusal.value.check == "origin"
    assert check_receipt(receipt, sent, trust=story.trust, repeat=False).signature_checked


def _key(request):
    from sealtrail.verify.disclosure import decode_base64url

    return decode_base64url(request["record_key"])


def test_anchors_go_on_and_say_whose_checkpoint_came_before(story):
    """The new anchor is consistent with the last one of the old origin, and names it. Packets prove
    an inherited entry by the old anchor, a new one by the new, with one trust file for both.
    """
    house = story.house
    (new,) = post(house, attempt())

    done = Night(house.book, [story.tsa]).interim()

    assert done.recorded
    body = Anchors(house.book).entry(Anchors(house.book).get(done.anchor_id))
    assert body["previous"]["origin"] == house.origin
    assert body["previous"]["size"] == 3
    assert body["consistency"]
    events = (story.stamped[0].event_id, story.plain[0].event_id, new.event_id)
    packet = build_packet(
        house.book, PacketRequest(event_ids=events), trust_file=house.directory / "trust.json"
    )
    report = check_packet(read_packet(packet.data), trust=story.trust, now=clock.now())
    assert report.verdict == "verified", [f for f in report.findings if f.verdict != "verified"]
    assert Fsck(house.book, first_key=first_keys(house)).run().damage == []


def test_nothing_is_accepted_while_nothing_is_wrong_or_somebody_writes(story):
    """An operator in a hurry orphans nobody; a server that is connected keeps its log."""
    house = story.house
    post(house, attempt())

    with pytest.raises(StillWriting):
        accept(house)
    house.reopen()
    with pytest.raises(NothingWrong):
        accept(house)

    assert house.book.origin == f"{house.origin}/i2"
    assert look(house).verdict == "extends"
