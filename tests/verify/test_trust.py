# SPDX-License-Identifier: GPL-3.0-or-later
"""The trust file: what a reader pinned is pinned exactly, or the file is refused."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from packet_maker import ORIGIN, authority

from sealtrail.verify import base64text
from sealtrail.verify.ed25519 import KeyRefused
from sealtrail.verify.errors import Unreadable
from sealtrail.verify.note import VerifierKey, key_id
from sealtrail.verify.trust import Trust

KEY = VerifierKey.ed25519(ORIGIN, Ed25519PrivateKey.generate().public_key().public_bytes_raw())


@pytest.fixture
def whole():
    return {
        "v": 1,
        "logs": [{"origin": ORIGIN, "vkeys": [KEY.vkey()]}],
        "tsa_roots": [authority().root_pem],
    }


def parse(value):
    return Trust.parse(json.dumps(value).encode())


def test_a_trust_file_names_keys_and_roots(whole):
    """Any layout of the JSON; certificates come out as DER."""
    trust = parse(whole)

    assert trust.origins == {ORIGIN: (KEY,)}
    assert trust.tsa_roots == (authority().root_der,)


def test_what_is_printed_is_read_again(whole):
    """`keys init` writes with `print`; a reader parses."""
    trust = parse(whole)

    assert Trust.parse(trust.print()) == trust
    assert trust.print() == Trust.parse(trust.print()).print()


def test_a_trust_file_without_logs_or_roots_is_a_trust_file(whole):
    """It trusts less; the verdict says what is missing."""
    assert parse(whole | {"logs": []}).origins == {}
    assert parse(whole | {"tsa_roots": []}).tsa_roots == ()


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"v": "1"},
        {"x": 1},
        {"logs": {}},
        {"logs": None},
        {"logs": [[]]},
        {"logs": [{"origin": ORIGIN}]},
        {"logs": [{"origin": ORIGIN, "vkeys": []}]},
        {"logs": [{"origin": "", "vkeys": [KEY.vkey()]}]},
        {"logs": [{"origin": 1, "vkeys": [KEY.vkey()]}]},
        {"logs": [{"origin": ORIGIN, "vkeys": [KEY.vkey()] * 2}]},
        {"logs": [{"origin": ORIGIN, "vkeys": [KEY.vkey()], "x": 1}]},
        {"logs": [{"origin": ORIGIN, "vkeys": [KEY.vkey()]}] * 2},
        {"logs": [{"origin": ORIGIN, "vkeys": [KEY.vkey() + " "]}]},
        {"logs": [{"origin": ORIGIN, "vkeys": [None]}]},
        {"tsa_roots": [""]},
        {"tsa_roots": ["-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"]},
        {"tsa_roots": "-----BEGIN"},
        {"tsa_roots": [7]},
    ],
)
def test_a_trust_file_that_says_anything_else_is_unreadable(whole, change):
    """A reader who believes to have pinned something must not be mistaken."""
    with pytest.raises(Unreadable):
        parse(whole | change)


def test_members_left_out_or_given_twice_are_refused(whole):
    """Strict JSON, every member."""
    for name in whole:
        with pytest.raises(Unreadable):
            parse({k: v for k, v in whole.items() if k != name})
    with pytest.raises(Unreadable):
        Trust.parse(b'{"v":1,"v":1,"logs":[],"tsa_roots":[]}')
    with pytest.raises(Unreadable):
        Trust.parse(b" " * (5 << 20))


def test_a_key_of_small_order_is_refused_even_by_trust(whole):
    """Its holder could show one signature for many checkpoints."""
    key = b"\x01" + bytes(31)
    text = base64text.encode(b"\x01" + key)
    vkey = f"{ORIGIN}+{key_id(ORIGIN, 1, key).hex()}+{text}"

    with pytest.raises(KeyRefused):
        parse(whole | {"logs": [{"origin": ORIGIN, "vkeys": [vkey]}]})
