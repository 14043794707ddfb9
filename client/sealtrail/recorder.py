# SPDX-License-Identifier: Apache-2.0
"""Record an event and get it proved, or get an error; there is nothing in between.

    with Recorder(url, token, trust=trust) as recorder:
        attempt = recorder.post("GEN_ATTEMPT", aggregate_id=id, on_behalf_of=person, body=...)
        picture = model(...)                  # only now: the attempt is on record
        recorder.post("GEN", aggregate_id=id, on_behalf_of=person, body=..., links=[...])
        hand_on(picture)                      # only now: so is what came of it

Nothing is queued and nothing fails quietly. A request is repeated as long as repeating it is
safe; a receipt is checked, byte by byte, before it is returned.

Two receipts are not compared with each other here. `sealtrail.journal_check` holds all that were
kept against the log of today; a ledger that shows this client one history and somebody else another
is found out by a witness or by the anchored checkpoint.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Self

from sealtrail.answers import judged, members_of, receipt_of, too_large
from sealtrail.errors import (
    OutcomeLate,
    ReceiptInvalid,
    RecorderError,
    Refused,
)
from sealtrail.receipt import RECEIPT_MAX, Receipt
from sealtrail.request import Sent, prepare
from sealtrail.standing import OldProof, Standing
from sealtrail.verify import canonical
from sealtrail.verify.entry import OUTCOME_LATE
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust
from sealtrail.wire import Answer, AnswerTooLarge, Wire

#: No packet and no proof is longer, in bytes.
PACKET_MAX: Final = 256 * 1024 * 1024
PROOF_MAX: Final = 2 * 1024 * 1024

_PURPOSE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Recorder:
    """A connection to one ledger. Safe for use by several threads; close it, or use `with`.

    trust: the keys to believe, as parsed from a trust file that did not come from the ledger's
    answers. Without it, receipts are checked but for their signature.
    timeout_s bounds one attempt, attempts how often one request is sent.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        trust: Trust | None = None,
        timeout_s: float = 10,
        attempts: int = 5,
    ) -> None:
        self._trust = trust
        self._wire = Wire(url, token, timeout_s=timeout_s, attempts=attempts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Receipts stay valid; they need none."""
        self._wire.close()

    def post(
        self,
        type: str,  # noqa: A002 - the word of the wire format
        *,
        aggregate_id: str,
        body: Mapping[str, Any],
        schema: int = 1,
        on_behalf_of: str | None = None,
        subjects: Mapping[str, str] | None = None,
        sealed: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        time: Mapping[str, str] | None = None,
        trace: Mapping[str, Any] | None = None,
        links: Sequence[Mapping[str, str]] | None = None,
        event_id: str | None = None,
        record_key: bytes | None = None,
        custody: bool = False,
        **groups: Any,
    ) -> Receipt:
        """Record one event; its receipt, checked.

        on_behalf_of is the natural person behind the event and is required of a pipeline's
        token; it, the further persons in `subjects` (depicted, rights_holder, reviewer) and the
        values in `sealed` reach the log as salted commitments only. groups are the further clear
        members of an entry (actor, net, clock, retention, ...).
        custody: the ledger gets digests only; what opens them is in the receipt, and nowhere else.
        event_id and record_key are made here unless given: give those of an AuditUnavailable
        to find out, safely, whether that event was recorded.

        Raises Refused (change the request), AuditUnavailable (nobody knows: repeat it),
        ReceiptInvalid (stop) or OutcomeLate (withhold the output); before anything is sent,
        ValueError or sealtrail.verify's Unreadable for what can not be sent.
        """
        sent = prepare(
            type,
            schema,
            {
                "aggregate_id": aggregate_id,
                "body": _plain(body),
                "on_behalf_of": on_behalf_of,
                "subjects": None if subjects is None else dict(subjects),
                "sealed": _plain(sealed),
                "source": _plain(source),
                "time": _plain(time),
                "trace": _plain(trace),
                "links": _plain(links),
                **{name: _plain(value) for name, value in groups.items()},
            },
            event_id=event_id,
            record_key=record_key,
            custody=custody,
        )
        try:
            receipt = self._record(sent)
        except RecorderError as problem:
            problem.event_id, problem.record_key = sent.event_id, sent.record_key
            raise
        if receipt.type == OUTCOME_LATE:
            raise OutcomeLate(receipt, record_key=sent.record_key)
        return dataclasses.replace(receipt, disclosures=sent.kept) if custody else receipt

    def proof(self, event_id: str, *, purpose: str | None = None) -> bytes:
        """A fresh `.tlog-proof` of an event, as bytes; needs an auditor's token.

        purpose: a code such as `incident-42` that is recorded in the access Book.

        It is well-formed; what it proves depends on the entry, which the caller has: see
        `sealtrail.verify.tlog_proof.check_tlog_proof`. Raises Refused or AuditUnavailable.
        """
        answer = self._ask(
            "GET",
            f"/v1/events/{id_segment(event_id)}/proof",
            answer_max=PROOF_MAX,
            headers={"accept": "text/plain"} | _purpose(purpose),
        )
        try:
            TlogProof.parse(answer.body)
        except VerifyError as problem:
            raise ReceiptInvalid(str(problem), check="proof") from None
        return answer.body

    def standing(self, proof: bytes, *, entry: bytes) -> Standing:
        """Whether the entry of an old proof is still in the log, or was orphaned by a restore.

        proof: a `.tlog-proof`, or a receipt's `proof`; entry: the exact bytes of its entry. Any
        token will do. Raises ReceiptInvalid when the old proof or the ledger's answer does not
        hold, or one log has signed two histories; Refused or AuditUnavailable; ValueError when
        this recorder was made without trust.
        """
        if self._trust is None:
            raise ValueError("without trust nobody can say what a proof is worth")
        return self.standing_of(OldProof.check(proof, entry=entry, trust=self._trust))

    def standing_of(self, old: OldProof) -> Standing:
        """As `standing`, for a proof that was checked before."""
        try:
            answer = self._ask("GET", f"/v1/proofs/{old.proof.index}", answer_max=PROOF_MAX)
        except Refused as refusal:
            if refusal.status != 404:
                raise
        else:
            return old.against(members_of(answer))
        return old.beyond(self.checkpoint())

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint that the ledger shows, unchecked. Any token will do.

        Raises Refused or AuditUnavailable.
        """
        return self._ask("GET", "/v1/checkpoint", answer_max=PROOF_MAX).body

    def clock(self) -> str | None:
        """The time that the ledger's server names (RFC 9110 §6.6.1), or None."""
        return self._ask("GET", "/livez", answer_max=PROOF_MAX).headers.get("date")

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The path that shows the log of new_size entries to extend that of old_size, unchecked.

        Source: RFC 9162 §2.1.4. Raises ReceiptInvalid, Refused or AuditUnavailable.
        """
        asked = f"/v1/consistency?from={old_size}&to={new_size}"
        listed = members_of(self._ask("GET", asked, answer_max=PROOF_MAX)).get("path")
        try:
            texts = [node.removeprefix("sha256:") for node in listed or ()]
            return tuple(bytes.fromhex(text) for text in texts)
        except (AttributeError, TypeError, ValueError):
            raise ReceiptInvalid("The consistency path can not be read.", check="path") from None

    def read(
        self, path: str, question: Mapping[str, Any] | None = None, *, purpose: str | None = None
    ) -> dict[str, Any]:
        """The members of an answer in JSON: of a GET, or of a POST if there is a question.

        Needs an auditor's token; every such look is recorded. Raises Refused, AuditUnavailable.
        """
        content = None if question is None else canonical.encode(_plain(question))
        answer = self._ask(
            "GET" if question is None else "POST",
            path,
            answer_max=PACKET_MAX,
            content=content,
            headers={"content-type": "application/json"} | _purpose(purpose),
        )
        return members_of(answer)

    def search(self, query: str, *, purpose: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield what a query finds (docs/search.md), newest first; needs an auditor's token."""
        cursor = None
        while True:
            question = {"q": query, "limit": 200} | ({} if cursor is None else {"cursor": cursor})
            page = self.read("/v1/search", question, purpose=purpose)
            yield from page.get("found", ())
            cursor = page.get("next")
            if cursor is None:
                return

    def packet(
        self,
        event_ids: Iterable[str],
        disclosures: Mapping[str, Mapping[str, str]],
        purpose: str,
    ) -> bytes:
        """A packet (zip) that proves these events to a stranger; needs an auditor's token.

        disclosures: what the packet may show in the clear, {event_id: {name: disclosure}}.
        purpose: a code, recorded in the access Book. The bytes are those that the ledger made;
        what they prove, `sealtrail.verify` says. Raises Refused, AuditUnavailable or
        ReceiptInvalid.
        """
        request = {
            "event_ids": list(event_ids),
            "disclosures": {key: dict(value) for key, value in disclosures.items()},
        }
        answer = self._ask(
            "POST",
            "/v1/packets",
            answer_max=PROOF_MAX,
            content=canonical.encode(request),
            headers={"content-type": "application/json"} | _purpose(purpose),
        )
        made = members_of(answer)
        packet_id, digest = made.get("id"), made.get("sha256")
        if not isinstance(packet_id, str) or not isinstance(digest, str):
            raise ReceiptInvalid("The ledger did not name the packet it made.", check="packet")
        packet = self._ask(
            "GET",
            f"/v1/packets/{id_segment(packet_id)}",
            answer_max=PACKET_MAX,
            headers=_purpose(purpose),
        ).body
        if digest != f"sha256:{sha256(packet).hexdigest()}":
            raise ReceiptInvalid("The packet is not the one that was made.", check="packet")
        return packet

    def _record(self, sent: Sent) -> Receipt:
        answer = self._send(
            "POST",
            "/v1/events",
            answer_max=RECEIPT_MAX,
            content=sent.content,
            headers={"content-type": "application/json"},
        )
        return receipt_of(answer, sent, self._trust)

    def _ask(self, method: str, path: str, *, answer_max: int, **options: Any) -> Answer:
        """An answer below 300. Raises Refused for 4xx and AuditUnavailable for all the rest."""
        return judged(self._send(method, path, answer_max=answer_max, **options))

    def _send(self, method: str, path: str, *, answer_max: int, **options: Any) -> Answer:
        try:
            return self._wire.send(method, path, answer_max=answer_max, **options)
        except AnswerTooLarge:
            raise too_large() from None


def _plain(value: Any) -> Any:
    """Mappings and sequences as the dict and list that canonical JSON is made of."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _purpose(purpose: str | None) -> dict[str, str]:
    """The header that says why something is read; a code, because prose could name persons."""
    if purpose is None:
        return {}
    if not _PURPOSE.fullmatch(purpose):
        raise ValueError("a purpose is a code of a-z 0-9 . _ -, such as incident-42")
    return {"sealtrail-purpose": purpose}


def id_segment(text: str) -> str:
    """An id as part of a URL's path; anything but an id's characters is refused."""
    if not text or not all(c.isascii() and (c.isalnum() or c in "-_") for c in text):
        raise ValueError("an id holds letters, digits, - and _ only")
    return text
