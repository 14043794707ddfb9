# SPDX-License-Identifier: GPL-3.0-or-later
"""Court packets over HTTP: ask for one, then fetch it. Both are looks and are recorded as such.

A finished packet lies in the packet directory for a limited time, readable by this ledger only: it
holds the disclosures that the requester supplied.
"""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field

from api.state import AppState, AuditorLook, State
from evidence.packet import PacketRequest, build_packet
from evidence.spool import Spool
from ledger.errors import NotFound

router = APIRouter(tags=["packets"])

_UUID7: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_PACKET: Final = re.compile(r"[0-9a-f]{32}")
EventId = Annotated[str, Field(pattern=_UUID7)]


class NewPacket(BaseModel):
    """Which entries, and which disclosures the requester wants shown with them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    event_ids: list[EventId] = Field(min_length=1, max_length=1_000)
    disclosures: dict[str, dict[str, str]] = Field(default_factory=dict)


@router.post("/packets", status_code=201)
def make_packet(
    app: AppState, looking: AuditorLook, new: Annotated[NewPacket, Body()]
) -> dict[str, Any]:
    """Build a packet, verify it, and keep it to be fetched."""
    request = PacketRequest(event_ids=tuple(new.event_ids), disclosures=new.disclosures)
    request.check()  # Before the look is recorded: only names of fields may go into it.
    looking.note(
        app.shelf,
        "/v1/packets",
        event_ids=new.event_ids,
        count=len(new.event_ids),
        fields=sorted({name for shown in new.disclosures.values() for name in shown}),
        exported=True,
    )
    built = build_packet(looking.book, request, trust_file=app.trust_file)
    _spool(app).put(built.packet_id, looking.book.row.name, built.data)
    return {
        "id": built.packet_id,
        "sha256": f"sha256:{built.digest.hex()}",
        "size": len(built.data),
        "verdict": built.verdict,
        "records": built.records,
    }


@router.get("/packets/{packet_id}", response_class=Response)
def packet(app: AppState, looking: AuditorLook, packet_id: str) -> Response:
    """Return a packet that was built before, as a zip file."""
    if not _PACKET.fullmatch(packet_id):
        raise NotFound("there is no such packet")
    looking.note(
        app.shelf,
        "/v1/packets/{id}",
        count=1,
        exported=True,
    )
    data = _spool(app).get(packet_id, looking.book.row.name)
    return Response(
        data,
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="packet-{packet_id}.zip"'},
    )


def _spool(app: State) -> Spool:
    return Spool(app.packet_dir, ttl_s=app.packet_ttl_s)
