# SPDX-License-Identifier: GPL-3.0-or-later
"""The keystore's files: what somebody finds who is not its owner, or changes them."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import durable
from ledger.errors import LedgerError
from ledger.keyfile import read_passphrase
from ledger.keys import (
    KeystoreDamaged,
    KeystoreLocked,
    KeystoreUnreachable,
    KeystoreUnsafe,
    chain_key,
    log_key,
)
from ledger.keystore import FileKeystore

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


def test_only_encrypted_bytes_reach_the_disk(directory, keys):
    """Whoever copies the directory without the passphrase has nothing."""
    keys.mac(CHAIN, b"m")
    keys.sign(LOG, b"m")
    secrets = [secret_of(keys, name) for name in (CHAIN, LOG)]

    for file in directory.iterdir():
        content = file.read_bytes()
        for secret in secrets:
            assert secret not in content
            assert secret.hex().encode() not in content


def test_everything_is_readable_by_the_owner_only(directory, keys):
    """Mode 0700 for the directory, 0600 for each file, whatever the umask says."""
    before = os.umask(0)
    try:
        keys.make("made/with/umask/0", "hmac")
    finally:
        os.umask(before)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_directory_that_others_can_enter_stays_shut(directory, mode):
    """A loose mode is refused and not silently repaired: somebody must ask how it came about."""
    directory.chmod(mode)

    with pytest.raises(KeystoreUnsafe):
        FileKeystore(directory, PASSPHRASE)


def test_a_key_file_that_others_can_read_stays_shut(directory, keys):
    """The same for one file."""
    next(directory.glob("chain*.key")).chmod(0o640)

    with pytest.raises(KeystoreUnsafe):
        keys.mac(CHAIN, b"m")


def test_symbolic_links_are_refused(directory, tmp_path, keys):
    """A link could lead to a file that others can change."""
    link = tmp_path / "link"
    link.symlink_to(directory)
    file = next(directory.glob("chain*.key"))
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(KeystoreUnsafe):
        FileKeystore(link, PASSPHRASE)
    with pytest.raises(KeystoreUnsafe):
        keys.mac(CHAIN, b"m")


def test_another_passphrase_is_refused(directory):
    """The check value tells before any key is tried."""
    with pytest.raises(KeystoreLocked):
        FileKeystore(directory, PASSPHRASE + b"!")


def test_an_empty_passphrase_is_refused(tmp_path):
    """A forgotten secret must not make a keystore that anybody opens."""
    with pytest.raises(KeystoreLocked):
        FileKeystore(tmp_path / "new", b"")

    assert not (tmp_path / "new").exists()


def test_keys_without_their_keystore_file_are_not_given_a_new_one(directory):
    """Else a lost keystore.json would be replaced by one under which no key opens."""
    (directory / "keystore.json").unlink()

    with pytest.raises(KeystoreDamaged):
        FileKeystore(directory, PASSPHRASE)


def test_swapped_key_files_are_seen(directory, keys):
    """The name is inside the encryption: a file renamed to another key does not open."""
    keys.make(chain_key("other", 0), "hmac")
    first = directory / f"{durable.safe_name(CHAIN)}.key"
    second = directory / f"{durable.safe_name(chain_key('other', 0))}.key"
    first.write_bytes(second.read_bytes())
    renamed = second.read_bytes().replace(b'"chain/other/0"', f'"{CHAIN}"'.encode())

    for content in (second.read_bytes(), renamed):
        first.write_bytes(content)
        with pytest.raises(KeystoreDamaged):
            FileKeystore(directory, PASSPHRASE).mac(CHAIN, b"m")


def test_any_changed_byte_of_a_key_file_is_seen(directory, keys):
    """No bit of a key file can be changed without an error of the integrity family."""
    file = directory / f"{durable.safe_name(CHAIN)}.key"
    original = file.read_bytes()

    for index in range(len(original)):
        file.write_bytes(original[:index] + bytes([original[index] ^ 1]) + original[index + 1 :])
        with pytest.raises(KeystoreDamaged):
            keys._key(CHAIN, "hmac")


def test_two_origins_that_differ_in_case_have_two_files(keys):
    """On a file system that takes A and a for one letter, one would overwrite the other."""
    keys.make("log/acme", "hmac")
    keys.make("log/ACME", "hmac")

    assert keys.mac("log/acme", b"m") != keys.mac("log/ACME", b"m")


@given(st.text(max_size=70))
def test_a_file_name_gives_the_name_back(name):
    """safe_name is injective, has no separator, no leading dot and no capital letter."""
    try:
        spelled = durable.safe_name(name)
    except (ValueError, UnicodeEncodeError):
        return

    assert durable.name_of(spelled) == name
    assert "/" not in spelled
    assert not spelled.startswith(".")
    assert spelled == spelled.lower()


def test_the_passphrase_file_is_read_without_its_newline(tmp_path):
    """`echo` and editors end a file with one; it is not part of the passphrase."""
    file = tmp_path / "passphrase"
    file.write_bytes(b"  two words \n")
    file.chmod(0o600)

    assert read_passphrase(file) == b"  two words "


@pytest.mark.parametrize(
    ("content", "mode", "refusal"),
    [
        (b"secret\n", 0o644, KeystoreUnsafe),
        (b"secret\n", 0o640, KeystoreUnsafe),
        (b"\n", 0o600, KeystoreLocked),
        (b"", 0o400, KeystoreLocked),
        (b"x" * 5000, 0o600, KeystoreLocked),
        (None, 0o600, KeystoreUnreachable),
    ],
)
def test_a_passphrase_file_that_guards_nothing_is_refused(tmp_path, content, mode, refusal):
    """Readable by others, empty, absurdly long or missing."""
    file = tmp_path / "passphrase"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)

    with pytest.raises(refusal) as raised:
        read_passphrase(file)

    assert isinstance(raised.value, LedgerError)
    assert "secret" not in str(raised.value)


def test_the_parameters_of_the_derivation_cannot_be_weakened_or_inflated(directory):
    """Whoever can write keystore.json cannot make guessing cheap or opening unaffordable."""
    file = directory / "keystore.json"
    original = file.read_bytes()
    assert b'"n":32768' in original

    for wrong in (b"2", b"16384", b"40000", b"1073741824", b"true", b'"32768"'):
        file.write_bytes(original.replace(b"32768", wrong))
        with pytest.raises(KeystoreDamaged):
            FileKeystore(directory, PASSPHRASE)


def test_the_check_value_is_not_the_key(directory):
    """The half of scrypt's output that is stored says nothing about the half that encrypts."""
    parameters = json.loads((directory / "keystore.json").read_bytes())

    derived = hashlib.scrypt(
        PASSPHRASE, salt=bytes.fromhex(parameters["salt"]),
        n=parameters["n"], r=8, p=1, maxmem=2**27, dklen=64,
    )  # fmt: skip

    assert parameters["check"] == derived[32:].hex()
