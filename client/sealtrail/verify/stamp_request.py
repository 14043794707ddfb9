# SPDX-License-Identifier: Apache-2.0
"""What an authority was asked: over which bytes, and with which once-only number.

    TimeStampReq ::= SEQUENCE { version INTEGER (1), messageImprint, reqPolicy OPTIONAL,
                                nonce INTEGER OPTIONAL, certReq BOOLEAN, extensions [0] OPTIONAL }

A token that carries the nonce of a stored request was made for that request and no other. The
request is signed by nobody; it can only make a check stricter. Source: RFC 3161 §2.4.1.
"""

import hashlib
from typing import Final

from sealtrail.verify import der
from sealtrail.verify.errors import Refuted

#: Object identifiers of the digests a request may use (RFC 5754 §2).
_DIGESTS: Final = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_EXTENSIONS: Final = 0xA0


def read_nonce(request: bytes, *, message: bytes) -> int | None:
    """The nonce of a request for a stamp over `message`; None if it has none.

    Raises der.NotDer, or Refuted if the request is for other bytes.
    """
    fields = der.Fields(der.parse(request, der.SEQUENCE).content)
    if der.integer(fields.next(der.INTEGER)) != 1:
        raise Refuted("The request for the time stamp is not of version 1.")
    imprint = der.Fields(fields.next(der.SEQUENCE).content)
    algorithm = der.Fields(imprint.next(der.SEQUENCE).content)
    digest = _DIGESTS.get(der.oid(algorithm.next(der.OBJECT_IDENTIFIER)))
    if parameters := algorithm.optional(der.NULL):
        der.null(parameters)
    algorithm.end()
    hashed = der.octets(imprint.next(der.OCTET_STRING))
    imprint.end()
    if digest is None or hashlib.new(digest, message).digest() != hashed:
        raise Refuted("The request was for a time stamp over other bytes than these.")
    if policy := fields.optional(der.OBJECT_IDENTIFIER):
        der.oid(policy)
    nonce = fields.optional(der.INTEGER)
    if wish := fields.optional(der.BOOLEAN):
        der.boolean(wish)
    fields.optional(_EXTENSIONS)
    fields.end()
    return None if nonce is None else der.integer(nonce)
