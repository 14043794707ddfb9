# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts: announced, uploaded, archived, opened; and every way in which that can end badly."""

from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from archiving import gallery_in, picture
from house import Hand, event_id, house_in, noon_before

from ledger import clock
from ledger.archive.artifacts import (
    AlreadyStored,
    ContentGone,
    DigestMismatch,
    NoPreview,
    NotStored,
    Terms,
)
from ledger.archive.audit import audit
from ledger.archive.rows import ArtifactChanged, ArtifactMissing
from ledger.archive.spool import OffsetWrong
from ledger.archive.store import ArchiveUnreachable, ObjectDamaged
from ledger.errors import NotFound

IMAGE = picture(500, 300)


@pytest.fixture
def gallery(pattern, tmp_path):
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(3))) as house:
        yield gallery_in(house)


def content_of(gallery, one):
    return b"".join(gallery.artifacts.content(one))


def test_an_output_is_archived_and_opened_again(gallery):
    """Sealed, locked for the term, with a preview and, as its digest is clear, a clear pHash."""
    one = gallery.stored(IMAGE)

    stored = gallery.archive.stat(one.object)
    preview, phash, said = gallery.artifacts.preview(one)

    assert one.state == "stored"
    assert content_of(gallery, one) == IMAGE
    assert stored.until == clock.from_ms(gallery.house.now_ms()) + timedelta(days=183)
    assert IMAGE not in b"".join(gallery.archive.get(one.object))
    assert preview[:2] == b"\xff\xd8"
    assert (one.fingerprint, said) == (phash, {"width": 500, "height": 300})
    assert gallery.spool.ids() == []


def test_a_users_upload_leaves_nothing_clear_that_confirms_a_guess(gallery):
    """Where the entry commits to the digest, neither digest nor pHash lies beside it in clear."""
    event = gallery.upload_of(IMAGE)

    one = gallery.artifacts.announce(
        event, "asset.sha256", size=len(IMAGE), media_type="image/png", credential="c"
    )
    one = gallery.artifacts.append(one.artifact_id, 0, [IMAGE[:9_000], IMAGE[9_000:]])

    assert content_of(gallery, one) == IMAGE
    assert (one.digest, one.fingerprint) == (None, None)
    assert one.subject_ref is not None
    assert gallery.artifacts.preview(one)[0][:2] == b"\xff\xd8"


def test_announcing_again_is_the_same_artifact(gallery):
    """A pipeline that lost the answer gets it again; one that changed its mind is told."""
    event = gallery.output_of(IMAGE)

    def announce(**changes):
        facts = {"size": len(IMAGE), "media_type": "image/png", "credential": "c", **changes}
        return gallery.artifacts.announce(event, "outputs[0].sha256", **facts)

    assert announce() == announce()
    for changes in ({"size": 1}, {"media_type": "image/jpeg"}):
        with pytest.raises(ArtifactChanged):
            announce(**changes)


def test_only_a_digest_in_the_event_can_be_announced(gallery):
    """And only of an event that is recorded."""
    event = gallery.output_of(IMAGE)
    names = ["outputs[1].sha256", "outputs[0].mime", "outputs", "nothing", "outputs[0].sha256.x"]
    names += ["", "outputs[*].sha256", "outputs[-1].sha256", "prompt.user"]

    for name, of in [*((name, event) for name in names), ("outputs[0].sha256", event_id())]:
        with pytest.raises(NotFound):
            gallery.artifacts.announce(of, name, size=1, media_type="image/png", credential="c")


def test_an_upload_goes_on_after_a_restart(gallery):
    """Offset by offset, in another process; the last part makes it whole."""
    one = gallery.announced(IMAGE)

    def broken():
        yield IMAGE[:20_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        gallery.artifacts.append(one.artifact_id, 0, broken())
    here = gallery.artifacts.offset(one)
    with pytest.raises(OffsetWrong):
        gallery.artifacts.append(one.artifact_id, 0, [IMAGE])
    done = gallery.artifacts.append(one.artifact_id, here, [IMAGE[here:]])

    assert here == 20_000
    assert done.state == "stored"
    assert gallery.artifacts.offset(done) == len(IMAGE)
    with pytest.raises(AlreadyStored):
        gallery.artifacts.append(one.artifact_id, len(IMAGE), [b"more"])


def test_other_bytes_than_the_entry_names_are_thrown_away(gallery):
    """The right ones are still taken afterwards."""
    one = gallery.announced(IMAGE)
    wrong = bytes(len(IMAGE))

    with pytest.raises(DigestMismatch):
        gallery.artifacts.append(one.artifact_id, 0, [wrong])

    assert gallery.artifacts.offset(one) == 0
    assert list(gallery.archive.names()) == []
    assert gallery.artifacts.append(one.artifact_id, 0, [IMAGE]).state == "stored"


class BrokenArchive:
    """An archive that fails once it has everything: before or after it stored it."""

    def __init__(self, archive, *, after):
        self._archive, self._after = archive, after

    def put(self, name, chunks, *, until):
        if self._after:
            self._archive.put(name, chunks, until=until)
        raise ArchiveUnreachable

    def __getattr__(self, name):
        return getattr(self._archive, name)


@pytest.mark.parametrize("after", [False, True], ids=["not stored", "stored, answer lost"])
def test_an_archive_that_fails_is_asked_again_by_the_sweep(gallery, after):
    """The same object, whichever side of the failure it was on; nothing is archived twice."""
    one = gallery.announced(IMAGE)
    whole = gallery.archive
    gallery.archive = BrokenArchive(whole, after=after)
    with pytest.raises(ArchiveUnreachable):
        gallery.artifacts.append(one.artifact_id, 0, [IMAGE])
    gallery.archive = whole

    assert gallery.artifacts.finish_waiting() == 1
    assert gallery.artifacts.finish_waiting() == 0

    one = gallery.artifacts.rows.find(one.artifact_id)
    assert list(whole.names()) == [one.object]
    assert content_of(gallery, one) == IMAGE


def test_a_client_finishes_what_failed_by_sending_nothing(gallery):
    """After a 503 it sends the rest again, of which there is none."""
    one = gallery.announced(IMAGE)
    whole = gallery.archive
    gallery.archive = BrokenArchive(whole, after=True)
    with pytest.raises(ArchiveUnreachable):
        gallery.artifacts.append(one.artifact_id, 0, [IMAGE])
    gallery.archive = whole

    assert gallery.artifacts.append(one.artifact_id, len(IMAGE), []).state == "stored"


def test_a_client_asks_to_finish_what_the_sweep_has_finished(gallery):
    """Nothing at the end of what is stored is no error; a byte more, or another offset, is."""
    one = gallery.stored(IMAGE)

    again = gallery.artifacts.append(one.artifact_id, len(IMAGE), [b""])

    assert again == gallery.artifacts.rows.find(one.artifact_id)
    for offset, content in ((len(IMAGE), b"x"), (0, b"")):
        with pytest.raises(AlreadyStored):
            gallery.artifacts.append(one.artifact_id, offset, [content])


def test_what_does_not_come_is_missed_once_and_taken_late(gallery):
    """Absence is an alert; late is better than never, and stays visible."""
    one = gallery.announced(IMAGE)
    assert gallery.artifacts.miss_overdue() == []
    gallery.house.now_ms.move(seconds=3_601)

    missed = gallery.artifacts.miss_overdue()
    counts = gallery.artifacts.rows.counts()
    late = gallery.artifacts.append(one.artifact_id, 0, [IMAGE])

    assert missed == [(one.event_id, "outputs[0].sha256")]
    assert gallery.artifacts.miss_overdue() == []
    assert counts == {"announced": 0, "missed": 1}
    assert gallery.artifacts.rows.counts() == {"announced": 0, "missed": 0}
    assert late.state == "stored"
    assert late.missed_at == gallery.house.now_ms()


def test_what_the_log_promises_is_missed_although_nobody_announced_it(gallery):
    """A pipeline that forgets to upload forgets to announce, too; its entry does not."""
    kept = gallery.announced(IMAGE, ref="archive")
    forgotten = gallery.output_of(picture(seed=2), ref="archive")
    elsewhere = gallery.output_of(picture(seed=3), ref="https://cdn.example/1")
    assert gallery.artifacts.miss_overdue() == []
    gallery.artifacts.append(kept.artifact_id, 0, [IMAGE])
    gallery.house.now_ms.move(seconds=3_601)

    missed = gallery.artifacts.miss_overdue()
    missing = gallery.artifacts.missing()
    gallery.artifacts.announce(
        forgotten, "outputs[0].sha256", size=1, media_type="image/png", credential="c"
    )

    assert elsewhere not in dict(missed)
    assert missed == [(forgotten, "outputs[0].sha256")]
    assert gallery.artifacts.miss_overdue() == []
    assert (missing, gallery.artifacts.missing()) == (1, 0)


def test_empty_content_and_what_is_no_picture_have_no_preview(gallery):
    """They are archived like everything else."""
    empty, text = gallery.stored(b""), gallery.stored(b"a licence", media_type="text/plain")

    assert content_of(gallery, empty) == b""
    assert content_of(gallery, text) == b"a licence"
    for one in (empty, text):
        with pytest.raises(NoPreview):
            gallery.artifacts.preview(one)


def test_what_is_not_stored_cannot_be_opened(gallery):
    one = gallery.announced(IMAGE)

    for call in (gallery.artifacts.content, gallery.artifacts.preview):
        with pytest.raises(NotStored):
            call(one)
    with pytest.raises(ArtifactMissing):
        gallery.artifacts.rows.find(UUID(event_id()))


def test_an_erased_row_goes_on_and_never_back(gallery):
    """The database refuses to undo what is stored or erased, whoever asks."""
    one = gallery.stored(IMAGE)
    table = f"{gallery.house.schema}.artifact"
    with gallery.house.owner() as owner:
        for change in (
            "SET state = 'announced'",
            f"SET object = '{'0' * 64}'",
            "SET stored_at = 1",
            "SET wrapped_key = NULL",
        ):
            with pytest.raises(psycopg.Error):
                owner.execute(f"UPDATE {table} {change}")
        with pytest.raises(psycopg.Error):
            owner.execute(f"DELETE FROM {table}")

    with gallery.house.database.duty(gallery.house.schema, "retain") as connection:
        gallery.artifacts.rows.clear(connection, "erased", [one.artifact_id])
    gone = gallery.artifacts.rows.find(one.artifact_id)

    assert (gone.state, gone.wrapped_key, gone.preview, gone.fingerprint) == ("erased",) + (
        None,
    ) * 3
    for call in (gallery.artifacts.content, gallery.artifacts.preview):
        with pytest.raises(ContentGone):
            call(gone)


def test_a_damaged_object_is_told_before_its_last_byte(gallery):
    """Whoever streams it never has a whole wrong image."""
    one = gallery.stored(IMAGE)
    path = gallery.house.directory / "archive" / "sha256" / one.object[:2] / one.object
    path.chmod(0o600)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(ObjectDamaged):
        content_of(gallery, one)


def test_a_lock_is_as_long_as_the_setting_says(gallery):
    gallery.terms = Terms(deadline_s=60, lock_d=400)

    one = gallery.stored(IMAGE)

    assert one.deadline == one.announced_at + 60_000
    until = clock.from_ms(gallery.house.now_ms()) + timedelta(days=400)
    assert gallery.archive.stat(one.object).until == until


def test_an_audit_asks_the_archive_for_every_artifact(gallery):
    """Without reading it sees what is gone or unlocked; with reading, every changed byte."""
    first, second = gallery.stored(IMAGE), gallery.stored(picture(seed=12))
    rows, told = gallery.artifacts.rows, []

    sound = audit(rows, gallery.archive, read=True, progress=lambda *at: told.append(at))
    path = gallery.house.directory / "archive" / "sha256" / second.object[:2] / second.object
    path.unlink()
    count, found = audit(rows, gallery.archive, read=False)

    assert sound == (2, [])
    assert told == [(1, 2), (2, 2)]
    assert count == 2
    assert [(one.object, one.problem) for one in found] == [(second.object, "object-missing")]
    assert first.object not in found[0].sentence
