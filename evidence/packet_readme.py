# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that a stranger reads first: what a packet holds and how to check it in ten minutes.

Plain English and plain ASCII, no personal data, no value of any field. Every line that begins with
"    $ " is a command to be run as it stands, in the unpacked folder; a test runs each of them.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from evidence.packet_anchors import Cover
from ledger import clock

NAME: Final = "00-READ-ME-FIRST.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry in the table of contents."""

    position: int
    type: str
    recorded: str
    shown: int  #: Committed fields that are shown.
    committed: int
    anchor: int | None  #: Size of the anchored checkpoint; None if no time stamp covers it yet.


def read_me(
    *,
    packet_id: str,
    made: str,
    origin: str,
    entries: Sequence[Line],
    covers: Sequence[Cover],
    files: Container[str],
) -> bytes:
    """Return the page.

    made: when the packet was made, RFC 3339. covers: by size, ascending. files: names of the
    evidence that the page may point to.
    """
    parts = [
        _HEAD.format(packet_id=packet_id, made=made, origin=origin, count=len(entries)),
        *(_table(entries), _unstamped(entries), _NEEDED, _BY_VERIFIER),
        _BY_HAND.format(origin=origin),
    ]
    if covers:
        parts += [_STAMPS, *_stamp_commands(covers, files)]
        parts.append(_SIGNATURE.format(size=covers[-1].size))
    else:
        parts.append(_NO_STAMPS)
    parts.append(_PROVES)
    return "".join(parts).encode("ascii", "backslashreplace")


def _table(entries: Iterable[Line]) -> str:
    rows = [("position", "type", "recorded by the log (UTC)", "fields shown", "stamped in")]
    rows += [
        (
            str(line.position),
            line.type,
            line.recorded,
            f"{line.shown} of {line.committed}",
            "-" if line.anchor is None else f"data/anchors/{line.anchor}",
        )
        for line in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )


def _unstamped(entries: Sequence[Line]) -> str:
    missing = sum(line.anchor is None for line in entries)
    return _UNSTAMPED.format(missing=missing, count=len(entries)) if missing else ""


def _stamp_commands(covers: Iterable[Cover], files: Container[str]) -> Iterator[str]:
    for cover in covers:
        folder = f"data/anchors/{cover.size}"
        chain = f"{folder}/tsa-chain.pem"
        untrusted = f" -untrusted {chain}" if chain in files else ""
        for name, token in cover.named_tokens():
            yield (
                f"\nStamped {clock.rfc3339(token.gen_time_ms)} by {token.authority}:\n\n"
                f"    $ openssl ts -verify -data {folder}/checkpoint -in {folder}/{name}.tsr"
                f" -CAfile ../tsa-roots.pem{untrusted} -attime {token.gen_time_ms // 1000}\n"
            )


_HEAD: Final = """\
READ ME FIRST: HOW TO CHECK THIS PACKET IN TEN MINUTES
======================================================

Packet   {packet_id}
Made     {made}
Log      {origin}
Entries  {count}

This packet shows entries of an audit log about the making and use of images: what was recorded, by
when it had been recorded, and that it was not changed since. You need not trust whoever gave you
the packet. You need a computer with Python 3.11 or newer and OpenSSL 3, and no network.


1  WHAT IS INSIDE
-----------------

For each entry below, by its position in the log (the first entry has position 0):

  data/records/<position>-<TYPE>.entry.json    the entry, the exact bytes that were recorded
  data/records/<position>.disclosures.json     personal fields that are shown with it, if any
  data/records/<position>.withheld.json        how many committed fields are not shown, and why
  data/proofs/<position>.tlog-proof            the proof of its place in the log

Further: data/anchors (time stamps by independent authorities), data/proofs/consistency-* (the log
only grew), data/trust (copies of keys, for convenience), tools/verify.pyz (a copy of the program
that checks all of this), and lists of the SHA-256 digest of every file.

"""
_UNSTAMPED: Final = """
NOT COMPLETE YET: {missing} of {count} entries have no time stamp ("-" above). The log has promised
to keep them, and no independent authority has confirmed it. The check will say "incomplete". Ask
for a new packet after the log's next anchor, usually the night after the entry.
"""
_NEEDED: Final = """

2  WHAT TO GET FROM ELSEWHERE
-----------------------------

A packet cannot vouch for itself: keys and programs inside it prove nothing. Get these from another
source than this packet (a contract's annex, the operator's website, the time-stamp authority, the
release of the program), and lay them beside the unpacked folder:

  verify.pyz      the program; compare its SHA-256 with the one published with the release
  trust.json      the log's public key and the roots of the time-stamp authorities
  packet.zip      this packet, as you received it

Unpack the packet (python3 -m zipfile -e packet.zip .), open a terminal and go into the folder.
"""
_BY_VERIFIER: Final = """

3  THE WHOLE CHECK, BY PROGRAM
------------------------------

    $ python3 -I ../verify.pyz ../packet.zip --trust ../trust.json

It prints one line for each check, then what it did not check, then one of three words:

  VERIFIED     every check passed, against the keys and roots that you brought
  REFUTED      a check failed; the line says which
  INCOMPLETE   nothing failed, but something is missing; the line says what

Without --trust the best answer is INCOMPLETE: the packet then agrees with itself, no more.
"""
_BY_HAND: Final = """

4  THE SAME WITH PROGRAMS OF OTHERS
-----------------------------------

The files are the ones that were packed (on macOS: shasum -a 256 -c):

    $ sha256sum -c manifest-sha256.txt
    $ sha256sum -c tagmanifest-sha256.txt

The authorities' roots and the log's key, taken out of your trust.json:

    $ python3 -I -c "import json; t = json.load(open('../trust.json')); \
print(*t['tsa_roots'], sep='')" > ../tsa-roots.pem
    $ python3 -I -c "import json; t = json.load(open('../trust.json')); \
print(*[k for l in t['logs'] if l['origin'] == '{origin}' for k in l['vkeys']], sep=chr(10))" \
> ../log.vkey
"""
_STAMPS: Final = """
What each authority stamped is exactly the file `checkpoint`; the answer is "Verification: OK".
OpenSSL 3.0 cannot do this for tokens signed with RSA-PSS or Ed25519; the program above can.
"""
_NO_STAMPS: Final = """
There is no time stamp in this packet yet.
"""
_SIGNATURE: Final = """
The log's own signature over that checkpoint; the answer is "Signature Verified Successfully". (If
your log.vkey has several lines, the log changed its key: take the line that fits.)

    $ head -n 3 data/anchors/{size}/checkpoint > ../body
    $ sed -n 5p data/anchors/{size}/checkpoint | cut -d ' ' -f 3 | base64 -d | tail -c 64 \
> ../signature
    $ (printf '\\060\\052\\060\\005\\006\\003\\053\\145\\160\\003\\041\\000'; \
sed -n 1p ../log.vkey | cut -d + -f 3- | base64 -d | tail -c 32) > ../log-key.der
    $ openssl pkeyutl -verify -pubin -keyform DER -inkey ../log-key.der -rawin -in ../body \
-sigfile ../signature
"""
_PROVES: Final = """

5  WHAT A VERIFIED PACKET PROVES
--------------------------------

  - Each entry here is, byte for byte, the one that stands at its position in this log.
  - It existed before the time in the stamp over it, as an independent authority confirms.
  - The stamp fixes the whole log up to that point: no other version of it, with an entry changed,
    removed or added, can ever carry the same stamp.
  - A personal field that is shown is the one that was committed to when the entry was recorded.
  - All checkpoints in this packet belong to one history of the log.


6  WHAT IT DOES NOT PROVE
-------------------------

  - That what was recorded is true. A log proves what it was told, and when.
  - That everything was recorded: what was never sent to the log is not in it.
  - Who the persons behind the entries are, beyond the fields that are shown.
  - That the recorded time was exact. The stamp says "not later than", nothing more.
  - That the log has shown everybody the same history: no witness has signed its checkpoints.
  - That no certificate of a time-stamp authority was revoked: ask the authority.
  - Anything about this page or the files under tools/: nobody has signed them.
"""
