# SPDX-License-Identifier: Apache-2.0
"""The entries in a packet: their bytes, their places in the log, what is shown of them, and when.

For each entry: its bytes are canonical and of the entry's shape; they stand at the position that
the file's name says, under the checkpoint in their proof; every disclosure shown with them is one
the entry commits to; and a verified time stamp lies over that checkpoint, or over a later one that
is proven to extend it, not before the time that the ledger wrote into the entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sealtrail.verify import canonical, merkle
from sealtrail.verify.checkpoints import Citations, Place
from sealtrail.verify.contents import Record
from sealtrail.verify.disclosure import check_disclosures
from sealtrail.verify.entry import check_entry
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable, VerifyError
from sealtrail.verify.note import Checkpoint, Note
from sealtrail.verify.report import Docket, Told
from sealtrail.verify.timestamp import SKEW, Stamp
from sealtrail.verify.tlog_proof import TlogProof

PROMISE: Final = "promise of the log; not yet witnessed or time-stamped"

#: No packet shows more fields of one entry than an entry of 16 KiB can commit to.
_MAX_DISCLOSURES: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A verified token and the checkpoint it lies over."""

    place: Place
    stamp: Stamp


def judge_record(
    docket: Docket, record: Record, cited: Citations, stamped: Sequence[Stamped]
) -> None:
    """Enter the findings about one record."""
    subject = f"record {record.position} · {record.type}"
    entry = docket.judge(subject, "entry", partial(_entry, record), partial(_tell_entry, record))
    checkpoint = docket.judge(
        subject,
        "inclusion",
        lambda: check_place(record.proof, entry=record.entry, position=record.position),
        partial(_tell_place, record.position),
    )
    if record.disclosures is not None and entry is not None:
        docket.judge(
            subject,
            "disclosures",
            partial(_disclosures, record.disclosures, entry),
            partial(_tell_disclosures, entry),
        )
    if entry is not None and checkpoint is not None:
        place = (checkpoint.origin, checkpoint.size)
        recorded = datetime.fromisoformat(entry["time"]["recorded"])
        docket.judge(subject, "time", partial(_time, place, recorded, cited, stamped), _tell_time)


def check_place(proof: bytes | None, *, entry: bytes, position: int | None) -> Checkpoint:
    """The checkpoint under which `proof` places these bytes; its signature is judged elsewhere.

    position: where the entry has to stand; None takes any.
    """
    if proof is None:
        raise Incomplete("There is no proof of the entry's place in the log.")
    read = TlogProof.parse(proof)
    if position is not None and read.index != position:
        raise Refuted("The proof is for another position than the file's name says.")
    checkpoint = Checkpoint.parse(Note.parse(read.checkpoint).text)
    merkle.check_inclusion(
        leaf=merkle.leaf_hash(entry),
        index=read.index,
        size=checkpoint.size,
        path=read.path,
        root=checkpoint.root,
    )
    return checkpoint


def count_withheld(data: bytes | None) -> int:
    """How many fields a withheld.json names; 0 if it is not a list of them."""
    try:
        listed = canonical.parse(data) if data is not None else []
    except VerifyError:
        return 0
    return len(listed) if isinstance(listed, list) else 0


def _entry(record: Record) -> dict[str, Any]:
    entry = check_entry(record.entry)
    if entry["type"] != record.type:
        raise Refuted("The entry is of another type than the file's name says.")
    return entry


def _tell_entry(record: Record, entry: dict[str, Any]) -> Told:
    leaf = "sha256:" + merkle.leaf_hash(record.entry).hex()
    aggregate = entry["aggregate"]
    sentence = (
        f"canonical; {entry['type']} of {aggregate['type']} {aggregate['id']}, recorded"
        f" {entry['time']['recorded']}; leaf {leaf}"
    )
    return sentence, {
        "event_id": entry["event_id"],
        "type": entry["type"],
        "recorded": entry["time"]["recorded"],
        "leaf": leaf,
    }


def _tell_place(position: int, checkpoint: Checkpoint) -> Told:
    root = "sha256:" + checkpoint.root.hex()
    return f"position {position} of {checkpoint.size} under root {root}", {
        "position": str(position),
        "origin": checkpoint.origin,
        "size": str(checkpoint.size),
        "root": root,
    }


def _disclosures(data: bytes, entry: dict[str, Any]) -> list[str]:
    """The names of the fields shown."""
    shown = canonical.parse(data)
    if not isinstance(shown, list) or not all(isinstance(item, str) for item in shown):
        raise Unreadable("The file of disclosures is not an array of strings.")
    if len(shown) > _MAX_DISCLOSURES:
        raise Refuted("There are more disclosures than an entry can commit to.")
    return sorted(check_disclosures(shown, entry.get("_sd", ())))


def _tell_disclosures(entry: dict[str, Any], names: list[str]) -> Told:
    committed = len(entry.get("_sd", ()))
    listed = ", ".join(names) or "none"
    return f"{len(names)} of {committed} committed fields shown: {listed}", {
        "shown": list(names),
        "committed": committed,
    }


def _time(
    place: Place, recorded: datetime, cited: Citations, stamped: Sequence[Stamped]
) -> list[Stamp]:
    """The verified stamps over this place, earliest first, none of them before `recorded`."""
    reached = cited.later(place)
    over = [one for one in stamped if one.place in reached and one.place in cited.signed]
    stamps = [one.stamp for one in over if _in_time(one, cited)]
    if over and not stamps:
        raise Incomplete(
            "Only a replaced key has signed what was stamped, and the stamp is younger than the"
            " key's end: whoever held it later could have signed it."
        )
    if not stamps and reached & cited.anchored:
        raise Incomplete("The anchor that covers it is not verified; see its findings.")
    if not stamps:
        raise Incomplete(f"No time stamp covers it: {PROMISE}.")
    for stamp in stamps:
        if recorded > stamp.gen_time + SKEW:
            raise Refuted("The entry says it was recorded after the time stamp that covers it.")
    if all(stamp.expired for stamp in stamps):
        raise Incomplete(
            "The certificate of the only time stamp that covers it has expired, and no later one"
            " renews it."
        )
    return sorted(stamps, key=lambda stamp: stamp.gen_time)


def _in_time(one: Stamped, cited: Citations) -> bool:
    """Whether a stamp shows that a key signed while it was in use."""
    until = cited.stamped_before.get(one.place)
    return until is None or one.stamp.gen_time <= until


def _tell_time(stamps: list[Stamp]) -> Told:
    first = stamps[0]
    upper = first.gen_time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"existed before {upper}, says {first.authority}", {
        "before": upper,
        "authorities": [stamp.authority for stamp in stamps],
    }
