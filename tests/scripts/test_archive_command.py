# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail-server archive` as an operator types it: is it fit, is it whole, what is missing."""

import pytest
from archiving import digest_of, picture
from house import attempt, gen
from installation import record

from ledger.archive.artifacts import Storeroom, Terms
from ledger.request import Identity, prepare
from ledger.settings import Settings
from scripts.assembly import open_ledger, open_storeroom
from scripts.scheduler import Scheduler

IMAGE = picture(seed=11)


@pytest.fixture
def stored(ledger):
    """One licensed picture in the archive of the installation; returns where its object lies."""
    record(ledger)
    settings = Settings.from_environment(ledger.environment)
    with open_ledger(settings) as opened:
        book = opened.shelf.book("acme")
        storeroom = open_storeroom(settings)
        event_id = output(book, ref="archive")
        one = storeroom.of(book).announce(
            event_id,
            "outputs[0].sha256",
            size=len(IMAGE),
            media_type="image/png",
            credential="cred_test",
        )
        one = storeroom.of(book).append(one.artifact_id, 0, [IMAGE])
        yield settings.archive / "sha256" / one.object[:2] / one.object


def output(book, **more):
    """Record an output whose content is the picture; returns its event's id."""
    who = Identity(credential="c", tenant="acme", role="pipeline", kind="pipeline", name="test")
    first = attempt()
    outcome = gen(first["aggregate_id"])
    outcome["body"]["outputs"][0].update(sha256=digest_of(IMAGE), **more)
    batch = [
        prepare(one, who, received_ms=1, pipelines=frozenset({"test"})) for one in (first, outcome)
    ]
    book.record(batch).result(timeout=30)
    return outcome["event_id"]


def test_a_directory_is_fit_and_proves_nothing(ledger):
    """It says so, in one word for programs."""
    assert ledger.here("archive", "check") == {"fit": True, "proved": False}


def test_what_is_stored_is_compared_with_the_archive(ledger, stored):
    """A lost lock, a changed byte and a lost object each have a name, and an exit code of 1."""

    def damage(*options):
        (book,) = ledger.here("archive", "verify", *options, code=1)["books"]
        return {one["problem"] for one in book["damage"] if one["object"] == stored.name}

    assert ledger.here("archive", "verify", "--read")["books"][0]["damage"] == []

    data, lock = stored.read_bytes(), stored.with_suffix(".lock").read_bytes()
    stored.chmod(0o600)
    stored.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert damage("--read") == {"object-damaged"}
    stored.write_bytes(data[:-1])
    assert damage() == {"object-size"}
    stored.unlink()
    assert damage() == {"object-missing"}
    stored.write_bytes(data)
    stored.with_suffix(".lock").unlink()
    assert damage() == {"object-damaged"}

    stored.with_suffix(".lock").write_bytes(lock)
    assert ledger.here("archive", "verify", "--read")["books"][0]["damage"] == []


def test_the_scheduler_misses_what_has_not_arrived(ledger, caplog):
    """What a log promises is an alarm, a list and a number once its deadline has passed."""
    settings = Settings.from_environment(ledger.environment)
    with open_ledger(settings) as opened:
        book = opened.shelf.book("acme")
        event_id = output(book, ref="archive")
        jobs = Scheduler(opened.shelf, settings, [], settings.database_url)
        jobs._storeroom = Storeroom(
            archive=jobs._storeroom.archive,
            uploads=jobs._storeroom.uploads,
            terms=Terms(deadline_s=-1),
        )
        jobs._artifacts(book)

    (book,) = ledger.here("archive", "missing")["books"]

    assert f"outputs[0].sha256 of {event_id} has not arrived" in caplog.text
    assert event_id in {one["event_id"] for one in book["missing"]}
