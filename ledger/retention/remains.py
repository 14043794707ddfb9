# SPDX-License-Identifier: GPL-3.0-or-later
"""What the state of a stream needs of a body that is in the database no more.

A stream is folded from its entries. For most of them the type says all; where it does not, the few
members that count are kept beside the index when the body leaves, and stay. Nothing of this is
personal: it is a part of the clear body.
"""

from typing import Any, Final

from ledger.errors import EntryDamaged
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError

JSON = dict[str, Any]

#: Of a run's start its promise counts: TRAIN has to name the same (ledger.lifecycle).
_PROMISED: Final = (
    "type", "inputs", "input_asset_ids", "base_model", "output_model", "code_digest",
    "container_digest", "env_digest", "seed", "context",
)  # fmt: skip


#: Type → names of members, groups by a point, that are kept where they are there.
_KEPT: Final[dict[str, tuple[str, ...]]] = {
    "TRAIN_STARTED": tuple(f"train.{name}" for name in _PROMISED),
    "DATASET_SEALED": (
        "dataset.version", "dataset.manifest_digest", "dataset.smt_root", "dataset.member_count",
    ),
    "DATASET_SUPERSEDED": ("dataset.version", "dataset.by"),
    "MODEL_REGISTERED": ("model.version", "manifest.digest"),
    "MODEL_RETIRED": ("model.version", "effective_at"),
    **dict.fromkeys(
        ("POLICY_PUBLISHED", "PROMPT_TEMPLATE_PUBLISHED", "CONSENT_TEXT_PUBLISHED",
         "TRANSPARENCY_TEMPLATE_PUBLISHED"),
        ("version", "digest"),
    ),
    **dict.fromkeys(
        ("POLICY_RETIRED", "PROMPT_TEMPLATE_RETIRED", "CONSENT_TEXT_RETIRED",
         "TRANSPARENCY_TEMPLATE_RETIRED"),
        ("version", "effective_at"),
    ),
    "CONSENT_GRANTED": ("consent.action", "consent.expires_at"),
    "TAKEDOWN": ("takedown.request_id", "takedown.received_at", "takedown.removed_at"),
    "OUTPUT_RELEASED": ("asset_id",),
    "OUTPUT_DESTROYED": ("asset_id",),
}  # fmt: skip

#: Topics of which something may have to be kept. What a Writer said last is not: one that was
#: silent until its entries left begins anew, and no number of its sequence is taken twice.
TELLING: Final = (
    *(f"{type_}/1" for type_ in _KEPT), "GEN_ERROR/1", "GEN/1", "OUTCOME_LATE/1"
)  # fmt: skip

#: Of these something is always kept; of a run's start older releases kept nothing.
_ALWAYS: Final = frozenset(f"{type_}/1" for type_ in _KEPT if type_ != "TRAIN_STARTED")


def remains_of(type_: str, body: JSON) -> JSON | None:
    """Return the members that a later state needs; None where the type is enough."""
    if type_ == "GEN_ERROR":
        return {"timeout": True} if body.get("timeout") is True else None
    if type_ == "GEN":
        return _held_back(body)
    if type_ == "OUTCOME_LATE":
        held = _held_back(body["claimed"]["body"])
        return None if held is None else {"claimed": {"body": held}}
    if type_ not in _KEPT:
        return None
    kept: JSON = {}
    for name in _KEPT[type_]:
        group, _, member = name.rpartition(".")
        said = body.get(group, {}) if group else body
        if member in said:
            (kept.setdefault(group, {}) if group else kept)[member] = said[member]
    return kept


def _held_back(body: JSON) -> JSON | None:
    """Return the outputs in quarantine; None if there are none."""
    held = [
        {"asset_id": output["asset_id"], "disposition": "quarantined"}
        for output in body.get("outputs", ())
        if output.get("disposition") == "quarantined"
    ]
    return {"outputs": held} if held else None


def body_from(topic: str, remains: bytes | None) -> JSON:
    """Return a body that folds to the same state as the one that is gone.

    topic: the index column, such as `GEN/1`. Raises EntryDamaged for remains that are none.
    """
    if remains is None:
        if topic in _ALWAYS:
            raise EntryDamaged("what is kept of a body that is gone is gone, too")
        return {"train": {"inputs": []}} if topic == "TRAIN_STARTED/1" else {}
    try:
        body = canonical.decode(remains)
    except VerifyError as error:
        raise EntryDamaged("what is kept of a body that is gone was changed") from error
    if not isinstance(body, dict):
        raise EntryDamaged("what is kept of a body that is gone was changed")
    return body
