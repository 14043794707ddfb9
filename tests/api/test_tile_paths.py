# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoint and tiles as C2SP tlog-tiles wants them: paths, sizes, partial tiles, caching."""

import base64
from hashlib import sha256

import pytest
from house import attempt, house_in
from hypothesis import given
from hypothesis import strategies as st
from served_house import serving

from api.tiles import TilePath, print_index
from ledger.errors import NotFound
from sealtrail.verify.note import open_checkpoint

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

SIZE = 600


@pytest.fixture(scope="module")
def log(postgres, tmp_path_factory):
    """A log of 600 entries and a little, that nobody writes to any more."""
    with house_in(postgres, tmp_path_factory.mktemp("tiles")) as house, serving(house) as service:
        while service.size < SIZE:
            house.post(*[attempt() for _ in range(min(256, SIZE - service.size))])
        yield service


def leaves(service):
    entries = service.house.book.reader.between(0, service.size)
    return [sha256(b"\x00" + one.entry.data).digest() for one in entries]


def merkle(hashes):
    """RFC 6962 §2.1, written naively once more."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + merkle(hashes[:k]) + merkle(hashes[k:])).digest()


def test_the_checkpoint_is_a_signed_note_that_is_kept_briefly(log):
    answers = [log.public("/checkpoint"), log.get("/v1/checkpoint"), log.get("/checkpoint")]

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    keys = log.house.trust().origins[log.house.origin]
    _, checkpoint = open_checkpoint(answers[0].content, origin=log.house.origin, keys=keys)
    assert checkpoint.size == log.size
    assert checkpoint.root == merkle(leaves(log))
    for answer in answers:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=1"
        assert answer.headers["access-control-allow-origin"] == "*"


def test_tiles_hold_the_hashes_that_the_specification_names(log):
    """Full and partial ones on both levels; from them alone follows the checkpoint's root."""
    all_leaves = leaves(log)
    width = log.size - 512
    roots = [merkle(all_leaves[:256]), merkle(all_leaves[256:512])]

    expected = {
        "/tile/0/000": b"".join(all_leaves[:256]),
        "/tile/0/001": b"".join(all_leaves[256:512]),
        f"/tile/0/002.p/{width}": b"".join(all_leaves[512:]),
        "/tile/0/002.p/1": all_leaves[512],
        "/tile/0/000.p/255": b"".join(all_leaves[:255]),
        "/tile/1/000.p/2": b"".join(roots),
        "/tile/1/000.p/1": roots[0],
    }

    for path, hashes in expected.items():
        answer = log.public(path)
        assert (path, answer.status_code) == (path, 200)
        assert answer.content == hashes
        assert answer.headers["content-type"] == "application/octet-stream"


def test_only_full_tiles_are_kept_for_ever(log):
    full, partial = log.public("/tile/0/000"), log.public("/tile/0/002.p/1")

    assert full.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert partial.headers["cache-control"] == "public, max-age=1"
    assert full.headers["access-control-allow-origin"] == "*"


def test_a_tile_that_the_client_has_is_not_sent_again(log):
    tag = log.public("/tile/0/000").headers["etag"]

    same = log.public("/tile/0/000", headers={"if-none-match": f'"x", {tag}'})
    weak = log.public("/tile/0/000", headers={"if-none-match": f"W/{tag}"})
    other = log.public("/tile/0/001", headers={"if-none-match": tag})

    assert [same.status_code, weak.status_code, other.status_code] == [304, 304, 200]
    assert same.content == b""
    assert same.headers["etag"] == tag


def test_bundles_hold_the_entries_behind_their_lengths(log):
    """What hashes to the leaves of the tile of the same number; content, so for auditors only."""
    answer = log.get("/v1/tile/entries/000")
    last = log.get(f"/tile/entries/002.p/{log.size - 512}")

    assert (answer.status_code, last.status_code) == (200, 200)
    assert answer.headers["cache-control"] == "private, no-cache"
    entries, data = [], answer.content
    while data:
        length = int.from_bytes(data[:2], "big")
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    assert [sha256(b"\x00" + entry).digest() for entry in entries] == leaves(log)[:256]


@pytest.mark.parametrize(
    "path",
    [
        "0/002",  # not full yet
        f"0/002.p/{SIZE - 512 + 200}",
        "0/003", "0/003.p/1", "1/000", "1/000.p/3", "2/000.p/1", "2/000", "8/000", "63/000.p/1",
        "0/0", "0/00", "0/0000", "0/x000/000", "0/x00/000", "0/000.p/0", "0/000.p/256", "0/000/",
        "0/000.p/01", "0/000.p/", "0/000.p", "0", "", "/", "00/000", "64/000", "-1/000", "0/-01",
        "0/x1/000", "0/٠٠٠", "entries/003", "entries/000.p/256", "entries", "data/000",
        "0/" + "x999/" * 40 + "999", "0/000.p/1/", "0/000.P/1", "0/000%00", "%2e%2e/checkpoint",
    ],
)  # fmt: skip
def test_what_is_no_tile_of_this_log_is_not_found(log, path):
    answer = log.get(f"/v1/books/{log.house.tenant}/tile/{path}")

    assert answer.status_code == 404, path
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


def test_the_access_book_has_tiles_of_its_own(log):
    log.get("/v1/tile/entries/000")

    path = f"/v1/books/{log.house.tenant}-access"
    checkpoint = log.ask("GET", f"{path}/checkpoint")
    tile = log.ask("GET", f"{path}/tile/0/000.p/1")

    assert checkpoint.text.startswith(f"{log.house.origin}/access\n")
    first = log.house.access_book.reader.at(0).entry.data
    assert tile.content == sha256(b"\x00" + first).digest()


def test_a_proof_can_be_computed_from_tiles_alone(log):
    """What a monitor does: it takes the path of entry 300 from tiles and never asks for a proof."""
    fetched = {
        **{(0, at): log.public(f"/tile/0/{at:03d}").content for at in (0, 1)},
        (0, 2): log.public(f"/tile/0/002.p/{log.size - 512}").content,
    }
    hashes = [
        data[at : at + 32] for _, data in sorted(fetched.items()) for at in range(0, len(data), 32)
    ]

    size = log.size
    proof = log.public(f"/proofs/300?size={size}").json()

    assert proof["leaf"] == f"sha256:{hashes[300].hex()}"
    assert proof["root"] == f"sha256:{merkle(hashes).hex()}"
    note = log.public("/checkpoint").text.split("\n")
    assert base64.b64decode(note[2]) == merkle(hashes)
    assert int(note[1]) == size


@given(st.integers(min_value=0, max_value=2**63))
def test_an_index_has_one_spelling(index):
    """The specification's own example, and any other: printed, parsed, the same."""
    assert print_index(1_234_067) == "x001/x234/067"
    assert TilePath.parse(f"0/{print_index(index)}").index == index
    if index < 1000:
        with pytest.raises(NotFound):
            TilePath.parse(f"0/x000/{print_index(index)}")
