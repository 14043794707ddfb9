# SPDX-License-Identifier: GPL-3.0-or-later
"""One load process: pipelines that record, keep a journal, and ask again until they are answered.

    python tests/kills/load.py plan.json journal seed

It runs until its standard input ends, then finishes what it has begun. Each line of the journal is
a request before it was sent, or the answer to one. What was not answered, or with 503, is sent to
the other server with the same bytes, as often as it takes.
"""

import http.client
import json
import random
import sys
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from urllib.parse import urlsplit

PIPELINES = 3
PATIENCE_S = 60
DIGEST = "sha256:" + "ab" * 32
_BODIES = {
    "GEN_ATTEMPT": {
        "operation": "generate",
        "input_type": "text",
        "model": {"provider": "acme", "name": "painter", "version": "3"},
    },
    "GEN_DENY": {"decision": "DENY", "refusal_reason_code": "policy"},
    "INGEST": {"asset": {"type": "image", "sha256": DIGEST}, "rights": {"basis": "OWNED"}},
}


class Journal:
    """One file, a line for each fact, written before the fact is relied on."""

    def __init__(self, path):
        self._file = Path(path).open("w", encoding="ascii")  # noqa: SIM115 - open to the end
        self._lock = threading.Lock()

    def note(self, **fact):
        with self._lock:
            self._file.write(json.dumps(fact) + "\n")
            self._file.flush()

    def close(self):
        self._file.close()


class Pipeline(threading.Thread):
    """Records one life after the other, each step only when the one before is acknowledged."""

    def __init__(self, plan, journal, seed, stop):
        super().__init__()
        self._rng, self._journal, self._stopping = random.Random(seed), journal, stop
        self._hosts = [urlsplit(url).netloc for url in plan["urls"]]
        self._tokens = plan["tokens"]
        self._connections = {}
        self._at = self._rng.randrange(len(self._hosts))

    def run(self):
        while not self._stopping.is_set():
            tenant = self._rng.choice(sorted(self._tokens))
            if self._rng.random() < 0.2:
                attempts = [self._event("GEN_ATTEMPT") for _ in range(self._rng.randint(2, 30))]
                self._record(tenant, attempts, batch=True)
            else:
                self._life(tenant)
            self._stopping.wait(self._rng.uniform(0, 0.06))
        for connection in self._connections.values():
            connection.close()

    def _life(self, tenant):
        attempt = self._event("GEN_ATTEMPT")
        self._record(tenant, [attempt])
        call, image = attempt["aggregate_id"], self._event("INGEST")["aggregate_id"]
        gen = self._event("GEN", call)
        gen["body"] = {"outputs": [{"asset_id": image, "sha256": DIGEST, "mime": "image/png"}]}
        self._record(tenant, [self._rng.choice([gen, self._event("GEN_DENY", call)])])
        self._record(tenant, [self._event("INGEST")])

    def _event(self, type_, aggregate_id=None):
        return {
            "event_id": self._uuid(),
            "type": type_,
            "schema": 1,
            "aggregate_id": aggregate_id or self._uuid(),
            "on_behalf_of": "employee-7",
            "body": _BODIES.get(type_, {}),
            "record_key": urlsafe_b64encode(self._rng.randbytes(32)).rstrip(b"=").decode(),
        }

    def _uuid(self):
        bits = self._rng.getrandbits(128) & ~(0xF << 76) | 0x7 << 76
        return str(uuid.UUID(int=bits & ~(0x3 << 62) | 0x2 << 62))

    def _record(self, tenant, events, *, batch=False):
        """Send until there is a final answer to each event; note all of it."""
        self._journal.note(tenant=tenant, sent=[event["event_id"] for event in events])
        waiting, tries = {event["event_id"]: event for event in events}, 0
        until = time.monotonic() + PATIENCE_S
        while waiting:
            if time.monotonic() > until:
                self._journal.note(tenant=tenant, given_up=sorted(waiting))
                return
            if tries:
                time.sleep(self._rng.uniform(0.02, 0.15))
                self._at += 1
            tries += 1
            asked = list(waiting.values())
            for event, (status, answer) in zip(
                asked, self._send(tenant, asked, batch), strict=True
            ):
                if status in (0, 503):
                    continue
                fact = {"tenant": tenant, "event_id": event["event_id"], "status": status}
                self._journal.note(**fact, tries=tries, answer=answer)
                del waiting[event["event_id"]]

    def _send(self, tenant, events, batch):
        """(status, answer) for each event; status 0 where no answer came."""
        path = "/v1/events:batch" if batch else "/v1/events"
        status, answer = self._post(tenant, path, events if batch else events[0])
        if not batch or status != 200:
            return [(status, answer)] * len(events)
        return [(one["status"], one.get("receipt") or one["problem"]) for one in answer["results"]]

    def _post(self, tenant, path, content):
        host = self._hosts[self._at % len(self._hosts)]
        connection = self._connections.setdefault(
            host, http.client.HTTPConnection(host, timeout=20)
        )
        headers = {"authorization": f"Bearer {self._tokens[tenant]}"}
        try:
            connection.request(
                "POST", path, json.dumps(content), headers | {"content-type": "application/json"}
            )
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            return 0, None


def main():
    plan, journal = json.loads(Path(sys.argv[1]).read_text()), Journal(sys.argv[2])
    stop = threading.Event()
    pipelines = [
        Pipeline(plan, journal, f"{sys.argv[3]}/{number}", stop) for number in range(PIPELINES)
    ]
    for pipeline in pipelines:
        pipeline.start()
    sys.stdin.read()
    stop.set()
    for pipeline in pipelines:
        pipeline.join()
    journal.close()


if __name__ == "__main__":
    main()
