# SPDX-License-Identifier: GPL-3.0-or-later
"""Training sets: sealed once, over exactly the members that were sent, all of them known."""

import json
from hashlib import sha256

import pytest
from house import attempt, gen, ingest

from anchoring import dataset_build
from anchoring.dataset import By, Datasets
from anchoring.dataset_build import DatasetEmpty, DatasetMoved, Order
from anchoring.dataset_manifest import manifest, perceptual_manifest
from anchoring.dataset_members import read_members
from anchoring.fsck import Fsck
from anchoring.sparse_store import SparseStore, TreeDamaged
from anchoring.sparse_tree import root_of
from anchoring.sparse_walk import SparseWalk
from ledger.errors import MalformedEvent
from ledger.lifecycle import DatasetCurrent, DatasetSealed
from ledger.outcome import Recorded
from sealtrail.verify.sparse import BYTES, PIXELS, check_absent, check_present, position_value

BY = By(actor={"kind": "service", "credential": "cred_test"}, person="employee-7")


HASH = f"sha256:{'0' * 64}"


def digest_of(name):
    return f"sha256:{sha256(name.encode()).hexdigest()}"


def asset(name, *, pixels=True, sealed=False, **more):
    """The INGEST of a picture whose bytes are its name, and whose pixels are its name reversed."""
    digests = {"sha256": digest_of(name)}
    if pixels:
        digests["pixel_sha256"] = digest_of(name[::-1])
    clear = {"type": "image", **({} if sealed else digests), **more}
    request = ingest(name, body={"asset": clear, "rights": {"basis": "OWNED"}})
    if sealed:
        request["sealed"] = {f"asset.{one}": value for one, value in digests.items()}
    return request


def withdrawal(name):
    body = {"reason_code": "rights"}
    return {**ingest(name), "type": "ASSET_WITHDRAWN", "body": body}


def lines(*members):
    """NDJSON in pieces that end anywhere."""
    said = [{"asset_id": one} if isinstance(one, str) else one for one in members]
    text = "".join(json.dumps(one) + "\n" for one in said).encode()
    return [text[at : at + 7] for at in range(0, len(text), 7)]


def seal(house, *members, id_="acme/faces", version="1", **more):
    order = Order(id=id_, version=version, **more)
    return Datasets(house.book).seal(order, read_members(lines(*members)), BY)


@pytest.fixture
def pictures(noon):
    """Three ingested pictures: one plain, one without pixels, one with sealed digests."""
    done = noon.post(asset("one"), asset("two", pixels=False), asset("three", sealed=True))
    assert all(isinstance(outcome, Recorded) for outcome in done)
    return noon


def walk(house, sealed, tag, name):
    store = SparseStore(house.book)
    tree = store.tree(
        f"dataset/{sealed.number}",
        root=bytes.fromhex(sealed.body["smt_root"].removeprefix("sha256:")),
    )
    key = store.salt(tree.salt_id).key(tag, bytes.fromhex(digest_of(name)[7:]))
    return tree, key, store.walk(tree, key)


def test_each_member_leads_to_its_ingest_by_bytes_and_by_pixels(pictures):
    """Clear or sealed: the digest is at its place, with the position of the INGEST."""
    sealed = seal(pictures, "one", "two", "three")

    for position, name in enumerate(("one", "two", "three")):
        tree, key, found = walk(pictures, sealed, BYTES, name)
        assert found.found == position
        check_present(tree.root, key, position_value(position), found.siblings)
    assert walk(pictures, sealed, PIXELS, "enod")[2].found is None
    assert walk(pictures, sealed, PIXELS, "eno")[2].found == 0
    assert walk(pictures, sealed, PIXELS, "eerht")[2].found == 2


def test_what_is_not_a_member_is_absent(pictures):
    """An asset of the same ledger that the set leaves out, and pixels that no INGEST names."""
    sealed = seal(pictures, "one", "three")

    for tag, name in ((BYTES, "two"), (PIXELS, "owt"), (PIXELS, "one")):
        tree, key, found = walk(pictures, sealed, tag, name)
        assert found.found is None
        check_absent(tree.root, key, found.path)


def test_the_log_names_what_was_sealed(pictures):
    """One DATASET_SEALED with counts, roots and digests; the person is committed."""
    sealed = seal(pictures, "one", "two", "three", exclusions_digest=digest_of("opt-outs"))

    stored = pictures.book.reader.at(sealed.position)
    said = stored.entry.value["body"]["dataset"]
    assert stored.entry.value["aggregate"] == {"type": "Dataset", "id": "acme/faces", "version": 1}
    assert said == sealed.body
    assert (said["member_count"], said["as_of"]) == (3, 3)
    assert said["digests"] == {"bytes-sha256": 3, "pixel-sha256": 2}
    assert said["exclusions_digest"] == digest_of("opt-outs")
    assert len(stored.entry.value["_sd"]) == 1


def test_whoever_has_the_manifest_can_compute_the_root(pictures):
    """Its digest is in the log; the keys in it, and nothing else, make the tree."""
    sealed = seal(pictures, "three", "one", "two")

    text = b"".join(manifest(pictures.book, sealed.number))
    rows = [json.loads(line) for line in text.splitlines()]
    keys = [(bytes.fromhex(key), row["position"]) for row in rows for key in row["keys"].values()]
    assert sealed.body["manifest_digest"] == f"sha256:{sha256(text).hexdigest()}"
    assert sealed.body["smt_root"] == f"sha256:{root_of(keys).hex()}"
    assert [row["asset_id"] for row in rows] == ["one", "two", "three"]
    assert digest_of("three")[7:] not in text.decode()


def test_clear_perceptual_hashes_are_committed_without_their_assets(noon):
    """Sorted lines that name nobody: an expert can search them."""
    prints = [{"alg": "pdq", "value": "ff00"}, {"alg": "iscc", "value": "aa11"}]
    noon.post(asset("one", fingerprints=prints), asset("two"))

    sealed = seal(noon, "one", "two")

    text = b"".join(perceptual_manifest(noon.book, sealed.number))
    assert sealed.body["perceptual_count"] == 2
    assert sealed.body["perceptual_manifest_digest"] == f"sha256:{sha256(text).hexdigest()}"
    assert text == b'{"alg":"iscc","value":"aa11"}\n{"alg":"pdq","value":"ff00"}\n'


WRONG = {
    "asset-unknown": "unknown",
    "asset-withdrawn": "gone",
    "twice": "one",
    "not-ingested": "output",
    "digest": {"asset_id": "two", "sha256": digest_of("another")},
    "members": {"asset_id": "two", "note": "x"},
}


def test_a_line_that_is_wrong_is_named_and_nothing_is_kept(pictures):
    """The third line is wrong: the whole set is refused, and the number tells which it was."""
    start = attempt()
    pictures.post(asset("gone"), start, gen(start["aggregate_id"], "output"))
    pictures.post(withdrawal("gone"))
    size = pictures.book.reader.head().size

    for rule, bad in [*WRONG.items(), ("digest", {"asset_id": "two", "pixel_sha256": HASH})]:
        with pytest.raises(MalformedEvent, match="line 3") as refused:
            seal(pictures, "one", "three", bad)
        (error,) = refused.value.errors
        assert (error.pointer, error.rule) == ("/3", rule)

    assert pictures.book.reader.head().size == size
    assert Datasets(pictures.book).find("acme/faces") is None


def test_a_set_without_members_is_refused(pictures):
    """Everything is absent from it, which proves nothing."""
    with pytest.raises(DatasetEmpty):
        seal(pictures)


def test_sealing_again_gives_the_same_and_changes_nothing(pictures):
    """Same members, in whatever order: the answer of before."""
    first = seal(pictures, "one", "two", "three")
    size = pictures.book.reader.head().size

    again = seal(pictures, "three", "one", "two")

    assert again.repeat
    assert not first.repeat
    assert (again.number, again.body, again.position) == (first.number, first.body, first.position)
    assert pictures.book.reader.head().size == size


@pytest.mark.parametrize("members", [("one",), ("one", "two", "three")], ids=["fewer", "more"])
def test_a_sealed_version_takes_no_other_members(pictures, members):
    """Not one fewer, not one more: that is another version."""
    seal(pictures, "one", "two")

    with pytest.raises(DatasetSealed):
        seal(pictures, *members)


def test_a_new_version_takes_the_place_of_the_current_one(pictures):
    """Both entries in one commit; the older one stays what it was."""
    first = seal(pictures, "one", "two")

    second = seal(pictures, "one", version="2")

    state, _ = Datasets(pictures.book).state("acme/faces")
    assert second.body["supersedes"] == "1"
    assert state.current.version == "2"
    assert state.replaced == {"1": "2"}
    assert Datasets(pictures.book).find("acme/faces").number == second.number
    assert Datasets(pictures.book).find("acme/faces", "1").body == first.body


def test_only_the_current_version_can_be_replaced(pictures):
    """Two that replace the same one would leave nobody knowing which is current."""
    seal(pictures, "one", "two")
    seal(pictures, "one", version="2")

    with pytest.raises(DatasetCurrent):
        seal(pictures, "two", version="3", supersedes="1")


def test_a_member_withdrawn_meanwhile_stops_the_seal(pictures, monkeypatch):
    """Looked up, then withdrawn before the set was kept."""
    copied = dataset_build._copy

    def slow(*arguments):
        result = copied(*arguments)
        pictures.post(withdrawal("two"))
        return result

    monkeypatch.setattr(dataset_build, "_copy", slow)

    with pytest.raises(DatasetMoved):
        seal(pictures, "one", "two")


@pytest.mark.parametrize("where", ["copied", "kept"])
def test_killed_at_any_moment_the_same_request_goes_on(pictures, monkeypatch, where):
    """Before the end of the transaction nothing is there; after it, nothing that counts."""

    def dies(*_arguments, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as world:
        if where == "copied":
            world.setattr(dataset_build, "_gather", dies)
        else:
            world.setattr(Datasets, "_record", dies)
        with pytest.raises(KeyboardInterrupt):
            seal(pictures, "one", "two")
    assert Datasets(pictures.book).find("acme/faces") is None

    sealed = seal(pictures, "one", "three")

    assert walk(pictures, sealed, BYTES, "two")[2].found is None


def test_what_the_log_never_named_goes_after_a_day(pictures, monkeypatch):
    """Not before: whoever built it may be about to record it. What is sealed stays."""
    with monkeypatch.context() as world:
        world.setattr(Datasets, "_record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            seal(pictures, "one", "two")
    first = seal(pictures, "one", "three")
    kept = f"SELECT number FROM {pictures.schema}.dataset ORDER BY 1"

    with pictures.owner() as owner:
        seal(pictures, "one", version="2")
        before = owner.execute(kept).fetchall()
        owner.execute(f"ALTER TABLE {pictures.schema}.dataset DISABLE TRIGGER append_only")
        owner.execute(f"UPDATE {pictures.schema}.dataset SET made_at = now() - interval '2 days'")
        owner.execute(f"ALTER TABLE {pictures.schema}.dataset ENABLE TRIGGER append_only")
        seal(pictures, "two", version="3")
        after = owner.execute(kept).fetchall()
        members = f"SELECT DISTINCT number FROM {pictures.schema}.dataset_member ORDER BY 1"
        left = owner.execute(members).fetchall()

    assert before == [(1,), (2,), (3,)]
    assert after == left == [(2,), (3,), (4,)]
    assert walk(pictures, first, BYTES, "three")[2].found == 2


def test_a_withdrawal_after_the_seal_takes_nothing_out(pictures):
    """The set is what it was; a repeat of its request is still a repeat."""
    first = seal(pictures, "one", "two")
    pictures.post(withdrawal("two"))

    assert seal(pictures, "one", "two").body == first.body
    with pytest.raises(MalformedEvent, match="withdrawn"):
        seal(pictures, "one", "two", version="2")


def test_an_erased_member_is_refused_before_the_seal_and_stays_after_it(pictures):
    """Its digest can be read no more: a new set cannot hold it, an older one still does."""
    sealed = seal(pictures, "one", "three")
    vault = pictures.book.vault
    vault.begin_erasure(vault.subject_of("employee-7").ref, "an-erasure")

    with pytest.raises(MalformedEvent, match="line 2 names an asset whose digest was erased"):
        seal(pictures, "one", "three", version="2")

    assert walk(pictures, sealed, BYTES, "three")[2].found == 2


def test_rows_that_were_taken_away_are_missed(pictures):
    """The log names the set: that there are no rows of it is no answer."""
    seal(pictures, "one", "two")
    with pictures.owner() as owner:
        owner.execute(f"DELETE FROM {pictures.schema}.dataset")

    with pytest.raises(TreeDamaged):
        Datasets(pictures.book).find("acme/faces")
    with pytest.raises(TreeDamaged):
        seal(pictures, "one", "two")


def test_a_log_with_sets_in_it_is_sound(pictures):
    """fsck derives the lives of sets from the stored bytes again."""
    seal(pictures, "one", "two")
    seal(pictures, "one", version="2")

    report = Fsck(pictures.book, first_key=pictures.first_key(), full=True).run()

    assert (report.damage, report.not_checked) == ([], [])


SPOILED = {
    "records": "UPDATE {}.sparse_bucket SET records = substr(records, 1, 40)",
    "bucket": "DELETE FROM {}.sparse_bucket",
    "crown": "UPDATE {}.sparse_tree SET crown = crown || crown",
    "root": "UPDATE {}.sparse_tree SET root = sha256(root)",
    "tree": "DELETE FROM {}.sparse_tree",
    "set": "DELETE FROM {}.dataset",
}


def test_a_tree_that_was_changed_is_found_before_anybody_asks(pictures):
    """By fsck, whichever part of it: buckets only by the full one."""
    sealed = seal(pictures, "one", "two")
    tables = ("sparse_bucket", "sparse_tree", "dataset")
    found = {}
    with pictures.owner() as owner:
        for name in tables:
            owner.execute(f"ALTER TABLE {pictures.schema}.{name} DISABLE TRIGGER USER")
        for name, change in SPOILED.items():
            owner.execute("BEGIN")
            owner.execute(change.format(pictures.schema))
            walk = SparseWalk(pictures.schema, full=True)
            found[name] = {(at, what) for at, what, _ in walk.finish(owner)}
            owner.execute("ROLLBACK")

        owner.execute("BEGIN")
        assert list(SparseWalk(pictures.schema, full=True).finish(owner)) == []

    tree, named = (None, "sparse-tree"), (sealed.position, "sparse-tree")
    assert found == {
        "records": {tree},
        "bucket": {tree},
        "crown": {tree},
        "root": {tree, named},
        "tree": {named},
        "set": {named},
    }
