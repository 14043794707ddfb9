# SPDX-License-Identifier: GPL-3.0-or-later
"""A hold on content keeps it from the end of the person whose it is: their key opens it."""

import dataclasses

import psycopg
import pytest
from archiving import digest_of, gallery_in, picture
from custody_desk import BASIS

from api.holds import resolved
from ledger import clock
from ledger.vault.opening import ValuesErased

PICTURE = picture(seed=4711)


@pytest.fixture
def gallery(desk):
    return gallery_in(desk.house)


@pytest.fixture
def output(gallery):
    """A stored output: its digest is clear in the entry, its bytes lie under a person's key."""
    return gallery.stored(PICTURE)


def erase(desk, artifact):
    ref = str(artifact.subject_ref)
    case = desk.erasures.request(ref=ref, basis=BASIS, by=desk.clerk)
    return desk.erasures.approve(case.erasure_id, ref=ref, by=desk.second)


def content(gallery, artifact):
    return b"".join(gallery.artifacts.content(artifact))


@pytest.mark.parametrize("sealed", [False, True], ids=["clear", "sealed"])
def test_a_hold_on_content_by_its_digest_defers_the_erasure_of_its_person(
    desk, gallery, output, sealed
):
    """Named by the digest of its clear or sealed bytes: it is read as ever until the release."""
    name = f"sha256:{output.object}" if sealed else digest_of(PICTURE)
    hold_id = desk.hold(artifacts=[name])

    case = erase(desk, output)
    desk.erasures.complete()

    assert (case.state, case.hold_ids) == ("deferred", (hold_id,))
    assert content(gallery, output) == PICTURE
    desk.release(hold_id)
    desk.erasures.complete()
    assert desk.state(case) == "complete"
    with pytest.raises(ValuesErased):
        content(gallery, output)


def test_a_hold_on_content_takes_its_person_out_of_a_pending_erasure(desk, gallery, output):
    """Until the night has destroyed the key, a hold is in time."""
    case = erase(desk, output)
    hold_id = desk.hold(artifacts=[digest_of(PICTURE)])

    desk.erasures.complete()

    assert (desk.state(case), desk.erasures.held_by(output.subject_ref)) == (
        "deferred",
        (hold_id,),
    )
    assert content(gallery, output) == PICTURE


def test_content_is_held_with_its_entry_when_the_entrys_values_have_expired(desk, gallery, output):
    """Disclosures and artifacts have clocks of their own: the picture is still there to be kept."""
    with desk.house.owner() as owner:
        owner.execute(
            f"DELETE FROM {desk.house.schema}.sealed WHERE subject_ref = %s", (output.subject_ref,)
        )
    hold_id = desk.hold(event_ids=[output.event_id])

    case = erase(desk, output)

    assert (case.state, case.hold_ids) == ("deferred", (hold_id,))
    assert content(gallery, output) == PICTURE


@pytest.fixture
def upload(gallery):
    """A stored upload: its entry only commits to its digest."""
    event_id = gallery.upload_of(PICTURE)
    announced = gallery.artifacts.announce(
        event_id,
        "asset.sha256",
        size=len(PICTURE),
        media_type="image/png",
        credential="cred_test",
    )
    return gallery.artifacts.append(announced.artifact_id, 0, [PICTURE])


@pytest.mark.parametrize("pending", [False, True], ids=["before", "pending"])
def test_a_hold_on_an_upload_by_its_digest_holds_the_entry_that_commits_to_it(
    desk, gallery, upload, pending
):
    """The digest is in no clear column; nor does it stay in the hold, which never expires."""
    case = erase(desk, upload) if pending else None
    scope = resolved(desk.house.book, {"artifacts": [digest_of(PICTURE)]}, ())
    hold_id = desk.hold(**scope)

    case = erase(desk, upload) if case is None else case
    desk.erasures.complete()

    assert scope == {"event_ids": [upload.event_id]}
    assert (desk.state(case), desk.erasures.held_by(upload.subject_ref)) == (
        "deferred",
        (hold_id,),
    )
    assert content(gallery, upload) == PICTURE


def test_a_digest_that_is_clear_elsewhere_is_held_there_too(desk, upload, output):
    """The same bytes as somebody's upload and as an output; an unknown digest stays as it is."""
    unknown = digest_of(b"not here yet")
    scope = {"artifacts": [digest_of(PICTURE), unknown], "event_ids": [output.event_id]}

    assert resolved(desk.house.book, scope, ()) == {
        "artifacts": [digest_of(PICTURE), unknown],
        "event_ids": [output.event_id, upload.event_id],
    }
    for wrong in ({"artifacts": ["sha256:AB"]}, {"artifacts": "x"}, {"subjects": [{}]}):
        assert resolved(desk.house.book, wrong, ()) == wrong


def test_the_second_lock_keeps_the_key_of_held_content(desk, output):
    """Nobody with the server's login destroys the person's key past the ledger."""
    desk.hold(artifacts=[digest_of(PICTURE)])

    with psycopg.connect(desk.house.app_url, autocommit=True) as login:
        login.execute(f"SET ROLE {desk.house.schema}_retain")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="legal hold"):
            login.execute(
                f"UPDATE {desk.house.schema}.subject SET state = 'erased', wrapped_key = NULL,"
                " identity = NULL, erasure_id = 'x' WHERE ref = %s",
                (output.subject_ref,),
            )


def test_a_hold_that_comes_after_the_keys_are_gone_stops_no_erasure(
    desk, gallery, output, monkeypatch
):
    """A key service waits for weeks before it destroys; what no key opens any more is not kept."""
    first, other = erase(desk, output), desk.ask_and_approve("carol")
    keys = desk.erasures._keys
    attest, soon = keys.attest, clock.rfc3339(clock.now_ms() + 60_000)
    with monkeypatch.context() as patched:
        patched.setattr(keys, "attest", lambda name: dataclasses.replace(attest(name), gone=soon))
        desk.erasures.complete()
        waiting = [desk.state(one) for one in (first, other)]
    desk.hold(query={"recorded_from": "1970-01-01T00:00:00.000Z"}, artifacts=[digest_of(PICTURE)])

    desk.erasures.advance()

    assert waiting == ["pending", "pending"]
    assert [desk.state(one) for one in (first, other)] == ["complete", "complete"]
    assert gallery.artifacts.rows.find(output.artifact_id).state == "erased"
