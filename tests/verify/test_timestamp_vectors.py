# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps that other people's authorities issued, against their published expectations."""

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from stamp_cases import BACKENDS

from sealtrail.verify import der
from sealtrail.verify.errors import Incomplete
from sealtrail.verify.timestamp import (
    StampRefused,
    certificates_from_pem,
    check_stamp,
    check_token,
)

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors"
RFC3161 = SHARED / "rfc3161"
RECORDS = SHARED / "evidence-records"

pytestmark = [
    pytest.mark.skipif(not RFC3161.is_dir(), reason="the public vectors in ../shared are not here"),
    pytest.mark.parametrize("backend", BACKENDS),
]

#: When the vectors are read: after all of them were made.
NOW = datetime(2026, 12, 1, tzinfo=UTC)
HELLO = b"hello"


def chain(path):
    data = path.read_bytes()
    return certificates_from_pem(data.decode()) if data.startswith(b"-----") else [data]


def check(name, *, message=HELLO, backend, folder=RFC3161, extra=None, **facts):
    """Against the last certificate of the folder's own chain, the others at hand."""
    known = chain((folder / name).parent / "ts_chain.pem") if folder == RFC3161 else []
    return check_stamp(
        (folder / name).read_bytes(),
        message=message,
        backend=backend,
        now=NOW,
        **{
            "roots": known[-1:],
            "extra_certificates": known[:-1] if extra is None else extra,
            **facts,
        },
    )


def nonce_of(request):
    """The nonce of a TimeStampReq."""
    fields = der.Fields(der.parse((RFC3161 / request).read_bytes(), der.SEQUENCE).content)
    fields.next(der.INTEGER)
    fields.next(der.SEQUENCE)
    fields.optional(der.OBJECT_IDENTIFIER)
    return der.integer(fields.next(der.INTEGER))


@pytest.mark.parametrize("name", ["response", "response-injected-certs"])
def test_test_tsa_is_believed_for_its_request(name, backend):
    """Certificates that somebody put into the token, namesakes of the signer, change nothing."""
    stamp = check(f"test_tsa/{name}.tsr", nonce=nonce_of("test_tsa/request.der"), backend=backend)

    assert stamp.gen_time == datetime(2024, 10, 8, 15, 40, 32, tzinfo=UTC)
    assert stamp.authority == "O=local, CN=Test TSA Timestamping"
    assert stamp.digest_algorithm == "sha512"
    assert len(stamp.chain) == 3


def test_test_tsa_is_refused_for_another_request(backend):
    with pytest.raises(StampRefused) as caught:
        check(
            "test_tsa/response.tsr", nonce=nonce_of("test_tsa/other_request.der"), backend=backend
        )

    assert caught.value.reason == "nonce"


def test_a_namesake_of_test_tsa_is_refused(backend):
    """Same names, other keys: no issuer that fits leads to the pinned root."""
    with pytest.raises(StampRefused) as caught:
        check("test_tsa/other_response.tsr", backend=backend)

    assert caught.value.reason == "certificate-signature"


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512", "no-embedded-cert"])
def test_sigstage_is_believed(name, backend):
    """ECDSA P-384; one token without a certificate, which is then taken from the chain."""
    stamp = check(f"sigstage/response-{name}.tsr", backend=backend)

    assert stamp.authority == "O=sigstore.dev, CN=sigstore-tsa"
    assert not stamp.expired


def test_sigstage_without_its_certificate_is_incomplete(backend):
    with pytest.raises(Incomplete):
        check("sigstage/response-no-embedded-cert.tsr", backend=backend, extra=[])


def test_sigstage_with_a_changed_signature_is_refused(backend):
    with pytest.raises(StampRefused) as caught:
        check("sigstage/response-invalid-signature.tsr", backend=backend)

    assert caught.value.reason == "signature"


def test_an_authority_that_expired_since_is_believed_with_a_remark(backend):
    message = (RFC3161 / "sigstore.mock/payload").read_bytes()

    stamp = check("sigstore.mock/response-expired.tsr", message=message, backend=backend)

    assert stamp.expired
    assert stamp.gen_time == datetime(2023, 2, 1, tzinfo=UTC)
    assert "expired on 2024-01-01" in stamp.remarks[0]
    assert stamp.serial == "-0x21524111"


def test_an_authority_in_production_is_believed(backend):
    """RSA with 4096 bits, SHA-512 imprint, certificate named by SHA-1, chain file in DER."""
    stamp = check("identrust/issue-104.tsr", backend=backend)

    assert stamp.authority == "C=US, O=IdenTrust, CN=TrustID Timestamp Authority"
    assert stamp.digest_algorithm == "sha512"
    assert "SHA-1" in stamp.remarks[0]
    assert len(stamp.chain) == 3


def test_the_root_of_another_folder_is_never_enough(backend):
    wrong = chain(RFC3161 / "identrust/ts_chain.pem")

    for path in sorted(RFC3161.glob("*/*.tsr")):
        if path.parent.name != "identrust":
            message = path.with_name("payload")
            with pytest.raises((StampRefused, Incomplete)):
                check(
                    path.relative_to(RFC3161),
                    message=message.read_bytes() if message.exists() else HELLO,
                    roots=wrong,
                    backend=backend,
                )


# ---- tokens over a checkpoint, and the same inside evidence records


@pytest.mark.parametrize("name", ["checkpoint.tsr", "ec.tsr"])
def test_the_stamped_checkpoint_is_believed(name, backend):
    stamp = check(
        name,
        folder=RECORDS,
        message=(RECORDS / "checkpoint").read_bytes(),
        roots=chain(RECORDS / "ca.pem"),
        backend=backend,
    )

    assert stamp.policy == "1.3.6.1.4.1.99999.1"


def test_the_rogue_authority_is_refused(backend):
    with pytest.raises(StampRefused) as caught:
        check(
            "rogue.tsr",
            folder=RECORDS,
            message=(RECORDS / "checkpoint").read_bytes(),
            roots=chain(RECORDS / "ca.pem"),
            backend=backend,
        )

    assert caught.value.reason == "no-chain"


DIGESTS = {"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.3": "sha512"}


def archive_time_stamps(record, data):
    """Each token of an evidence record with the bytes it must be over (RFC 4998 §4.3, §5.3)."""
    chains = der.children(der.children(der.parse(record))[-1])
    for number, one in enumerate(chains):
        before = None
        for stamp in der.children(one):
            parts = {part.tag: part for part in der.children(stamp)}
            token = der.children(stamp)[-1].raw
            name = DIGESTS[der.oid(der.children(parts[0xA0])[0])]
            hashed = hashlib.new(name, data).digest()
            if before is not None:
                message = before
            elif number:
                so_far = der.encode(der.SEQUENCE, b"".join(other.raw for other in chains[:number]))
                message = hashed + hashlib.new(name, so_far).digest()
            else:
                message = data
                for group in der.children(parts[0xA2]) if 0xA2 in parts else []:
                    known = {der.octets(hash_) for hash_ in der.children(group)}
                    message = b"".join(sorted(known | {hashlib.new(name, message).digest()}))
            yield token, message
            before = token


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        ("checkpoint.ers", "checkpoint", 1),
        ("checkpoint.renewed.ers", "checkpoint", 2),
        ("checkpoint.rehashed.ers", "checkpoint", 3),
        ("entry.ers", "entry.json", 1),
    ],
)
def test_every_token_of_an_evidence_record_is_believed(name, data, count, backend):
    """Initial, renewed, rehashed with SHA-512, and over a reduced tree."""
    record, stamped = (RECORDS / name).read_bytes(), (RECORDS / data).read_bytes()

    found = [
        check_token(
            token, message=message, roots=chain(RECORDS / "ca.pem"), now=NOW, backend=backend
        )
        for token, message in archive_time_stamps(record, stamped)
    ]

    assert len(found) == count
    assert [stamp.gen_time for stamp in found] == sorted(stamp.gen_time for stamp in found)


def test_openssl_itself_agrees(backend, tmp_path):
    """`openssl ts -verify` at the stamped time, for RSA PKCS #1 and ECDSA: the same verdicts."""
    message = (RECORDS / "checkpoint").read_bytes()
    for name in ("checkpoint.tsr", "ec.tsr", "rogue.tsr"):
        try:
            stamp = check(
                name,
                folder=RECORDS,
                message=message,
                roots=chain(RECORDS / "ca.pem"),
                backend=backend,
            )
            at = [str(int(stamp.gen_time.timestamp()))]
        except StampRefused:
            stamp, at = None, ["1795219685"]
        command = [
            "openssl",
            "ts",
            "-verify",
            "-in",
            RECORDS / name,
            "-data",
            RECORDS / "checkpoint",
        ]
        asked = subprocess.run(
            [*command, "-CAfile", RECORDS / "ca.pem", "-attime", *at],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )

        assert (asked.returncode == 0) == (stamp is not None), asked.stderr
