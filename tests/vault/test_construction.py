# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault's bytes: what opens what, and that nothing else does."""

import hmac
import json
import unicodedata

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.vault.construction import (
    BLOB_CHANCE,
    SealedValueDamaged,
    index_message,
    open_blob,
    open_identity,
    seal_blob,
    seal_identity,
    unwrap_other,
    wrap_other,
)

KEY = AESGCM(bytes(range(32)))
EVENT, REF = b"e" * 16, b"r" * 16
CHANCE = bytes(range(100, 100 + BLOB_CHANCE))
SEALED = seal_blob(KEY, ["YWJj", "ZGVm"], event_id=EVENT, ref=REF, chance=CHANCE)


def test_a_blob_is_what_the_formula_says():
    """Written out once more from `constructions`: list, keys, nonces and what is bound."""
    wrapped, blob = SEALED
    secret, nonce = CHANCE[:32], CHANCE[32:]

    printed = AESGCM(secret).decrypt(bytes(12), blob, EVENT + REF)
    inner = KEY.decrypt(nonce, wrapped[12:], b"sealtrail.vault.dek.v1\0" + EVENT + REF)

    assert (json.loads(printed), inner, wrapped[:12]) == (["YWJj", "ZGVm"], secret, nonce)
    assert printed == b'["YWJj","ZGVm"]'


@pytest.mark.parametrize("what", ["event", "ref", "key", "wrapped", "blob", "short"])
def test_a_blob_opens_in_its_own_place_only(what):
    """Moved to another event or person, under another key, or altered by one bit: refused."""
    wrapped, blob = SEALED
    places = {"event_id": EVENT, "ref": REF}
    key = KEY
    match what:
        case "event":
            places["event_id"] = b"f" * 16
        case "ref":
            places["ref"] = b"s" * 16
        case "key":
            key = AESGCM(bytes(32))
        case "wrapped":
            wrapped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        case "blob":
            blob = bytes([blob[0] ^ 1]) + blob[1:]
        case "short":
            blob = blob[:3]

    with pytest.raises(SealedValueDamaged):
        open_blob(key, wrapped, blob, **places)


def test_the_blob_opens_again():
    """Under the same key, in the same place."""
    assert open_blob(KEY, *SEALED, event_id=EVENT, ref=REF) == ["YWJj", "ZGVm"]


def test_what_a_subject_key_wraps_for_one_purpose_opens_for_no_other():
    """An identity is no artifact key, and neither is of another person."""
    identity = seal_identity(KEY, "ren\u00e9", ref=REF, nonce=bytes(12))
    other = wrap_other(KEY, b"k" * 32, ref=REF, aad=b"artifact", nonce=b"1" * 12)

    assert open_identity(KEY, identity, ref=REF) == "ren\u00e9"
    assert unwrap_other(KEY, other, ref=REF, aad=b"artifact") == b"k" * 32
    for wrong in (
        lambda: open_identity(KEY, identity, ref=EVENT),
        lambda: open_identity(KEY, other, ref=REF),
        lambda: unwrap_other(KEY, identity, ref=REF, aad=b""),
        lambda: unwrap_other(KEY, other, ref=REF, aad=b"another"),
        lambda: unwrap_other(KEY, b"", ref=REF, aad=b"artifact"),
    ):
        with pytest.raises(SealedValueDamaged):
            wrong()


def test_a_blind_index_is_of_the_composed_form():
    """NFC: a name is found however it was typed; field and value cannot run into each other."""
    decomposed = unicodedata.normalize("NFD", "ren\u00e9")

    assert index_message("net.ip", decomposed) == b"net.ip\0ren\xc3\xa9"
    assert hmac.digest(b"k", index_message("a", "b"), "sha256") != hmac.digest(
        b"k", index_message("a.b", ""), "sha256"
    )
