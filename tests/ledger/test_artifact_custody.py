# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose content is: under which key it lies, and what becomes of it when that key goes or moves."""

from dataclasses import replace
from uuid import UUID

import pytest
from archiving import digest_of, gallery_in, picture
from house import Hand, attempt, event_id, gen, house_in, ingest, noon_before

from ledger.archive.artifacts import Artifacts
from ledger.archive.custody import NotInOurCustody
from ledger.archive.rows import WrappingMoved
from ledger.holds import Holds
from ledger.vault.opening import ValuesErased
from sealtrail.verify.disclosure import PERSON, commit

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

IMAGE = picture(500, 300)


@pytest.fixture
def gallery(pattern, tmp_path):
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(3))) as house:
        yield gallery_in(house)


def content_of(gallery, one):
    return b"".join(gallery.artifacts.content(one))


def licensed():
    """An asset that the tenant has licensed: its digest is clear and nobody's."""
    request = ingest()
    request["body"]["asset"]["sha256"] = digest_of(IMAGE)
    return request


def _breaks_after(content):
    yield content
    raise ConnectionResetError


def holds_nothing(_key):
    return ()


def test_content_goes_with_its_subject(gallery):
    """Erasing the person erases the key of the image; the sealed object may stay until its date."""
    one = gallery.stored(IMAGE)
    waiting = gallery.announced(picture(seed=9))
    gallery.vault.begin_erasure(one.subject_ref, "erasure-1")

    for call in (
        lambda: content_of(gallery, one),
        lambda: gallery.artifacts.preview(one),
        lambda: gallery.artifacts.append(waiting.artifact_id, 0, [b"x"]),
    ):
        with pytest.raises(ValuesErased):
            call()


def test_the_tenants_own_content_needs_no_person(gallery):
    """Its key lies under the tenant's, which no erasure takes away."""
    event = gallery.post(licensed())

    one = gallery.artifacts.announce(
        event, "asset.sha256", size=len(IMAGE), media_type="image/png", credential="c"
    )
    one = gallery.artifacts.append(one.artifact_id, 0, [IMAGE])

    assert (one.subject_ref, one.generation) == (None, 1)
    assert content_of(gallery, one) == IMAGE


def test_a_producer_that_keeps_its_values_keeps_its_images(gallery):
    """We could not erase them: nothing here belongs to that person."""
    first = attempt()
    gallery.post(first)
    outcome = gen(first["aggregate_id"])
    outcome["body"]["outputs"][0]["sha256"] = digest_of(IMAGE)
    del outcome["record_key"], outcome["on_behalf_of"]
    (digest,), _ = commit(bytes(range(32)), {PERSON: "employee-7"})
    event = gallery.post({**outcome, "_sd": [digest], "person_digest": digest})

    with pytest.raises(NotInOurCustody):
        gallery.artifacts.announce(
            event, "outputs[0].sha256", size=1, media_type="image/png", credential="c"
        )


def test_rotating_the_tenants_wrapping_key_leaves_every_object_alone(gallery):
    """Only the small wrapped keys change; the old wrapping key is destroyed."""
    event = gallery.post(licensed())
    one = gallery.artifacts.announce(
        event, "asset.sha256", size=len(IMAGE), media_type="image/png", credential="c"
    )
    gallery.artifacts.append(one.artifact_id, 0, [IMAGE])

    waiting = gallery.artifacts.announce(
        gallery.post(licensed()), "asset.sha256", size=len(IMAGE), media_type="image/png",
        credential="c",
    )  # fmt: skip
    with pytest.raises(ConnectionResetError):
        gallery.artifacts.append(waiting.artifact_id, 0, _breaks_after(IMAGE[:9_000]))

    told = list(gallery.artifacts.rewrap(holds_nothing))
    waiting = gallery.artifacts.append(waiting.artifact_id, 9_000, [IMAGE[9_000:]])
    after = gallery.artifacts.rows.find(one.artifact_id)

    assert told[-1] == 2
    assert (waiting.state, waiting.generation) == ("stored", 2)
    assert after.generation == 2
    assert content_of(gallery, after) == IMAGE
    assert not gallery.house.keys.has(f"artifacts/{gallery.house.origin}/1")


def test_a_key_that_is_held_is_not_destroyed(gallery):
    """Rotating goes on; the old key stays for whoever wants it kept."""
    event = gallery.post(licensed())
    gallery.artifacts.announce(
        event, "asset.sha256", size=len(IMAGE), media_type="image/png", credential="c"
    )
    old = f"artifacts/{gallery.house.origin}/1"
    Holds.of(gallery.house.book).apply({"keys": [old]}, matter="m", authority="a")

    list(gallery.artifacts.rewrap(Holds.of(gallery.house.book).on_key))

    assert gallery.artifacts.rows.generation() == 2
    assert gallery.house.keys.has(old)


def test_nothing_is_announced_under_a_key_that_is_being_replaced(gallery):
    """A process that read the generation a moment ago is told to come again."""
    one = gallery.announced(IMAGE)
    stale = replace(one, artifact_id=UUID(event_id()), name="outputs[1].sha256",
                    subject_ref=None, generation=1)  # fmt: skip
    list(gallery.artifacts.rewrap(holds_nothing))

    with pytest.raises(WrappingMoved):
        gallery.artifacts.rows.add(stale)


def test_a_rotation_meets_an_upload_that_is_under_way(gallery):
    """The key's old wrapping is gone when the last byte comes; the content is stored even so."""
    one = gallery.artifacts.announce(
        gallery.post(licensed()), "asset.sha256", size=len(IMAGE), media_type="image/png",
        credential="c",
    )  # fmt: skip

    def slowly():
        yield IMAGE[:9_000]
        list(gallery.artifacts.rewrap(holds_nothing))
        yield IMAGE[9_000:]

    stored = gallery.artifacts.append(one.artifact_id, 0, slowly())

    assert (stored.state, stored.generation) == ("stored", 2)
    assert content_of(gallery, stored) == IMAGE


def test_a_rotation_meets_a_reader(gallery):
    """Who has read the row before the key was wrapped anew opens it after."""
    before = gallery.artifacts.announce(
        gallery.post(licensed()), "asset.sha256", size=len(IMAGE), media_type="image/png",
        credential="c",
    )  # fmt: skip
    before = gallery.artifacts.append(before.artifact_id, 0, [IMAGE])
    list(gallery.artifacts.rewrap(holds_nothing))

    assert content_of(gallery, before) == IMAGE
    assert gallery.artifacts.preview(before)[0].startswith(b"\xff\xd8")


def test_announcing_meets_a_rotation(gallery):
    """Who has read which key wraps, and finds it destroyed, is told to come again."""
    event = gallery.post(licensed())
    facts = {"size": len(IMAGE), "media_type": "image/png", "credential": "c"}
    gallery.artifacts.announce(event, "asset.sha256", **facts)

    def rotated_meanwhile():
        list(gallery.artifacts.rewrap(holds_nothing))
        return gallery.house.now_ms()

    late = Artifacts(gallery.house.book, gallery.archive, gallery.spool, now_ms=rotated_meanwhile)

    with pytest.raises(WrappingMoved):
        late.announce(event, "asset.sha256", **facts)
    assert gallery.artifacts.announce(event, "asset.sha256", **facts).generation == 2


def test_a_persons_content_opens_after_every_rotation(gallery):
    """Of what wraps the person's key, and of the person's key itself."""
    one = gallery.stored(IMAGE)
    holds = Holds.of(gallery.house.book)

    gallery.vault.rewrap(holds)
    gallery.vault.rewrap(holds, rekey=True)
    gallery.vault.rewrap(holds)

    assert content_of(gallery, one) == IMAGE
