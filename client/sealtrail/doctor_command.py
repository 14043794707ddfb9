# SPDX-License-Identifier: Apache-2.0
"""`sealtrail doctor`: what this machine is told, and the proof that it fails closed.

environment   address, token and trust are set and readable
fail-closed   with a ledger under an address where nobody listens, no request reaches a model
ledger        its newest checkpoint is signed by a key of the trust file
clock         this machine's clock is within a minute of the ledger's
"""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any, Final

from sealtrail.environment import named_setting, token_setting, trusted
from sealtrail.errors import AuditUnavailable, RecorderError
from sealtrail.recorder import Recorder
from sealtrail.trail import Trail
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import Checkpoint, Note, open_checkpoint
from sealtrail.verify.report import EXIT
from sealtrail.verify.trust import Trust

#: Seconds by which two clocks may be apart before somebody should look.
_APART_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    sentence: str

    def json(self) -> dict[str, Any]:
        return {"check": self.name, "passed": self.passed, "sentence": self.sentence}


def run(*, as_json: bool) -> int:
    """Print each check; ends with 0 if all passed, else 1."""
    passed = True
    for check in examine():
        passed = passed and check.passed
        mark = "ok" if check.passed else "FAILED"
        text = f"{check.name:12} {mark:6} {check.sentence}"
        print(json.dumps(check.json()) if as_json else text)  # noqa: T201  a command
    return 0 if passed else EXIT["refuted"]


def examine() -> Iterator[Check]:
    """Yield each check as it is made."""
    yield fails_closed()
    try:
        url = named_setting("SEALTRAIL_URL", "SEALTRAIL_LEDGER")
        token, trust = token_setting("SEALTRAIL_TOKEN"), trusted(None)
        recorder = Recorder(url, token, trust=trust, attempts=1)
    except (OSError, ValueError, VerifyError) as error:
        yield Check(name="environment", passed=False, sentence=str(error))
        return
    yield Check(name="environment", passed=True, sentence="address, token and trust are set")
    if trust is not None:
        yield from _ledger(recorder, trust)


def fails_closed() -> Check:
    """Send a request through a watched transport whose ledger is away; nothing may come out."""
    library: Any = import_module("httpx2")
    heard: list[str] = []

    class Model(library.BaseTransport):  # type: ignore[misc]
        """Stands where a provider would, and says that it was called."""

        def handle_request(self, request: Any) -> Any:
            heard.append(request.method)
            return library.Response(200, content=b"{}")

    with Trail(
        f"http://127.0.0.1:{silent_port()}", "none", trust=False, journal=False, attempts=1
    ) as trail:
        transport = trail.transport(Model(), provider="openai")
        with library.Client(transport=transport) as client, trail.acting_for("self-test"):
            try:
                client.post("http://model.invalid/v1/images/generations", json={"prompt": "x"})
            except AuditUnavailable:
                refused = True
            else:
                refused = False
    passed = refused and not heard
    good = "without a ledger the call was refused, and no model heard of it"
    bad = f"without a ledger {len(heard)} calls reached a model"
    return Check(name="fail-closed", passed=passed, sentence=good if passed else bad)


def _ledger(recorder: Recorder, trust: Trust) -> Iterator[Check]:
    with recorder:
        try:
            note = recorder.checkpoint()
            told = Checkpoint.parse(Note.parse(note).text)
            keys = trust.keys_for(told.origin, told.size)
            open_checkpoint(note, origin=told.origin, keys=keys)
        except (RecorderError, VerifyError) as error:
            yield Check(name="ledger", passed=False, sentence=str(error))
            return
        sentence = f"{told.origin} shows {told.size} entries, signed by a trusted key"
        yield Check(name="ledger", passed=True, sentence=sentence)
        date = recorder.clock()
    apart = None if date is None else abs(time.time() - parsedate_to_datetime(date).timestamp())
    if apart is not None:
        sentence = f"{round(apart)} seconds from the ledger's"
        yield Check(name="clock", passed=apart <= _APART_S, sentence=sentence)


def silent_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
