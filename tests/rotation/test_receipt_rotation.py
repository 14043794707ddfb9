# SPDX-License-Identifier: GPL-3.0-or-later
"""COSE receipts while the log key is replaced: one signature each, and always the newest key's."""

import pytest
from house import attempt

from anchoring.checkpoint import verifier_keys
from anchoring.cose_receipt import inclusion_receipt
from ledger import clock
from sealtrail.verify.cose_receipt import CoseReceipt, root_over
from sealtrail.verify.errors import Refuted

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def test_a_receipt_is_signed_by_the_newest_key_from_the_beginning_of_the_overlap(
    rotating, monkeypatch
):
    """Readers need the new trust file for new receipts; it is published before the old key ends.

    A checkpoint has room for two signatures, this form has not.
    """
    house, book = rotating.house, rotating.house.book
    monkeypatch.setattr("anchoring.checkpoint._COUNTERSIGNED_S", 0.0)

    def believed(trust):
        house.post(attempt(), attempt())
        receipt = CoseReceipt.parse(inclusion_receipt(book, 0))
        leaf, _ = book.tree.proof(0, receipt.size)
        keys = trust.keys_for(receipt.origin, receipt.size)
        return receipt.check(root=root_over(receipt, leaf), keys=keys)

    old_trust = rotating.trust()
    old = believed(old_trust)
    rotating.begin(overlap_ms=7 * clock.DAY_MS)

    new = believed(rotating.trust())

    assert [old, new] == verifier_keys(house.keys, house.origin)
    with pytest.raises(Refuted, match="none of the keys"):
        believed(old_trust)
    rotating.rotation().end()
    assert believed(rotating.trust()) == new
