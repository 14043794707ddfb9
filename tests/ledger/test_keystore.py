# SPDX-License-Identifier: GPL-3.0-or-later
"""The keystore: what its owner can do, and what everybody else cannot."""

import hmac
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ledger import durable, escrow
from ledger.keys import (
    AuditorKey,
    EscrowPassphrase,
    KeyDestroyed,
    KeyExists,
    KeyMissing,
    KeyMisused,
    KeyNameRefused,
    Keys,
    KeystoreDamaged,
    KeystoreUnreachable,
    WrappedKeyDamaged,
    chain_key,
    log_key,
)
from ledger.keystore import FileKeystore
from sealtrail.verify import canonical, ed25519

PASSPHRASE = b"correct horse battery staple"
ORIGIN = "ledger.example/Acme"
LOG, CHAIN = log_key(ORIGIN), chain_key(ORIGIN, 0)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """One keystore with a key of each kind; made once, because its passphrase costs time."""
    directory = tmp_path_factory.mktemp("keys") / "keystore"
    keys = FileKeystore(directory, PASSPHRASE)
    keys.make(LOG, "ed25519")
    keys.make(CHAIN, "hmac")
    keys.make("subjects/1", "wrap")
    return directory


@pytest.fixture
def directory(template, tmp_path) -> Path:
    """A fresh copy of it."""
    copy = tmp_path / "keystore"
    copy.mkdir(mode=0o700)
    for file in template.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
        (copy / file.name).chmod(0o600)
    return copy


@pytest.fixture
def keys(directory) -> FileKeystore:
    return FileKeystore(directory, PASSPHRASE)


def secret_of(keys: FileKeystore, name: str) -> bytes:
    return keys._loaded[name].secret


def test_it_does_all_nine_things(keys):
    """mypy checks the signatures; here the nine names are checked to exist."""
    protocol: Keys = keys

    for name in ["make", "evolve", "escrow", "sign", "mac", "wrap", "unwrap", "destroy", "attest"]:
        assert callable(getattr(protocol, name))


def test_a_signature_verifies_under_the_public_key(keys):
    """The key that signs is the key that is published."""
    signature = keys.sign(LOG, b"a checkpoint")

    ed25519.verify(public_key=keys.public_key(LOG), message=b"a checkpoint", signature=signature)


def test_another_process_finds_the_same_keys(directory, keys):
    """What was made before the restart signs and authenticates the same after it."""
    signature, tag = keys.sign(LOG, b"m"), keys.mac(CHAIN, b"m")
    program = """
        import sys
        from pathlib import Path
        from ledger.keystore import FileKeystore
        keys = FileKeystore(Path(sys.argv[1]), sys.argv[2].encode())
        print(keys.sign(sys.argv[3], b"m").hex(), keys.mac(sys.argv[4], b"m").hex())
        keys.make("made/elsewhere", "hmac")
    """

    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), directory, PASSPHRASE, LOG, CHAIN],
        check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert ran.stdout.split() == [signature.hex(), tag.hex()]
    assert keys.has("made/elsewhere")
    assert len(keys.mac("made/elsewhere", b"m")) == 32


def test_a_key_is_never_replaced(keys):
    """`init` twice must not orphan every signature of the first key."""
    public = keys.public_key(LOG)

    with pytest.raises(KeyExists):
        keys.make(LOG, "ed25519")

    assert keys.public_key(LOG) == public


def test_evolve_is_hmac_under_the_old_key(keys):
    """K_{e+1} = HMAC(K_e, message): the escrowed first key leads to all others."""
    keys.evolve(CHAIN, b"evolve", chain_key(ORIGIN, 1))

    expected = hmac.digest(secret_of(keys, CHAIN), b"evolve", "sha256")
    assert keys.mac(chain_key(ORIGIN, 1), b"m") == hmac.digest(expected, b"m", "sha256")


def test_evolve_can_be_repeated_and_contradicts_nothing(directory, keys):
    """Several processes evolve the same epoch; a different successor is a mistake."""
    successor = chain_key(ORIGIN, 1)
    keys.evolve(CHAIN, b"evolve", successor)

    FileKeystore(directory, PASSPHRASE).evolve(CHAIN, b"evolve", successor)
    with pytest.raises(KeyExists):
        keys.evolve(CHAIN, b"something else", successor)


def test_a_destroyed_key_is_gone_for_every_later_process(directory, keys):
    """Its name answers 410, its file is removed, and nobody can make it again."""
    keys.evolve(CHAIN, b"evolve", chain_key(ORIGIN, 1))

    keys.destroy(CHAIN)
    keys.destroy(CHAIN)

    later = FileKeystore(directory, PASSPHRASE)
    for keystore in (keys, later):
        with pytest.raises(KeyDestroyed):
            keystore.mac(CHAIN, b"m")
        with pytest.raises(KeyExists):
            keystore.make(CHAIN, "hmac")
        with pytest.raises(KeyDestroyed):
            keystore.evolve(chain_key(ORIGIN, 1), b"m", CHAIN)
        assert not keystore.has(CHAIN)
        assert CHAIN not in keystore.names()
    assert not (directory / f"{durable.safe_name(CHAIN)}.key").exists()
    assert keys.attest(CHAIN).destroyed is not None


def test_of_a_destroyed_signing_key_the_public_half_stays(directory, keys):
    """What it signed can be verified for ever; nobody can put another half in its place."""
    half = keys.public_key(LOG)
    other = "log/another"
    keys.make(other, "ed25519")

    keys.destroy(LOG)
    keys.destroy(other)

    assert FileKeystore(directory, PASSPHRASE).public_key(LOG) == half
    with pytest.raises(KeyDestroyed):
        keys.sign(LOG, b"m")
    tombstones = [directory / f"{durable.safe_name(name)}.destroyed" for name in (LOG, other)]
    mine, foreign = [json.loads(path.read_text()) for path in tombstones]
    tombstones[0].write_bytes(canonical.encode({**mine, "half": foreign["half"]}))
    with pytest.raises(KeystoreDamaged):
        keys.public_key(LOG)


def test_a_key_is_overwritten_before_it_is_removed(directory, keys, tmp_path):
    """A second name of the same disk blocks shows what is left of them."""
    file = directory / f"{durable.safe_name(CHAIN)}.key"
    before = file.read_bytes()
    (tmp_path / "same blocks").hardlink_to(file)

    keys.destroy(CHAIN)

    after = (tmp_path / "same blocks").read_bytes()
    assert len(after) == len(before)
    assert after[:16] != before[:16]
    assert b"sealed" not in after


def test_a_destruction_that_was_interrupted_is_finished_at_the_next_start(directory, keys):
    """The mark is written first; a crash before the overwriting leaves the key file behind."""
    file = directory / f"{durable.safe_name(CHAIN)}.key"
    content = file.read_bytes()
    keys.destroy(CHAIN)
    file.write_bytes(content)
    file.chmod(0o600)

    with pytest.raises(KeyDestroyed):
        keys.mac(CHAIN, b"m")
    FileKeystore(directory, PASSPHRASE)

    assert not file.exists()


def test_destroying_what_never_was_is_an_error(keys):
    """A mistyped name must not look like a destroyed key."""
    with pytest.raises(KeyMissing):
        keys.destroy("chain/nobody/0")


def test_a_missing_key_is_named(keys):
    """The error says which key, so that an operator can look for the right keystore."""
    with pytest.raises(KeyMissing) as refusal:
        keys.sign("log/nobody", b"m")

    assert refusal.value.facts == {"key": "log/nobody"}


@pytest.mark.parametrize(
    ("job", "name"), [("sign", CHAIN), ("mac", LOG), ("public_key", CHAIN), ("mac", "subjects/1")]
)
def test_a_key_does_one_job_only(keys, job, name):
    """A chain key that signs, or a log key that authenticates, could be used as an oracle."""
    arguments = [] if job == "public_key" else [b"m"]

    for _ in range(2):  # from the file, then from memory
        with pytest.raises(KeyMisused):
            getattr(keys, job)(name, *arguments)


def test_wrapped_keys_open_for_their_own_record_only(keys):
    """The aad names the record: a wrapped key moved to another record stays shut."""
    wrapped = keys.wrap("subjects/1", b"s" * 32, b"subject 7")
    keys.make("subjects/2", "wrap")

    assert keys.unwrap("subjects/1", wrapped, b"subject 7") == b"s" * 32
    assert wrapped != keys.wrap("subjects/1", b"s" * 32, b"subject 7")
    for name, data, aad in [
        ("subjects/1", wrapped, b"subject 8"),
        ("subjects/2", wrapped, b"subject 7"),
        ("subjects/1", wrapped[:-1], b"subject 7"),
        ("subjects/1", wrapped[:5], b"subject 7"),
        ("subjects/1", b"", b"subject 7"),
    ]:
        with pytest.raises(WrappedKeyDamaged):
            keys.unwrap(name, data, aad)


def test_the_first_chain_key_is_escrowed_to_an_auditor(keys):
    """The auditor's private key opens exactly the key that made the first MACs."""
    auditor = X25519PrivateKey.generate()

    file = keys.escrow(CHAIN, AuditorKey(public_key=auditor.public_key().public_bytes_raw()))

    secret = escrow.open_with_private_key(
        file, origin=ORIGIN, private_key=auditor.private_bytes_raw()
    )
    assert hmac.digest(secret, b"m", "sha256") == keys.mac(CHAIN, b"m")


@pytest.mark.parametrize("name", [LOG, "subjects/1", chain_key(ORIGIN, 1), "chain/0"])
def test_nothing_but_a_first_chain_key_is_escrowed(keys, name):
    """A log key outside the keystore could sign a second history."""
    with pytest.raises(KeyMisused):
        keys.escrow(name, EscrowPassphrase(passphrase=b"x"))


def test_attestations_say_what_a_file_cannot_promise(keys):
    """An auditor reads that file keys can be copied."""
    attestation = keys.attest(LOG)

    assert (attestation.kind, attestation.driver) == ("ed25519", "file")
    assert attestation.exportable
    assert attestation.destroyed is None
    assert "backups" in attestation.note


def test_no_error_and_no_repr_shows_a_secret(keys):
    """Errors and reprs end in logs."""
    keys.mac(CHAIN, b"m")
    secret = secret_of(keys, CHAIN)

    shown = repr(keys._loaded) + repr(EscrowPassphrase(passphrase=b"very secret"))

    assert repr(secret) not in shown
    assert secret.hex() not in shown
    assert "very secret" not in shown


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 201, "\u00e9" * 34, "\ud800"])
def test_names_that_cannot_be_file_names_are_refused(keys, name):
    """No spaces, no control characters, and room for the file name."""
    with pytest.raises(KeyNameRefused):
        keys.make(name, "hmac")


def test_a_disk_that_does_not_write_is_an_unavailable_keystore(keys, directory, monkeypatch):
    """Nothing half-made stays: the key can be made once the disk is repaired."""

    def broken(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync", broken)
        with pytest.raises(KeystoreUnreachable) as refusal:
            keys.make("made/later", "hmac")
    keys.make("made/later", "hmac")

    assert refusal.value.status == 503
    assert str(directory) not in str(refusal.value)
    assert refusal.value.facts == {"reason": "No space left on device"}


def test_many_processes_evolve_to_one_successor(directory, keys):
    """Each process that sees the epoch end makes the next key; there is only one."""
    program = """
        import sys
        from pathlib import Path
        from ledger.keystore import FileKeystore
        keys = FileKeystore(Path(sys.argv[1]), sys.argv[2].encode())
        for epoch in range(8):
            keys.evolve(f"chain/race/{epoch}", b"m", f"chain/race/{epoch + 1}")
        print(keys.mac("chain/race/8", b"m").hex())
    """
    keys.make("chain/race/0", "hmac")

    racers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), directory, PASSPHRASE],
            stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    tags = {racer.communicate()[0] for racer in racers}

    assert tags == {keys.mac("chain/race/8", b"m").hex() + "\n"}
