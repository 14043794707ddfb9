# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of a closed range's outputs: the digest of everything that the log says was put out.

    GEN, OUTCOME_LATE   each output: its bytes and its pixels, also as they were before moderation
    EXPORT              the bytes that left

Its root stands in the final report of the range. One salt serves a year, so that the maps of its
days and months can be merged into larger ones without looking at any output again; a digest that
was put out several times leads to the first time. Digests that are sealed (private tenants) are
read through the vault while the map is made, and only their keys in the tree are kept: erasing a
person later takes the digest away, but somebody who has the very file can still learn from a proof
that it was put out. A digest that was erased before the map is counted as missing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from anchoring.shelf import Book
from anchoring.sparse_store import SparseStore, StoredTree
from anchoring.sparse_tree import SparseBuilder
from ledger.reader import Stored
from sealtrail.verify.sparse import BYTES, PIXELS

JSON = dict[str, Any]

_STEP: Final = 2_000
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

#: What may follow the name of an output, and the kind of digest that it is.
_MEMBERS: Final = (
    ("sha256", BYTES),
    ("pixel_sha256", PIXELS),
    ("before_moderation.sha256", BYTES),
    ("before_moderation.pixel_sha256", PIXELS),
)


class Put(NamedTuple):
    """One digest that an entry names of what it put out."""

    tag: str
    digest: bytes  #: 32 bytes.
    position: int


def output_map(book: Book, day: str, from_size: int, to_size: int) -> JSON:
    """Return the member `outputs` of a final report; the map is kept before this returns.

    day: of the range; decides which year's salt. Safe to repeat: the map that was kept is given
    again, whatever was erased since.
    """
    tree = keep_map(book, day[:4], from_size, to_size)
    return told(book, tree)


def told(book: Book, tree: StoredTree) -> JSON:
    """Return what an entry says of a kept map."""
    body: JSON = {
        "root": f"sha256:{tree.root.hex()}",
        "salt_commit": f"sha256:{SparseStore(book).salt(tree.salt_id).commitment.hex()}",
        "count": tree.count,
    }
    if tree.missing:
        body["missing"] = tree.missing
    return body


def tree_name(from_size: int, to_size: int) -> str:
    """Return the name under which the map of a range is kept."""
    return f"outputs/{from_size}-{to_size}"


def keep_map(book: Book, year: str, from_size: int, to_size: int) -> StoredTree:
    """Return the kept map of a range, made now if there is none."""
    store = SparseStore(book)
    name = tree_name(from_size, to_size)
    found = store.tree(name)
    if found is not None:
        return found
    salt = store.salt(f"outputs/{year}")
    builder = SparseBuilder()
    missing = 0
    for put in outputs_in(book, from_size, to_size):
        if put is None:
            missing += 1
        else:
            builder.add(salt.key(put.tag, put.digest), put.position)
    return store.keep_alone(name, salt, builder, missing=missing)


def outputs_in(book: Book, from_size: int, to_size: int) -> Iterator[Put | None]:
    """Yield each digest of what was put out in [from_size, to_size); None for one nobody can read.

    An output counts as missing if not even the digest of its bytes can be read.
    """
    for first in range(from_size, to_size, _STEP):
        for stored in book.reader.between(first, min(first + _STEP, to_size)):
            yield from _outputs_of(book, stored)


def _outputs_of(book: Book, stored: Stored) -> Iterator[Put | None]:
    entry = stored.entry.value
    type_, body = entry["type"], entry["body"]
    if type_ == "OUTCOME_LATE":
        type_, body = body["claimed"]["type"], body["claimed"]["body"]
    places: list[tuple[str, Sequence[tuple[str, str]], Any]]
    if type_ == "EXPORT":
        places = [("", (("asset_sha256", BYTES),), body)]
    elif type_ == "GEN":
        outputs = body.get("outputs", ())
        places = [(f"outputs[{at}].", _MEMBERS, one) for at, one in enumerate(outputs)]
    else:
        return
    sealed: JSON | None = None
    for prefix, names, clear in places:
        for number, (name, tag) in enumerate(names):
            text = _member(clear, name)
            if text is None and entry.get("_sd"):
                if sealed is None:  # One look for all outputs of an entry.
                    sealed = dict(book.vault.open(entry["event_id"], sd=entry["_sd"]).values)
                text = sealed.get(prefix + name)
            if isinstance(text, str) and _DIGEST.fullmatch(text):
                yield Put(tag, bytes.fromhex(text.removeprefix("sha256:")), stored.position)
            elif number == 0:
                yield None


def _member(group: JSON, name: str) -> Any:
    for step in name.split("."):
        if not isinstance(group, dict) or step not in group:
            return None
        group = group[step]
    return group
