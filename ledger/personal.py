# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose an entry of the ledger's own is: committed like a client's person, under a key made here.

The record key is forgotten at once, so whoever has the entry alone can guess nothing; the vault
seals the disclosure in the commit that records the entry.
"""

from ledger import clock
from ledger.commitments import commit_values
from ledger.request import Prepared
from ledger.vault.owners import owned_in
from sealtrail.verify.disclosure import PERSON, RECORD_KEY_BYTES


def with_person(prepared: Prepared, person: str) -> Prepared:
    """Return an entry of the ledger's own (ledger.request.ledger_made) with a person committed.

    Like a person whom a token names, this one is not in `request_digest`.
    """
    assert prepared.by_ledger  # noqa: S101 - our own mistake
    assert not prepared.disclosures  # noqa: S101 - likewise
    digests, disclosures = commit_values(clock.random_bytes(RECORD_KEY_BYTES), {PERSON: person})
    # The frame of an entry without digests begins with its brace.
    printed = b'{"_sd":["%b"],"_sd_alg":"sha-256",' % digests[0].encode()
    frame = prepared.frame._replace(before=printed + prepared.frame.before[1:])
    owned = owned_in({PERSON: person}, {})
    return prepared._replace(frame=frame, disclosures=disclosures, owned=owned)
