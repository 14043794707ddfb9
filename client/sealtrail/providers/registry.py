# SPDX-License-Identifier: Apache-2.0
"""Readers by the name of their provider, or by the address under which one is called."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from sealtrail.providers.a1111 import A1111
from sealtrail.providers.anthropic import Anthropic
from sealtrail.providers.comfyui import ComfyUi
from sealtrail.providers.exchange import Provider
from sealtrail.providers.google import Google
from sealtrail.providers.openai import NanoGpt, OpenAi, XAi

#: Name → its reader. Others that speak OpenAI's format are made with `compatible`.
READERS: Final[dict[str, Callable[[str], Provider]]] = {
    "openai": OpenAi,
    "anthropic": Anthropic,
    "xai": XAi,
    "nanogpt": NanoGpt,
    "google": Google,
    "a1111": A1111,
    "comfyui": ComfyUi,
}

#: Where the providers themselves listen.
ADDRESSES: Final[dict[str, str]] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "xai": "https://api.x.ai/v1",
    "nanogpt": "https://nano-gpt.com/api/v1",
    "google": "https://generativelanguage.googleapis.com",
    "a1111": "http://127.0.0.1:7860",
    "comfyui": "http://127.0.0.1:8188",
}
_BY_HOST: Final = {
    urlsplit(address).hostname: name
    for name, address in ADDRESSES.items()
    if address.startswith("https:")
}


def reader(kind: str, *, named: str | None = None) -> Provider:
    """Return the reader of a provider's format. Raises KeyError for one that is unknown.

    named: the provider that speaks it, if it is another one.
    """
    return READERS[kind](kind if named is None else named)


def compatible(name: str) -> Provider:
    """Return a reader of OpenAI's format under another provider's name."""
    return OpenAi(name)


def reader_for(host: str | None) -> Provider | None:
    """Return the reader of the provider that listens under a host's name, if it is known."""
    name = _BY_HOST.get(host)
    return None if name is None else reader(name)
