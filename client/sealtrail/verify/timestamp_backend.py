# SPDX-License-Identifier: Apache-2.0
"""Checks signatures of time-stamping authorities with whichever tool this machine has.

RSA and ECDSA are checked by the package `cryptography` or by the program `openssl`; Ed25519 by
`sealtrail.verify.ed25519`, which needs neither. A tool that cannot check an accepted algorithm
ends in Incomplete with the algorithm's name, never in a verdict.

`openssl` sees nothing but files in a private directory that is removed afterwards: the key, the
signature and the signed bytes. Its configuration file is not read.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Literal

from sealtrail.verify import ed25519
from sealtrail.verify.algorithms import PublicKey, Scheme, check_fit
from sealtrail.verify.errors import Incomplete
from sealtrail.verify.timestamp_reasons import StampRefused
from sealtrail.verify.x509 import to_pem

Backend = Literal["auto", "cryptography", "openssl"]

_TIMEOUT_S: Final = 30


class NotInstalled(Incomplete):
    """No tool that can check this signature is installed."""


def check_signature(
    *,
    scheme: Scheme,
    key: PublicKey,
    message: bytes,
    signature: bytes,
    reason: str,
    backend: Backend = "auto",
) -> None:
    """Return if the key's holder signed exactly `message`; else raise StampRefused(`reason`).

    A malformed key or a key of another kind has its own reason. `auto` takes `cryptography`, and
    `openssl` if that is missing or lacks the algorithm. Raises Incomplete if nothing can check it.
    """
    check_fit(scheme, key, signature, reason)
    if scheme.kind == "ed25519":
        _check_ed25519(key, message, signature, reason)
    elif backend == "openssl":
        _check_by_openssl(scheme, key, message, signature, reason)
    elif backend == "cryptography":
        _check_by_cryptography(scheme, key, message, signature, reason)
    else:
        try:
            _check_by_cryptography(scheme, key, message, signature, reason)
        except NotInstalled:
            _check_by_openssl(scheme, key, message, signature, reason)
        except Incomplete as lacking:
            try:
                _check_by_openssl(scheme, key, message, signature, reason)
            except NotInstalled:
                raise lacking from None


def _check_ed25519(key: PublicKey, message: bytes, signature: bytes, reason: str) -> None:
    try:
        ed25519.verify(public_key=key.raw, message=message, signature=signature)
    except ed25519.KeyRefused as refusal:
        raise StampRefused("public-key", str(refusal)) from None
    except ed25519.SignatureInvalid:
        raise StampRefused(reason) from None


def _check_by_cryptography(
    scheme: Scheme, key: PublicKey, message: bytes, signature: bytes, reason: str
) -> None:
    try:
        from cryptography.exceptions import (  # noqa: PLC0415  optional
            InvalidSignature,
            UnsupportedAlgorithm,
        )
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  optional
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415  optional
            load_der_public_key,
        )
    except ImportError:
        raise NotInstalled("The package `cryptography` is not installed.") from None
    digests: dict[str, hashes.HashAlgorithm] = {
        "sha256": hashes.SHA256(),
        "sha384": hashes.SHA384(),
        "sha512": hashes.SHA512(),
    }
    digest = digests[scheme.digest]
    try:
        loaded = load_der_public_key(key.spki)
        if isinstance(loaded, ec.EllipticCurvePublicKey):
            loaded.verify(signature, message, ec.ECDSA(digest))
        elif isinstance(loaded, rsa.RSAPublicKey):
            how = (
                padding.PSS(mgf=padding.MGF1(digest), salt_length=scheme.salt_length)
                if scheme.kind == "rsa-pss"
                else padding.PKCS1v15()
            )
            loaded.verify(signature, message, how, digest)
        else:
            raise StampRefused("public-key")
    except InvalidSignature:
        raise StampRefused(reason) from None
    except UnsupportedAlgorithm:
        raise Incomplete(_cannot("The package `cryptography`", scheme, key)) from None
    except ValueError:
        raise StampRefused("public-key") from None


def _check_by_openssl(
    scheme: Scheme, key: PublicKey, message: bytes, signature: bytes, reason: str
) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise NotInstalled(
            "Neither the package `cryptography` nor the program `openssl` is installed here, so "
            f"a signature with {scheme} could not be checked."
        )
    options = []
    if scheme.kind == "rsa-pss":
        for option in (
            "rsa_padding_mode:pss",
            f"rsa_pss_saltlen:{scheme.salt_length}",
            f"rsa_mgf1_md:{scheme.digest}",
        ):
            options += ["-sigopt", option]
    with tempfile.TemporaryDirectory(prefix="sealtrail-") as private:
        folder = Path(private)
        (folder / "key.pem").write_text(to_pem(key.spki, "PUBLIC KEY"), "ascii")
        (folder / "signature").write_bytes(signature)
        (folder / "message").write_bytes(message)
        files = ["-verify", "key.pem", "-signature", "signature", "message"]
        said = _run([program, "dgst", f"-{scheme.digest}", *options, *files], folder)
        if said == (0, b"Verified OK"):
            return
        if said == (1, b"Verification failure"):
            raise StampRefused(reason)
        # Neither word: the tool could not even try. Is it the key's fault or the tool's?
        usable = _run([program, "pkey", "-pubin", "-in", "key.pem", "-noout"], folder)[0] == 0
        known = key.kind != "ecdsa" or (
            _run([program, "ecparam", "-name", key.name, "-noout"], folder)[0] == 0
        )
    if known and not usable:
        raise StampRefused("public-key")
    raise Incomplete(_cannot("The program `openssl`", scheme, key))


def _run(command: list[str], folder: Path) -> tuple[int, bytes]:
    """The exit code and the first line that the program printed."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "OPENSSL_CONF": os.devnull, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise Incomplete("The program `openssl` could not be run here.") from None
    return done.returncode, done.stdout.partition(b"\n")[0].strip()


def _cannot(tool: str, scheme: Scheme, key: PublicKey) -> str:
    return f"{tool} on this machine cannot check {scheme} by a key for {key.name}."
