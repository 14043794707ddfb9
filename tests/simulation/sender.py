# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of a simulation: what they send, valid and not, follows from the seed alone.

A sender believes whatever it sent to be recorded and never looks at the ledger, so that the same
seed sends the same requests whatever the threads do.
"""

import uuid

from house import attempt, deny, error, export, gen, ingest

from sealtrail.verify.disclosure import encode_base64url

DIGEST = "sha256:" + "ab" * 32
PLAN = {
    "type": "LORA",
    "inputs": [{"dataset_id": "photos", "manifest_digest": DIGEST, "count": 8}],
    "output_model": "m/1",
    "code_digest": DIGEST,
}


class Sender:
    """Makes requests and remembers them."""

    def __init__(self, rng):
        self._rng = rng
        self._numbers = 0
        self.sent = []
        self._calls, self._assets, self._runs = [], [], []
        self._n = 0

    def batch(self, count):
        return [self.one() for _ in range(count)]

    def one(self):
        """The next event of some life, or one that no life allows."""
        make = self._rng.choices(
            [self._attempt, self._outcome, self._ingest, self._export, self._withdraw,
             self._train, self._moderate],
            [6, 6, 3, 3, 1, 2, 2],
        )[0]  # fmt: skip
        request = make()
        request["event_id"] = self.event_id()
        request["record_key"] = encode_base64url(self._rng.randbytes(32))
        self._dress(request)
        self.sent.append(request)
        return request

    def again(self):
        """Something that was sent before, or what looks like it."""
        old = self._rng.choice(self.sent)
        trick = self._rng.random()
        if trick < 0.7:
            return old  # The same request.
        if trick < 0.85:  # The same id for another request.
            return {**old, "record_key": encode_base64url(self._rng.randbytes(32))}
        request = {**self.one(), "source": old.get("source", {"id": "app-1", "n": 0})}
        self.sent[-1] = request  # The number of another event.
        return request

    def event_id(self):
        bits = self._rng.getrandbits(128) & ~(0xF << 76) | 0x7 << 76
        return str(uuid.UUID(int=bits & ~(0x3 << 62) | 0x2 << 62))

    def _dress(self, request):
        """Give some events what most do not have."""
        if self._rng.random() < 0.3:
            self._n += 1
            request["source"] = {"id": "app-1", "n": self._n}
        if self._rng.random() < 0.1:
            request["time"] = {"producer": "2026-01-14T18:23:45.123Z"}
        if self._rng.random() < 0.1 and "sealed" in request:
            request["sealed"] = {"prompt.user": "Ein Leuchtturm in der Dämmerung, 灯台 " * 3}

    def _name(self, kind):
        self._numbers += 1
        return f"{kind}-{self._numbers}"

    def _old(self, names, kind):
        """One of the newest, sometimes any, sometimes one that never was."""
        chance = self._rng.random()
        if not names or chance < 0.05:
            return self._name(kind)
        return self._rng.choice(names[-6:] if chance < 0.8 else names)

    def _attempt(self):
        if self._calls and self._rng.random() < 0.05:
            return attempt(self._old(self._calls, "call"))  # A second attempt of one call.
        self._calls.append(self._name("call"))
        made = attempt(self._calls[-1])
        if self._rng.random() < 0.3:
            made["body"]["deadline_s"] = self._rng.choice([10, 600, 7200])
        return made

    def _outcome(self):
        call = self._old(self._calls, "call")
        make = self._rng.choices([gen, deny, error], [4, 1, 1])[0]
        if make is not gen:
            return make(call)
        if self._assets and self._rng.random() < 0.05:
            return gen(call, self._old(self._assets, "asset"))  # Not new.
        self._assets.append(self._name("asset"))
        return gen(call, self._assets[-1])

    def _ingest(self):
        if self._rng.random() < 0.1:
            return ingest(self._old(self._assets, "asset"))
        self._assets.append(self._name("asset"))
        return ingest(self._assets[-1])

    def _export(self):
        return {**export(self._old(self._assets, "asset")), "aggregate_id": self._name("export")}

    def _withdraw(self):
        made = ingest(self._old(self._assets, "asset"))
        return {**made, "type": "ASSET_WITHDRAWN", "body": {"reason_code": "consent-revoked"}}

    def _moderate(self):
        made = deny(self._old(self._calls, "call"))
        verdict = {
            "stage": "pre_prompt",
            "classifier": {"id": "words", "version": "1"},
            "filter_action": "allow",
        }
        return {**made, "type": "MODERATION", "body": {"mod": verdict}}

    def _train(self):
        stage = self._rng.choice(["TRAIN_STARTED", "TRAIN", "TRAIN_FAILED"])
        if stage == "TRAIN_STARTED":
            self._runs.append(self._name("run"))
        made = ingest(self._old(self._runs[-2:], "run"))
        plan = dict(PLAN)
        if self._rng.random() < 0.2:
            plan["output_model"] = "m/2"
        if stage == "TRAIN":
            plan["manifest_digest"] = DIGEST
        body = {"train": plan}
        if stage == "TRAIN_FAILED":
            failure = {"class": "oom", "code": "137", "stage": "train", "retryable": False}
            body = {"error": failure}
        return {**made, "type": stage, "body": body}
