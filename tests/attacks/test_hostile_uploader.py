# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipeline that uploads, or somebody who found one of its links.

They want other content in the archive than the log names, a look at what others uploaded, the
server busy with them alone, or a page of theirs in an auditor's browser.
"""

import socket
import struct
import threading
import zlib
from urllib.parse import urlsplit

import pytest
from archiving import digest_of, gallery_in, picture
from dev_ledger import eventually
from house import Hand, attempt, house_in, noon_before
from served_house import serving

from api import uploads
from ledger.archive.spool import UploadFragmented

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

IMAGE = picture(400, 300, seed=31)
TUS = {"content-type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def service(pattern, tmp_path_factory):
    with house_in(pattern, tmp_path_factory.mktemp("uploader")) as house, serving(house) as made:
        made.gallery = gallery_in(house)
        yield made


def announced(service, content, media_type="image/png", event_id=None):
    body = {
        "event_id": event_id or service.gallery.output_of(content),
        "name": "outputs[0].sha256",
        "size": len(content),
        "media_type": media_type,
    }
    return service.post(body, "/v1/artifacts").json()


def send(service, url, content, offset=0):
    headers = {**TUS, "upload-offset": str(offset)}
    return service.ask("PATCH", url, content=content, headers=headers)


def opened(service, artifact_id):
    """The full content, as an auditor gets it."""
    link = service.ask(
        "POST",
        f"/v1/artifacts/{artifact_id}/escalations",
        token=service.auditor,
        json={},
        headers={"sealtrail-purpose": "incident-1"},
    )
    assert link.status_code == 201, link.text
    return service.ask("GET", link.json()["url"])


def test_uploads_another_image_than_the_log_names(service):
    """Who: a pipeline that has recorded one output and delivered another.
    Tries: the innocent image's digest in the log, the other image in the archive, or the reverse.
    Caught by: the digest: 422, and nothing is archived.
    Not caught: an innocent digest in the log, when the delivered image is never seen again."""
    one = announced(service, IMAGE)
    forged = IMAGE[:-1] + bytes([IMAGE[-1] ^ 1])

    answer = send(service, one["upload"]["url"], forged)

    assert (answer.status_code, answer.json()["code"]) == (422, "artifact-digest")
    assert send(service, one["upload"]["url"], IMAGE).headers["sealtrail-state"] == "stored"


def test_fills_the_disk(service):
    """Who: a pipeline, or whoever has one of its links.
    Tries: announces a few bytes and sends a stream without an end.
    Caught by: the announced size, while it arrives: 413, and no more than that is kept.
    Not caught: a thousand announcements of a gigabyte each, by a pipeline; the proxy limits it."""
    one = announced(service, b"tiny")
    lying = service.house.directory / "uploads" / service.house.tenant / one["artifact_id"]

    answer = send(service, one["upload"]["url"], iter([b"ti", *([bytes(65_536)] * 400)]))

    assert (answer.status_code, answer.json()["code"]) == (413, "upload-too-large")
    assert sum(path.stat().st_size for path in lying.iterdir()) < 1_000
    here = int(service.ask("HEAD", one["upload"]["url"]).headers["upload-offset"])
    rest = send(service, one["upload"]["url"], b"tiny"[here:], here)
    assert rest.headers["sealtrail-state"] == "stored"


def test_puts_a_page_of_its_own_into_an_auditors_browser(service):
    """Who: a pipeline whose prompts an attacker writes.
    Tries: an artifact that is a web page with a script, announced as text/html.
    Caught by: no type but that of pictures is passed on; each download is an attachment, in a
    sandbox without an origin; the small copy is a new JPEG.
    Not caught: a file that is dangerous to whoever opens it with another program."""
    page = b"<script>fetch('/v1/events')</script>"
    one = announced(service, page, media_type="text/html")
    send(service, one["upload"]["url"], page)

    answer = opened(service, one["artifact_id"])

    assert answer.content == page
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_sends_a_picture_that_explodes(service):
    """Who: a pipeline whose images an attacker makes.
    Tries: a few bytes that say they are 60,000 pixels wide and high, or are no picture at all.
    Caught by: a process of its own decodes, with a bounded share of memory and time, no key and no
    connection; such a file is archived without a preview.
    Not caught: a decoder that is taken over can use the network of its user."""

    def chunk(name, data):
        sealed = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + sealed

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
    one = announced(service, bomb)

    assert send(service, one["upload"]["url"], bomb).headers["sealtrail-state"] == "stored"
    answer = service.get(f"/v1/artifacts/{one['artifact_id']}/preview")
    assert (answer.status_code, answer.json()["code"]) == (404, "no-preview")


def test_reads_with_a_link_that_was_made_for_uploading(service):
    """Who: somebody who found an upload link in a log or a queue.
    Tries: reads with it what was uploaded, uploads to another artifact, makes it last for ever.
    Caught by: the signature, which binds deed, artifact, credential, purpose and date.
    Not caught: until it expires they can upload; only the right bytes are taken."""
    one, other = announced(service, IMAGE), announced(service, picture(seed=32))
    url = one["upload"]["url"]
    send(service, url, IMAGE)
    expires = url.partition("expires=")[2].partition("&")[0]

    tries = [
        service.ask("GET", url.replace("/upload", "/content")),
        send(service, url.replace(one["artifact_id"], other["artifact_id"]), b"x"),
        send(service, url.replace(expires, "9999999999999"), b"x"),
    ]

    assert [answer.status_code for answer in tries] == [403, 403, 403]


def test_guesses_what_somebody_else_uploaded(service):
    """Who: a curious pipeline of the same tenant that knows the id of another's event.
    Tries: announces that event's content, and uploads what it believes it was.
    Caught by: no answer but that of the whole, right bytes tells anything: no digest is shown, and
    who announced and when is on record.
    Not caught: whoever has the very bytes, the event's id and a token learns that these are they;
    for that reason a digest that was announced before is not told either."""
    event_id = service.gallery.upload_of(IMAGE)
    body = {"event_id": event_id, "name": "asset.sha256", "size": len(IMAGE),
            "media_type": "image/png"}  # fmt: skip

    answer = service.post(body, "/v1/artifacts")

    told = answer.text
    assert answer.status_code == 201
    assert digest_of(IMAGE)[7:] not in told
    assert "digest" not in answer.json()
    assert answer.json()["announced_by"].startswith("cred_")


def test_sends_one_offset_twice_with_other_bytes(service):
    """Who: whoever can see the disk under an upload, and makes a client send again.
    Tries: two contents encrypted under one key and nonce, which would give both away.
    Caught by: each part of an upload has a key of its own, also the second try of the same offset.
    Not caught: nothing known."""
    one = announced(service, IMAGE)
    spool = service.house.directory / "uploads" / service.house.tenant / one["artifact_id"]
    seen = []
    for content in (IMAGE[:5_000], bytes(5_000)):
        send(service, one["upload"]["url"], content)
        (part,) = spool.glob("*.part")
        seen.append(part.read_bytes())
        part.unlink()

    first, second = seen
    assert first[:60] != second[:60]
    mixed = bytes(a ^ b for a, b in zip(first[-5_016:-16], second[-5_016:-16], strict=True))
    assert mixed[:64] != IMAGE[:64]


def test_keeps_every_place_for_uploads(service):
    """Who: anybody with a pipeline's token.
    Tries: as many uploads as there can be, each a byte now and then.
    Caught by: uploads have threads of their own, so everybody else is served; one that brings too
    little in half a minute is cut off; who comes meanwhile is told to come again.
    Not caught: for that half minute no other upload begins."""
    parts = urlsplit(service.url)
    urls = [announced(service, bytes([n]) * 100_000)["upload"]["url"] for n in range(9)]
    slow = []
    for url in urls[: uploads.UPLOADS_MAX]:
        line = socket.create_connection((parts.hostname, parts.port))
        line.sendall(
            f"PATCH {url} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\nupload-offset: 0\r\n"
            "content-type: application/offset+octet-stream\r\n\r\nx".encode()
        )
        slow.append(line)
    try:
        eventually(lambda: uploads._places._value == 0)
        refused = send(service, urls[-1], b"")
        others_are_served = service.post(attempt()).status_code
    finally:
        for line in slow:
            line.close()

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert others_are_served == 201
    eventually(lambda: send(service, urls[-1], b"").status_code == 204)


def test_sends_crumbs(service, monkeypatch):
    """Who: a pipeline with patience.
    Tries: a gigabyte in parts of one byte: a directory with as many files.
    Caught by: a bound on the parts of one upload, after which it begins again.
    Not caught: nothing known."""
    monkeypatch.setattr("ledger.archive.spool.PARTS_MAX", 3)
    one = announced(service, b"crumbs")
    url = one["upload"]["url"]

    answers = [send(service, url, bytes([byte]), at) for at, byte in enumerate(b"crumb")]

    assert [answer.status_code for answer in answers] == [204, 204, 204, 409, 409]
    assert answers[3].json()["code"] == UploadFragmented.problem


def test_promises_an_image_and_never_sends_it(pattern, tmp_path):
    """Who: a pipeline that would rather not have its output seen.
    Tries: records the output with its digest, and neither announces nor uploads it.
    Caught by: the entry, whose `ref` promises the content: the search of the log, an alarm, a
    number in the metrics, and `archive missing` by name.
    Not caught: an output whose entry promises nothing, or that was never recorded."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(2))) as house:
        gallery = gallery_in(house)
        event_id = gallery.output_of(IMAGE, ref="archive")
        quiet = gallery.output_of(picture(seed=33))
        gallery.artifacts.miss_overdue()
        house.now_ms.move(hours=2)

        missed = dict(gallery.artifacts.miss_overdue())

        assert missed == {event_id: "outputs[0].sha256"}
        assert gallery.artifacts.missing() == 1
        assert quiet not in missed


def test_races_itself(service):
    """Who: a pipeline with many workers and one link.
    Tries: the right bytes and the wrong ones at the same moment, from the same offset.
    Caught by: one at a time holds an upload; whatever the order, only the right bytes are stored.
    Not caught: nothing known."""
    one = announced(service, IMAGE)
    bodies = [IMAGE, bytes(len(IMAGE))] * 3
    workers = [
        threading.Thread(target=send, args=(service, one["upload"]["url"], body)) for body in bodies
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    here = int(service.ask("HEAD", one["upload"]["url"]).headers["upload-offset"])
    if here == 0:
        send(service, one["upload"]["url"], IMAGE)

    assert opened(service, one["artifact_id"]).content == IMAGE
