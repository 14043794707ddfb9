# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of a generative model: the attempt, recorded before the model runs, and its one outcome."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ledger.events.values import (
    Body,
    Code,
    Count,
    Currency,
    Decimal,
    Digest,
    Failure,
    Fingerprint,
    Id,
    Language,
    Line,
    MediaType,
    Part,
    Pixels,
    Small,
    Time,
    U64,
    Url,
    Versioned,
)

Codes = Annotated[list[Code], Field(max_length=64)]


class Tokenizer(Part):
    """What cut the prompt into tokens."""

    id: Id
    sha256: Digest | None = None


class Model(Part):
    """Which model exactly: a marketing name is not enough."""

    provider: Id
    name: Line
    version: Code
    build_id: Line | None = None
    deployment_id: Line | None = None
    type: Code | None = None
    environment: Code | None = None
    manifest: Digest | None = None
    tokenizer: Tokenizer | None = None


class Params(Part):
    """What makes the output reproducible. 64-bit seeds are strings, scales are decimals."""

    seed: U64 | None = None
    steps: Small | None = None
    cfg_scale: Decimal | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    sampler: Code | None = None
    scheduler: Code | None = None
    strength: Decimal | None = None
    temperature: Decimal | None = None
    top_p: Decimal | None = None
    max_tokens: Small | None = None
    n: Annotated[int, Field(ge=1, le=1_000)] | None = None
    style: Line | None = None


class Prompt(Part):
    """What is clear about a prompt; its texts are sealed."""

    template: Versioned | None = None
    injection_score: Decimal | None = None
    language: Language | None = None
    token_count: Small | None = None


class InputAsset(Part):
    """Something that the model was given; its digest is personal and is sealed."""

    ref_asset: Id | None = None
    type: Code
    role: Literal["source", "mask", "control", "style", "reference"] | None = None
    transformations: Codes | None = None


class Quote(Part):
    """What the call was said to cost."""

    amount: Decimal
    currency: Currency


class Billing(Part):
    """Cost before the call."""

    quote: Quote


class GenAttempt(Body):
    """Somebody asks a model for an output. Recorded and receipted before the model is called."""

    sealed: ClassVar = (
        "prompt.user",
        "prompt.negative",
        "prompt.system",
        "prompt.rendered",
        "prompt.style_constraints",
        "prompt.template_vars",
        "inputs[*].sha256",
    )

    operation: Literal[
        "generate", "edit", "inpaint", "outpaint", "upscale", "variation", "caption", "chat", "tool"
    ]
    input_type: Literal["text", "image", "text+image", "video", "audio", "multimodal"]
    model: Model
    params: Params | None = None
    prompt: Prompt | None = None
    inputs: Annotated[list[InputAsset], Field(max_length=32)] | None = None
    consent_ids: Annotated[list[Id], Field(max_length=32)] | None = None
    policy: Versioned | None = None
    billing: Billing | None = None
    deadline_s: Annotated[int, Field(ge=1, le=86_400)] | None = None


class Before(Part):
    """The output before moderation changed it."""

    sha256: Digest
    pixel_sha256: Digest | None = None


class Output(Part):
    """One output. Its digest is clear, because it is ours and strangers will ask for it."""

    asset_id: Id
    sha256: Digest | None = None
    pixel_sha256: Digest | None = None
    fingerprints: Annotated[list[Fingerprint], Field(max_length=8)] | None = None
    mime: MediaType
    w: Pixels | None = None
    h: Pixels | None = None
    size: U64 | None = None
    ref: Line | None = None
    before_moderation: Before | None = None
    confidence: Decimal | None = None
    safety_labels: Codes | None = None
    disposition: Literal["delivered", "blurred", "quarantined", "withheld"] | None = None


class Provider(Part):
    """What the provider said of itself."""

    request_id: Line | None = None
    response_headers_digest: Digest | None = None
    model_returned: Line | None = None
    system_fingerprint: Line | None = None
    created_at: Time | None = None


class Usage(Part):
    """What the call used. Money is a decimal string with its currency."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    images: Small | None = None
    steps: Small | None = None
    latency_ms: Count | None = None
    cost: Decimal | None = None
    currency: Currency | None = None


class Watermark(Part):
    """An invisible mark in the output."""

    alg: Code
    alg_version: Code | None = None
    payload_digest: Digest | None = None
    verified: bool | None = None


class Latent(Part):
    """The latent disclosure that California asks for (B&P 22757.3(b))."""

    provider_name: Line
    system_name: Line
    system_version: Code
    created_at: Time
    content_uid: Id


class Marking(Part):
    """How the output says that it was generated (AI Act, Article 50(2))."""

    c2pa_manifest_digest: Digest | None = None
    c2pa_sig_ts: Time | None = None
    digital_source_type: Url | None = None
    watermark: Watermark | None = None
    fingerprint_registered: bool | None = None
    visible_label: Line | None = None
    latent: Latent | None = None


class Warning_(Part):
    """A warning that was shown with the output."""

    message_id: Id
    acknowledged: bool | None = None


class Replay(Part):
    """Whether the same call can give the same output again."""

    deterministic: bool
    env_digest: Digest | None = None


class Gen(Body):
    """The model answered; these are its outputs."""

    sealed: ClassVar = (
        "outputs[*].sha256",
        "outputs[*].pixel_sha256",
        "usage.payment_source",
        "usage.remaining_balance",
    )
    needs: ClassVar = ("outputs[*].sha256",)

    outputs: Annotated[list[Output], Field(min_length=1, max_length=64)]
    reference_assets: Annotated[list[Id], Field(max_length=64)] | None = None
    provider: Provider | None = None
    usage: Usage | None = None
    marking: Marking | None = None
    warning: Warning_ | None = None
    result: Literal["success", "partial"] | None = None
    finish_reason: Code | None = None
    replay: Replay | None = None


class Classifier(Part):
    """The program that judged."""

    id: Id
    version: Code
    digest: Digest | None = None


class GenDeny(Body):
    """The request was refused, by a rule, a classifier, the provider or a person."""

    sealed: ClassVar = ("refusal_text",)

    decision: Literal["DENY"]
    refusal_reason_code: Code
    risk_category: Code | None = None
    risk_sub: Codes | None = None
    risk_score: Decimal | None = None
    policy: Versioned | None = None
    rule_ids: Codes | None = None
    classifier: Classifier | None = None
    human_override: bool | None = None
    escalation_id: Id | None = None
    shown_to_user: bool | None = None


class GenError(Body):
    """No output came of it: a fault, or the ledger's own timeout."""

    sealed: ClassVar = ("error.message",)

    error: Failure
    timeout: bool | None = None


class Claim(Part):
    """An outcome as it was sent, after the ledger had closed its attempt."""

    type: Literal["GEN", "GEN_DENY", "GEN_ERROR"]
    schema_: int = Field(alias="schema", ge=1)
    body: dict[str, Any]


class OutcomeLate(Body):
    """An outcome that came after the ledger's own timeout. Not an outcome: a fact, and an alarm."""

    claimed: Claim


class HashMatch(Part):
    """A look-up in a list of known illegal pictures; never the hash itself."""

    list: Code
    version: Code
    hit: bool


class Judgement(Part):
    """What a filter found and did. Scores are decimal strings by label."""

    stage: Literal["pre_prompt", "post_output", "export"]
    classifier: Classifier
    scores: Annotated[dict[Code, Decimal], Field(max_length=64)] | None = None
    threshold: Decimal | None = None
    filter_triggered: bool | None = None
    filter_action: Literal["allow", "warn", "block", "blur", "quarantine", "escalate"]
    labels: Codes | None = None
    risk_category: Code | None = None
    risk_sub: Codes | None = None
    risk_score: Decimal | None = None
    rule_ids: Codes | None = None
    policy: Versioned | None = None
    latency_ms: Count | None = None
    hash_match: HashMatch | None = None


class Moderation(Body):
    """A filter judged a prompt or an output."""

    sealed: ClassVar = ("mod.explanation", "mod.hash_match.detail")

    mod: Judgement
