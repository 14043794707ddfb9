# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who runs the ledger, or works beside those who do, wants to know who asked for what.

They read logs, error messages, process lists, the database and every file below its directory. The
ledger here is `sealtrail-server dev` with its most talkative log.
"""

import base64
import json
import os
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from dev_ledger import running
from house import attempt, event_id, gen

from sealtrail.verify.disclosure import commit

PROMPT = "a portrait of the ferryman of lake bolsena in the rain"
PERSON = "employee-4711-of-the-night-shift"
PURPOSE = "incident-42"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    with running(tmp_path_factory.mktemp("curious"), SEALTRAIL_LOG_LEVEL="debug") as dev:
        yield dev


@pytest.fixture(scope="module")
def request_(ledger):
    """One event with a prompt and a person, recorded, repeated, contradicted and looked at."""
    request = attempt(sealed={"prompt.user": PROMPT}, on_behalf_of=PERSON)
    receipt = ledger.post(request).json()
    ledger.post(request)
    ledger.post({**request, "sealed": {"prompt.user": PROMPT + "!"}})
    ledger.get(f"/v1/events/{receipt['event_id']}", headers={"sealtrail-purpose": PURPOSE})
    return request | {"receipt": receipt}


def secrets(ledger, request):
    """Every spelling in which a personal value or a credential may lie around."""
    key = base64.urlsafe_b64decode(request["record_key"] + "=")
    disclosures = list(request["receipt"]["disclosures"].values())
    texts = [PROMPT, PERSON, request["record_key"], ledger.pipeline, ledger.auditor, *disclosures]
    found = [key, key.hex().encode()]
    for text in texts:
        data = text.encode()
        found += [data, base64.b64encode(data)[:-4], data.hex().encode(), text.encode("utf-16-le")]
    return found


def holding(data, wanted):
    return [secret[:12] for secret in wanted if secret in data]


#: Requests with a secret in every place where one can stand, most of them wrong.
WRONG = [
    {},
    {"type": PROMPT},
    {PROMPT: PERSON},
    attempt(body={"prompt": PROMPT}),
    attempt(body={"operation": PROMPT}),
    attempt(on_behalf_of=[PERSON]),
    attempt(sealed={PROMPT: PERSON}),
    attempt(sealed={"prompt.user": {"text": None, "of": [PROMPT]}}),
    attempt(record_key=PROMPT),
    attempt(event_id=PERSON),
    attempt(aggregate_id=PROMPT),
    attempt(source={"id": PROMPT, "n": 1}),
    attempt(actor={"kind": "human", "subject_id": PERSON}),
    attempt(time={"model_responded": PROMPT}),
    attempt(links=[{"rel": PROMPT, "id": PERSON}]),
    gen(event_id(), sealed={"prompt.user": PROMPT}, on_behalf_of=PERSON),
]


def test_they_read_every_error_message(ledger, request_):
    """Who: a colleague with the pipeline's error tracker.
    Tries: prompts and names in 4xx answers.
    Caught by: errors name fields and rules, never a value, nor a member's name that is not ours.
    Not caught: what the pipeline itself writes into its own logs.
    """
    wanted = secrets(ledger, request_)
    texts = [f"{PROMPT}".encode(), b'{"x": "' + PERSON.encode(), b"\xff" + PROMPT.encode()]
    answers = [ledger.post(request) for request in WRONG]
    answers += [
        ledger.ask("POST", path, token=ledger.pipeline, content=text)
        for text in texts
        for path in ("/v1/events", "/v1/events:batch")
    ]
    answers += [
        ledger.ask("GET", f"/v1/events/{PERSON}", token=ledger.auditor),
        ledger.ask("GET", f"/{PERSON}?q={PROMPT}"),
        ledger.ask("GET", f"/v1/books/{PERSON}/checkpoint"),
        ledger.ask("GET", f"/v1/consistency?from={PERSON}&to=1"),
        ledger.ask("GET", f"/v1/anchors/{PERSON}"),
        ledger.ask("GET", "/v1/events/x", headers={"authorization": f"Bearer {PERSON}"}),
        ledger.get(f"/v1/events/{event_id()}", headers={"sealtrail-purpose": PROMPT}),
        ledger.ask("POST", "/v1/packets", token=ledger.auditor, json={"event_ids": [PERSON]}),
        ledger.ask(
            "POST", "/v1/packets", token=ledger.auditor,
            json={"event_ids": [event_id()], "disclosures": {PERSON: {PROMPT: PROMPT}}},
        ),
        ledger.ask(
            "POST", "/v1/packets", token=ledger.auditor,
            json={
                "event_ids": [request_["event_id"]],
                "disclosures": {request_["event_id"]: {"prompt.user": PROMPT, PERSON: "x"}},
            },
        ),
    ]  # fmt: skip

    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text[:200]
        said = answer.content + b"\n".join(b"%s: %s" % pair for pair in answer.headers.raw)
        assert holding(said, wanted) == []


def test_they_read_the_log_at_its_most_talkative(ledger, request_):
    """Who: whoever reads the collected logs.
    Tries: prompts, names, tokens, keys; also event ids.
    Caught by: requests are not logged at all, at no level; an internal error is a type and a place.
    Not caught: a proxy in front of the ledger logs what it likes; no URL holds a secret for it.
    """
    for request in WRONG:
        ledger.post(request)
    ledger.ask("POST", f"/v1/events?token={ledger.pipeline}", json=attempt())
    ledger.ask("GET", f"/{PROMPT}")

    said = ledger.said.read_bytes()

    assert b"uvicorn" in said
    assert holding(said, secrets(ledger, request_)) == []
    assert request_["event_id"].encode() not in said
    assert b"/v1/" not in said


def test_they_look_for_a_token_in_urls(ledger):
    """Who: a reader of proxies' logs.
    Tries: that some client sends its token in the query.
    Caught by: no such token is accepted, so none is sent there twice.
    Not caught: the first time.
    """
    answer = ledger.ask("GET", f"/v1/events/{event_id()}?token={ledger.auditor}")

    assert answer.status_code == 401


def test_they_list_the_processes(ledger):
    """Who: any user of the machine.
    Tries: secrets in the command lines that `ps` shows.
    Caught by: settings come from files and the environment.
    Not caught: root reads everything.
    """
    passphrase = (ledger.data / "passphrase").read_bytes()
    wanted = [passphrase, ledger.pipeline.encode(), ledger.auditor.encode()]

    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                line = Path("/proc", entry.name, "cmdline").read_bytes()
            except OSError:  # It ended meanwhile.
                continue
            assert holding(line, wanted) == []


def test_they_search_every_file_of_database_and_ledger(ledger, request_):
    """Who: whoever gets a backup, a disk or the write-ahead log.
    Tries: a search for the values.
    Caught by: clear values and record_key end in the request; stored are salted commitments, and of
    a token its SHA-256. `dev` alone keeps its tokens, in one file.
    Not caught: the memory of a server process while it handles the request.
    """
    wanted = secrets(ledger, request_)
    environment = json.loads((ledger.data / "environment.json").read_text())
    with psycopg.connect(environment["SEALTRAIL_OWNER_DATABASE_URL"], autocommit=True) as owner:
        owner.execute("CHECKPOINT")

    read = 0
    for path in ledger.data.rglob("*"):
        if path.is_file() and path.name != "tokens.json":
            data = path.read_bytes()
            read += len(data)
            assert (path, holding(data, wanted)) == (path, [])

    assert read > 30_000_000  # The cluster with its write-ahead log was among it.
    entry = base64.b64decode(request_["receipt"]["entry"])
    log = b"".join(path.read_bytes() for path in ledger.data.rglob("pg_wal/0*"))
    assert entry[:60] in log  # And this search finds what is there.


def test_they_guess_the_prompt_from_its_commitment(request_):
    """Who: an engineer with all of the database.
    Tries: hashing likely prompts, names and salts.
    Caught by: each value has a salt of its own under a key that only the client has. Without it the
    right guess looks like any wrong one.
    Not caught: who has the client's journal opens everything; that is what it is for.
    """
    value = json.loads(base64.b64decode(request_["receipt"]["entry"]))
    guesses = {"prompt.user": PROMPT, "actor.subject_id": PERSON}
    known = [value["event_id"], value["actor"]["credential"], value["aggregate"]["id"], "", PROMPT]
    keys = [sha256(text.encode()).digest() for text in known] + [bytes(32)]

    for key in keys:
        digests, _ = commit(key, guesses)
        assert not set(digests) & set(value["_sd"])

    right = base64.urlsafe_b64decode(request_["record_key"] + "=")
    digests, _ = commit(right, guesses)
    assert digests == value["_sd"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {book}.entry SET stream = stream",
        "DELETE FROM {book}.entry WHERE position = 0",
        "TRUNCATE {book}.tile",
        "UPDATE {book}.token SET reply = query",
        "DELETE FROM {book}.asset_birth",
        "ALTER TABLE {book}.entry DISABLE TRIGGER ALL",
        "INSERT INTO sealtrail.clock_confirmation VALUES ('dev', 9999999999999)",
        "SET ROLE postgres",
        "DELETE FROM {book}.entry_body",
        "TRUNCATE {book}.entry_body",
        "UPDATE {book}.head SET size = 0",
        "INSERT INTO sealtrail.credential VALUES ('x', sha256(''), 'dev', 'auditor', 'person')",
        "UPDATE sealtrail.credential SET role = 'auditor'",
        "CREATE TABLE {book}.mine (x int)",
        "ALTER ROLE sealtrail_app SUPERUSER",
    ],
)
def test_they_use_the_servers_own_login(ledger, statement):
    """Who: an engineer with the server's database password.
    Tries: a credential, or a quiet edit.
    Caught by: that login owns nothing; it takes roles that may append or read, none that may
    change, remove, confirm a clock or become somebody else.
    Not caught: with it they read entries that no ACCESS entry tells of, and see commitments, no
    personal value. They can append rows that no head covers, which fsck finds.
    """
    environment = json.loads((ledger.data / "environment.json").read_text())
    roles = [None, "read", "retain", "append"]
    if ".head" in statement:
        roles.remove("append")  # It may swap the head, whose tag it cannot make.
    with psycopg.connect(environment["SEALTRAIL_DATABASE_URL"], autocommit=True) as login:
        for role in roles:
            if role is not None:
                login.execute(f"SET ROLE book_dev_{role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(statement.format(book="book_dev"))


def test_they_read_with_the_pipelines_token(ledger, request_):
    """Who: an engineer who operates a pipeline.
    Tries: its token on everything that can be read.
    Caught by: the token's role; it appends and reads nothing but what is public.
    Not caught: the pipeline knows what it sends, and its owner can keep it.
    """
    id_ = request_["event_id"]
    paths = [f"/v1/events/{id_}", f"/v1/events/{id_}/proof", "/v1/tile/entries/000.p/1",
             f"/v1/packets/{'0' * 32}", f"/v1/books/dev-access/events/{id_}"]  # fmt: skip

    for path in paths:
        assert ledger.ask("GET", path, token=ledger.pipeline).status_code == 403
    order = {"event_ids": [id_]}
    assert ledger.post(order, "/v1/packets").status_code == 403


def test_they_wait_for_somebody_elses_packet(ledger, request_):
    """Who: another auditor's assistant on the server's machine.
    Tries: the directory of packets.
    Caught by: modes 0700 and 0600, a name of 32 random digits, a time after which it goes; fetching
    it is a look of its own.
    Not caught: the server's own user and root read it while it lies there.
    """
    order = {
        "event_ids": [request_["event_id"]],
        "disclosures": {request_["event_id"]: request_["receipt"]["disclosures"]},
    }
    made = ledger.ask("POST", "/v1/packets", token=ledger.auditor, json=order)
    assert made.status_code == 201

    directory = ledger.data / "packets"
    assert directory.stat().st_mode & 0o777 == 0o700
    files = list(directory.iterdir())
    assert files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    for path in files:
        path.unlink()
