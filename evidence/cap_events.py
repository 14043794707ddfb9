# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries about assets, training and deliveries, said as CAP events; calls: evidence/cap_calls.py.

A committed value stands there as the hexadecimal form of the digest that the entry holds of it:
who is shown the disclosure can hold it against the CAP event, and nobody else learns anything. What
CAP requires and the record does not say is filled in, and named in `Sealtrail.Assumed`.
`Sealtrail.Leaf` ties each event to its entry, under the log's anchored root.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from evidence import cap_names as names
from evidence.cap_json import EXACT, JSON, number
from ledger.reader import Stored
from sealtrail.verify.disclosure import PERSON

#: What no record said; a policy or a version has to be there.
UNSTATED: Final = "unstated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One entry, with the digest of each value that it commits to, as far as names are known."""

    stored: Stored
    tenant: str
    origin: str
    committed: Mapping[str, str]  #: Name → `sha256:` and 64 hexadecimal digits.
    sealed_by_client: str  #: The same over the whole list `_sd`, whosever values it holds.
    assumed: list[str] = field(default_factory=list)

    @property
    def entry(self) -> JSON:
        return self.stored.entry.value

    @property
    def body(self) -> JSON:
        found: JSON = self.entry["body"]
        return found

    @property
    def type(self) -> str:
        return str(self.entry["type"])

    @property
    def aggregate_id(self) -> str:
        return str(self.entry["aggregate"]["id"])

    @property
    def event_id(self) -> str:
        return self.stored.entry.event_id

    @property
    def recorded(self) -> str:
        return str(self.entry["time"]["recorded"])

    def value(self, name: str) -> Any:
        """Return a member of the body by its dotted name, clear or as its commitment."""
        found: Any = self.body
        for step in name.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return self.committed.get(name) if found is None else found

    def sure(self, name: str, value: Any, otherwise: Any) -> Any:
        """Return `value`; where the record has none, what is put in its place, and note that."""
        if value is not None:
            return value
        self.assumed.append(name)
        return otherwise

    def urn(self, kind: str, identifier: str) -> str:
        return names.urn(kind, self.tenant, identifier)


def there(members: Mapping[str, Any]) -> JSON:
    """Leave out what is absent: None, and groups of which nothing is left."""
    return {name: value for name, value in members.items() if value is not None and value != {}}


def event(fact: Fact, type_: str, members: Mapping[str, Any], **more: Any) -> JSON:
    """Return a CAP event without its place in the chain. more: further members of `Sealtrail`."""
    sealtrail = there(
        {
            "Origin": fact.origin,
            "Position": fact.stored.position,
            "Leaf": f"sha256:{fact.stored.leaf.hex()}",
            "Topic": f"{fact.type}/{fact.entry['schema']}",
            "AggregateID": fact.aggregate_id,
            "Assumed": sorted(set(fact.assumed)) or None,
            **more,
        }
    )
    return {
        "EventID": fact.event_id,
        "Timestamp": fact.recorded,
        "EventType": type_,
        "HashAlgo": "SHA256",
        "SignAlgo": "ED25519",
        **there(members),
        "Context": context(fact),
        "Sealtrail": sealtrail,
    }


def context(fact: Fact) -> JSON:
    """Return who acted, by commitments only."""
    person = fact.committed.get(PERSON)
    return there(
        {
            "UserID": person,
            "UserHash": person,
            "Role": names.upper_in(fact.entry["actor"].get("role"), names.ROLES),
            "Department": fact.committed.get("actor.department"),
            "SessionID": names.session_of(fact.entry),
            "ClientIP_Hash": fact.committed.get("net.ip"),
        }
    )


def ingest(fact: Fact) -> JSON:
    asset, rights = fact.body["asset"], fact.body["rights"]
    secrecy = fact.body.get("confidentiality")
    size = int(asset.get("size", -1))
    members = {
        "Asset": there(
            {
                "AssetID": fact.urn("asset", fact.aggregate_id),
                "AssetType": names.upper_in(asset["type"], names.ASSET_TYPES) or names.OTHER,
                "AssetHash": fact.value("asset.sha256") or fact.sealed_by_client,
                "AssetName": fact.value("asset.name"),
                "AssetSize": size if 0 <= size <= EXACT else None,
                "MimeType": asset.get("mime"),
            }
        ),
        "Rights": there(
            {
                "RightsBasis": rights["basis"],
                "RightsHolder": fact.committed.get("rights.holder"),
                "ConsentBasis": names.upper_in(rights.get("consent_basis"), names.CONSENT_BASES),
                "ConsentReference": rights.get("consent_ref"),
                "ConsentEvidence": fact.committed.get("rights.consent_evidence"),
                "StatutoryBasis": rights.get("statutory"),
                "PermittedUse": permitted(fact, "rights.permitted"),
            }
        ),
    }
    if secrecy is not None:
        members["Confidentiality"] = there(
            {
                "ConfidentialityLevel": names.upper_in(secrecy["level"], names.LEVELS),
                "ClassificationDate": secrecy.get("classified_at"),
                "Classifier": fact.committed.get("confidentiality.classifier"),
                "ReleaseDate": secrecy.get("release_date"),
            }
        )
    return event(fact, "INGEST", members)


def permitted(fact: Fact, name: str) -> JSON | None:
    """Return what is allowed. A credit that is asked for is a yes there, and a text with us."""
    found = fact.value(name)
    if not isinstance(found, dict):
        return None
    uses = ("training", "generation", "distribution", "commercial", "derivative")
    return there(
        {
            **{use.capitalize(): found.get(use) for use in uses},
            "Attribution": fact.value(f"{name}.attribution") is not None,
            "Restrictions": found.get("restrictions"),
        }
    )


def train(fact: Fact) -> JSON:
    run = fact.body["train"]
    members = [fact.urn("asset", one) for one in run.get("input_asset_ids", ())]
    # More members than an entry takes are named by their data set.
    sets = [fact.urn("asset", one["dataset_id"]) for one in run["inputs"]]
    base = run.get("base_model")
    return event(
        fact,
        "TRAIN",
        {
            "TrainingType": run["type"],
            "InputAssetIDs": members or sets,
            "OutputModelID": fact.urn("model", run["output_model"]),
            "BaseModelID": None if base is None else fact.urn("model", base),
            "TrainingConfig": _config(run.get("config", {})),
            "TrainingContext": _purpose(run.get("context", {})),
        },
        Inputs=run["inputs"],
        ManifestDigest=run.get("manifest_digest"),
    )


def _config(config: Mapping[str, Any]) -> JSON:
    rate = config.get("learning_rate")
    return there(
        {
            "epochs": config.get("epochs") or None,  # Not one is not a number of epochs there.
            "batchSize": config.get("batch_size") or None,
            "learningRate": None if rate is None else number(rate),
            "parameters": config.get("parameters"),
        }
    )


def _purpose(purpose: Mapping[str, Any]) -> JSON:
    japan = purpose.get("jp_30_4")
    if japan is not None:
        words = {name: "yes" if japan[name] else "no" for name in _IN_WORDS}
        japan = {**japan, **words}
    return there({"purpose": purpose.get("purpose"), "article30_4_compliance": japan})


#: Of Article 30-4's four conditions, those that CAP takes as text.
_IN_WORDS: Final = ("necessary_extent", "no_undue_prejudice")


def export(fact: Fact) -> JSON:
    body, to = fact.body, fact.body["destination"]
    recipient = fact.committed.get("destination.recipient") or fact.value("destination.url")
    return event(
        fact,
        "EXPORT",
        {
            "AssetID": fact.urn("asset", body["asset_id"]),
            "AssetHash": fact.value("asset_sha256") or fact.sealed_by_client,
            "Destination": fact.sure("Destination", recipient or to.get("platform"), UNSTATED),
            "DestinationType": names.DESTINATIONS.get(to["type"], names.OTHER),
            "DestinationDetails": there(
                {
                    "platform": to.get("platform"),
                    "url": to.get("url"),
                    "recipientType": names.upper_in(to.get("recipient_type"), names.RECIPIENTS),
                }
            ),
            "PermittedUse": permitted(fact, "permitted_use"),
            "Provenance": there(
                {
                    "sourceEventIDs": body.get("source_events"),
                    "includeProvenance": body.get("includes_provenance"),
                }
            ),
        },
        DestinationType=to["type"],
        RecipientType=to.get("recipient_type"),
    )
