# SPDX-License-Identifier: GPL-3.0-or-later
"""What every driver of the keystore promises: one suite for a file, a module and a service."""

import hmac
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ledger import clock, escrow
from ledger.keys import (
    AuditorKey,
    EscrowPassphrase,
    KeyDestroyed,
    KeyExists,
    KeyMissing,
    KeyMisused,
    KeyNameRefused,
    WrappedKeyDamaged,
    chain_key,
    is_gone,
    log_key,
)
from sealtrail.verify import ed25519

EVOLVE = b"sealtrail.chain.evolve.v1\0"


def test_a_signature_verifies_under_the_public_key(keeper):
    """Ed25519 as RFC 8032 has it: any verifier takes it, and signing again gives the same bytes."""
    log = log_key(keeper.origin)
    keeper.keys.make(log, "ed25519")

    signature = keeper.keys.sign(log, b"a checkpoint")

    ed25519.verify(
        public_key=keeper.keys.public_key(log), message=b"a checkpoint", signature=signature
    )
    assert keeper.keys.sign(log, b"a checkpoint") == signature


def test_a_mac_is_the_same_in_every_process(keeper):
    """32 bytes, the same for whoever opens the keystore next, another for another key."""
    for number in (1, 2):
        keeper.keys.make(keeper.name(f"index{number}"), "hmac")

    one = keeper.keys.mac(keeper.name("index1"), b"a value")

    assert len(one) == 32
    assert keeper.again().mac(keeper.name("index1"), b"a value") == one
    assert keeper.keys.mac(keeper.name("index2"), b"a value") != one


def test_a_wrapped_key_opens_in_another_process_for_its_own_record_only(keeper):
    """The aad and the name belong to it; one changed bit is damage, and no other answer."""
    kek, other = keeper.name("subjects") + "/1", keeper.name("subjects") + "/2"
    keeper.keys.make(kek, "wrap")
    keeper.keys.make(other, "wrap")
    secret = bytes(range(32))

    wrapped = keeper.keys.wrap(kek, secret, b"subject 1")

    assert secret not in wrapped
    assert keeper.again().unwrap(kek, wrapped, b"subject 1") == secret
    assert keeper.keys.wrap(kek, secret, b"subject 1") != wrapped
    flipped = bytes([*wrapped[:-1], wrapped[-1] ^ 1])
    for name, data, aad in [
        (kek, wrapped, b"subject 2"),
        (other, wrapped, b"subject 1"),
        (kek, flipped, b"subject 1"),
        (kek, wrapped[:-1], b"subject 1"),
        (kek, b"", b"subject 1"),
    ]:
        with pytest.raises(WrappedKeyDamaged):
            keeper.keys.unwrap(name, data, aad)


def test_a_chain_key_evolves_and_repeats_contradict_nothing(keeper):
    """The successor is HMAC under the old key, by whoever makes it first."""
    first, second = chain_key(keeper.origin, 0), chain_key(keeper.origin, 1)
    keeper.keys.make(first, "hmac")
    expected = keeper.keys.mac(first, EVOLVE)

    keeper.keys.evolve(first, EVOLVE, second)
    keeper.keys.evolve(first, EVOLVE, second)
    keeper.again().evolve(first, EVOLVE, second)

    assert keeper.again().mac(second, b"m") == hmac.digest(expected, b"m", "sha256")
    with pytest.raises(KeyExists):
        keeper.keys.evolve(first, b"another message", second)


def test_many_threads_evolve_to_one_successor(keeper):
    """Whoever comes first makes it; the others find that it is the same."""
    first = chain_key(keeper.origin, 0)
    keeper.keys.make(first, "hmac")

    def step(number):
        keeper.keys.evolve(first, EVOLVE, chain_key(keeper.origin, 1))
        return keeper.keys.mac(chain_key(keeper.origin, 1), b"m"), number

    with ThreadPoolExecutor(4) as pool:
        macs = {mac for mac, _ in pool.map(step, range(8))}

    assert len(macs) == 1


def test_the_first_chain_key_is_escrowed_and_nothing_else(keeper):
    """Auditor and passphrase open the very key that the keystore computes with."""
    first = chain_key(keeper.origin, 0)
    keeper.keys.make(first, "hmac")
    keeper.keys.evolve(first, EVOLVE, chain_key(keeper.origin, 1))
    private = X25519PrivateKey.generate()

    to_auditor = keeper.keys.escrow(
        first, AuditorKey(public_key=private.public_key().public_bytes_raw())
    )
    opened = escrow.open_with_private_key(
        to_auditor, origin=keeper.origin, private_key=private.private_bytes_raw()
    )

    assert hmac.digest(opened, b"m", "sha256") == keeper.keys.mac(first, b"m")
    with pytest.raises(KeyMisused):
        keeper.keys.escrow(chain_key(keeper.origin, 1), EscrowPassphrase(passphrase=b"p"))


def test_a_destroyed_key_is_gone_for_every_process(keeper):
    """Its name answers 410 and is never used again; of a signing key the public half stays."""
    names = {log_key(keeper.origin): "ed25519", chain_key(keeper.origin, 0): "hmac",
             keeper.name("index"): "hmac", keeper.name("subjects"): "wrap"}  # fmt: skip
    for name, kind in names.items():
        keeper.keys.make(name, kind)
    half = keeper.keys.public_key(log_key(keeper.origin))
    jobs = {"ed25519": lambda keys, name: keys.sign(name, b"m"),
            "hmac": lambda keys, name: keys.mac(name, b"m"),
            "wrap": lambda keys, name: keys.wrap(name, b"s", b"")}  # fmt: skip

    for name in names:
        keeper.keys.destroy(name)
        keeper.keys.destroy(name)

    for keys in (keeper.keys, keeper.again()):
        for name, kind in names.items():
            with pytest.raises(KeyDestroyed):
                jobs[kind](keys, name)
            with pytest.raises(KeyExists):
                keys.make(name, kind)
            assert not keys.has(name)
        assert keys.public_key(log_key(keeper.origin)) == half
        assert keys.names() == []


def test_a_key_that_another_process_destroyed_is_noticed_or_not_used(keeper):
    """A process that had used it is told the same, unless it holds the key in its own memory."""
    log = log_key(keeper.origin)
    keeper.keys.make(log, "ed25519")
    other = keeper.again()
    other.sign(log, b"m")

    keeper.keys.destroy(log)

    assert not other.has(log)
    if keeper.keys.attest(log).driver != "file":
        with pytest.raises(KeyDestroyed):
            other.sign(log, b"m")


def test_a_key_is_never_replaced_and_does_one_job_only(keeper):
    """A name stands for one key of one kind for ever."""
    log, index = log_key(keeper.origin), keeper.name("index")
    keeper.keys.make(log, "ed25519")
    keeper.keys.make(index, "hmac")
    half = keeper.keys.public_key(log)

    with pytest.raises(KeyExists):
        keeper.keys.make(log, "ed25519")
    for use in (
        lambda: keeper.keys.mac(log, b"m"),
        lambda: keeper.keys.wrap(log, b"s", b""),
        lambda: keeper.keys.sign(index, b"m"),
        lambda: keeper.keys.unwrap(index, bytes(60), b""),
        lambda: keeper.keys.public_key(index),
    ):
        with pytest.raises(KeyMisused):
            use()
    assert keeper.keys.public_key(log) == half


def test_what_never_was_is_missing_and_a_strange_name_is_refused(keeper):
    """Missing is not destroyed: somebody forgot `init`, or it is another keystore."""
    name = keeper.name("log")

    for use in (
        lambda: keeper.keys.sign(name, b"m"),
        lambda: keeper.keys.attest(name),
        lambda: keeper.keys.destroy(name),
        lambda: keeper.keys.public_key(name),
    ):
        with pytest.raises(KeyMissing):
            use()
    for strange in ("", "a b", "line\nbreak", "x" * 300):
        with pytest.raises(KeyNameRefused):
            keeper.keys.make(strange, "hmac")


def test_attestations_say_what_the_driver_can_promise(keeper):
    """Driver, dates, and from when on a destroyed key is gone for its keeper's owner, too."""
    kek, chain = keeper.name("subjects"), chain_key(keeper.origin, 0)
    keeper.keys.make(kek, "wrap")
    keeper.keys.make(chain, "hmac")

    before = keeper.keys.attest(kek)
    keeper.keys.destroy(kek)
    after = keeper.keys.attest(kek)

    assert (before.kind, before.destroyed, before.gone) == ("wrap", None, None)
    assert after.created == before.created
    assert after.destroyed is not None
    assert after.gone is not None
    week = 7 * clock.DAY_MS if after.driver == "kms" else 0
    assert not is_gone(keeper.keys, kek, clock.now_ms() + week - clock.DAY_MS)
    assert is_gone(keeper.keys, kek, clock.now_ms() + week)
    assert before.exportable == (before.driver == "file")
    assert keeper.keys.attest(chain).exportable  # Kept outside by every driver, and said so.


def test_keys_are_listed_as_long_as_they_can_be_used(keeper):
    """Sorted, and without anything of the keystore's own."""
    names = sorted([log_key(keeper.origin), chain_key(keeper.origin, 0), keeper.name("subjects")])
    for name, kind in zip(names, ("hmac", "ed25519", "wrap"), strict=True):
        keeper.keys.make(name, kind)

    assert keeper.again().names() == names
    keeper.keys.destroy(names[0])
    assert keeper.keys.names() == names[1:]


def test_no_file_of_a_held_keystore_opens_anything(held):
    """Cards hold references, halves and sealed chain keys: no key, in no encoding."""
    chain = chain_key(held.origin, 0)
    held.keys.make(chain, "hmac")
    secret = held.keys._chains[chain]

    texts = b"".join(path.read_bytes() for path in held.directory.iterdir())

    assert secret not in texts
    assert secret.hex().encode() not in texts
    card = next(path for path in held.directory.iterdir() if path.name.startswith("chain"))
    assert "sealed" in json.loads(card.read_bytes())


def test_many_threads_use_one_keystore(keeper):
    """Writer, sealer and readers are threads: each gets the answer to what it asked."""
    log, kek, index = log_key(keeper.origin), keeper.name("subjects"), keeper.name("index")
    for name, kind in ((log, "ed25519"), (kek, "wrap"), (index, "hmac")):
        keeper.keys.make(name, kind)
    again = keeper.again()
    expected = {n: (again.sign(log, b"%d" % n), again.mac(index, b"%d" % n)) for n in range(4)}

    def use(number):
        keys, n = (keeper.keys, again)[number % 2], number % 4
        wrapped = keys.wrap(kek, b"%d" % n, b"")
        answers = keys.sign(log, b"%d" % n), keys.mac(index, b"%d" % n)
        return answers == expected[n] and keys.unwrap(kek, wrapped, b"") == b"%d" % n

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(200)))
