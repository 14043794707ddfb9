# SPDX-License-Identifier: GPL-3.0-or-later
"""A new key for each data subject: what was sealed stays readable, what comes is under the new."""

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger import clock
from ledger.holds import Holds
from ledger.vault.construction import (
    GENERATIONS_MAX,
    KEY_BYTES,
    NONCE_BYTES,
    SealedValueDamaged,
    subject_aad,
    subject_cipher,
    succeeded,
    wrapping_key,
)
from ledger.vault.opening import ValuesErased

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

AAD = b"a key of theirs"


@pytest.fixture
def vault(house):
    return house.book.vault


def secret_of(house, ref):
    """A data subject's keys in clear, as a thief of the process's memory has them."""
    with house.owner() as owner:
        generation, wrapped = owner.execute(
            f"SELECT generation, wrapped_key FROM {house.schema}.subject WHERE ref = %s", (ref,)
        ).fetchone()
    name = wrapping_key(house.origin, generation)
    return house.keys.unwrap(name, bytes(wrapped), subject_aad(ref.bytes))


def rekey(house):
    return house.book.vault.rewrap(Holds.of(house.book), rekey=True)


def test_what_is_sealed_afterwards_is_closed_to_the_old_key(house, vault):
    """A thief of yesterday's key reads nothing of today; the ledger reads both."""
    ref = vault.subject_for("alice")
    before = vault.wrap_for(ref, b"before", AAD)
    stolen = secret_of(house, ref)

    rekey(house)
    after = vault.wrap_for(ref, b"after", AAD)

    assert vault.unwrap_for(ref, before, AAD) == b"before"
    assert vault.unwrap_for(ref, after, AAD) == b"after"
    assert len(stolen) == KEY_BYTES
    bound = b"sealtrail.vault.wrap.v1\0" + ref.bytes + AAD
    thief = AESGCM(stolen)
    assert thief.decrypt(before[:NONCE_BYTES], before[NONCE_BYTES:], bound) == b"before"
    with pytest.raises(InvalidTag):
        thief.decrypt(after[:NONCE_BYTES], after[NONCE_BYTES:], bound)


def test_every_later_rotation_keeps_the_earlier_keys(house, vault):
    """Subjects again, then wrapping alone: the person is found, and everything opens."""
    ref = vault.subject_for("alice")
    wrapped = []
    for number in range(3):
        wrapped.append(vault.wrap_for(ref, b"%d" % number, AAD))
        rekey(house)
    vault.rewrap(Holds.of(house.book))

    assert [vault.unwrap_for(ref, one, AAD) for one in wrapped] == [b"0", b"1", b"2"]
    assert vault.subject_of("alice").ref == ref
    assert len(secret_of(house, ref)) == 4 * KEY_BYTES


def test_an_erasure_takes_all_keys_of_a_subject(house, vault):
    """They are wrapped together, and go together."""
    ref = vault.subject_for("alice")
    wrapped = vault.wrap_for(ref, b"before", AAD)
    rekey(house)

    vault.begin_erasure(ref, "e-1")
    vault.finish_erasures(Holds.of(house.book))

    with pytest.raises(ValuesErased):
        vault.unwrap_for(ref, wrapped, AAD)
    with house.owner() as owner:
        row = owner.execute(
            f"SELECT wrapped_key, identity FROM {house.schema}.subject WHERE ref = %s", (ref,)
        ).fetchone()
    assert row == (None, None)


def test_a_process_that_read_the_old_key_before_loses_nothing(house, vault):
    """What it seals under the old key in the meantime is opened by all."""
    ref = vault.subject_for("alice")
    old = subject_cipher(secret_of(house, ref))
    rekey(house)
    nonce = clock.random_bytes(NONCE_BYTES)

    late = nonce + old.encrypt(nonce, b"late", b"sealtrail.vault.wrap.v1\0" + ref.bytes + AAD)

    assert vault.unwrap_for(ref, late, AAD) == b"late"


def test_so_many_keys_and_no_more():
    """What is wrapped stays below what a key service takes; odd lengths are damage."""
    secret = bytes(KEY_BYTES)
    for number in range(2 * GENERATIONS_MAX):
        secret = succeeded(secret, bytes([number]) * KEY_BYTES)

    assert len(secret) == GENERATIONS_MAX * KEY_BYTES <= 4_096
    for odd in (b"", secret[:-1], secret + b"x"):
        with pytest.raises(SealedValueDamaged):
            subject_cipher(odd)
