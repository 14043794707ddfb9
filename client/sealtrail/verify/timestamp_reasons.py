# SPDX-License-Identifier: Apache-2.0
"""Every reason for which a time stamp is not believed, under a name that does not change.

The name is for programs and reports, the sentence for people.

Source: RFC 3161 §2.4.2 and appendix, RFC 5816, RFC 5652 §5.4 and §5.6, RFC 5280 §6.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sealtrail.verify.errors import Refuted

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # the reply and its form
        "too-large": "The reply is larger than any time stamp.",
        "not-der": "The reply is not a time stamp in strict DER.",
        "trailing-bytes": "Bytes follow where the time stamp must end.",
        "status": "The authority did not grant the time stamp.",
        "no-token": "The authority's reply holds no token.",
        "content-type": "What the authority signed is not a time stamp.",
        "signed-data-version": "The signed data is of a version that no time stamp has.",
        "signer-count": "The token is not signed by exactly one signer.",
        # what the authority states
        "tst-version": "The time stamp is not of version 1.",
        "tst-extension": "The time stamp has a critical extension that is not understood.",
        "imprint-algorithm": "The stamped digest was made with an algorithm that is not accepted.",
        "imprint-length": "The stamped digest does not have the length of its algorithm.",
        "imprint-value": "The time stamp is over other bytes than these.",
        "nonce": "The time stamp answers another request: the nonce differs or is missing.",
        "policy": "The time stamp was issued under another policy than the one agreed.",
        "gen-time-early": "The stamped time is earlier than what was stamped.",
        "gen-time-future": "The stamped time lies in the future.",
        # the signature
        "signed-attributes-missing": "The signature covers no attributes.",
        "signed-attributes-order": "The signed attributes are not in the order of DER.",
        "signed-attribute-repeated": "A signed attribute stands twice or has not one value.",
        "attribute-content-type": "The signed attributes do not name a time stamp as content.",
        "attribute-message-digest": "The signed digest is not that of the time stamp.",
        "digest-algorithm": "A digest was made with an algorithm that is not accepted.",
        "signature-algorithm": "A signature was made with an algorithm that is not accepted.",
        "algorithm-mismatch": "A signature names two algorithms that do not fit together.",
        "weak-key": "A key is too short to be relied on.",
        "public-key": "A public key is malformed or of a kind that is not accepted.",
        "signature": "The authority's signature does not fit the time stamp.",
        # the signer's certificate
        "signer-certificate": "No certificate in the token is the one that its signer names.",
        "signing-certificate-missing": "The signature does not say which certificate it is from.",
        "signing-certificate-mismatch": "The signature was made for another certificate.",
        "eku-missing": "The signer's certificate is not one for time stamps.",
        "eku-not-critical": "The signer's certificate is not bound to time stamps critically.",
        "eku-not-sole": "The signer's certificate is not for time stamps alone.",
        "signer-key-usage": "The signer's certificate is not for signatures alone.",
        # the chain
        "no-chain": "The signer's certificate does not lead to a pinned root.",
        "certificate-malformed": "A certificate of the chain is malformed.",
        "certificate-signature": "A certificate was not signed by the issuer that it names.",
        "certificate-expired": "A certificate had expired at the stamped time.",
        "certificate-not-yet-valid": "A certificate was not yet valid at the stamped time.",
        "issuer-not-ca": "A certificate was issued by one that may not issue certificates.",
        "issuer-key-usage": "An issuer's key is not for signing certificates.",
        "issuer-eku": "An issuer may not issue certificates for time stamps.",
        "issuer-path-length": "The chain is longer than an issuer allows.",
        "critical-extension": "A certificate has a critical extension that is not understood.",
    }
)


class StampRefused(Refuted):
    """The time stamp is not believed. `reason` is one of REASONS and never changes its meaning."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{REASONS[reason]} {detail}".strip())
        self.reason = reason
