# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody with an auditor's token, or whose picture an auditor looks for.

They want the server to choke on a picture, or to say who is in it.
"""

import io
import struct
import zlib

import pytest
from archiving import gallery_in, picture
from house import house_in
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from served_house import serving

from api import similar
from ledger.similar import search

#: What is tried here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def service(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("similar")) as house, serving(house) as made:
        made.gallery = gallery_in(house)
        yield made


def look_for(service, content, media_type="image/png"):
    return service.ask(
        "POST",
        "/v1/assets:similar",
        token=service.auditor,
        content=content,
        headers={"content-type": media_type},
    )


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def bomb(width, height):
    """A PNG of a few kilobytes that claims to be a wall of black."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(10 * 2**20), 9)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def frames(count):
    """A GIF with many frames; only the first one is looked at."""
    images = [Image.new("P", (400, 400), at % 256) for at in range(count)]
    data = io.BytesIO()
    images[0].save(data, "GIF", save_all=True, append_images=images[1:])
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (bomb(60_000, 60_000), "image/png"),
        (bomb(2**31 - 1, 2**31 - 1), "image/png"),
        (bomb(7_900, 7_900)[:2_000], "image/png"),
        (picture(64, 64), "image/jpeg"),
        (b"\xff\xd8\xff\xe0" + bytes(100_000), "image/jpeg"),
        (b"GIF89a" + b"\xff" * 5_000, "image/gif"),
        (b"RIFF\xff\xff\xff\x7fWEBPVP8L" + b"\x2f" * 4_000, "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png"),
    ],
    ids=["3.6 gigapixels", "4 exapixels", "cut off", "another type", "jpeg", "gif", "webp", "svg"],
)
def test_a_picture_that_is_a_weapon(service, content, media_type):
    """Who: somebody who has an auditor look for a picture that unfolds to gigabytes.
    Tries: pixels beyond all memory, broken streams, one format under the name of another.
    Caught by: the decoder's own process, with bounds of memory, time and pixels, and no keys.
    Not caught: a decoder's mistake that stays within those bounds; it learns one picture.
    """
    refused = look_for(service, content, media_type)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["rule"] == "picture"
    assert service.ask("GET", "/livez").status_code == 200
    assert look_for(service, picture(90, 60, seed=3)).status_code == 200


def test_a_film_under_the_name_of_a_picture(service):
    """Who: somebody who sends a thousand frames where one picture is asked for.
    Tries: to keep a core busy with all of them.
    Caught by: only the first frame is decoded.
    Not caught: what the other frames show is not looked for.
    """
    assert look_for(service, frames(1_000)).status_code in (200, 422)


def test_hides_a_picture_behind_its_own_words(service):
    """Who: somebody who does not want their copy of a picture to be found.
    Tries: a text in the file that is a few kilobytes and unfolds to more than the decoder's library
    takes, so that the picture is archived without a hash, or cannot be looked for.
    Caught by: bounds of ours instead; what counts is the process's memory.
    Not caught: more than 64 MiB of text, and a format or an edit that leaves no hash.
    """
    text = PngInfo()
    text.add_text("workflow", "x" * 5_000_000, zip=True)
    data = io.BytesIO()
    Image.open(io.BytesIO(picture(640, 480, seed=17))).save(data, "PNG", pnginfo=text)
    stored = service.gallery.stored(data.getvalue())

    found = look_for(service, picture(320, 240, seed=17)).json()["found"]
    again = look_for(service, data.getvalue()).json()["found"]

    assert [one["event_id"] for one in found] == [stored.event_id]
    assert [one["event_id"] for one in again] == [stored.event_id]


def test_finds_everybodys_even_area_with_one_of_its_own(service):
    """Who: an auditor who looks for a blank picture, or somebody who has one looked for.
    Tries: an even area, whose hash is nothing but rounding, and near every other one.
    Caught by: a hash without rounding is that of a flat picture, which is neither kept nor sought.
    Not caught: areas that are nearly even; the entries that are found tell them apart.
    """
    blank = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 200, 30)).save(blank, "PNG")
    service.gallery.stored(blank.getvalue())

    refused = look_for(service, blank.getvalue())

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["rule"] == "flat"


@pytest.mark.parametrize(
    "media_type", ["image/svg+xml", "image/tiff", "text/html", "", "video/mp4"]
)
def test_a_format_that_nobody_decodes(service, media_type):
    """Who: somebody who names a format whose decoder has more mistakes.
    Tries: a vector graphic, a container, a page.
    Caught by: a closed list of four formats, by the media type and again by the decoder.
    Not caught: mistakes in these four.
    """
    refused = look_for(service, picture(90, 60), media_type)

    assert refused.status_code == 415
    assert refused.json()["code"] == "picture-type"


def test_a_picture_larger_than_any(service):
    """Who: somebody who sends gigabytes as a picture.
    Tries: to fill the memory before anybody looks at it.
    Caught by: a bound on the body, told before more than that is held.
    Not caught: two bodies of that size at a time.
    """
    refused = look_for(service, bytes(similar.PICTURE_MAX + 1))

    assert refused.status_code == 413


def test_many_pictures_at_a_time(service):
    """Who: somebody who sends pictures faster than they are decoded.
    Tries: to take every core and 1 GiB with each.
    Caught by: a number of places; who finds none is told to come again, and recording goes on.
    Not caught: an auditor who keeps other auditors from looking for pictures.
    """
    taken = [similar._PLACES.acquire(blocking=False) for _ in range(2)]
    try:
        refused = look_for(service, picture(90, 60, seed=4))
    finally:
        for _ in taken:
            similar._PLACES.release()

    assert taken == [True, True]
    assert refused.status_code == 503
    assert refused.json()["code"] == "overloaded"
    assert look_for(service, picture(90, 60, seed=4)).status_code == 200


def test_asking_whose_picture_is_here(service):
    """Who: an auditor, or a thief of the database, who holds a picture and asks whose it is.
    Tries: the picture of a user who uploaded it for an edit.
    Caught by: uploads whose digest is sealed are in no index, and their hash lies under their key.
    Not caught: a client that records fingerprints of uploads in clear.
    """
    data = picture(300, 200, seed=8)
    event_id = service.gallery.upload_of(data)
    one = service.gallery.artifacts.announce(
        event_id, "asset.sha256", size=len(data), media_type="image/png", credential="c"
    )
    service.gallery.artifacts.append(one.artifact_id, 0, [data])

    answer = look_for(service, data).json()

    assert answer["found"] == []
    assert any("uploads" in line for line in answer["limits"])


def test_a_million_pictures_that_are_nearly_the_same(service, monkeypatch):
    """Who: a pipeline that records fingerprints which all share their bands.
    Tries: to keep the database busy with comparing, or to push a true hit out of a partial answer.
    Caught by: a bound on the time of one question, after which nothing is answered but that.
    Not caught: a picture among them is not found this way until somebody asks for less distance.
    """
    monkeypatch.setattr(search, "STATEMENT_MS", 5)
    columns = ", ".join(f"b{at}" for at in range(16))
    with service.house.owner() as owner:
        owner.execute(
            f"INSERT INTO {service.house.schema}.similar (event_id, name, kind, position, hash,"
            f" {columns}) SELECT gen_random_uuid(), 'flood', 'pdq', n, repeat('01', 128)::varbit,"
            f" {', '.join(['21845'] * 16)} FROM generate_series(1, 20000) n"
        )

    def ask():
        return service.ask(
            "POST",
            "/v1/assets:similar",
            token=service.auditor,
            json={"alg": "pdq", "value": "55" * 32},
        )

    refused = ask()
    with service.house.owner() as owner:
        owner.execute(f"DELETE FROM {service.house.schema}.similar WHERE name = 'flood'")

    assert refused.status_code == 503
    assert refused.json()["code"] == "overloaded"
    assert ask().status_code in (200, 503)
