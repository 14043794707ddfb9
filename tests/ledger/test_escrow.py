# SPDX-License-Identifier: GPL-3.0-or-later
"""The escrow file: one way in for the auditor, none for anybody else."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ledger import escrow
from ledger.escrow import EscrowRefused
from sealtrail.verify import canonical

ORIGIN = "ledger.example/Acme"
SECRET = bytes(range(32))
AUDITOR = X25519PrivateKey.from_private_bytes(bytes(range(7, 39)))
PUBLIC, PRIVATE = AUDITOR.public_key().public_bytes_raw(), AUDITOR.private_bytes_raw()


@pytest.fixture(scope="module")
def to_auditor() -> bytes:
    return escrow.seal_to_public_key(origin=ORIGIN, secret=SECRET, public_key=PUBLIC)


@pytest.fixture(scope="module")
def to_passphrase() -> bytes:
    return escrow.seal_to_passphrase(origin=ORIGIN, secret=SECRET, passphrase=b"once upon")


def test_the_auditor_opens_the_file(to_auditor):
    """HPKE to an X25519 key gives the secret back."""
    assert escrow.open_with_private_key(to_auditor, origin=ORIGIN, private_key=PRIVATE) == SECRET


def test_the_passphrase_opens_the_file(to_passphrase):
    """So does the passphrase of the other form."""
    opened = escrow.open_with_passphrase(to_passphrase, origin=ORIGIN, passphrase=b"once upon")

    assert opened == SECRET


def test_the_file_says_whose_key_is_inside_and_never_the_key(to_auditor, to_passphrase):
    """An operator must see which Book a file belongs to, ten years later."""
    for data, kind in ((to_auditor, "hpke"), (to_passphrase, "passphrase")):
        file = escrow.EscrowFile.parse(data)

        assert (file.origin, file.kind, file.header["epoch"]) == (ORIGIN, kind, 0)
        assert file.print() == data
        assert SECRET not in data
        assert SECRET.hex().encode() not in data


def test_two_files_of_one_key_share_no_ciphertext(to_auditor):
    """Each is sealed with fresh randomness."""
    again = escrow.seal_to_public_key(origin=ORIGIN, secret=SECRET, public_key=PUBLIC)

    assert escrow.EscrowFile.parse(again).sealed != escrow.EscrowFile.parse(to_auditor).sealed


@pytest.mark.parametrize("private", [bytes(range(1, 33)), b"short", b""])
def test_another_private_key_opens_nothing(to_auditor, private):
    """The refusal says no more than that."""
    with pytest.raises(EscrowRefused):
        escrow.open_with_private_key(to_auditor, origin=ORIGIN, private_key=private)


def test_another_passphrase_opens_nothing(to_passphrase):
    """The refusal does not repeat what was tried."""
    with pytest.raises(EscrowRefused) as refusal:
        escrow.open_with_passphrase(to_passphrase, origin=ORIGIN, passphrase=b"twice")

    assert "twice" not in str(refusal.value)


def test_a_file_of_another_book_is_refused(to_auditor):
    """fsck names the Book it walks; another Book's key would call every MAC wrong."""
    with pytest.raises(EscrowRefused, match="another Book"):
        escrow.open_with_private_key(to_auditor, origin="other", private_key=PRIVATE)


def test_a_file_of_the_other_kind_says_so(to_auditor, to_passphrase):
    """Asking for a passphrase where a key is needed is a usage error, not a wrong passphrase."""
    with pytest.raises(EscrowRefused, match="kind hpke"):
        escrow.open_with_passphrase(to_auditor, origin=ORIGIN, passphrase=b"once upon")
    with pytest.raises(EscrowRefused, match="kind passphrase"):
        escrow.open_with_private_key(to_passphrase, origin=ORIGIN, private_key=PRIVATE)


def test_every_changed_byte_is_refused(to_auditor):
    """The header is bound to the cipher text: nobody relabels a file to another Book."""
    for index in range(len(to_auditor)):
        changed = bytearray(to_auditor)
        changed[index] ^= 1
        with pytest.raises(EscrowRefused):
            escrow.open_with_private_key(bytes(changed), origin=ORIGIN, private_key=PRIVATE)


def test_a_relabelled_file_is_refused(to_auditor):
    """Even if everything still parses."""
    content = canonical.decode(to_auditor.rstrip(b"\n"))
    assert isinstance(content, dict)
    content["origin"] = "ledger.example/other"

    with pytest.raises(EscrowRefused):
        escrow.open_with_private_key(
            canonical.encode(content) + b"\n", origin="ledger.example/other", private_key=PRIVATE
        )


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("v", 2), ("v", True), ("epoch", 1), ("epoch", False), ("origin", ""), ("origin", None),
        ("kind", "hope"), ("kind", None), ("sealed", "AB"), ("sealed", "abc"), ("sealed", 7),
        ("extra", 1),
    ],
)  # fmt: skip
def test_a_file_that_we_do_not_write_is_refused(to_auditor, member, value):
    """Unknown versions, members and spellings are not guessed at."""
    content = canonical.decode(to_auditor.rstrip(b"\n"))
    assert isinstance(content, dict)
    content[member] = value

    with pytest.raises(EscrowRefused):
        escrow.EscrowFile.parse(canonical.encode(content) + b"\n")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"{", b"\xff", b'{"kind":"hpke"}', b'{"kind":[]}']
)
def test_what_is_not_an_escrow_file_is_refused(data):
    """Any bytes at all give one kind of error."""
    with pytest.raises(EscrowRefused):
        escrow.EscrowFile.parse(data)


@pytest.mark.parametrize(
    ("member", "value"), [("n", 2**21), ("n", 2), ("n", 100_000), ("n", "x"), ("r", 64), ("p", 9)]
)
def test_a_file_cannot_choose_how_much_memory_we_spend(to_passphrase, member, value):
    """The file comes from outside; its parameters are bounded before they are used."""
    content = canonical.decode(to_passphrase.rstrip(b"\n"))
    assert isinstance(content, dict)
    content[member] = value

    with pytest.raises(EscrowRefused, match="derivation"):
        escrow.open_with_passphrase(
            canonical.encode(content) + b"\n", origin=ORIGIN, passphrase=b"once upon"
        )


@pytest.mark.parametrize("public", [b"", b"short", bytes(32), b"\x01" + bytes(31)])
def test_an_unusable_public_key_is_refused(public):
    """A low-order point would seal the key to everybody."""
    with pytest.raises(EscrowRefused):
        escrow.seal_to_public_key(origin=ORIGIN, secret=SECRET, public_key=public)


def test_an_empty_passphrase_is_refused():
    """It would seal the key to everybody, too."""
    with pytest.raises(EscrowRefused):
        escrow.seal_to_passphrase(origin=ORIGIN, secret=SECRET, passphrase=b"")
