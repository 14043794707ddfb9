# SPDX-License-Identifier: Apache-2.0
"""Whether the ledger has kept what it promised this client: old receipts against its newest log.

    each line       its proof leads to its checkpoint, which a trusted key signed
    each checkpoint the next one extends it, and the newest of the journal is extended by the
                    one that the ledger shows now (RFC 9162 §2.1.4)

A log that was forked or cut cannot pass: some checkpoint that it signed does not lead to the one
that it shows. Both are in the report, signed by the same key: whoever sees them needs neither us
nor the ledger to see that two histories were told. Without an answer of the ledger the journal is
only held against itself, and the verdict is `incomplete`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from sealtrail import journal
from sealtrail.errors import AuditUnavailable, ReceiptInvalid, RecorderError, Refused
from sealtrail.journal import JournalBroken, Line
from sealtrail.recorder import Recorder
from sealtrail.standing import OldProof, inherits
from sealtrail.verify import merkle
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note, open_checkpoint
from sealtrail.verify.tlog_proof import TlogProof, check_tlog_proof
from sealtrail.verify.trust import Trust

Verdict = Literal["verified", "refuted", "incomplete"]
Progress = Callable[[int, int], None]

#: What each kind of finding means for the verdict.
_REFUTES: Final = frozenset({"broken", "invalid", "forked", "truncated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or could not be checked.

    checkpoints: the signed notes that contradict each other, where there are two.
    """

    kind: Literal["broken", "invalid", "forked", "truncated", "orphaned", "unanswered", "unchecked"]
    sentence: str
    checkpoints: tuple[bytes, ...] = ()

    def json(self) -> dict[str, Any]:
        shown = [note.decode() for note in self.checkpoints]
        return {"kind": self.kind, "sentence": self.sentence, "checkpoints": shown}


@dataclass(slots=True, kw_only=True)
class Report:
    """What was checked and what was found."""

    journals: int = 0
    receipts: int = 0
    checkpoints: int = 0
    findings: list[Finding] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)  #: Events of which there is a receipt.

    def note_unanswered(self, event_id: str) -> None:
        """Add an event that was sent and has no receipt: nobody here knows if it was recorded."""
        if event_id in self.answered:  # Its program ended before it could forget the key.
            return
        sentence = f"event {event_id} was sent and has no receipt; send it again to find out"
        self.findings.append(Finding(kind="unanswered", sentence=sentence))

    @property
    def verdict(self) -> Verdict:
        if any(one.kind in _REFUTES for one in self.findings):
            return "refuted"
        return "incomplete" if self.findings else "verified"

    def json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "journals": self.journals,
            "receipts": self.receipts,
            "checkpoints": self.checkpoints,
            "findings": [one.json() for one in self.findings],
        }

    def text(self) -> str:
        """The report for people, its verdict last."""
        counted = f"{self.receipts} receipts in {self.journals} journals"
        lines = [f"{counted}, under {self.checkpoints} checkpoints"]
        for one in self.findings:
            lines.append(f"{one.kind}: {one.sentence}")
            for note in one.checkpoints:
                lines += [f"    {line}" for line in note.decode().splitlines()]
        if self.verdict == "verified":
            lines.append("the log that the ledger shows now extends every one of them")
        return "\n".join([*lines, self.verdict.upper()]) + "\n"


@dataclass(frozen=True, slots=True)
class _Signed:
    """A checkpoint of the journal, its signature checked."""

    checkpoint: Checkpoint
    note: bytes


def check(
    paths: Sequence[Path],
    *,
    trust: Trust,
    recorder: Recorder | None,
    progress: Progress = lambda _done, _whole: None,
) -> Report:
    """Check journals against themselves and, if `recorder` is given, against the ledger."""
    report = Report(journals=len(paths))
    signed: dict[str, dict[int, _Signed]] = {}
    lines: dict[str, list[Line]] = {}
    for line in _lines(paths, report):
        report.receipts += 1
        report.answered.add(line.event_id)
        checkpoint = _opened(line, trust, report)
        if checkpoint is not None:
            _gather(signed.setdefault(line.origin, {}), checkpoint, report)
            lines.setdefault(line.origin, []).append(line)
    report.checkpoints = sum(map(len, signed.values()))
    if not report.receipts:
        sentence = "there is no receipt here, so nothing was checked"
        report.findings.append(Finding(kind="unchecked", sentence=sentence))
    present = _present(recorder, trust, report)
    if recorder is None or present is None:
        return report
    for origin, found in signed.items():
        if present.checkpoint.origin == origin:
            _extended([found[size] for size in sorted(found)], present, recorder, report, progress)
        elif inherits(present.checkpoint.origin, origin):
            _inherited(lines[origin], trust, recorder, report)
        else:
            sentence = f"receipts of {origin} were not checked: the ledger showed another log"
            report.findings.append(Finding(kind="unchecked", sentence=sentence))
    return report


def _lines(paths: Iterable[Path], report: Report) -> Iterator[Line]:
    for path in paths:
        try:
            yield from journal.read(path)
        except VerifyError as problem:
            sentence = f"{problem} ({path.name})"
            report.findings.append(Finding(kind="broken", sentence=sentence))
        except OSError as problem:
            sentence = f"{path.name} cannot be read: {problem.strerror}"
            report.findings.append(Finding(kind="unchecked", sentence=sentence))


def _opened(line: Line, trust: Trust, report: Report) -> _Signed | None:
    """Return the line's checkpoint if its proof holds and a trusted key signed it."""
    try:
        size = Checkpoint.parse(Note.parse(line.checkpoint).text).size
        keys = trust.keys_for(line.origin, size)
        if not keys:
            sentence = f"no trusted key of {line.origin}: event {line.event_id} was not checked"
            report.findings.append(Finding(kind="unchecked", sentence=sentence))
            return None
        _, checkpoint = open_checkpoint(line.checkpoint, origin=line.origin, keys=keys)
        check_tlog_proof(line.proof, leaf=line.leaf, origin=line.origin, keys=keys)
        proof = TlogProof.parse(line.proof)
        if proof.index != line.position or proof.checkpoint != line.checkpoint:
            raise JournalBroken("the line says something else than its proof")
    except VerifyError as problem:
        sentence = f"the receipt of event {line.event_id} does not hold: {problem}"
        report.findings.append(Finding(kind="invalid", sentence=sentence))
        return None
    return _Signed(checkpoint, line.checkpoint)


def _gather(known: dict[int, _Signed], one: _Signed, report: Report) -> None:
    """Remember a checkpoint; two of one size and different roots are two histories."""
    other = known.setdefault(one.checkpoint.size, one)
    if other.checkpoint.root != one.checkpoint.root:
        size = one.checkpoint.size
        sentence = f"the log signed two different histories of its first {size} entries"
        report.findings.append(
            Finding(kind="forked", sentence=sentence, checkpoints=(other.note, one.note))
        )


def _present(recorder: Recorder | None, trust: Trust, report: Report) -> _Signed | None:
    """Return the checkpoint that the ledger shows now; None and a finding if it cannot be had."""
    if recorder is None:
        sentence = "no ledger was asked: the journal was held against itself only"
        report.findings.append(Finding(kind="unchecked", sentence=sentence))
        return None
    try:
        note = recorder.checkpoint()
        told = _read(note)
        if told is None:
            sentence = "what answers as the ledger shows no checkpoint, but something else"
            report.findings.append(Finding(kind="unchecked", sentence=sentence))
            return None
        keys = trust.keys_for(told.origin, told.size)
        _, checkpoint = open_checkpoint(note, origin=told.origin, keys=keys)
    except (AuditUnavailable, Refused) as problem:
        finding = Finding(kind="unchecked", sentence=f"the ledger showed no checkpoint: {problem}")
    except VerifyError as problem:
        sentence = f"the checkpoint that the ledger shows now does not hold: {problem}"
        finding = Finding(kind="invalid", sentence=sentence)
    else:
        return _Signed(checkpoint, note)
    report.findings.append(finding)
    return None


def _read(note: bytes) -> Checkpoint | None:
    """Return a checkpoint as it was told; None for a page of whoever stands in between."""
    try:
        return Checkpoint.parse(Note.parse(note).text)
    except VerifyError:
        return None


def _extended(
    signed: list[_Signed],
    present: _Signed,
    recorder: Recorder,
    report: Report,
    progress: Progress,
) -> None:
    """Check that each checkpoint is extended by the next, and the last by the present one."""
    within = [one for one in signed if one.checkpoint.size <= present.checkpoint.size]
    for at, (old, new) in enumerate(pairwise([*within, present])):
        progress(at, len(signed))
        if not _leads(old, new, recorder, report):
            return
    beyond = signed[len(within) :]
    if beyond:
        size, now = beyond[-1].checkpoint.size, present.checkpoint.size
        sentence = f"the log had {size} entries and shows {now} now: entries were cut off"
        report.findings.append(
            Finding(
                kind="truncated", sentence=sentence, checkpoints=(beyond[-1].note, present.note)
            )
        )


def _leads(old: _Signed, new: _Signed, recorder: Recorder, report: Report) -> bool:
    """Whether the ledger shows that `new` extends `old`; a finding if not."""
    first, second = old.checkpoint, new.checkpoint
    try:
        path = () if first.size == second.size else recorder.consistency(first.size, second.size)
        merkle.check_consistency(
            old_size=first.size,
            old_root=first.root,
            new_size=second.size,
            new_root=second.root,
            path=path,
        )
    except AuditUnavailable as problem:
        sentence = f"the ledger did not answer while its log was checked: {problem}"
        report.findings.append(Finding(kind="unchecked", sentence=sentence))
        return False
    except (VerifyError, Refused, ReceiptInvalid):
        sentence = (
            f"nothing shows that the log of {second.size} entries begins with that of "
            f"{first.size}: both were signed, and one is not the other's continuation"
        )
        report.findings.append(
            Finding(kind="forked", sentence=sentence, checkpoints=(old.note, new.note))
        )
        return False
    return True


def _inherited(lines: list[Line], trust: Trust, recorder: Recorder, report: Report) -> None:
    """Judge receipts of an origin after which the log went on as another one."""
    for line in lines:
        old = OldProof(TlogProof.parse(line.proof), line.leaf, line.origin, trust)
        try:
            standing = recorder.standing_of(old)
        except ReceiptInvalid as problem:
            finding = Finding(kind="forked", sentence=str(problem), checkpoints=(line.checkpoint,))
        except RecorderError as problem:
            finding = Finding(kind="unchecked", sentence=str(problem))
        else:
            if standing.verdict == "in the log":
                continue
            sentence = f"event {line.event_id} is orphaned: a restore did not bring it back"
            shown = (standing.signed, standing.present)
            finding = Finding(kind="orphaned", sentence=sentence, checkpoints=shown)
        report.findings.append(finding)
