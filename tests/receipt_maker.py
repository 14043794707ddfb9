# SPDX-License-Identifier: GPL-3.0-or-later
"""COSE receipts as a log's operator signs them, truthful or not, over a tree of somebody else's."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from naive_tree import NaiveTree

from sealtrail.verify.cose_receipt import CoseReceipt, protected_header, to_be_signed
from sealtrail.verify.note import VerifierKey

ORIGIN = "ledger.test/acme"


class Operator:
    """Holds the log's key and signs whatever it likes."""

    def __init__(self, leaves, origin=ORIGIN, seed=b"a log key for receipts in tests."):
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.origin = origin
        self.key = VerifierKey.ed25519(origin, self.private.public_key().public_bytes_raw())
        self.tree = NaiveTree(leaves)

    def sign(self, size, root):
        header = protected_header(origin=self.origin, size=size, kid=self.key.label())
        return self.private.sign(to_be_signed(header, root))

    def included(self, position, size=None):
        """The receipt of one entry, as an object; `print()` gives its bytes."""
        size = size or len(self.tree)
        return CoseReceipt(
            origin=self.origin,
            size=size,
            kid=self.key.label(),
            path=tuple(self.tree.path(position, size)),
            signature=self.sign(size, self.tree.root(size)),
            position=position,
        )

    def extended(self, old_size, size=None):
        """The receipt of the log's growth."""
        size = size or len(self.tree)
        root = self.tree.root(size)
        return CoseReceipt(
            origin=self.origin,
            size=size,
            kid=self.key.label(),
            path=tuple(self.tree.consistency(old_size, size)),
            signature=self.sign(size, root),
            old_size=old_size,
            root=root,
        )
