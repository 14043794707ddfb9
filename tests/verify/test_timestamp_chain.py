# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from a stamp to a pinned root, and the tools that check signatures on it."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from der_writer import integer, seq
from minting import (
    CA,
    CODE_SIGNING,
    GEN_TIME,
    NOW,
    TIME_STAMPING,
    TSA,
    authority,
    basic,
    ec_key,
    ed25519_key,
    extension,
    honest,
    party,
    purpose,
    reply,
    root,
    rsa_key,
    stranger,
    usage,
)
from stamp_cases import BACKENDS, LIES, check, reason

from sealtrail.verify import timestamp_backend
from sealtrail.verify.errors import Incomplete, Unreadable
from sealtrail.verify.timestamp import REASONS, StampRefused, certificates_from_pem
from sealtrail.verify.x509 import Certificate, to_pem

DAY = timedelta(days=1)


def middle(**facts):
    return party("Middle", **{"key": ec_key(number=5), "issuer": root(), "extensions": CA, **facts})


def below(issuer, **facts):
    """An honest reply of a signer under `issuer`, with all certificates but the root's."""
    signer = party("Low Stamps", **{"key": ec_key(number=6), "issuer": issuer, **facts})
    return honest(signer=signer, embedded=(signer.certificate, issuer.certificate))


CHAINS = {
    "a root nobody pinned": ("no-chain", lambda: below(party("Own", key=ec_key(), extensions=CA))),
    "a namesake of the pinned root": ("certificate-signature", lambda: below(stranger())),
    "expired before the stamp": (
        "certificate-expired",
        lambda: below(root(), ends=GEN_TIME - DAY),
    ),
    "not yet valid at the stamp": (
        "certificate-not-yet-valid",
        lambda: below(root(), begins=GEN_TIME + DAY),
    ),
    "an issuer that had expired": (
        "certificate-expired",
        lambda: below(middle(ends=GEN_TIME - DAY)),
    ),
    "an issuer that is no authority": (
        "issuer-not-ca",
        lambda: below(middle(extensions=(basic(ca=False),))),
    ),
    "an issuer without a word on it": ("issuer-not-ca", lambda: below(middle(extensions=()))),
    "an issuer that may not sign certificates": (
        "issuer-key-usage",
        lambda: below(middle(extensions=(basic(), usage(6)))),
    ),
    "an issuer for code only": (
        "issuer-eku",
        lambda: below(middle(extensions=(*CA, purpose(CODE_SIGNING)))),
    ),
    "an issuer with an unknown critical extension": (
        "critical-extension",
        lambda: below(middle(extensions=(*CA, extension("1.2.3", b"", critical=True)))),
    ),
    "a signer with an unknown critical extension": (
        "critical-extension",
        lambda: below(root(), extensions=(*TSA, extension("1.2.3", b"", critical=True))),
    ),
    "an issuer whose constraint does not parse": (
        "certificate-malformed",
        lambda: below(
            middle(extensions=(extension("2.5.29.19", integer(1), critical=True), usage(5)))
        ),
    ),
    "SHA-1 below the root": (
        "digest-algorithm",
        lambda: below(middle(digest="sha1")),
    ),
    "a short key below the root": (
        "weak-key",
        lambda: below(middle(key=rsa_key(1024))),
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("expected", "recipe"), CHAINS.values(), ids=CHAINS)
def test_a_broken_chain_is_refused_for_its_own_reason(expected, recipe, backend):
    assert reason(reply(recipe()), backend=backend) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chain_through_an_issuer_is_followed(backend):
    issuer = middle()

    stamp = check(reply(below(issuer)), backend=backend)

    assert stamp.chain[1:] == (issuer.certificate, root().certificate)


def test_a_pinned_issuer_ends_the_chain():
    """Whoever pins an intermediate trusts it, whatever stands above it."""
    issuer = middle()

    stamp = check(reply(below(issuer)), roots=[issuer.certificate])

    assert len(stamp.chain) == 2


def test_a_pinned_signer_is_not_its_own_authority():
    """A root must be one: pinning the signer alone gives no chain."""
    assert reason(reply(honest()), roots=[authority().certificate]) == "no-chain"


def test_an_issuer_may_limit_how_many_stand_below_it():
    none_below = middle(extensions=(basic(below=0), usage(5)))
    lowest = party("Lowest", key=ec_key(number=7), issuer=none_below, extensions=CA)
    recipe = below(lowest)
    embedded = (*recipe.embedded, none_below.certificate)

    assert check(reply(below(none_below)))
    assert reason(reply(recipe.but(embedded=embedded))) == "issuer-path-length"


def test_a_longer_way_is_found_when_the_short_one_is_closed():
    """Two issuers of one name and key; only one of them leads to the pinned root."""
    key = ec_key(number=5)
    wrong = party("Middle", key=key, issuer=stranger(), extensions=CA)
    right = middle(key=key)
    recipe = below(wrong)
    embedded = (recipe.signer.certificate, wrong.certificate, right.certificate)

    stamp = check(reply(recipe.but(embedded=embedded)))

    assert stamp.chain[1:] == (right.certificate, root().certificate)


def test_a_chain_has_at_most_eight_certificates():
    issuer, embedded = root(), []
    for number in range(7):
        issuer = party(f"CA {number}", key=ec_key(number=5), issuer=issuer, extensions=CA)
        embedded.append(issuer.certificate)
        if number < 6:
            recipe = below(issuer)
            whole = (recipe.signer.certificate, *embedded)
            assert check(reply(recipe.but(embedded=whole))).chain[-1] == root().certificate

    recipe = below(issuer)
    assert reason(reply(recipe.but(embedded=(recipe.signer.certificate, *embedded)))) == "no-chain"


def test_a_token_stuffed_with_namesakes_does_not_keep_the_reader_busy():
    """At most 64 certificates are read and at most 64 signatures tried."""
    crowd = [party("Mint Root", key=ec_key(number=8), extensions=CA, serial=n) for n in range(90)]
    signer = party("Low Stamps", key=ec_key(number=6), issuer=crowd[0])
    embedded = (signer.certificate, *(one.certificate for one in crowd))

    assert reason(reply(honest(signer=signer, embedded=embedded))) == "no-chain"


def test_a_stamp_outlives_its_certificate_with_a_remark():
    """Valid at genTime, expired since: believed, marked, and the reader is told when."""
    recipe = below(root(), ends=NOW - DAY)

    stamp = check(reply(recipe))

    assert stamp.expired
    assert "expired on 2026-05-31" in stamp.remarks[0]
    assert not check(reply(recipe), now=NOW - 2 * DAY).expired


def test_every_reason_is_provoked_by_a_test():
    """The table has no reason that no lie reaches."""
    elsewhere = {"gen-time-early", "too-large", "trailing-bytes", "issuer-path-length"}

    assert {why for why, _ in (LIES | CHAINS).values()} | elsewhere == set(REASONS)


def test_an_extension_may_not_stand_twice():
    twice = below(root(), extensions=(*TSA, purpose(TIME_STAMPING)))

    with pytest.raises(StampRefused):
        check(reply(twice))


# ---- tools


def test_without_any_tool_the_verdict_is_incomplete(monkeypatch, tmp_path):
    """Neither `cryptography` nor `openssl`: nothing is verified and nothing refuted."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Incomplete, match="Neither the package `cryptography` nor the program"):
        check(reply(honest()))
    with pytest.raises(Incomplete, match="not installed"):
        check(reply(honest()), backend="cryptography")


def test_without_any_tool_ed25519_is_still_checked(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    top = party("Ed Root", key=ed25519_key(), extensions=CA)
    signer = party("Ed Stamps", key=ed25519_key(), issuer=top)

    assert check(reply(honest(signer=signer, digest="sha512")), roots=[top.certificate])


def test_without_the_package_the_program_is_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)

    assert check(reply(honest()))
    assert reason(reply(honest(sign_other=b"other"))) == "signature"


def crippled(folder: Path, script: str) -> str:
    program = folder / "openssl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def test_an_algorithm_the_tool_lacks_is_named(monkeypatch, tmp_path):
    """A program that knows no curve at all: incomplete, with the algorithm and curve."""
    monkeypatch.setenv("PATH", crippled(tmp_path, "exit 1"))

    with pytest.raises(Incomplete, match="ECDSA with SHA-256 by a key for prime256v1"):
        check(reply(honest()), backend="openssl")


def test_a_tool_that_hangs_or_cannot_start_is_no_verdict(monkeypatch, tmp_path):
    monkeypatch.setattr(timestamp_backend, "_TIMEOUT_S", 0.2)
    monkeypatch.setenv("PATH", crippled(tmp_path, "exec /bin/sleep 5"))
    with pytest.raises(Incomplete, match="could not be run"):
        check(reply(honest()), backend="openssl")

    (tmp_path / "openssl").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(Incomplete, match="could not be run"):
        check(reply(honest()), backend="openssl")


def test_a_tool_that_says_yes_and_fails_is_not_believed(monkeypatch, tmp_path):
    """Both the exit code and the words must agree."""
    monkeypatch.setenv("PATH", crippled(tmp_path, "echo Verified OK; exit 1"))
    with pytest.raises(Incomplete):
        check(reply(honest()), backend="openssl")


def test_the_machines_own_configuration_of_openssl_is_not_read(monkeypatch, tmp_path):
    """One that leaves the program without any algorithm changes no verdict."""
    empty = tmp_path / "openssl.cnf"
    empty.write_text("openssl_conf = i\n[i]\nproviders = p\n[p]\nbase = b\n[b]\nactivate = 1\n")
    monkeypatch.setenv("OPENSSL_CONF", str(empty))
    asked = subprocess.run(["openssl", "dgst", "-sha256", empty], capture_output=True, check=False)
    assert asked.returncode != 0

    assert check(reply(honest()), backend="openssl")


# ---- PEM


def test_certificates_are_read_from_pem_in_their_order():
    text = (
        "Subject: whoever\n" + to_pem(root().certificate) + "\n" + to_pem(authority().certificate)
    )

    found = certificates_from_pem(text)

    assert found == [root().certificate, authority().certificate]
    assert Certificate.parse(found[0]).name() == "CN=Mint Root"
    assert certificates_from_pem("no certificate here") == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN CERTIFICATE-----\nAAAA\n",
        "-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nMA==!\n-----END CERTIFICATE-----\n",
        to_pem(seq(integer(1))),
        to_pem(root().certificate + b"\0"),
    ],
)
def test_a_damaged_pem_is_unreadable(text):
    with pytest.raises(Unreadable):
        certificates_from_pem(text)
