# SPDX-License-Identifier: GPL-3.0-or-later
"""The keyed chain is byte for byte that of the second implementation, and forgives nothing."""

import json
from pathlib import Path

import pytest

from sealtrail.verify import chain

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
OURS = json.loads((VECTORS / "chain.json").read_text(encoding="ascii"))
ORIGIN = OURS["origin"]
LEAVES = [bytes.fromhex(leaf) for leaf in OURS["leaves"]]
KEY = bytes(range(32))


def key_of(epoch):
    return bytes.fromhex(epoch["key"])


def heads():
    return [(epoch, head) for epoch in OURS["epochs"] for head in epoch["heads"]]


def test_an_auditor_recomputes_the_chain_from_the_first_key():
    """From K_0 alone: every start, every MAC and every later key, over an empty epoch too."""
    key, last_mac, position = key_of(OURS["epochs"][0]), None, 0
    for epoch in OURS["epochs"]:
        mac = chain.start(key, ORIGIN, epoch["epoch"], last_mac)
        macs = [mac]
        for _ in epoch["heads"][1:]:
            mac = chain.link(key, mac, position, LEAVES[position])
            macs.append(mac)
            position += 1

        assert key == key_of(epoch)
        assert macs[0].hex() == epoch["start"]
        assert [mac.hex() for mac in macs] == [head["mac"] for head in epoch["heads"]]

        last_mac = mac
        key = chain.evolve(key, ORIGIN)
    assert position == len(LEAVES)


@pytest.mark.parametrize(("epoch", "head"), heads())
def test_the_head_tag_binds_every_column_of_the_head_row(epoch, head):
    """The tag is the promised one, and changes with each of its seven inputs."""
    row = {
        "origin": ORIGIN,
        "epoch": epoch["epoch"],
        "size": head["size"],
        "frontier_bytes": bytes.fromhex(head["frontier"]),
        "mac": bytes.fromhex(head["mac"]),
        "last_time_ms": head["time"],
    }
    key = key_of(epoch)
    tag = chain.head_tag(key, **row)

    assert tag.hex() == head["tag"]
    changes = [
        {"origin": ORIGIN + "/i2"},
        {"epoch": epoch["epoch"] + 1},
        {"mac": bytes(32)},
        {"last_time_ms": head["time"] + 1},
    ]
    if head["size"]:
        # Another size with as many 1 bits needs as many hashes, so only the tag tells them apart.
        changes += [
            {"size": head["size"] * 2},
            {"frontier_bytes": bytes(len(row["frontier_bytes"]))},
        ]
    for change in changes:
        assert chain.head_tag(key, **row | change) != tag
    assert chain.head_tag(KEY, **row) != tag


def test_the_writer_macs_the_same_messages_in_its_keystore():
    """The messages without a key are those that the keyed functions use."""
    mac = bytes(32)

    assert chain.start_message(ORIGIN, 0, None) == (
        b"sealtrail.chain.v1\0" + ORIGIN.encode() + b"\n" + bytes(8)
    )
    assert chain.start_message(ORIGIN, 258, mac)[-40:] == bytes(6) + b"\x01\x02" + mac
    assert chain.link_message(mac, 1, LEAVES[0]) == mac + bytes(7) + b"\x01" + LEAVES[0]
    assert chain.evolve_message(ORIGIN) == b"sealtrail.chain.evolve.v1\0" + ORIGIN.encode()


def test_a_moved_or_changed_entry_breaks_the_chain():
    """The same leaf at another position, or after another entry, has another MAC."""
    mac = chain.start(KEY, ORIGIN, 0, None)
    link = chain.link(KEY, mac, 0, LEAVES[0])

    assert chain.link(KEY, mac, 1, LEAVES[0]) != link
    assert chain.link(KEY, mac, 0, LEAVES[1]) != link
    assert chain.link(KEY, link, 0, LEAVES[0]) != link
    assert chain.link(chain.evolve(KEY, ORIGIN), mac, 0, LEAVES[0]) != link


@pytest.mark.parametrize("origin", ["", "two\nlines", "zero\0byte"])
def test_an_origin_that_could_be_read_two_ways_is_refused(origin):
    """It stands before other fields without a length, so it may not look like them."""
    for message in (
        lambda: chain.start_message(origin, 0, None),
        lambda: chain.evolve_message(origin),
        lambda: chain.head_message(
            origin=origin, epoch=0, size=0, frontier_bytes=b"", mac=bytes(32), last_time_ms=0
        ),
    ):
        with pytest.raises(ValueError, match="origin"):
            message()


def test_only_the_first_epoch_follows_nothing():
    """Epoch 0 with a MAC before it, or a later one without, is a mistake of the caller."""
    for epoch, last_mac in ((0, bytes(32)), (1, None)):
        with pytest.raises(ValueError, match="epoch 0"):
            chain.start_message(ORIGIN, epoch, last_mac)


def test_fields_of_another_length_are_refused():
    """A short key, MAC, leaf or frontier would shift all that follows it."""
    wrong = [
        lambda: chain.link(KEY[:31], bytes(32), 0, bytes(32)),
        lambda: chain.link(KEY, bytes(31), 0, bytes(32)),
        lambda: chain.link(KEY, bytes(32), 0, bytes(33)),
        lambda: chain.link(KEY, bytes(32), -1, bytes(32)),
        lambda: chain.link(KEY, bytes(32), 2**64, bytes(32)),
        lambda: chain.link(KEY, bytes(32), True, bytes(32)),
        lambda: chain.start(KEY, ORIGIN, 1, bytes(16)),
        lambda: chain.head_message(
            origin=ORIGIN,
            epoch=0,
            size=3,
            frontier_bytes=bytes(32),
            mac=bytes(32),
            last_time_ms=0,
        ),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match=r"bytes|64-bit"):
            call()
