# SPDX-License-Identifier: GPL-3.0-or-later
"""CAP evidence packs over HTTP: ask for some days, then fetch the file as any packet.

A look: it is entered in the access Book before an entry is read. Days, which name nobody, are part
of the path that is recorded.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from api.state import AppState, AuditorLook
from evidence.cap_pack import build_cap_pack
from evidence.cap_range import CapRequest, range_of
from evidence.spool import Spool

router = APIRouter(tags=["packets"])

_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


class NewCapPack(BaseModel):
    """UTC days, both included; which part, where they have more than one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    first: str = Field(alias="from", pattern=_DAY)
    last: str = Field(alias="to", pattern=_DAY)
    part: int = Field(default=1, ge=1, le=1_000_000)


@router.post("/cap-packs", status_code=201)
def make_cap_pack(
    app: AppState, looking: AuditorLook, new: Annotated[NewCapPack, Body()]
) -> dict[str, Any]:
    """Build a CAP evidence pack, check it, and keep it for `GET /v1/packets/{id}`."""
    request = CapRequest(first=new.first, last=new.last, part=new.part)
    request.check()
    within = range_of(looking.book, request)
    looking.note(
        app.shelf,
        f"/v1/cap-packs?from={new.first}&to={new.last}&part={new.part}",
        count=within.end - within.begin,
        size=within.size,
        exported=True,
    )
    built = build_cap_pack(looking.book, request, trust_file=app.trust_file)
    packet_id = built.pack_id.replace("-", "")
    spool = Spool(app.packet_dir, ttl_s=app.packet_ttl_s)
    spool.put(packet_id, looking.book.row.name, built.data)
    return {
        "id": packet_id,
        "sha256": f"sha256:{built.digest.hex()}",
        "size": len(built.data),
        "events": built.events,
        "complete": built.complete,
        "part": built.part,
        "parts": built.parts,
    }
