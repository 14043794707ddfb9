# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of near duplicates: what is in it, what is found, and what leaves it."""

import io

import pytest
from archiving import gallery_in, picture
from house import attempt, gen, house_in, ingest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ledger.archive.picture import look_at
from ledger.readmodel.follower import catch_up, rebuild
from ledger.similar.hashes import Hash, distance
from ledger.similar.index import SimilarProjection, bit_text
from ledger.similar.search import search

#: Hashes that lie far from each other and from everything that a test makes of a picture.
HALF = bytes.fromhex("f0" * 32)
OTHER = bytes.fromhex("0f" * 32)


@pytest.fixture(scope="module")
def gallery(pattern, tmp_path_factory):
    """A tenant with an archive, for all tests of this module."""
    with house_in(pattern, tmp_path_factory.mktemp("similar")) as house:
        yield gallery_in(house)


def flipped(data, *places):
    mask = sum(1 << place for place in places)
    return (int.from_bytes(data, "big") ^ mask).to_bytes(len(data), "big")


def near(gallery, *wanted, within=31, limit=100):
    """What is found, after the read model has caught up."""
    house = gallery.house
    catch_up(house.database, house.schema, ["similar"])
    return search(house.database, house.schema, wanted, within=within, limit=limit)


def ids(found):
    return [one.event_id for one in found]


def generated(gallery, *fingerprints, **output):
    """Record a GEN whose output came with fingerprints."""
    first = attempt()
    outcome = gen(first["aggregate_id"])
    outcome["body"]["outputs"][0].update({"fingerprints": list(fingerprints), **output})
    gallery.house.post(first, outcome)
    return outcome["event_id"]


def pdq(data):
    return {"alg": "pdq", "value": data.hex()}


def test_fingerprints_that_came_with_an_output_are_found_by_distance(gallery):
    """The nearest first, with how far they are; what is farther than asked is left out."""
    base = bytes(range(32))
    far, nearer, same = (
        generated(gallery, pdq(flipped(base, *range(0, count * 8, 8)))) for count in (31, 5, 0)
    )
    generated(gallery, pdq(flipped(base, *range(0, 256, 8))))  # 32 bits: too far.

    found = near(gallery, Hash("pdq", base))

    assert ids(found) == [same, nearer, far]
    assert [one.distance for one in found] == [0, 5, 31]
    assert found[0].name == "outputs[0].fingerprints[0]"
    assert ids(near(gallery, Hash("pdq", base), within=5)) == [same, nearer]


def test_an_ingested_asset_is_found_too(gallery):
    """And each of its fingerprints that we can compare."""
    request = ingest()
    request["body"]["asset"]["fingerprints"] = [
        {"alg": "blockhash", "value": "ff00"},
        {"alg": "phash", "value": "0123456789abcdef"},
    ]
    gallery.house.post(request)

    (found,) = near(gallery, Hash("phash", bytes.fromhex("0123456789abcdee")))

    assert found.event_id == request["event_id"]
    assert (found.name, found.part, found.distance) == ("asset.fingerprints[1]", "asset", 1)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(places=st.sets(st.integers(0, 255), max_size=47), within=st.sampled_from([15, 31, 47]))
def test_whatever_bits_differ_the_index_finds_it(gallery, places, within):
    """Found exactly if it is within the distance: the database looks where the pigeonhole says."""
    if not ids(near(gallery, Hash("pdq", HALF), within=0)):
        generated(gallery, pdq(HALF))

    found = near(gallery, Hash("pdq", flipped(HALF, *places)), within=within)

    assert [one.distance for one in found] == ([len(places)] if len(places) <= within else [])


def test_a_short_image_code_finds_a_long_one_and_is_found_by_it(gallery):
    """Compared over the bits that both have, and within its share of the distance."""
    code = bytes.fromhex("c3a5" * 16)
    with gallery.house.owner() as owner:  # As if they had been computed.
        for name, data in (("long", code), ("short", flipped(code[:8], 1, 2, 3))):
            place_row(gallery, owner, name, data)

    by_long = near(gallery, Hash("iscc", code))
    by_short = near(gallery, Hash("iscc", code[:8]))

    assert {(one.name, one.distance, one.bits) for one in by_long} == {
        ("long", 0, 256), ("short", 3, 64),
    }  # fmt: skip
    assert {(one.name, one.bits) for one in by_short} == {("long", 64), ("short", 64)}


def place_row(gallery, owner, name, data):
    """Put a hash into the index by hand."""
    from ledger.similar.hashes import bands

    columns = ", ".join(f"b{at}" for at in range(len(data) // 2))
    values = ", ".join(str(one) for one in bands(data))
    owner.execute(
        f"INSERT INTO {gallery.house.schema}.similar (event_id, name, kind, position, hash,"
        f" {columns}) VALUES (gen_random_uuid(), '{name}', 'iscc', 0, '{bit_text(data)}', {values})"
    )


def test_an_archived_output_is_found_by_what_became_of_it(gallery):
    """Scaled and compressed again it is near; another picture is not."""
    data = picture(640, 480, seed=11)
    one = gallery.stored(data)
    small = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((200, 150)).save(small, "JPEG", quality=50)
    seen = look_at([small.getvalue()], "image/jpeg")
    other = look_at([picture(640, 480, seed=12)], "image/png")

    found = near(gallery, Hash("iscc", seen.image_code), Hash("phash", seen.fingerprint))

    assert ids(found) == [one.event_id]
    assert (found[0].name, found[0].part) == ("outputs[0].sha256", "outputs[0]")
    assert near(gallery, Hash("iscc", other.image_code)) == []


def test_a_users_upload_is_in_no_index(gallery):
    """Its digest is sealed, so nobody who has the database can ask whether a picture is in it."""
    data = picture(300, 200, seed=21)
    event_id = gallery.upload_of(data)
    one = gallery.artifacts.announce(
        event_id, "asset.sha256", size=len(data), media_type="image/png", credential="c"
    )
    gallery.artifacts.append(one.artifact_id, 0, [data])
    seen = look_at([data], "image/png")

    assert near(gallery, Hash("iscc", seen.image_code), Hash("phash", seen.fingerprint)) == []
    with gallery.house.owner() as owner:
        (kept,) = owner.execute(
            f"SELECT image_code FROM {gallery.house.schema}.artifact WHERE event_id = %s",
            (event_id,),
        ).fetchone()
    assert kept is None


def test_sealed_fingerprints_are_in_no_index(gallery):
    """They are the depicted person's; sealed, they are only opened by name."""
    first = attempt()
    outcome = gen(first["aggregate_id"])
    outcome["sealed"] = {"outputs[0].fingerprints": [pdq(OTHER)]}
    gallery.house.post(first, outcome)

    assert near(gallery, Hash("pdq", OTHER)) == []


def test_erased_content_leaves_no_hash_behind(gallery):
    """Neither in the index nor with the artifact; a rebuild does not bring it back."""
    one = gallery.stored(picture(320, 240, seed=31))
    seen = look_at([picture(320, 240, seed=31)], "image/png")
    wanted = Hash("iscc", seen.image_code)
    before = ids(near(gallery, wanted))

    house = gallery.house
    with house.database.duty(house.schema, "retain") as connection:
        gallery.artifacts.rows.clear(connection, "erased", [one.artifact_id])
    after = near(gallery, wanted)
    rebuild(house.database, house.schema, [SimilarProjection()])

    assert before == [one.event_id]
    assert after == near(gallery, wanted) == []


def test_the_index_is_made_anew_from_entries_and_artifacts(gallery):
    """Every row that an entry or an artifact accounts for comes back; no other does."""
    house = gallery.house
    gallery.stored(picture(320, 240, seed=41))
    generated(gallery, pdq(bytes(range(32, 64))))
    with house.owner() as owner:
        owner.execute(f"DELETE FROM {house.schema}.similar WHERE name IN ('long', 'short')")
        catch_up(house.database, house.schema, ["similar"])
        query = f"SELECT * FROM {house.schema}.similar ORDER BY event_id, name, kind"
        before = owner.execute(query).fetchall()
        owner.execute(f"DELETE FROM {house.schema}.similar WHERE kind = 'pdq'")
        place_row(gallery, owner, "forged", OTHER)

        rebuild(house.database, house.schema, [SimilarProjection()])

        assert owner.execute(query).fetchall() == before


def test_a_flat_picture_is_near_no_other(gallery):
    """All even areas look alike; they would only be noise."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    gallery.stored(buffer.getvalue())
    seen = look_at([buffer.getvalue()], "image/png")

    assert Hash("iscc", seen.image_code).flat
    assert near(gallery, Hash("iscc", seen.image_code)) == []


def test_a_border_and_transparency_change_little():
    """The same picture on a page, or cut out: what is to be seen is compared."""
    plain = Image.open(io.BytesIO(picture(320, 240, seed=51))).convert("RGB")
    page = Image.new("RGB", (400, 300), "white")
    page.paste(plain, (40, 30))
    clear = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    clear.paste(plain, (40, 30))

    codes = []
    for image in (plain, page, clear):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        codes.append(look_at([buffer.getvalue()], "image/png").image_code)

    assert max(distance(codes[0], one) for one in codes[1:]) <= 8


def test_one_picture_is_answered_once(gallery):
    """An output with three fingerprints is one answer, by its nearest."""
    base = bytes(range(64, 96))
    event_id = generated(gallery, pdq(flipped(base, 9)), pdq(base), pdq(flipped(base, 9, 10)))

    (found,) = near(gallery, Hash("pdq", base))

    assert (found.event_id, found.distance) == (event_id, 0)


def test_one_picture_with_many_fingerprints_takes_one_place_of_the_answer(gallery):
    """Else whoever sends several hides, from who asks for a few, all other pictures like it."""
    base = bytes(range(128, 160))
    many = generated(gallery, *(pdq(flipped(base, at)) for at in range(5)))
    other = generated(gallery, pdq(flipped(base, 11, 12, 13)))

    found = near(gallery, Hash("pdq", base), limit=2)

    assert [(one.event_id, one.distance) for one in found] == [(many, 1), (other, 3)]
