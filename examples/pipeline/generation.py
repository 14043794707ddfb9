# SPDX-License-Identifier: Apache-2.0
"""One call of the model, fail closed: the attempt is on record before it, the outcome after it.

    GEN_ATTEMPT ──► a rule refuses          MODERATION, GEN_DENY
                ├─► the model cannot        GEN_ERROR
                └─► a picture               MODERATION, GEN, and only now is the file written

A call that another call made names its parent: the trace says where it stands, and the link binds
the parent's content by its leaf, not only its id.
"""

import secrets
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from PIL import Image

from examples.pipeline import model, rules
from examples.pipeline.pictures import digest, pixel_digest, png
from examples.pipeline.steps import Ingested, Run, Trained, now
from sealtrail import Receipt
from sealtrail.request import new_event_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A picture that came of a call, and the entries that say so."""

    asset_id: str
    picture: Image.Image
    data: bytes
    attempt: Receipt
    moderated: Receipt
    receipt: Receipt
    trace: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of the model. `parent` makes it a variation of another call's picture."""

    prompt: str
    seed: int
    edge: int = model.OUTPUT_EDGE
    parent: Made | None = None
    strength: Decimal = Decimal("0.6")

    @property
    def sampling(self) -> model.Sampling:
        return model.Sampling(
            seed=self.seed, width=self.edge, height=self.edge, strength=self.strength
        )


def generate(run: Run, trained: Trained, call: Call) -> Made | None:
    """The picture, or None if a rule refused it or the model could not; all of it on record."""
    generation_id, trace = new_event_id(), _trace(call.parent)
    attempt = _attempt(run, trained, call, generation_id, trace)
    broken = rules.broken_rules(call.prompt)
    if broken:
        _deny(run, generation_id, attempt, broken, trace)
        return None
    began, clock = now(), time.monotonic()
    try:
        picture = _draw(trained, call)
    except Exception as problem:
        _fail(run, generation_id, attempt, problem, trace)
        if isinstance(problem, model.CannotGenerate):
            return None
        raise
    latency_ms = round((time.monotonic() - clock) * 1000)
    times = {"processing_started": began, "model_responded": now()}
    moderated = _moderate(run, generation_id, attempt, picture, trace)
    data, asset_id = png(picture), new_event_id()
    body = {
        "outputs": [
            {
                "asset_id": asset_id,
                "sha256": digest(data),
                "pixel_sha256": pixel_digest(picture),
                "mime": "image/png",
                "w": picture.width,
                "h": picture.height,
                "size": str(len(data)),
                "disposition": "delivered",
            }
        ],
        "usage": {"images": 1, "steps": call.sampling.steps, "latency_ms": latency_ms},
        "result": "success",
        "finish_reason": "stop",
        "replay": {"deterministic": True, "env_digest": trained.env_digest},
    }
    receipt = run.record(
        "GEN",
        generation_id,
        body,
        links=[attempt.link("attempt")],
        time=times,
        trace=trace,
        note=f"{digest(data)[:19]}... in {latency_ms} ms",
    )
    # The point of no return: from here on somebody may have seen the picture.
    run.journal.file(f"images/{asset_id}.png", data)
    return Made(
        asset_id=asset_id,
        picture=picture,
        data=data,
        attempt=attempt,
        moderated=moderated,
        receipt=receipt,
        trace=trace | {"root_event": trace.get("root_event", attempt.event_id)},
    )


def export(run: Run, made: Made, members: list[Ingested]) -> Receipt:
    """Record that the picture leaves the house, then put its file where it is taken from."""
    named = [one.photo for one in members if one.photo.rights_basis == "LICENSED"]
    attribution = "; ".join(f"{one.name}: {one.author}, {one.licence}" for one in named)
    body = {
        "asset_id": made.asset_id,
        "asset_sha256": digest(made.data),
        "destination": {
            "type": "PUBLICATION",
            "recipient_type": "PUBLIC",
            "platform": "example gallery",
        },
        "permitted_use": {"distribution": True, "attribution": f"trained on {attribution}"},
        "source_events": [made.receipt.event_id],
        "includes_provenance": False,
        "marking_verified": {"c2pa": False, "watermark": False, "label": False},
    }
    receipt = run.record(
        "EXPORT",
        new_event_id(),
        body,
        links=[made.receipt.link("exports")],
        sealed={"destination.recipient": "the gallery's editor"},
        note=f"export/{made.asset_id}.png",
    )
    run.journal.file(f"export/{made.asset_id}.png", made.data)
    return receipt


def _draw(trained: Trained, call: Call) -> Image.Image:
    rendered = rules.TEMPLATE.format(prompt=call.prompt)
    if call.parent is None:
        return model.generate(trained.model, rendered, call.sampling)
    return model.vary(trained.model, call.parent.picture, rendered, call.sampling)


def _trace(parent: Made | None) -> dict[str, Any]:
    """Where the call stands in the tree of calls."""
    if parent is None:
        return {
            "trace_id": secrets.token_hex(16),
            "span_id": secrets.token_hex(8),
            "call_index": 0,
            "depth": 0,
        }
    return {
        "trace_id": parent.trace["trace_id"],
        "span_id": secrets.token_hex(8),
        "parent_span_id": parent.trace["span_id"],
        "root_event": parent.trace["root_event"],
        "parent_event": parent.attempt.event_id,
        "call_index": 0,
        "depth": parent.trace["depth"] + 1,
    }


def _attempt(
    run: Run, trained: Trained, call: Call, generation_id: str, trace: dict[str, Any]
) -> Receipt:
    rendered = rules.TEMPLATE.format(prompt=call.prompt)
    sampling = call.sampling
    body: dict[str, Any] = {
        "operation": "generate",
        "input_type": "text",
        "model": trained.names,
        "params": {
            "seed": str(sampling.seed),
            "steps": sampling.steps,
            "cfg_scale": str(sampling.cfg_scale),
            "width": sampling.width,
            "height": sampling.height,
            "sampler": "ddpm",
            "n": 1,
        },
        "prompt": {
            "template": {
                "id": rules.TEMPLATE_ID,
                "version": rules.TEMPLATE_VERSION,
                "digest": digest(rules.template()),
            },
            "language": "en",
            "token_count": len(model.words(rendered)),
        },
        "policy": _policy(),
    }
    sealed: dict[str, Any] = {
        "prompt.user": call.prompt,
        "prompt.rendered": rendered,
        "prompt.template_vars": {"prompt": call.prompt},
    }
    links = [trained.receipt.link("used-model")]
    if call.parent is not None:
        body["operation"], body["input_type"] = "variation", "text+image"
        body["params"]["strength"] = str(sampling.strength)
        body["inputs"] = [{"ref_asset": call.parent.asset_id, "type": "image", "role": "source"}]
        sealed["inputs[0].sha256"] = digest(call.parent.data)
        links.append(call.parent.attempt.link("parent-call"))
        links.append(call.parent.receipt.link("derived-from"))
    kind = f"{body['operation']}, seed {sampling.seed}, {sampling.width} x {sampling.height}"
    return run.record(
        "GEN_ATTEMPT", generation_id, body, sealed=sealed, links=links, trace=trace, note=kind
    )


def _policy() -> dict[str, str]:
    return {
        "id": rules.POLICY_ID,
        "version": rules.POLICY_VERSION,
        "digest": digest(rules.policy()),
    }


def _classifier(name: str) -> dict[str, str]:
    return {
        "id": f"example-pipeline/{name}",
        "version": rules.POLICY_VERSION,
        "digest": rules.code_digest(),
    }


def _moderate(
    run: Run, generation_id: str, attempt: Receipt, picture: Image.Image, trace: dict[str, Any]
) -> Receipt:
    """Look at the picture before anybody else does. A flat one passes, with a warning."""
    score, flat = rules.flatness(picture)
    body = {
        "mod": {
            "stage": "post_output",
            "classifier": _classifier("flatness"),
            "scores": {"flat": score},
            "threshold": rules.FLAT_THRESHOLD,
            "filter_triggered": flat,
            "filter_action": "warn" if flat else "allow",
        }
    }
    return run.record(
        "MODERATION",
        generation_id,
        body,
        links=[attempt.link("attempt")],
        trace=trace,
        note=f"flat {score}: {'warn' if flat else 'allow'}",
    )


def _deny(
    run: Run,
    generation_id: str,
    attempt: Receipt,
    broken: list[rules.Rule],
    trace: dict[str, Any],
) -> None:
    """A rule refused the prompt: the judgement, then the outcome. The model never ran."""
    rule_ids = [rule.rule_id for rule in broken]
    links = [attempt.link("attempt")]
    judgement = {
        "stage": "pre_prompt",
        "classifier": _classifier("words"),
        "filter_triggered": True,
        "filter_action": "block",
        "risk_category": broken[0].category,
        "rule_ids": rule_ids,
        "policy": _policy(),
    }
    run.record(
        "MODERATION",
        generation_id,
        {"mod": judgement},
        links=links,
        trace=trace,
        note=f"{', '.join(rule_ids)}: block",
    )
    body = {
        "decision": "DENY",
        "refusal_reason_code": "rule",
        "risk_category": broken[0].category,
        "rule_ids": rule_ids,
        "policy": _policy(),
        "shown_to_user": True,
    }
    run.record(
        "GEN_DENY",
        generation_id,
        body,
        sealed={"refusal_text": f"This prompt breaks the rule {rule_ids[0]}."},
        links=links,
        trace=trace,
        note=", ".join(rule_ids),
    )


def _fail(
    run: Run, generation_id: str, attempt: Receipt, problem: Exception, trace: dict[str, Any]
) -> None:
    """No picture came of it. A gap would look like a picture that was kept back."""
    known = isinstance(problem, model.CannotGenerate)
    code = problem.code if isinstance(problem, model.CannotGenerate) else "model-failed"
    body = {
        "error": {
            "class": "request" if known else "internal",
            "code": code,
            "stage": "model",
            "retryable": False,
        }
    }
    run.record(
        "GEN_ERROR",
        generation_id,
        body,
        sealed={"error.message": str(problem) or type(problem).__name__},
        links=[attempt.link("attempt")],
        trace=trace,
        note=code,
    )
