# SPDX-License-Identifier: Apache-2.0
"""The one object that a pipeline needs: what happens goes on record, or does not happen.

    trail = sealtrail.Trail(application="studio")        # address, token and trust: environment
    with trail.acting_for("emp-7", consent="c-2026-3"):
        with trail.gen(model="acme/painter@3.1", prompt=text) as call:
            picture = paint(text)
            call.output(picture)
        show(picture)

    SEALTRAIL_URL                     the ledger's address
    SEALTRAIL_TOKEN[_FILE]            a pipeline's token, or the file that holds it
    SEALTRAIL_TRUST                   file with the keys to believe, from elsewhere than the ledger

Every receipt is verified before anything goes on, and kept in a local journal: see
`sealtrail.journal`. Nothing here fails open.
"""

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast

from sealtrail import stages
from sealtrail.acting import Acting, ActingFor, acting
from sealtrail.calls import Call
from sealtrail.cost import Cost, cost_of
from sealtrail.environment import named_setting, token_setting, trusted
from sealtrail.errors import AuditUnavailable, OutcomeLate, Refused
from sealtrail.ingesting import Ingesting
from sealtrail.journal import Journal
from sealtrail.models import attempt_body, named_model
from sealtrail.numbers import Numbers
from sealtrail.receipt import Receipt
from sealtrail.recorder import Recorder
from sealtrail.request import new_event_id, new_record_key
from sealtrail.stages import Training
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.trust import Trust
from sealtrail.watching import reader_named, transport, watched

P = ParamSpec("P")
R = TypeVar("R")


class Trail:
    """Records what a program does with models. Safe for several threads and for asyncio.

    application: a plain name of the program; it names the journal's folder and the source of its
    events, so never a person. trust: keys to believe, or the file with them; False goes without,
    and then anybody who answers under the ledger's address is believed. journal: where receipts
    are kept; False keeps none. custody: `producer` keeps prompts, persons and all that opens their
    commitments in the journal's folder and sends digests only.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        trust: Trust | str | os.PathLike[str] | Literal[False] | None = None,
        application: str = "default",
        journal: Journal | bool = True,
        custody: Literal["ledger", "producer"] = "ledger",
        timeout_s: float = 10,
        attempts: int = 5,
    ) -> None:
        """Raises ValueError naming what is missing, OSError for a file that cannot be read."""
        self._trust = trusted(trust)
        self._url = url or named_setting("SEALTRAIL_URL", "SEALTRAIL_LEDGER")
        self._recorder = Recorder(
            self._url,
            token or token_setting("SEALTRAIL_TOKEN"),
            trust=self._trust,
            timeout_s=timeout_s,
            attempts=attempts,
        )
        self._journal: Journal | None
        if isinstance(journal, Journal):
            self._journal = journal
        else:
            self._journal = Journal(context=application) if journal else None
        self._custody = custody == "producer"
        if self._custody and self._journal is None:
            raise ValueError(
                "under producer custody there is a journal: what it keeps is nowhere else"
            )
        self._sequence = Numbers(application)
        self._usage: list[tuple[str | None, Mapping[str, Any]]] = []

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
        """Close the connections and the journal. Receipts stay valid; they need neither."""
        self._recorder.close()
        if self._journal is not None:
            self._journal.close()

    @property
    def recorder(self) -> Recorder:
        """The connection to the ledger, for what this class has no word for."""
        return self._recorder

    @property
    def journal(self) -> Journal | None:
        return self._journal

    # Who and which call

    def acting_for(
        self,
        person: str,
        *,
        consent: str | Sequence[str] | None = None,
        session: str | None = None,
        account: str | None = None,
    ) -> ActingFor:
        """Name the natural person behind what follows, as `with` or `async with`.

        consent: ids of consents that cover it; they go along with every attempt.
        """
        consents = (consent,) if isinstance(consent, str) else tuple(consent or ())
        return ActingFor(Acting(person=person, consents=consents, session=session, account=account))

    def gen(
        self,
        *,
        model: str | Mapping[str, Any],
        prompt: str | None = None,
        operation: str = "generate",
        params: Mapping[str, Any] | None = None,
        inputs: Sequence[Any] = (),
        sealed: Mapping[str, Any] | None = None,
        **facts: Any,
    ) -> Call:
        """Return a call of a model for `with` or `async with`; see `sealtrail.calls`.

        model: `provider/name@version`, or the members of a model (docs/events.md, GEN_ATTEMPT).
        params: floats become decimal strings. inputs: bytes, paths or Pillow images that the model
        is given; only their digests are recorded, sealed. facts: further members of the body.
        """
        body, texts = attempt_body(
            named_model(model),
            operation=operation,
            prompt=prompt,
            params=params,
            inputs=inputs,
            consents=who.consents if (who := acting()) is not None else (),
            facts=facts,
        )
        return Call(self, body, texts | dict(sealed or {}))

    def generates(
        self, *, model: str | Mapping[str, Any], operation: str = "generate", **facts: Any
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function that calls a model and returns its output, or a list of outputs.

        Arguments named `prompt` and `negative_prompt` are sealed; those with the name of a
        parameter (seed, steps, width, …) are recorded. Works for `def` and `async def`; raises
        TypeError for a function that yields: what it yields would go on before its outcome.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            arguments = stages.arguments_of(function)

            def call_of(*args: P.args, **kwargs: P.kwargs) -> Call:
                prompt, params, texts = stages.said_by(arguments(*args, **kwargs))
                return self.gen(
                    model=model,
                    prompt=prompt,
                    operation=operation,
                    params=params,
                    sealed=texts,
                    **facts,
                )

            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def later(*args: P.args, **kwargs: P.kwargs) -> Any:
                    async with call_of(*args, **kwargs) as call:
                        made = await function(*args, **kwargs)
                        stages.name_outputs(call, made)
                    return made

                return cast("Callable[P, R]", later)

            @functools.wraps(function)
            def now(*args: P.args, **kwargs: P.kwargs) -> R:
                with call_of(*args, **kwargs) as call:
                    made = function(*args, **kwargs)
                    stages.name_outputs(call, made)
                return made

            return now

        return decorate

    # Calls that SDKs make

    def watch(self, client: R, *, provider: str | None = None, allow: Sequence[str] = ()) -> R:
        """Return a copy of an OpenAI or Anthropic client, sync or async, whose calls are recorded.

        A pipeline of diffusers is returned itself, watched (`sealtrail.diffusers`).
        provider: whose models it calls, where its address does not tell. allow: paths behind the
        version, such as `embeddings`, that may go unrecorded; others that are unknown are refused.
        """
        return cast("R", watched(self, client, provider=provider, allow=frozenset(allow)))

    def transport(self, inner: Any, *, provider: str, allow: Sequence[str] = ()) -> Any:
        """Return a transport of httpx or httpx2 that records what goes through `inner`, one too."""
        found = reader_named(provider)
        return transport(self, inner, reader_=found, allow=frozenset(allow))

    # The other stages

    def ingest(self, thing: Any, *, rights: str | Mapping[str, Any], **facts: Any) -> Receipt:
        """Record an asset that came in: bytes, a path, a Pillow image or its digest, `sha256:…`.

        A text that is no digest is a path. Raises OSError for a file that cannot be read.

        rights: `OWNED`, `PUBLIC_DOMAIN` …, `licence:<name>`, or the members of `rights`.
        facts: asset_id, name, source_url, personal=True (its digest is sealed), mime, c2pa=True
        (what the file says of its provenance), and further members of the body.
        Its id is `receipt_body(receipt)["asset"]`… of the receipt's entry.
        """
        asset_id, body, sealed = stages.ingest(thing, rights=rights, facts=facts)
        return self.record("INGEST", asset_id, body, sealed=sealed)

    def ingesting(
        self, things: Iterable[Any], *, rights: str | Mapping[str, Any], **facts: Any
    ) -> Ingesting:
        """Return an iterable of the same things, each on record before it is handed on.

        things: paths, bytes, pictures, arrays, or rows of which `of` returns one of these. See
        `sealtrail.ingesting`; facts as for `ingest`.
        """
        return Ingesting(self, things, rights=rights, **facts)

    def train(self, **plan: Any) -> Training:
        """Return a training run for `with`: TRAIN_STARTED before it, TRAIN or TRAIN_FAILED after.

        plan: type, inputs, output_model, code (a path or digest), base_model, config … as the
        members of `train` (docs/events.md, TRAIN_STARTED).
        """
        return Training(self, plan)

    def export(self, thing: Any, *, asset_id: str, to: str, **facts: Any) -> Receipt:
        """Record that an asset leaves the house; call it before it does.

        thing: the bytes that leave, or their path. to: the platform. facts: recipient (sealed),
        type, recipient_type, label_shown, marking_verified … (docs/events.md, EXPORT); c2pa=True
        looks whether the bytes carry a valid manifest.
        """
        body, sealed = stages.export(thing, asset_id=asset_id, to=to, facts=facts)
        return self.record("EXPORT", new_event_id(), body, sealed=sealed)

    def review(self, generation_id: str, *, decision: str, reason: str, **facts: Any) -> Receipt:
        """Record that a person decided: `allow`, `deny` or `modify`, or `override` of a decision.

        Whoever acts is the reviewer. reason: a code. facts: notes, diff (RFC 6902), outcome of an
        override, queue … (docs/events.md, HUMAN_REVIEW and HUMAN_OVERRIDE).
        """
        who = acting()
        reviewer = facts.pop("reviewer", None) or (None if who is None else who.person)
        type_, body, sealed = stages.review(decision, reason, facts)
        if reviewer is not None:
            sealed["reviewer"] = reviewer
        return self.record(type_, generation_id, body, sealed=sealed)

    def search(self, query: str, *, purpose: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield what a query finds (docs/search.md), newest first.

        A pipeline's token cannot read: the auditor's is taken from SEALTRAIL_AUDITOR_TOKEN[_FILE].
        """
        auditor = Recorder(self._url, token_setting("SEALTRAIL_AUDITOR_TOKEN"), trust=self._trust)
        try:
            yield from auditor.search(query, purpose=purpose)
        finally:
            auditor.close()

    # What a session cost

    def calculate_session_cost(self, session: str | None = None) -> Cost:
        """Add up what the outcomes recorded by this object have used, or those of one session.

        session: as given to `acting_for`; None takes all. Exact, and apart for each currency.
        """
        return cost_of(usage for whose, usage in self._usage if session is None or whose == session)

    # One event

    def record(
        self,
        type: str,  # noqa: A002 - the word of the wire format
        aggregate_id: str,
        body: Mapping[str, Any],
        *,
        sealed: Mapping[str, Any] | None = None,
        links: Sequence[Mapping[str, str]] = (),
        usage: Mapping[str, Any] | None = None,
        **groups: Any,
    ) -> Receipt:
        """Record one event for whom this acts, and keep its receipt.

        Raises what `Recorder.post` raises; AuditUnavailable also where the receipt could not be
        kept, though the event is recorded then.
        """
        who = acting()
        sealed = {**(who.sealed() if who is not None else {}), **(sealed or {})}
        event_id, record_key = new_event_id(), new_record_key()
        self._before(event_id, record_key)
        number = self._sequence.take()
        try:
            receipt = self._recorder.post(
                type,
                aggregate_id=aggregate_id,
                body=body,
                on_behalf_of=None if who is None else who.person,
                sealed=sealed or None,
                links=links or None,
                source={"id": self._sequence.id, "n": number},
                event_id=event_id,
                record_key=record_key,
                custody=self._custody,
                **groups,
            )
        except (Refused, TypeError, ValueError, VerifyError) as problem:
            # Nothing was recorded under its number: refused, or impossible to send.
            if getattr(problem, "code", None) != "source-conflict":
                self._sequence.give_back(number)
            if self._journal is not None:
                self._journal.drop(event_id)
            raise
        except OutcomeLate as late:
            self._keep(late.receipt, None)
            raise
        self._keep(receipt, usage)
        if usage:
            self._usage.append((None if who is None else who.session, dict(usage)))
        return receipt

    def _before(self, event_id: str, record_key: bytes) -> None:
        if self._journal is None:
            return
        try:
            self._journal.pending(event_id, record_key)
        except OSError as problem:
            raise AuditUnavailable(
                "The journal cannot be written, so nothing was sent.", attempts=0
            ) from problem

    def _keep(self, receipt: Receipt, usage: Mapping[str, Any] | None) -> None:
        if self._journal is None:
            return
        try:
            if self._custody:
                self._journal.keep_disclosures(receipt.event_id, receipt.disclosures)
            self._journal.keep(receipt, usage=usage)
        except OSError as problem:
            raise AuditUnavailable(
                "The event is recorded, but its receipt could not be kept in the journal.",
                attempts=1,
                event_id=receipt.event_id,
            ) from problem
