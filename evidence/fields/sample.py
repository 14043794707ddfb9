# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/sample-record.md: the sample record of one of the articles, and where each value of it is.

`python -m evidence.fields.sample` prints it. The test that records the sample and reads it back
goes through the same table.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_TABLE: Final = Path(__file__).with_suffix(".txt")
HOW: Final = {
    "same": "the same value",
    "number": "the same number, as a decimal string",
    "word": "the same, in this ledger's word",
    "committed": "a salted commitment in the entry; this opens it",
    "digest": "the digest of it: things are found by what they are, not by where they lie",
    "proved": "what it is there for can be computed from this",
}
_DOCUMENTS: Final = {
    "attempt": "GEN_ATTEMPT, `GET /v1/events/{id}?disclose=…`",
    "asset": "INGEST of the attachment, `GET /v1/events/{id}?disclose=…`",
    "moderation": "MODERATION, `GET /v1/events/{id}`",
    "review": "HUMAN_REVIEW, `GET /v1/events/{id}`",
    "consent": "CONSENT_GRANTED, `GET /v1/events/{id}`",
    "outcome": "GEN, `GET /v1/events/{id}`",
    "epoch": "EPOCH_SEALED of that day, `GET /v1/events/{id}`",
    "receipt": "the answer to `POST /v1/events` of the attempt",
    "proof": "`GET /v1/events/{id}/proof` of the attempt",
    "anchor": "`GET /v1/anchors/{day}`",
}
_HEAD: Final = """\
# The sample record

Made from `evidence/fields/sample.txt` by `python -m evidence.fields.sample`; do not edit.

One of the articles that this ledger began from shows an audit record in JSON. Here it is recorded
as seven events: the consent's text, the consent, the attachment, the attempt before the model is
called, what the filter found, the review that is open, the outcome. Beside them stands what nobody
posts: receipt, proof, the day's sealed chain, its anchor.
"""


class Place(NamedTuple):
    """Where one value of the sample is."""

    pointer: str  #: In the sample (RFC 6901).
    document: str
    there: str  #: In the document. A name after `/disclosures/` may hold dots.
    how: str


def places() -> Iterator[Place]:
    """Yield the table, in the sample's order."""
    for line in _TABLE.read_text("utf-8").splitlines():
        if line.startswith("/"):
            yield Place(*line.split(" | "))


def describe() -> str:
    """Return the page."""
    known = [f"* **{name}**: {what}" for name, what in _DOCUMENTS.items()]
    rows = [
        f"| `{one.pointer}` | {one.document} | `{one.there}` | {HOW[one.how]} |" for one in places()
    ]
    head = ["| in the sample | document | pointer there | how |", "| --- | --- | --- | --- |"]
    return "\n".join([_HEAD, *known, "", *head, *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(describe())
