# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup is restored, and the archive's content is no more and no less readable than before."""

import pytest
from archiving import digest_of, gallery_in, picture
from house import ingest
from restoring import accept, backup_of, tools

from anchoring.key_sheet import make_sheet, sheet_if_moved
from ledger.archive.artifacts import ContentGone
from ledger.holds import Holds
from ledger.migrate import find_book
from ledger.readmodel.follower import rebuild
from ledger.similar.hashes import Hash
from ledger.similar.index import SimilarProjection
from ledger.similar.search import search
from ledger.vault.sheet import SheetMissing
from scripts.vaults import Vaults

IMAGE = picture(500, 300, seed=61)


@pytest.fixture
def gallery(desk):
    made = gallery_in(desk.house)
    made.desk = desk
    return made


def licensed(gallery, content=IMAGE):
    """Content of the tenant's own, stored."""
    request = ingest()
    request["body"]["asset"]["sha256"] = digest_of(content)
    event = gallery.post(request)
    one = gallery.artifacts.announce(
        event, "asset.sha256", size=len(content), media_type="image/png", credential="c"
    )
    return gallery.artifacts.append(one.artifact_id, 0, [content])


def sheet_in(gallery, directory):
    house = gallery.house
    rows = [house.shelf.rows()[house.tenant]]
    return make_sheet(house.database, rows, house.keys, directory).directory


def rotate(gallery):
    """What `keys rotate wrapping` does."""
    holds = Holds.of(gallery.house.book)
    gallery.vault.rewrap(holds)
    list(gallery.artifacts.rewrap(holds.on_key))


def restored(gallery, backup, **how):
    """What `backup restore` and `restore --accept` do, after an entry that the backup lacks."""
    house = gallery.house
    gallery.desk.record("dora", "a late fish")
    house.shelf.close()
    backup.restore()
    accept(house, **how)
    house.reopen()


def given_up(gallery):
    """What `--give-up-contents` does, and of how much."""
    house = gallery.house
    with house.owner() as owner, owner.transaction():
        row = find_book(owner, house.tenant)
        return Vaults(tools(house)[0], give_up=True).catch_up(owner, row).lost


def hashes_of(gallery):
    """What of pictures lies in clear."""
    house = gallery.house
    with house.owner() as owner:
        return owner.execute(
            f"SELECT count(*), (SELECT count(*) FROM {house.schema}.similar)"
            f" FROM {house.schema}.artifact"
            " WHERE coalesce(fingerprint, image_code, preview) IS NOT NULL"
        ).fetchone()


def test_a_restore_brings_no_hash_of_an_erased_persons_picture_back(gallery, tmp_path):
    """Neither what it looks like nor its small copy; a rebuild of the index finds none either."""
    one = gallery.stored(IMAGE)
    code = Hash("phash", one.fingerprint)
    house = gallery.house
    with backup_of(house) as backup:
        gallery.desk.ask_and_approve("employee-7")
        gallery.desk.erasures.complete(backup_keep_d=30)
        assert hashes_of(gallery) == (0, 0)
        sheet = sheet_in(gallery, tmp_path / "sheets")
        restored(gallery, backup, sheet=sheet)

    rebuild(house.database, house.schema, [SimilarProjection()])
    after = gallery.artifacts.rows.find(one.artifact_id)

    assert hashes_of(gallery) == (0, 0)
    assert search(house.database, house.schema, [code], within=31, limit=9) == []
    assert after.state == "erased"
    with pytest.raises(ContentGone):
        gallery.artifacts.preview(after)


def test_the_tenants_own_content_opens_after_a_restore_with_the_sheet(gallery, tmp_path):
    """Its wrapping key was rotated and destroyed since the backup; new content is taken, too."""
    one = licensed(gallery)
    with backup_of(gallery.house) as backup:
        rotate(gallery)
        sheet = sheet_in(gallery, tmp_path / "sheets")
        restored(gallery, backup, sheet=sheet)

    after = gallery.artifacts.rows.find(one.artifact_id)
    assert b"".join(gallery.artifacts.content(after)) == IMAGE
    new = licensed(gallery, picture(90, 60, seed=62))
    assert (after.generation, new.state, new.generation) == (2, "stored", 2)
    rotate(gallery)
    after = gallery.artifacts.rows.find(one.artifact_id)
    assert b"".join(gallery.artifacts.content(after)) == IMAGE


def test_without_the_sheet_a_restore_says_that_content_is_lost(gallery, tmp_path):
    """Also if no person's key is; what is given up is told from what is there."""
    one = licensed(gallery)
    with backup_of(gallery.house) as backup:
        early = sheet_in(gallery, tmp_path / "early")
        list(gallery.artifacts.rewrap(gallery.desk.holds.on_key))
        with pytest.raises(SheetMissing, match="concerns 1 "):
            restored(gallery, backup, sheet=early)
        lost = given_up(gallery)
        accept(gallery.house)
        gallery.house.reopen()

    after = gallery.artifacts.rows.find(one.artifact_id)
    assert lost == 1
    assert (after.state, after.wrapped_key) == ("erased", None)
    assert licensed(gallery, picture(90, 60, seed=62)).generation == 2


def test_a_sheet_is_written_again_while_and_after_content_is_wrapped_anew(gallery, tmp_path):
    """One of the middle of it holds copies that the end destroys."""
    licensed(gallery)
    house = gallery.house
    rows, directory = [house.shelf.rows()[house.tenant]], tmp_path / "sheets"
    sheet_in(gallery, directory)

    def moved():
        return sheet_if_moved(house.database, rows, house.keys, directory) is not None

    assert not moved()
    steps = gallery.artifacts.rewrap(gallery.desk.holds.on_key)
    gallery.artifacts.rows.move_on(2)
    assert moved()
    assert not moved()
    list(steps)
    assert moved()
    assert not moved()
