# SPDX-License-Identifier: Apache-2.0
"""Which model is called and with what: the body of an attempt, and the texts that are sealed."""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Any, Final

from sealtrail.content import content_of, is_digest, kind_of, named_file

#: Members of `params` that the ledger has (docs/events.md, GEN_ATTEMPT), by their form there.
WHOLE: Final = frozenset({"steps", "width", "height", "max_tokens", "n"})
DECIMALS: Final = frozenset({"cfg_scale", "strength", "temperature", "top_p"})
WORDS: Final = frozenset({"sampler", "scheduler"})
PARAMS: Final = WHOLE | DECIMALS | WORDS | {"seed"}


def named_model(model: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's members from `provider/name@version`, or those that were given.

    A version of the form `sha256:…` is the digest of the model's manifest. Raises ValueError.
    """
    if not isinstance(model, str):
        return dict(model)
    name, at, version = model.rpartition("@")
    provider, slash, rest = (name if at else model).partition("/")
    if not slash or not provider or not rest:
        raise ValueError("a model is named provider/name or provider/name@version")
    named: dict[str, Any] = {"provider": provider, "name": rest, "version": version or "unknown"}
    if is_digest(version):
        named |= {"version": version[:19], "manifest": version}
    return named


def attempt_body(
    model: Mapping[str, Any],
    *,
    operation: str,
    prompt: str | None,
    params: Mapping[str, Any] | None,
    inputs: Sequence[Any],
    consents: Sequence[str],
    facts: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the body of a GEN_ATTEMPT and its sealed values."""
    sealed: dict[str, Any] = {} if prompt is None else {"prompt.user": prompt}
    listed = []
    for at, thing in enumerate(inputs):
        content = content_of(named_file(thing))
        listed.append({"type": kind_of(content.mime), "role": "source"})
        sealed[f"inputs[{at}].sha256"] = content.sha256
    body: dict[str, Any] = {"operation": operation, "model": dict(model)}
    body["input_type"] = _input_type([one["type"] for one in listed], prompt)
    if params:
        body["params"] = plain_params(params)
    if listed:
        body["inputs"] = listed
    if consents:
        body["consent_ids"] = list(consents)
    return body | dict(facts), sealed


def plain_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as the ledger spells them. Raises ValueError for one it has no word for."""
    unknown = sorted(set(params) - PARAMS)
    if unknown:
        raise ValueError(f"a call's params are {', '.join(sorted(PARAMS))}; not {unknown[0]}")
    return {name: _spelled(name, value) for name, value in params.items() if value is not None}


def decimal_text(value: Any) -> str:
    """Return a number as a decimal string, never in exponents. A float is taken as it prints.

    Rounded to the 18 digits behind the point that the ledger takes. Raises ValueError for one with
    more than 18 before it.
    """
    number = Decimal(str(value))
    if not number.is_finite() or abs(number) >= 10**18:
        raise ValueError("a number must be finite, with at most 18 digits before its point")
    if -int(number.as_tuple().exponent) > 18:
        number = number.quantize(Decimal("1e-18"), context=Context(prec=60))
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _spelled(name: str, value: Any) -> Any:
    if name == "seed":
        return str(int(value) % 2**64)
    if name in DECIMALS:
        return decimal_text(value)
    return int(value) if name in WHOLE else str(value)


def _input_type(kinds: Sequence[str], prompt: str | None) -> str:
    if not kinds:
        return "text"
    if set(kinds) == {"image"}:
        return "image" if prompt is None else "text+image"
    return kinds[0] if len(set(kinds)) == 1 and kinds[0] in {"video", "audio"} else "multimodal"
