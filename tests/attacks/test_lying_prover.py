# SPDX-License-Identifier: GPL-3.0-or-later
"""The lying prover: runs the ledger, has every tree and every salt, and would rather deny.

A picture was in the training set, or was put out, and somebody asks. The prover makes the statement
that goes to court; it can compute whatever it likes and sign nothing that is not in the log. What
the tree alone withstands is tested beside it, in tests/verify/test_sparse.py.
"""

import copy
import json
from hashlib import sha256

import pytest
from house import Hand, attempt, gen, house_in, ingest, noon_before

from anchoring.dataset import By, Datasets
from anchoring.dataset_build import Order
from anchoring.dataset_members import read_members
from anchoring.night import Night
from anchoring.sparse_store import SparseStore
from evidence.absence import about_dataset, about_outputs
from evidence.anchored import anchored_entries
from ledger import clock
from ledger.errors import IntegrityViolation
from sealtrail.verify import base64text, canonical
from sealtrail.verify.errors import Unreadable
from sealtrail.verify.sparse import BYTES, PIXELS, SparsePath, member_key
from sealtrail.verify.statement import check_statement, read_statement
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def digests(name):
    return {
        BYTES: sha256(name.encode()).digest(),
        PIXELS: sha256(name[::-1].encode()).digest(),
    }


def told(name):
    found = digests(name)
    return {
        "sha256": f"sha256:{found[BYTES].hex()}",
        "pixel_sha256": f"sha256:{found[PIXELS].hex()}",
    }


class Prover:
    """The ledger's operator: two sets, one with two versions, and three days of outputs."""

    def __init__(self, house, authority):
        self.house, self.authority = house, authority
        self.trust_file = house.directory / "trust.json"
        self.trust_file.write_bytes(house.trust(list(authority.authority().roots)).print())
        self.store = SparseStore(house.book)

    def ingest(self, *names):
        for name in names:
            asset = {"type": "image", **told(name)}
            self.house.post(ingest(name, body={"asset": asset, "rights": {"basis": "OWNED"}}))

    def seal(self, id_, version, *names):
        lines = "".join(json.dumps({"asset_id": name}) + "\n" for name in names)
        order = Order(id=id_, version=version)
        by = By(actor={"kind": "service", "credential": "cred_test"})
        return Datasets(self.house.book).seal(order, read_members([lines.encode()]), by)

    def put_out(self, name):
        start = attempt()
        output = {"asset_id": f"output-{name}", "mime": "image/png", **told(name)}
        self.house.post(start, gen(start["aggregate_id"], body={"outputs": [output]}))

    def night(self):
        self.house.now_ms.move(days=1)
        list(Night(self.house.book, [self.authority.authority()]).catch_up(self.house.now_ms()))

    def absent(self, name, id_="faces", version=None):
        """An honest statement, to be changed."""
        found = about_dataset(
            self.house.book, digests(name), id_, version, trust_file=self.trust_file
        )
        return copy.deepcopy(found.document)

    def not_put_out(self, name, ago):
        day = clock.day_of(self.house.now_ms() - ago * clock.DAY_MS)
        found = about_outputs(self.house.book, digests(name), day, trust_file=self.trust_file)
        return copy.deepcopy(found.document)

    def anchored(self, *positions):
        trust = Trust.parse(self.trust_file.read_bytes())
        return anchored_entries(self.house.book, positions, trust=trust)

    def read(self, document):
        return read_statement(json.dumps(document).encode())

    def report(self, document):
        trust = Trust.parse(self.trust_file.read_bytes())
        return check_statement(self.read(document), trust=trust, now=clock.now())

    def verdict(self, document):
        return self.report(document).verdict


@pytest.fixture(scope="module")
def prover(pattern, authority, tmp_path_factory):
    directory = tmp_path_factory.mktemp("prover")
    with house_in(pattern, directory, now_ms=Hand(noon_before(5))) as house:
        made = Prover(house, authority)
        made.ingest("member", "other", "cat")
        made.older = made.seal("faces", "1", "member", "other")
        made.newer = made.seal("faces", "2", "other")
        made.cats = made.seal("cats", "1", "cat")
        for name in ("first", "second", "third"):
            made.put_out(name)
            made.night()
        made.night()
        yield made


def test_leaves_an_honest_statement_as_it_is(prover):
    """Who: an operator who tells the truth.
    Tries: nothing.
    Caught by: nothing, and rightly so: both statements are verified.
    Not caught: nothing; what follows is therefore refuted for what was changed.
    """
    assert prover.verdict(prover.absent("stranger")) == "verified"
    assert prover.verdict(prover.not_put_out("stranger", 2)) == "verified"


def test_looks_for_a_member_under_a_salt_of_its_own(prover):
    """Who: the operator, about a picture that was in the set.
    Tries: another salt, under which the picture's place is empty, with the walk to that place.
    Caught by: the commitment to the salt in the entry that names the root.
    Not caught: nothing of this.
    """
    document = prover.absent("stranger", version="1")
    found = digests("member")
    salt = bytes(32)
    tree = prover.store.tree(f"dataset/{prover.older.number}")
    paths = {
        tag: prover.store.walk(tree, member_key(salt, tag, digest)).path.text()
        for tag, digest in found.items()
    }
    document["digests"] = {tag: f"sha256:{one.hex()}" for tag, one in found.items()}
    document["proofs"][0]["paths"] = paths
    (commitment,) = document["salts"]

    document["salts"] = {commitment: base64text.encode(salt)}
    assert prover.verdict(document) == "refuted"

    made_up = sha256(b"sealtrail.dataset.salt.v1\0" + salt).hexdigest()
    document["salts"] = {f"sha256:{made_up}": base64text.encode(salt)}
    assert prover.verdict(document) == "refuted"


def test_walks_to_another_place_for_a_member(prover):
    """Who: the operator, about a picture that was in the set.
    Tries: the walk of a stranger's digest, each shorter part of its own, and ends made up for it.
    Caught by: the place follows from the digest alone, and every hash on the way from the root.
    Not caught: nothing of this.
    """
    document = prover.absent("stranger", version="1")
    presence = prover.absent("member", version="1")
    document["digests"] = presence["digests"]
    tree = prover.store.tree(f"dataset/{prover.older.number}")
    salt = prover.store.salt(tree.salt_id)
    walks = {tag: prover.store.walk(tree, salt.key(tag, d)) for tag, d in digests("member").items()}

    assert presence["statement"] == "presence/1"
    assert prover.verdict(document) == "refuted"
    for end in (None, (bytes(32), bytes(32))):
        for count in range(len(walks[BYTES].siblings) + 1):
            cut = {t: SparsePath(w.siblings[:count], end).text() for t, w in walks.items()}
            document["proofs"][0]["paths"] = cut
            assert prover.verdict(document) == "refuted"


def test_names_a_root_that_is_in_no_log(prover):
    """Who: the operator, with a tree from which the picture was taken out.
    Tries: an entry with the root of that tree, in the place of the one in the log.
    Caught by: the proof of the entry, which binds every byte of it to a signed checkpoint.
    Not caught: a member that was left out before the set was sealed. Whoever has the manifest, to
    whose digest the same entry commits, can compute the root; nobody else can.
    """
    document = prover.absent("stranger")
    files = document["anchored"]["files"]
    (name,) = [one for one in files if "DATASET_SEALED" in one]
    entry = canonical.decode(base64text.decode(files[name], "the entry"))
    entry["body"]["dataset"]["smt_root"] = f"sha256:{'0' * 64}"
    document["proofs"][0]["paths"] = {tag: SparsePath((), None).text() for tag in (BYTES, PIXELS)}

    files[name] = base64text.encode(canonical.encode(entry))
    assert prover.verdict(document) == "refuted"

    document["anchored"] = prover.anchored(0)
    assert prover.verdict(document) == "refuted"


def test_seals_a_fitting_set_when_somebody_asks(prover):
    """Who: the operator, today.
    Tries: a new version without the picture, whose entry no anchor covers yet.
    Caught by: the time stamp: without one the statement is `incomplete`, a promise of the log.
    Not caught: after the next night it is verified, as of that night. What a model was trained on
    says its TRAIN_STARTED, which names the root and is older.
    """
    prover.seal("fresh", "1", "other")

    document = prover.absent("member", "fresh")

    assert prover.verdict(document) == "incomplete"


def test_shows_one_set_for_another(prover):
    """Who: the operator, about a picture that was in the one and not in the other.
    Tries: the proof from another set, and from another version, under the name that was asked for.
    Caught by: the entry names set and version beside the root.
    Not caught: nothing of this.
    """
    for document in (prover.absent("member", "cats"), prover.absent("member", version="2")):
        document["set"] = {"dataset": "faces", "version": "1"}
        assert prover.verdict(document) == "refuted"


def test_shows_a_replaced_version_as_the_current_one(prover):
    """Who: the operator, about a picture that came in with a later version.
    Tries: an honest statement about the older version, as if it were about the set of today.
    Caught by: the statement says which version it is about, and that it leaves open whether
    another has taken its place since.
    Not caught: a reader who overlooks the version. Ask about the version that TRAIN_STARTED names.
    """
    document = prover.absent("stranger", version="1")
    report = check_statement(
        prover.read(document), trust=Trust.parse(prover.trust_file.read_bytes()), now=clock.now()
    )

    assert report.verdict == "verified"
    assert any("dataset faces · version 1" in one.subject for one in report.findings)
    assert any("later version" in point for point in report.not_checked)


def test_keeps_silent_about_the_pixels(prover):
    """Who: the operator, about a picture that was saved again before it came into the set.
    Tries: a statement about the bytes alone, which were indeed not in it.
    Caught by: a statement that leaves a kind of digest out is `incomplete`.
    Not caught: a picture whose size or quality was changed has other pixels, too.
    """
    document = prover.absent("stranger")
    document["digests"].pop(PIXELS)
    document["proofs"][0]["paths"].pop(PIXELS)

    assert prover.verdict(document) == "incomplete"


@pytest.mark.parametrize("left_out", [0, 1, -1], ids=["first", "middle", "last"])
def test_leaves_out_the_day_on_which_it_was(prover, left_out):
    """Who: the operator, about a picture that was put out on one day.
    Tries: the maps of all other days.
    Caught by: each map says from where to where it reaches; they follow one another from the first
    entry, and the last one ends with the day that the statement names.
    Not caught: an output that was never recorded.
    """
    document = prover.not_put_out("stranger", 2)
    document["proofs"].pop(left_out)

    assert prover.verdict(document) == "refuted"


def test_asks_until_the_day_before_and_says_the_day_after(prover):
    """Who: the operator, about a picture that was put out on the third day.
    Tries: the statement until the second day, with the third written over it.
    Caught by: the last map's entry names its day.
    Not caught: nothing of this.
    """
    document = prover.not_put_out("third", 3)
    assert document["statement"] == "absence/1"
    later = clock.day_of(prover.house.now_ms() - 2 * clock.DAY_MS)

    document["set"] = {"outputs_until": later}

    assert prover.verdict(document) == "refuted"


def test_shows_a_map_of_outputs_as_a_set(prover):
    """Who: the operator, about a picture that was in the set and never put out.
    Tries: the proof from the outputs under the set's name, and the other way round.
    Caught by: only a DATASET_SEALED names the root of a set, only a report that of outputs.
    Not caught: nothing of this.
    """
    outputs, set_ = prover.not_put_out("member", 4), prover.absent("first")
    about_outputs_, about_set = outputs["set"], set_["set"]

    outputs["set"], set_["set"] = about_set, about_outputs_

    assert prover.verdict(outputs) == "refuted"
    assert prover.verdict(set_) == "refuted"


def test_denies_what_is_there_with_the_walk_that_leads_to_it(prover):
    """Who: the operator, about a picture that was put out.
    Tries: the proof of presence, called absence.
    Caught by: a walk that ends at the digest itself is none of absence.
    Not caught: nothing of this.
    """
    document = prover.not_put_out("second", 2)
    assert document["statement"] == "presence/1"
    document.pop("found")

    document["statement"] = "absence/1"

    assert prover.verdict(document) == "refuted"


def test_presents_another_position_as_the_origin(prover):
    """Who: the operator, about where a member came from.
    Tries: a proof of presence that names another entry than the leaf holds.
    Caught by: the position is hashed into the leaf.
    Not caught: nothing of this.
    """
    document = prover.absent("member", version="1")
    document["found"]["position"] += 1

    assert prover.verdict(document) == "refuted"


def test_names_a_strangers_pixels_beside_a_member_that_is_there(prover):
    """Who: the operator, who wants another picture to look as if it had been a member.
    Tries: a proof of presence by one digest, with the other digest of somebody else's picture.
    Caught by: each digest that is named has its own walk; an honest one says that it is not there.
    Not caught: that the two digests are of one file; only who has the file can compute both.
    """
    document = prover.absent("member", version="1")
    before = prover.report(document)
    document["digests"][PIXELS] = told("stranger")["pixel_sha256"]

    after = prover.report(document)  # Refuted, unless the walk happens to pass that place.

    assert "is in it, too" in before.text()
    assert "is in it, too" not in after.text()


def test_says_of_another_log_what_is_true_of_this_one(prover):
    """Who: the operator of two logs, of which one has nothing to hide.
    Tries: a statement about one of them, under the name of the other.
    Caught by: the name has to be that of a log whose checkpoint is cited.
    Not caught: nothing of this.
    """
    document = prover.absent("stranger")

    assert prover.verdict(document) == "verified"
    assert prover.verdict({**document, "origin": "ledger.example/another"}) == "refuted"


def test_cuts_or_pads_a_path(prover):
    """Who: the operator, or whoever passes the statement on.
    Tries: bytes after the end of a path, a bitmap that is too short, siblings that are missing.
    Caught by: a path has one spelling; anything else is unreadable.
    Not caught: nothing of this.
    """
    honest = prover.absent("stranger", version="1")
    data = base64text.decode(honest["proofs"][0]["paths"][BYTES], "the path")
    for changed in (data + b"\0", data[:-1], data[:2], data[:3] + data[4:]):
        document = copy.deepcopy(honest)
        document["proofs"][0]["paths"][BYTES] = base64text.encode(changed)
        with pytest.raises(Unreadable):
            prover.verdict(document)


def test_takes_a_member_out_of_the_stored_tree(prover):
    """Who: an administrator of the database, without the log's key.
    Tries: a bucket without the member's leaf, so that the ledger itself denies in good faith.
    Caught by: the stored tree has to lead to the root in the log; the ledger answers with an
    IntegrityViolation and makes no statement.
    Not caught: nothing of this; a tree that is gone altogether can be proved from no more.
    """
    schema, tree = prover.house.schema, f"dataset/{prover.older.number}"
    with prover.house.owner() as owner:
        owner.execute(f"ALTER TABLE {schema}.sparse_bucket DISABLE TRIGGER USER")
        query = f"SELECT bucket, records FROM {schema}.sparse_bucket WHERE tree_id = %s"
        bucket, records = owner.execute(query, (tree,)).fetchone()
        change = (
            f"UPDATE {schema}.sparse_bucket SET records = %s WHERE tree_id = %s AND bucket = %s"
        )
        try:
            for at in range(0, len(records), 40):
                owner.execute(change, (records[:at] + records[at + 40 :], tree, bucket))
                with pytest.raises(IntegrityViolation):
                    prover.absent("member", version="1")
        finally:
            owner.execute(change, (records, tree, bucket))
            owner.execute(f"ALTER TABLE {schema}.sparse_bucket ENABLE TRIGGER USER")
    assert prover.verdict(prover.absent("member", version="1")) == "verified"
