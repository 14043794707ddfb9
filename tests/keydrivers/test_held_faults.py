# SPDX-License-Identifier: GPL-3.0-or-later
"""A keystore beside a device when something goes wrong: a crash, an outage, the wrong device."""

import pytest
from kms_server import KmsServer

from ledger.keydrivers.held import HeldKeystore
from ledger.keydrivers.kms import KmsDevice, _alias
from ledger.keydrivers.register import Register
from ledger.keys import (
    KeyDestroyed,
    KeyExists,
    KeyMissing,
    KeyMisused,
    KeystoreDamaged,
    KeystoreLocked,
    KeystoreUnreachable,
    KeystoreUnsafe,
    chain_key,
    log_key,
)


class CrashError(Exception):
    """The process ends here."""


def _die(*_):
    raise CrashError


@pytest.fixture
def crash(monkeypatch):
    """Let a method of the register end the process before it does something."""

    def at(method, suffix):
        real = getattr(Register, method)

        def dying(self, subject, *arguments):
            if suffix in arguments:
                raise CrashError
            return real(self, subject, *arguments)

        monkeypatch.setattr(Register, method, dying)
        return monkeypatch

    return at


@pytest.mark.parametrize(
    ("method", "suffix"), [("write", "making"), ("write", "key"), ("remove", "making")]
)
@pytest.mark.parametrize("kind", ["ed25519", "chain"])
def test_a_key_whose_making_was_interrupted_is_made_again(held, crash, method, suffix, kind):
    """After any step: making it again gives one key that works, and none is left over."""
    name = log_key(held.origin) if kind == "ed25519" else chain_key(held.origin, 0)
    patched = crash(method, suffix)
    with pytest.raises(CrashError):
        held.keys.make(name, "ed25519" if kind == "ed25519" else "hmac")
    patched.undo()
    keys = held.again()

    if not keys.has(name):
        keys.make(name, "ed25519" if kind == "ed25519" else "hmac")

    if kind == "ed25519":
        assert held.again().sign(name, b"m") == keys.sign(name, b"m")
    else:
        assert held.again().mac(name, b"m") == keys.mac(name, b"m")
    assert keys.names() == [name]


def test_a_destruction_that_was_interrupted_is_finished_at_the_next_start(held, monkeypatch):
    """The mark comes first: from then on nobody uses the key, and the next start destroys it."""
    name = held.name("subjects")
    held.keys.make(name, "wrap")
    wrapped = held.keys.wrap(name, b"secret", b"")
    card = held.keys._known(name)
    with monkeypatch.context() as patched:
        patched.setattr(type(held.keys._device), "destroy", _die)
        with pytest.raises(CrashError):
            held.keys.destroy(name)
    interrupted = Register(held.directory).has(name, "key")

    again = held.again()

    assert interrupted
    assert again.attest(name).gone is not None
    with pytest.raises(KeyDestroyed):
        again.unwrap(name, wrapped, b"")
    with pytest.raises(KeyMissing):
        again._device.decrypt(card.reference, wrapped, b"")


def test_a_service_that_is_down_is_an_unavailable_keystore(kms_keeper, kms):
    """Nothing is refused for good, and what needs no service goes on: chain keys, public halves."""
    log, chain = log_key(kms_keeper.origin), chain_key(kms_keeper.origin, 0)
    kms_keeper.keys.make(log, "ed25519")
    kms_keeper.keys.make(chain, "hmac")
    kms_keeper.keys.sign(log, b"m")
    kms.down = True
    try:
        with pytest.raises(KeystoreUnreachable) as raised:
            kms_keeper.keys.sign(log, b"m")
        assert kms_keeper.keys.mac(chain, b"m")
        assert kms_keeper.keys.public_key(log)
        assert kms_keeper.keys.has(log)
    finally:
        kms.down = False

    assert raised.value.facts == {"reason": "KMSInternalException"}
    assert kms_keeper.keys.sign(log, b"m")


def test_a_disabled_key_is_unavailable_and_not_destroyed(kms_keeper, kms):
    """An administrator may switch a key off and on again; nobody calls that an end."""
    name = kms_keeper.name("index")
    kms_keeper.keys.make(name, "hmac")
    key = kms.keys[kms_keeper.keys._known(name).reference.rpartition("/")[2]]

    key.state = "Disabled"
    with pytest.raises(KeystoreUnreachable):
        kms_keeper.keys.mac(name, b"m")
    key.state = "Enabled"

    assert kms_keeper.keys.mac(name, b"m")


def test_a_register_opens_with_its_own_device_only(kms_keeper, pkcs11_keeper):
    """Another account, or another kind of device: refused before anything is made or believed."""
    with KmsServer() as other, pytest.raises(KeystoreLocked):
        HeldKeystore(kms_keeper.directory, KmsDevice(other.client()))
    with pytest.raises(KeystoreDamaged):
        HeldKeystore(kms_keeper.directory, pkcs11_keeper.keys._device)


def test_two_ledgers_share_one_device(held, tmp_path):
    """Each has a register of its own, and neither touches a key of the other."""
    mine, device = log_key(held.origin), held.keys._device
    held.keys.make(mine, "ed25519")
    other = HeldKeystore(tmp_path / "another", device)
    other.make(log_key(f"{held.origin}/x"), "ed25519")

    with pytest.raises(KeyExists):
        other.make(mine, "ed25519")
    with pytest.raises(KeyMissing):
        other.sign(mine, b"m")

    assert held.again().sign(mine, b"m")


def test_a_making_that_was_interrupted_takes_no_key_of_another_ledger(kms_keeper, crash, tmp_path):
    """Between crash and repetition somebody else may have made a key of that name."""
    name = log_key(kms_keeper.origin)
    patched = crash("write", "key")
    with pytest.raises(CrashError):
        kms_keeper.keys.make(name, "ed25519")
    patched.undo()
    device, card = kms_keeper.keys._device, kms_keeper.keys._register.read(name, "making")
    device.destroy(device._described(_alias(name))["Arn"])
    device._call("delete_alias", AliasName=_alias(name))
    other = HeldKeystore(tmp_path / "another", device)
    other.make(name, "ed25519")

    with pytest.raises(KeyExists):
        kms_keeper.again().make(name, "ed25519")

    assert card is not None
    assert other.sign(name, b"m")


def test_a_loose_directory_or_one_without_its_root_stays_shut(held):
    """Others could take cards away, or have a new root made over what is there."""
    held.keys.make(held.name("index"), "hmac")
    held.directory.chmod(0o755)
    with pytest.raises(KeystoreUnsafe):
        held.again()
    held.directory.chmod(0o700)

    (held.directory / "register.json").unlink()
    with pytest.raises(KeystoreDamaged):
        held.again()


def test_what_a_service_cannot_sign_is_refused(kms_keeper):
    """4,096 bytes at most; a checkpoint has a few hundred."""
    name = log_key(kms_keeper.origin)
    kms_keeper.keys.make(name, "ed25519")

    assert kms_keeper.keys.sign(name, bytes(4_096))
    with pytest.raises(KeyMisused):
        kms_keeper.keys.sign(name, bytes(4_097))
