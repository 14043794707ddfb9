# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of CAP packs have in common: asking for one, its events, the signer's public key."""

import json
from pathlib import Path

import cap_checker
import pytest
from cap_story import days

from evidence.cap_pack import build_cap_pack
from evidence.cap_range import CapRequest

CAP = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "cap-spec"
needs_cap = pytest.mark.skipif(not CAP.is_dir(), reason="CAP's schemas (shared/vectors) not here")


def pack_of(house, *, first=None, last=None, **more):
    request = CapRequest(first=first or days()[0], last=last or days()[1], **more)
    return build_cap_pack(house.book, request, trust_file=house.directory / "trust.json")


def key_of(house):
    """The signer's public key as the published trust has it."""
    trust = json.loads((house.directory / "trust.json").read_bytes())
    (vkey,) = (key for one in trust["packet_keys"] for key in one["vkeys"])
    return cap_checker.base64.b64decode(vkey.split("+", 2)[2])[1:]


def events_in(pack):
    """The events of a pack, in their order."""
    return cap_checker.events_of(cap_checker.files_of(pack.data))


def by_type(events, type_):
    return [one for one in events if one["EventType"] == type_]
