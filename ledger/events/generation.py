# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of a model: the attempt, recorded before the model runs, and its one outcome.

The outcome's link to its attempt is the stream itself: both are of one Generation, whose id the
client makes for the attempt.
"""

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ledger.events.model import Model
from ledger.events.moderation import Classifier
from ledger.events.values import (
    U64,
    Body,
    Code,
    Codes,
    Count,
    Currency,
    Decimal,
    Digest,
    Failure,
    Fingerprints,
    Id,
    Ids,
    Language,
    Line,
    MediaType,
    Part,
    Pixels,
    Scores,
    Small,
    Time,
    Token,
    Url,
    Versioned,
    may,
    must,
)


class Params(Part):
    """What makes the output reproducible. 64-bit seeds are strings, scales are decimals."""

    seed: U64 = may("Seed of the sampler.")
    steps: Small = may("Steps of the sampler.")
    cfg_scale: Decimal = may("Guidance.")
    width: Pixels = may("Width asked for, in pixels.")
    height: Pixels = may("Height asked for, in pixels.")
    sampler: Code = may("Sampler.")
    scheduler: Code = may("Scheduler.")
    strength: Decimal = may("How far to leave the input.")
    temperature: Decimal = may("Temperature.")
    top_p: Decimal = may("Nucleus sampling.")
    max_tokens: Small = may("Most tokens.")
    n: Annotated[int, Field(ge=1, le=64)] = may("Number of outputs asked for.")


class Prompt(Part):
    """What is clear about a prompt; its texts are sealed."""

    template: Versioned = may("Template from which it was rendered.")
    injection_score: Decimal = may("How much it looks like an injection.")
    language: Language = may("Its language.")
    token_count: Small = may("Its length in tokens.")


class InputAsset(Part):
    """Something that the model was given; its digest is personal and is sealed."""

    ref_asset: Id = may("The asset, if the ledger knows it.")
    type: Code = must("Kind of input, such as `image`.")
    role: Literal["source", "mask", "control", "style", "reference"] = may("What it is for.")
    transformations: Codes = may("What was done to it before.")


class Quote(Part):
    """What the call was said to cost."""

    amount: Decimal = must("Amount.")
    currency: Currency = must("Currency.")


class Billing(Part):
    """Cost before the call."""

    quote: Quote = must("The quote.")


class GenAttempt(Body):
    """Somebody asks a model for an output. Recorded and receipted before the model is called."""

    sealed: ClassVar = {
        "prompt.user": "What the person wrote.",
        "prompt.negative": "What the person does not want.",
        "prompt.system": "The system's own instructions.",
        "prompt.rendered": "What the model was given, in full.",
        "prompt.style_constraints": "Style asked for.",
        "prompt.template_vars": "What was filled into the template.",
        "inputs[*].sha256": "Digest of an input's bytes.",
    }
    forms: ClassVar = {"inputs[*].sha256": Digest}
    subjects: ClassVar = {"prompt.system": "tenant", "inputs[*].sha256": "depicted"}

    operation: Literal[
        "generate", "edit", "inpaint", "outpaint", "upscale", "variation", "caption", "chat", "tool"
    ] = must("What is asked for.")
    input_type: Literal["text", "image", "text+image", "video", "audio", "multimodal"] = must(
        "Kind of input."
    )
    model: Model = must("The model that will be called.")
    params: Params = may("Parameters of the call.")
    prompt: Prompt = may("What is clear about the prompt.")
    inputs: Annotated[list[InputAsset], Field(max_length=32)] = may("What the model is given.")
    consent_ids: Ids = may("Consents that cover the call.")
    policy: Versioned = may("Policy in force.")
    billing: Billing = may("What it will cost.")
    deadline_s: Annotated[int, Field(ge=1, le=86_400)] = may(
        "Seconds until the ledger itself closes the attempt; the setting's default if absent."
    )


class Before(Part):
    """The output before moderation changed it."""

    sha256: Digest = may("Digest of its bytes.")
    pixel_sha256: Digest = may("Digest of the decoded picture.")
    fingerprints: Fingerprints = may("Perceptual fingerprints.")


class Quarantine(Part):
    """Where an output is held back, and for how long."""

    location: Line = must("Where it lies.")
    expires_at: Time = may("Until when.")
    access_level: Code = may("Who may see it.")
    auto_delete: bool = may("Whether it is destroyed at the end by itself.")


class Output(Part):
    """One output. Its digest is clear, because it is ours and strangers will ask for it."""

    asset_id: Id = must("The asset that is born.")
    sha256: Digest = may("Digest of the bytes; sealed in a private tenant.")
    pixel_sha256: Digest = may("Digest of the decoded picture (RGB, 8 bits).")
    fingerprints: Fingerprints = may("Perceptual fingerprints.")
    mime: MediaType = must("Media type.")
    w: Pixels = may("Width in pixels.")
    h: Pixels = may("Height in pixels.")
    size: U64 = may("Bytes.")
    ref: Line = may("Where the house keeps it; `archive` promises it to this ledger's archive.")
    before_moderation: Before = may("The output as the model gave it, if moderation changed it.")
    confidence: Decimal = may("The model's own confidence.")
    safety_labels: Codes = may("Labels given to it.")
    disposition: Literal["delivered", "blurred", "quarantined", "withheld"] = may(
        "What became of it."
    )
    quarantine: Quarantine = may("Where it is held back, if it is.")


class Provider(Part):
    """What the provider said of itself."""

    request_id: Token = may("The provider's id of the call.")
    response_headers_digest: Digest = may("Digest of the answer's headers.")
    model_returned: Line = may("Model that the provider says it used.")
    system_fingerprint: Line = may("The provider's own fingerprint of its system.")
    created_at: Time = may("The provider's time of the answer.")


class Usage(Part):
    """What the call used. Money is a decimal string with its currency."""

    input_tokens: Count = may("Tokens in.")
    output_tokens: Count = may("Tokens out.")
    images: Small = may("Pictures.")
    steps: Small = may("Steps.")
    latency_ms: Count = may("How long it took, in milliseconds.")
    cost: Decimal = may("Cost.")
    currency: Currency = may("Its currency.")


#: What tells about the payer: committed with every outcome that may have cost something.
SEALED_USAGE: Final = {
    "usage.payment_source": "Who paid.",
    "usage.remaining_balance": "What that account still holds.",
}


class Watermark(Part):
    """An invisible mark in the output."""

    alg: Code = must("Algorithm.")
    alg_version: Code = may("Its version.")
    payload_digest: Digest = may("Digest of what it says.")
    verified: bool = may("Whether it was read back.")


class Latent(Part):
    """The latent disclosure that California asks for (B&P 22757.3(b))."""

    provider_name: Line = must("Provider.")
    system_name: Line = must("System.")
    system_version: Code = must("Its version.")
    created_at: Time = must("When the content was made.")
    content_uid: Id = must("Unique id of the content.")


class Marking(Part):
    """How the output says that it was generated (AI Act, Article 50(2))."""

    c2pa_manifest_digest: Digest = may("Digest of its C2PA manifest.")
    c2pa_sig_ts: Time = may("Time stamp of the manifest's signature.")
    digital_source_type: Url = may("IPTC digital source type.")
    watermark: Watermark = may("Invisible mark.")
    fingerprint_registered: bool = may("Whether its fingerprint was registered.")
    visible_label: Line = may("Label that can be seen.")
    latent: Latent = may("Latent disclosure.")


class ShownWarning(Part):
    """A warning that was shown with the output."""

    message_id: Id = must("Which one.")
    acknowledged: bool = may("Whether the person confirmed it.")


class Replay(Part):
    """Whether the same call can give the same output again."""

    deterministic: bool = must("Whether it should.")
    env_digest: Digest = may("Digest of what else decides the output.")


class Gen(Body):
    """The model answered; these are its outputs, and each becomes an Asset."""

    sealed: ClassVar = {
        "outputs[*].sha256": "Digest of an output, in a private tenant.",
        "outputs[*].pixel_sha256": "Digest of a decoded output, in a private tenant.",
        "outputs[*].fingerprints": "Fingerprints of an output, in a private tenant.",
        "outputs[*].before_moderation.sha256": "Digest of an output before moderation.",
        "outputs[*].before_moderation.pixel_sha256": "Digest of its decoded picture.",
        "outputs[*].before_moderation.fingerprints": "Its fingerprints.",
        **SEALED_USAGE,
    }
    forms: ClassVar = {
        "outputs[*].sha256": Digest,
        "outputs[*].pixel_sha256": Digest,
        "outputs[*].fingerprints": Fingerprints,
        "outputs[*].before_moderation.sha256": Digest,
        "outputs[*].before_moderation.pixel_sha256": Digest,
        "outputs[*].before_moderation.fingerprints": Fingerprints,
    }
    needs: ClassVar = ("outputs[*].sha256",)
    artifacts: ClassVar = frozenset({"provider.response_headers_digest"})

    outputs: Annotated[list[Output], Field(min_length=1, max_length=64)] = must("The outputs.")
    reference_assets: Ids = may("Assets that the output refers to.")
    provider: Provider = may("The provider's answer.")
    usage: Usage = may("What was used.")
    marking: Marking = may("How the outputs are marked.")
    warning: ShownWarning = may("Warning that was shown.")
    result: Literal["success", "partial"] = may("Whether all came that was asked for.")
    finish_reason: Code = may("Why the model stopped.")
    replay: Replay = may("Whether it can be repeated.")

    @model_validator(mode="after")
    def _names_each_asset_once(self) -> Self:
        if len({one.asset_id for one in self.outputs}) != len(self.outputs):
            raise PydanticCustomError("distinct", "two outputs have one asset_id")
        return self


class GenDeny(Body):
    """The request was refused, by a rule, a classifier, the provider or a person."""

    sealed: ClassVar = {"refusal_text": "What the person was told.", **SEALED_USAGE}
    artifacts: ClassVar = frozenset({"provider.response_headers_digest"})

    decision: Literal["DENY"] = must("The decision.")
    refusal_reason_code: Code = must("Why, in a code.")
    risk_category: Code = may("Main risk.")
    risk_sub: Codes = may("Finer risks.")
    risk_score: Decimal = may("Risk as one number.")
    policy: Versioned = may("Policy that holds the rules.")
    rule_ids: Codes = may("Rules that applied.")
    classifier: Classifier = may("The program that judged.")
    scores: Scores = may("Score for each label.")
    threshold: Decimal = may("Score from which it refuses.")
    human_override: bool = may("Whether a person decided against the filter.")
    escalation_id: Id = may("The escalation.")
    shown_to_user: bool = may("Whether the person was told.")
    provider: Provider = may("The provider's answer, if it was the provider that refused.")
    usage: Usage = may("What was used all the same.")


class GenError(Body):
    """No output came of it: a fault, or the ledger's own timeout."""

    sealed: ClassVar = {"error.message": "What the program said.", **SEALED_USAGE}
    subjects: ClassVar = {"error.message": "tenant"}
    artifacts: ClassVar = frozenset({"provider.response_headers_digest"})

    error: Failure = must("What went wrong.")
    provider: Provider = may("The provider's answer, if there was one.")
    usage: Usage = may("What was used all the same.")
    timeout: bool = may("The ledger closed the attempt itself; only the ledger sends true.")


class Claim(Part):
    """An outcome as it was sent, after the ledger had closed its attempt."""

    type: Literal["GEN", "GEN_DENY", "GEN_ERROR"] = must("Its type.")
    schema_: Annotated[int, Field(ge=1, le=1_000)] = must("Its schema.", name="schema")
    body: dict[str, Any] = must("Its body.")


class OutcomeLate(Body):
    """An outcome that came after the ledger's own timeout. Not an outcome: a fact, and an alarm."""

    claimed: Claim = must("The outcome as it was sent.")
