# SPDX-License-Identifier: Apache-2.0
"""Bring photographs in, train on them, deliver a picture: each step recorded before it counts.

A training run says what goes in before anybody knows what comes out: TRAIN_STARTED names the
data set, the code and the seed, TRAIN names them again with the weights. Every digest in the
entries is that of a file in the run's directory, so that anybody can compute it again.
"""

import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from examples.pipeline import model, rules
from examples.pipeline.journal import Journal
from examples.pipeline.photographs import PHOTOGRAPHS, Photograph
from examples.pipeline.pictures import digest, pixel_digest
from sealtrail import Receipt, Recorder, Refused
from sealtrail.request import new_event_id
from sealtrail.verify import canonical

MODEL_NAME = "small-diffusion"


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of the pipeline: who it acts for, and the numbers of its events.

    Each event carries the pipeline's own number, without gaps: who has the numbers can say that
    nothing in between was kept back.
    """

    recorder: Recorder
    journal: Journal
    person: str | None
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    count: int = 0

    def record(
        self, type_: str, aggregate_id: str, body: Mapping[str, Any], **more: Any
    ) -> Receipt:
        """Record one event and keep its receipt. Returns only if it is proved."""
        note = more.pop("note", "")
        receipt = self.recorder.post(
            type_,
            aggregate_id=aggregate_id,
            body=body,
            on_behalf_of=self.person,
            source={"id": f"example-pipeline/{self.run_id}", "n": self.count},
            actor={"kind": "service"},
            origin_software={"name": "sealtrail example pipeline", "version": "1"},
            **more,
        )
        self.count += 1
        self.journal.event(receipt, aggregate_id)
        print(f"{receipt.position:>5}  {type_:<25}  {note}", flush=True)
        return receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """A photograph that the ledger knows."""

    photo: Photograph
    asset_id: str
    picture: Image.Image
    receipt: Receipt
    pixel_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model, the words by which entries name it, and the entries that say where it is from."""

    model: model.Model
    names: dict[str, str]
    weights: dict[str, Any]
    run_id: str
    dataset_id: str
    env_digest: str
    started: Receipt
    receipt: Receipt


def now() -> str:
    """The time here, as events write it; a claim, since this clock is nobody's proof."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ingest(run: Run, paths: Mapping[str, Path]) -> list[Ingested]:
    """Record each photograph with its digests and the ground on which it is used."""
    return [_ingest(run, photo, paths[photo.name]) for photo in PHOTOGRAPHS]


def _ingest(run: Run, photo: Photograph, path: Path) -> Ingested:
    data = path.read_bytes()
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    asset_id, pixels = new_event_id(), pixel_digest(picture)
    body = {
        "asset": {
            "type": "image",
            "name": photo.name,
            "sha256": digest(data),
            "pixel_sha256": pixels,
            "mime": photo.mime,
            "size": str(len(data)),
            "width": picture.width,
            "height": picture.height,
            "source_url": photo.source_url,
        },
        "rights": {
            "basis": photo.rights_basis,
            "license": photo.licence,
            "permitted": {"training": True, "generation": True}
            | ({"attribution": photo.author} if photo.rights_basis == "LICENSED" else {}),
        },
        "depicts": {"identifiable_person": photo.identifiable_person},
    }
    receipt = run.record(
        "INGEST",
        asset_id,
        body,
        sealed={"rights.holder": photo.author},
        note=f"{photo.name}, {picture.width} x {picture.height}, {photo.licence}",
    )
    return Ingested(
        photo=photo, asset_id=asset_id, picture=picture, receipt=receipt, pixel_sha256=pixels
    )


def train(run: Run, members: list[Ingested], choices: model.Training) -> Trained:
    """Record what goes in, train, write the weights, record what came out."""
    plan, run_id = _plan(run, members, choices), new_event_id()
    started = run.record(
        "TRAIN_STARTED",
        run_id,
        {"train": plan},
        links=[one.receipt.link("member-of") for one in members],
        note=f"{len(members)} photographs",
    )
    made = model.train([(one.picture, one.photo.caption) for one in members], choices)

    result, names = _write(run, plan, made)
    weights = result["weights"]["files"][0]["sha256"]
    receipt = run.record(
        "TRAIN",
        run_id,
        {"train": result},
        links=[started.link("trained-on")],
        note=f"error {made.losses[0]} to {made.losses[-1]}, weights {weights[:19]}...",
    )
    run.journal.fact("training", {"aggregate_id": run_id, "train": result})
    return Trained(
        model=made,
        names=names,
        weights=result["weights"],
        run_id=run_id,
        dataset_id=plan["inputs"][0]["dataset_id"],
        env_digest=plan["env_digest"],
        started=started,
        receipt=receipt,
    )


def publish(run: Run) -> None:
    """Register the rules and the template by which every call goes; once for each version.

    An earlier run of the same rules has done it. Other rules under the same version stop the run.
    """
    for type_, id_, version, data in (
        ("POLICY_PUBLISHED", rules.POLICY_ID, rules.POLICY_VERSION, rules.policy()),
        ("PROMPT_TEMPLATE_PUBLISHED", rules.TEMPLATE_ID, rules.TEMPLATE_VERSION, rules.template()),
    ):
        body: dict[str, Any] = {"version": version, "digest": digest(data)}
        if type_ == "POLICY_PUBLISHED":
            body["rules"] = [
                {"rule_id": rule.rule_id, "category": rule.category} for rule in rules.RULES
            ]
        try:
            run.record(type_, id_, body, note=f"{id_} {version}")
        except Refused as refusal:
            if refusal.code != "version-exists":
                raise


def register(run: Run, trained: Trained) -> Receipt:
    """Put the model into the register, so that a call names what the ledger knows."""
    names = trained.names
    return run.record(
        "MODEL_REGISTERED",
        f"urn:cap:model:{names['provider']}:{names['name']}",
        {
            "model": {
                "provider": names["provider"],
                "name": names["name"],
                "version": names["version"],
                "type": "diffusion",
            },
            "manifest": {"digest": names["manifest"], "format": "other"},
            "weights": trained.weights,
            "training_run": trained.run_id,
            "training_data_snapshot": trained.dataset_id,
        },
        links=[trained.receipt.link("produced")],
        note=f"{names['name']} {names['version']}",
    )


def _plan(run: Run, members: list[Ingested], choices: model.Training) -> dict[str, Any]:
    """What TRAIN_STARTED says; its data set and environment are on disk when it is said."""
    manifest = b"".join(_manifest_line(one) for one in members)
    run.journal.file("dataset/manifest.jsonl", manifest)
    environment = canonical.encode(_environment())
    run.journal.file("model/environment.json", environment)
    return {
        "type": "PRETRAIN",
        "inputs": [
            {
                "dataset_id": f"photographs/{run.run_id}",
                "manifest_digest": digest(manifest),
                "count": len(members),
            }
        ],
        "output_model": f"example/{MODEL_NAME}/{run.run_id}",
        "code_digest": digest(Path(model.__file__).read_bytes()),
        "env_digest": digest(environment),
        "seed": str(choices.seed),
        "config": {
            "batch_size": choices.batch,
            "learning_rate": str(choices.learning_rate),
            "parameters": {"steps": choices.steps},
        },
        "context": {"purpose": "An example: to show what a ledger of a training run holds."},
        "started_at": now(),
    }


def _write(
    run: Run, plan: dict[str, Any], made: model.Model
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write weights, metrics and manifest; what TRAIN says of them, and the model's names."""
    weights = made.weights()
    metrics = canonical.encode({"losses": list(made.losses)})
    files = [{"path": "model/weights.npz", "sha256": digest(weights), "size": str(len(weights))}]
    manifest = canonical.encode(
        {
            "name": MODEL_NAME,
            "version": run.run_id,
            "code": plan["code_digest"],
            "dataset": plan["inputs"][0]["manifest_digest"],
            "environment": plan["env_digest"],
            "seed": plan["seed"],
            "weights": files,
        }
    )
    run.journal.file("model/weights.npz", weights)
    run.journal.file("model/metrics.json", metrics)
    run.journal.file("model/manifest.json", manifest)
    result = plan | {
        "weights": {"files": files},
        "manifest_digest": digest(manifest),
        "metrics_digest": digest(metrics),
        "ended_at": now(),
    }
    names = {
        "provider": "example",
        "name": MODEL_NAME,
        "version": run.run_id,
        "manifest": digest(manifest),
    }
    return result, names


def _manifest_line(one: Ingested) -> bytes:
    """One member of the data set as a line of canonical JSON."""
    line = {
        "asset_id": one.asset_id,
        "sha256": f"sha256:{one.photo.sha256}",
        "pixel_sha256": one.pixel_sha256,
        "caption": one.photo.caption,
    }
    return canonical.encode(line) + b"\n"


def _environment() -> dict[str, str]:
    """What else decides how a sum is rounded."""
    build = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"] if isinstance(build, dict) else {}
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "pillow": PIL.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }
