# SPDX-License-Identifier: Apache-2.0
"""Which digests, signatures and keys of other people's authorities are relied on: a closed list.

    digests      SHA-256, SHA-384, SHA-512
    signatures   RSA (PKCS #1 v1.5 and PSS) with 2048 to 16384 bits; Ed25519;
                 ECDSA on P-256, P-384, P-521 and brainpoolP256r1, P384r1, P512r1

What is not on the list is refused, whatever tool would accept it. What is on it passes one front
door here, so that two tools never see input that they could judge differently.

Source: RFC 4055, RFC 5754, RFC 8410, RFC 8419; RFC 5480 and RFC 5639 for the curves.
"""

from dataclasses import dataclass
from typing import Final, Literal, Self

from sealtrail.verify import der
from sealtrail.verify.timestamp_reasons import StampRefused

Kind = Literal["rsa", "rsa-pss", "ecdsa", "ed25519"]

#: Object identifiers of digests, and the names that hashlib and OpenSSL know them by.
DIGESTS: Final = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
DIGEST_SIZE: Final = {"sha256": 32, "sha384": 48, "sha512": 64}

_RSA: Final = "1.2.840.113549.1.1.1"
_RSA_PSS: Final = "1.2.840.113549.1.1.10"
_MGF1: Final = "1.2.840.113549.1.1.8"
_EC: Final = "1.2.840.10045.2.1"
_ED25519: Final = "1.3.101.112"
_RSA_WITH: Final = {
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
}
_ECDSA_WITH: Final = {
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
#: Object identifier of a curve: OpenSSL's name and the length of a coordinate in bytes.
_CURVES: Final = {
    "1.2.840.10045.3.1.7": ("prime256v1", 32),
    "1.3.132.0.34": ("secp384r1", 48),
    "1.3.132.0.35": ("secp521r1", 66),
    "1.3.36.3.3.2.8.1.1.7": ("brainpoolP256r1", 32),
    "1.3.36.3.3.2.8.1.1.11": ("brainpoolP384r1", 48),
    "1.3.36.3.3.2.8.1.1.13": ("brainpoolP512r1", 64),
}
#: Known and not accepted; named so that the reader learns why.
_WEAK: Final = {
    "1.2.840.113549.2.5": "MD5",
    "1.3.14.3.2.26": "SHA-1",
    "2.16.840.1.101.3.4.2.4": "SHA-224",
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.2.840.113549.1.1.14": "SHA-224",
    "1.2.840.10045.4.1": "SHA-1",
    "1.2.840.10045.4.3.1": "SHA-224",
}
_RSA_BITS_MIN: Final = 2048
_RSA_BITS_MAX: Final = 16384
_EXPONENT_MAX: Final = 2**32  # OpenSSL and `cryptography` agree below; nobody uses larger ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """An AlgorithmIdentifier as it is written: a name and, perhaps, parameters."""

    oid: str
    parameters: der.Element | None

    @classmethod
    def read(cls, element: der.Element) -> Self:
        if element.tag != der.SEQUENCE:
            raise der.NotDer("An algorithm is not named by a sequence.")
        fields = der.Fields(element.content)
        oid = der.oid(fields.next())
        parameters = fields.next() if fields.more() else None
        fields.end()
        return cls(oid=oid, parameters=parameters)

    def check_plain(self, reason: str) -> None:
        """Return if there are no parameters, or a NULL where old encodings have one."""
        if self.parameters is not None:
            if self.parameters.tag != der.NULL:
                raise StampRefused(reason, "It has parameters that it must not have.")
            der.null(self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a signature was made. `digest` is one of DIGESTS; for Ed25519 SHA-512 is built in."""

    kind: Kind
    digest: str
    salt_length: int = 0

    def __str__(self) -> str:
        digest = self.digest.upper().replace("SHA", "SHA-")
        names = {"rsa": "RSA", "rsa-pss": "RSA-PSS", "ecdsa": "ECDSA", "ed25519": "Ed25519"}
        return names[self.kind] if self.kind == "ed25519" else f"{names[self.kind]} with {digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key that passed the front door.

    spki: SubjectPublicKeyInfo in DER, plain `rsaEncryption` also where the key was bound to PSS.
    pss: the scheme a key is bound to by its own parameters, if it is.
    """

    kind: Kind
    spki: bytes
    name: str
    size: int
    raw: bytes
    pss: Scheme | None = None


def digest_of(algorithm: Algorithm, reason: str = "digest-algorithm") -> str:
    """The name of an accepted digest. Raises StampRefused."""
    name = DIGESTS.get(algorithm.oid)
    if name is None:
        raise StampRefused(reason, f"It is {_WEAK.get(algorithm.oid, algorithm.oid)}.")
    algorithm.check_plain(reason)
    return name


def scheme_of(algorithm: Algorithm, *, digest: str | None) -> Scheme:
    """How a signature was made.

    digest: what a SignerInfo says beside the signature; a certificate has no such field, and
    there None. Raises StampRefused.
    """
    scheme = _scheme(algorithm, digest)
    if digest is not None and scheme.digest != digest:
        raise StampRefused("algorithm-mismatch", f"They are {scheme} and {digest}.")
    return scheme


def _scheme(algorithm: Algorithm, digest: str | None) -> Scheme:
    oid = algorithm.oid
    if oid == _RSA_PSS:
        return _pss(algorithm)
    if oid == _ED25519:
        if algorithm.parameters is not None:
            raise StampRefused("signature-algorithm", "Ed25519 has no parameters.")
        return Scheme(kind="ed25519", digest="sha512")
    algorithm.check_plain("signature-algorithm")
    if oid in _RSA_WITH:
        return Scheme(kind="rsa", digest=_RSA_WITH[oid])
    if oid in _ECDSA_WITH:
        return Scheme(kind="ecdsa", digest=_ECDSA_WITH[oid])
    if oid == _RSA and digest is not None:
        return Scheme(kind="rsa", digest=digest)
    if oid in _WEAK:
        raise StampRefused("digest-algorithm", f"It is {_WEAK[oid]}.")
    raise StampRefused("signature-algorithm", f"It is {oid}.")


def _pss(algorithm: Algorithm) -> Scheme:
    """RSASSA-PSS-params (RFC 4055 §3.1). What is absent there means SHA-1 and is refused."""
    parameters = algorithm.parameters
    if parameters is None or parameters.tag != der.SEQUENCE:
        raise StampRefused("digest-algorithm", "It is SHA-1, by the default of RSA-PSS.")
    fields = der.Fields(parameters.content)
    digest, mask, salt, trailer = (fields.optional(0xA0 + number) for number in range(4))
    fields.end()
    if digest is None or mask is None:
        raise StampRefused("digest-algorithm", "It is SHA-1, by the default of RSA-PSS.")
    name = digest_of(Algorithm.read(der.parse(digest.content)))
    generator = Algorithm.read(der.parse(mask.content))
    if generator.oid != _MGF1 or generator.parameters is None:
        raise StampRefused("signature-algorithm", "RSA-PSS is accepted with MGF1 only.")
    if digest_of(Algorithm.read(generator.parameters)) != name:
        raise StampRefused("algorithm-mismatch", "RSA-PSS has two different digests.")
    if trailer is not None and der.integer(der.parse(trailer.content)) != 1:
        raise StampRefused("signature-algorithm", "RSA-PSS has an unknown trailer.")
    salt_length = 20 if salt is None else der.integer(der.parse(salt.content))
    if not 0 <= salt_length <= 512:
        raise StampRefused("signature-algorithm", "RSA-PSS has an impossible salt.")
    return Scheme(kind="rsa-pss", digest=name, salt_length=salt_length)


def public_key(spki: der.Element) -> PublicKey:
    """The key in a SubjectPublicKeyInfo, if it is of an accepted kind and size.

    Raises StampRefused. Whether a point lies on its curve is left to the tool that checks.
    """
    fields = der.Fields(spki.content)
    algorithm = Algorithm.read(fields.next(der.SEQUENCE))
    key = der.bits(fields.next())
    fields.end()
    if algorithm.oid in {_RSA, _RSA_PSS}:
        return _rsa_key(algorithm, key)
    if algorithm.oid == _EC:
        return _ec_key(spki, algorithm, key)
    if algorithm.oid == _ED25519:
        if algorithm.parameters is not None or len(key) != 32:
            raise StampRefused("public-key", "An Ed25519 key has 32 bytes and no parameters.")
        return PublicKey(kind="ed25519", spki=spki.raw, name="Ed25519", size=32, raw=key)
    raise StampRefused("public-key", f"Its kind is {algorithm.oid}.")


def _rsa_key(algorithm: Algorithm, key: bytes) -> PublicKey:
    pss = None
    if algorithm.oid == _RSA:
        algorithm.check_plain("public-key")
    elif algorithm.parameters is not None:
        pss = _pss(algorithm)
    fields = der.Fields(der.parse(key, der.SEQUENCE).content)
    modulus, exponent = der.integer(fields.next()), der.integer(fields.next())
    fields.end()
    if modulus.bit_length() < _RSA_BITS_MIN:
        raise StampRefused("weak-key", f"An RSA key has {modulus.bit_length()} bits.")
    if not (
        modulus > 0
        and modulus.bit_length() <= _RSA_BITS_MAX
        and modulus & exponent & 1
        and 3 <= exponent < _EXPONENT_MAX
    ):
        raise StampRefused("public-key", "It is not one that RSA can use.")
    plain = der.encode(
        der.SEQUENCE,
        der.encode(der.SEQUENCE, _RSA_PLAIN) + der.encode(der.BIT_STRING, b"\0" + key),
    )
    return PublicKey(
        kind="rsa" if algorithm.oid == _RSA else "rsa-pss",
        spki=plain,
        name=f"RSA with {modulus.bit_length()} bits",
        size=(modulus.bit_length() + 7) // 8,
        raw=key,
        pss=pss,
    )


#: OBJECT IDENTIFIER rsaEncryption, NULL.
_RSA_PLAIN: Final = bytes.fromhex("06092a864886f70d0101010500")


def _ec_key(spki: der.Element, algorithm: Algorithm, key: bytes) -> PublicKey:
    named = algorithm.parameters
    if named is None or named.tag != der.OBJECT_IDENTIFIER:
        raise StampRefused("public-key", "Its curve is not given by name.")
    curve = der.oid(named)
    if curve not in _CURVES:
        raise StampRefused("public-key", f"Its curve is {curve}.")
    name, size = _CURVES[curve]
    if len(key) != 1 + 2 * size or key[0] != 4:
        raise StampRefused("public-key", "Its point is not written out in full.")
    return PublicKey(kind="ecdsa", spki=spki.raw, name=name, size=size, raw=key)


def check_fit(scheme: Scheme, key: PublicKey, signature: bytes, reason: str) -> None:
    """Return if such a key can have made such a signature in this form; else raise StampRefused.

    An RSA signature has the length of the modulus; one of ECDSA is a DER pair of positive numbers.
    """
    kinds = {key.kind, "rsa-pss"} if key.kind == "rsa" else {key.kind}
    if scheme.kind not in kinds:
        raise StampRefused("algorithm-mismatch", f"They are {scheme} and a key for {key.kind}.")
    if key.pss is not None and (
        key.pss.digest != scheme.digest or scheme.salt_length < key.pss.salt_length
    ):
        raise StampRefused("algorithm-mismatch", "The key is bound to other RSA-PSS parameters.")
    if scheme.kind == "ecdsa":
        try:
            fields = der.Fields(der.parse(signature, der.SEQUENCE).content)
            pair = der.integer(fields.next()), der.integer(fields.next())
            fields.end()
        except der.NotDer:
            raise StampRefused(reason, "It is malformed.") from None
        if min(pair) < 1:
            raise StampRefused(reason, "It is malformed.")
    elif scheme.kind != "ed25519":
        room = key.size - 2 - DIGEST_SIZE[scheme.digest]
        if len(signature) != key.size or scheme.salt_length > room:
            raise StampRefused(reason, "It does not have the length of the key.")
