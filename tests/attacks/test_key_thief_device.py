# SPDX-License-Identifier: GPL-3.0-or-later
"""Against a thief at the device stand the module itself, which shows no key, and the register,
whose cards are authenticated with a key inside it.
"""

import shutil

import pytest

from ledger import clock
from ledger.keydrivers.held import HeldKeystore
from ledger.keydrivers.kms import KmsDevice
from ledger.keydrivers.register import Register
from ledger.keys import (
    KeyDestroyed,
    KeyExists,
    KeyMissing,
    KeystoreDamaged,
    KeystoreUnsafe,
    chain_key,
    is_gone,
    log_key,
)

SECRET = b"the key of a data subject, 32 b."


def card_of(keeper, name, suffix="key"):
    return Register(keeper.directory)._path(name, suffix)


def test_reads_keys_out_of_the_module_with_the_pin(pkcs11_keeper, module):
    """Who: an insider with the module and its PIN.
    Tries: the bytes of each key; a copy of it that may be read; a copy wrapped under another key.
    Caught by: the module: sensitive, never extractable, not modifiable, made to do one thing.
    Not caught: using the keys while the PIN is known; that is what a PIN is for.
    """
    import pkcs11
    from pkcs11 import Attribute, exceptions

    names = {log_key(pkcs11_keeper.origin): "ed25519", pkcs11_keeper.name("index"): "hmac",
             pkcs11_keeper.name("subjects"): "wrap"}  # fmt: skip
    for name, kind in names.items():
        pkcs11_keeper.keys.make(name, kind)
    session = pkcs11.lib(str(module.module)).get_token(token_label=module.token).open(rw=True)

    for name in names:
        for key in session.get_objects({Attribute.LABEL: name, Attribute.PRIVATE: True}):
            for attribute in (Attribute.VALUE, Attribute.PRIVATE_EXPONENT):
                with pytest.raises(exceptions.PKCS11Error):
                    key[attribute]
            for change in ({Attribute.EXTRACTABLE: True}, {Attribute.SENSITIVE: False}):
                with pytest.raises(exceptions.PKCS11Error):
                    key.copy(change)
                (attribute,) = change
                with pytest.raises(exceptions.PKCS11Error):
                    key[attribute] = change[attribute]
            assert not hasattr(key, "wrap_key")


def test_plants_a_key_that_can_be_read_under_our_name(pkcs11_keeper, module):
    """Who: an insider with the PIN, before `keys init` or a rotation.
    Tries: an extractable key with the name that the ledger will make, to have it used.
    Caught by: the making: a name that the module knows already is not taken.
    Not caught: the refusal itself, which keeps the ledger from making this key.
    """
    import pkcs11
    from pkcs11 import Attribute, KeyType

    session = pkcs11.lib(str(module.module)).get_token(token_label=module.token).open(rw=True)
    session.generate_key(
        KeyType.AES,
        256,
        store=True,
        label=pkcs11_keeper.name("subjects"),
        template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False},
    )

    with pytest.raises(KeyExists):
        pkcs11_keeper.keys.make(pkcs11_keeper.name("subjects"), "wrap")


def test_exchanges_a_key_in_the_module_for_one_that_can_be_read(pkcs11_keeper, module):
    """Who: an insider with the PIN, while the ledger is stopped.
    Tries: destroys a wrapping key, and puts one of their own with the same name and identity.
    Caught by: the first use: it was not made in the module as one that never leaves it.
    Not caught: the loss of the true key, and of what only it opens; keep a clone of the module.
    """
    import pkcs11
    from pkcs11 import Attribute, KeyType

    name = pkcs11_keeper.name("subjects")
    pkcs11_keeper.keys.make(name, "wrap")
    session = pkcs11.lib(str(module.module)).get_token(token_label=module.token).open(rw=True)
    (key,) = session.get_objects({Attribute.LABEL: name})
    identity = key[Attribute.ID]
    key.destroy()
    session.create_object(
        {
            Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.ENCRYPT: True,
            Attribute.DECRYPT: True,
            Attribute.LABEL: name,
            Attribute.ID: identity,
            Attribute.VALUE: bytes(32),
        }
    )

    with pytest.raises(KeystoreUnsafe):
        pkcs11_keeper.again().wrap(name, SECRET, b"")


def test_copies_yesterdays_keystore_and_takes_the_device_today(held, tmp_path):
    """Who: a thief with a backup of the keystore's directory who gets at the device later.
    Tries: opens yesterday's chain key, which was destroyed since, and re-forges yesterday's MACs.
    Caught by: the device: each chain key lay under a key of its own, which is gone with it.
    Not caught: with a service, for seven days, if its administrator helps; see below. A backup of
    a *file* keystore opens with its passphrase for ever.
    """
    old, new = chain_key(held.origin, 0), chain_key(held.origin, 1)
    held.keys.make(old, "hmac")
    backup = tmp_path / "backup"
    shutil.copytree(held.directory, backup)
    held.keys.evolve(old, b"m", new)
    held.keys.destroy(old)

    for file in backup.iterdir():
        shutil.copy2(file, held.directory / file.name)
    card_of(held, old, "destroyed").unlink()

    with pytest.raises(KeyMissing):
        held.again().mac(old, b"forged")
    held.again().mac(new, b"true")


def test_gives_one_name_the_key_of_another(held):
    """Who: whoever can write to the keystore's directory.
    Tries: the card of one wrapping key in the place of another, and dates and kinds on it.
    Caught by: the card's MAC, under a key that only the device has.
    Not caught: a card that is taken away: its key is missing then, and no other one is used.
    """
    one, two = held.name("subjects") + "/1", held.name("subjects") + "/2"
    for name in (one, two):
        held.keys.make(name, "wrap")
    true = card_of(held, two).read_bytes()
    created = held.keys.attest(two).created.encode()

    for forged in (
        card_of(held, one).read_bytes(),
        card_of(held, one).read_bytes().replace(one.encode(), two.encode()),
        true.replace(created, b"2020-01-01T00:00:00.000Z"),
        true.replace(b'"wrap"', b'"hmac"'),
    ):
        card_of(held, two).write_bytes(forged)
        with pytest.raises(KeystoreDamaged):
            held.again().wrap(two, SECRET, b"")
    card_of(held, two).unlink()
    with pytest.raises(KeyMissing):
        held.again().wrap(two, SECRET, b"")


def test_deletes_the_mark_of_a_destroyed_log_key(held):
    """Who: whoever can write to the keystore's directory.
    Tries: removes the tombstone of a log key, so that a new key is made under its name.
    Caught by: the device, which still has the public half, or the alias, and refuses the name.
    Not caught: once a service has deleted the key after its wait; the trust file has the old half.
    """
    name = log_key(held.origin)
    held.keys.make(name, "ed25519")
    held.keys.destroy(name)

    card_of(held, name, "destroyed").unlink()

    with pytest.raises(KeyExists):
        held.again().make(name, "ed25519")


def test_brings_a_destroyed_key_back_within_the_services_wait(kms_keeper, kms):
    """Who: an administrator of the key service's account.
    Tries: cancels the deletion of a wrapping key within the seven days that the service waits.
    Caught by: the tombstone: the ledger does not use it; `attest` promises nothing before the wait
    is over, so that no erasure is called complete.
    Not caught: the key itself is back, for whoever has the wrapped keys: deny CancelKeyDeletion.
    """
    name = kms_keeper.name("subjects")
    kms_keeper.keys.make(name, "wrap")
    wrapped = kms_keeper.keys.wrap(name, SECRET, b"")
    arn = reference_of(kms_keeper, name)
    kms_keeper.keys.destroy(name)

    kms.answer("CancelKeyDeletion", {"KeyId": arn})
    kms.answer("EnableKey", {"KeyId": arn})

    with pytest.raises(KeyDestroyed):
        kms_keeper.again().unwrap(name, wrapped, b"")
    assert not is_gone(kms_keeper.keys, name, clock.now_ms())


def test_reads_the_log_of_the_key_service(kms_keeper, kms):
    """Who: whoever reads the service's audit log, which has every parameter but the secrets.
    Tries: finds out whose key is opened when, from the additional data.
    Caught by: a digest in its place: the log has no name, no subject and no event.
    Not caught: how often keys are opened, and when.
    """
    name = kms_keeper.name("subjects")
    kms_keeper.keys.make(name, "wrap")
    kms.asked.clear()

    wrapped = kms_keeper.keys.wrap(name, SECRET, b"subject alice@example.org")
    kms_keeper.keys.unwrap(name, wrapped, b"subject alice@example.org")

    said = str([parameters.get("EncryptionContext") for _, parameters in kms.asked])
    assert "alice" not in said
    assert kms_keeper.origin not in str(kms.asked)


def test_imports_a_key_of_their_own_into_the_service(kms_keeper, kms, kms_client):
    """Who: an administrator of the key service's account.
    Tries: exchanges a key for one whose bytes they imported, and so know.
    Caught by: the first use by any process: the service says that it did not make this key.
    Not caught: by a process that has examined the key before; its card names the key's ARN, which
    no administrator can give to another key.
    """
    name = kms_keeper.name("subjects")
    kms_keeper.keys.make(name, "wrap")
    arn = reference_of(kms_keeper, name)
    kms.keys[arn.rpartition("/")[2]].origin = "EXTERNAL"

    fresh = HeldKeystore(kms_keeper.directory, KmsDevice(kms_client))
    with pytest.raises(KeystoreUnsafe):
        fresh.wrap(name, SECRET, b"")


def reference_of(keeper, name):
    """How the service calls a key, as its card says."""
    return keeper.keys._known(name).reference
