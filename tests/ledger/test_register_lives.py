# SPDX-License-Identifier: GPL-3.0-or-later
"""Lives of registers, consents, deliveries, quarantines and writers: what may follow what."""

import pytest
from event_bodies import FULL, LEAST
from event_values import D
from hypothesis import given
from hypothesis import strategies as st
from test_lifecycle import PRESENT, Stream

from ledger.lifecycle import aggregate
from ledger.lifecycle.versions import newer

E = "sha256:" + "cd" * 32
KINDS = {
    "POLICY": "Policy",
    "PROMPT_TEMPLATE": "PromptTemplate",
    "CONSENT_TEXT": "ConsentText",
    "TRANSPARENCY_TEMPLATE": "TransparencyTemplate",
}

#: In their order; each line a house's own way to count.
ORDERS = [
    ["1", "2", "10", "11.1", "11.2", "11.10"],
    ["2026-01-14", "2026-02-01", "2026-11-01", "2027-1-1"],
    ["v1", "v2", "v10"],
    ["1.0-alpha", "1.0-beta", "1.0-rc1", "1.0-rc2", "1.0", "1.0.1", "1.1-rc1", "1.1"],
    ["1.0.2", "1.0.2a", "1.0.2k", "1.0.3"],
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
def test_versions_come_in_the_order_that_people_mean(order):
    """Ten is above nine, a candidate below its release."""
    for at, one in enumerate(order):
        assert [newer(other, one) for other in order] == [n > at for n in range(len(order))]


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/+ -]{0,12}", fullmatch=True), st.data())
def test_no_version_is_newer_than_one_that_is_newer_than_it(version, data):
    """Whatever is written there, two versions are never above each other."""
    other = data.draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/+ -]{0,12}", fullmatch=True))

    assert not (newer(version, other) and newer(other, version))
    assert not newer(version, version)


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_is_published_version_after_version_and_then_retired(kind):
    """A version's digest stands for ever, and nothing is put below what is there."""
    stream, published, retired = Stream(KINDS[kind]), f"{kind}_PUBLISHED", f"{kind}_RETIRED"
    assert stream.refuses(retired) == "version-unknown"

    stream.send(published, {"version": "1", "digest": D})
    stream.send(published, {"version": "3", "digest": E, "supersedes": "1"})

    for body, problem in (
        ({"version": "1", "digest": D}, "version-exists"),
        ({"version": "1", "digest": E}, "digest-differs"),
        ({"version": "2", "digest": E}, "version-not-newer"),
        ({"version": "4", "digest": E, "supersedes": "1"}, "version-unknown"),
    ):
        assert stream.refuses(published, body) == problem
    assert stream.refuses(retired, {"version": "2", "reason_code": "x"}) == "version-unknown"
    stream.send(retired, {"version": "1", "reason_code": "x"})
    assert stream.refuses(retired, {"version": "1", "reason_code": "x"}) == "version-retired"
    stream.send(retired)
    assert stream.refuses(retired) == "version-retired"
    assert stream.state.phase == "retired"
    stream.send(published, {"version": "4", "digest": D, "supersedes": "3"})
    assert stream.state.phase == "in force"


def test_a_stream_has_room_for_so_many_events_and_for_its_end(monkeypatch):
    """Whoever fills a stream would have every call wait that names it."""
    monkeypatch.setattr(aggregate, "EVENTS_MAX", 2)
    stream, asset = Stream("Policy"), Stream("Asset")
    for version in "12":
        stream.send("POLICY_PUBLISHED", {"version": version, "digest": D})
    asset.send("INGEST")
    asset.send("ASSET_CLASSIFIED")
    delivery = Stream("Export", others=PRESENT)
    delivery.send("EXPORT")
    delivery.send("TAKEDOWN")

    assert stream.refuses("POLICY_PUBLISHED", {"version": "3", "digest": D}) == "out-of-order"
    assert asset.refuses("ASSET_RIGHTS_CHANGED") == "out-of-order"
    assert delivery.refuses("TAKEDOWN") == "out-of-order"
    stream.send("POLICY_RETIRED")
    asset.send("ASSET_WITHDRAWN")
    delivery.send("TAKEDOWN", FULL["TAKEDOWN"])


def registered(version, digest=D):
    model = LEAST["MODEL_REGISTERED"]["model"] | {"version": version}
    return {"model": model, "manifest": {"digest": digest, "format": "in-toto"}}


@pytest.mark.parametrize("type_", ["MODEL_DEPLOYED", "MODEL_PINNED"])
def test_only_what_is_registered_goes_into_use(type_):
    """And as it was registered; a version that is retired does not come back."""
    stream = Stream("Model")
    assert stream.refuses(type_) == "version-unknown"
    assert stream.refuses("MODEL_RETIRED") == "version-unknown"

    stream.send("MODEL_REGISTERED", registered("2.0"))
    stream.send("MODEL_REGISTERED", registered("1.0", E))

    assert stream.refuses("MODEL_REGISTERED", registered("2.0")) == "version-exists"
    assert stream.refuses("MODEL_REGISTERED", registered("2.0", E)) == "digest-differs"
    assert stream.refuses(type_, {"model": {"version": "3.0"}}) == "version-unknown"
    assert stream.refuses(type_, {"model": {"version": "2.0", "manifest": E}}) == "digest-differs"
    stream.send(type_, {"model": {"version": "2.0", "manifest": D}})
    stream.send("MODEL_RETIRED", {"model": {"version": "2.0"}, "reason_code": "x"})
    assert stream.refuses(type_, {"model": {"version": "2.0"}}) == "version-retired"
    stream.send(type_, {"model": {"version": "1.0"}})


def test_a_hosted_model_has_no_manifest_and_is_not_given_one_later():
    """Nobody has its weights, so a digest of them is made up."""
    stream = Stream("Model")
    hosted = {"model": registered("1")["model"], "weights": {"unavailable": "hosted"}}
    stream.send("MODEL_REGISTERED", hosted)

    use = {"model": {"version": "1", "manifest": D}}
    assert stream.refuses("MODEL_DEPLOYED", use) == "digest-differs"
    assert stream.refuses("MODEL_REGISTERED", registered("1")) == "digest-differs"


def test_a_consent_is_given_once_and_ends_for_good():
    """Who consents again gives a new one."""
    stream = Stream("Consent", "consent/9")
    for type_ in ("CONSENT_REVOKED", "CONSENT_EXPIRED"):
        assert stream.refuses(type_) == "consent-unknown"
    other = {"consent": LEAST["CONSENT_GRANTED"]["consent"] | {"id": "consent/8"}}
    assert stream.refuses("CONSENT_GRANTED", other) == "out-of-order"

    stream.send("CONSENT_GRANTED", FULL["CONSENT_GRANTED"])
    assert stream.refuses("CONSENT_GRANTED") == "out-of-order"
    stream.send("CONSENT_EXPIRED")
    assert stream.refuses("CONSENT_EXPIRED") == "consent-expired"
    stream.send("CONSENT_REVOKED")  # Its effects are promised, whatever the date.

    for type_ in ("CONSENT_REVOKED", "CONSENT_EXPIRED"):
        assert stream.refuses(type_) == "consent-revoked"
    assert stream.refuses("CONSENT_GRANTED") == "out-of-order"


def test_a_delivery_is_called_back_once_and_each_request_has_one_clock():
    """The clock runs from the day on which the request came in, and nobody moves that day."""
    stream = Stream("Export", others=PRESENT)
    for type_ in ("TAKEDOWN", "EXPORT_REVOKED"):
        assert stream.refuses(type_) == "export-unknown"
    stream.send("EXPORT")
    asked = LEAST["TAKEDOWN"]["takedown"]

    stream.send("TAKEDOWN")
    stream.send("TAKEDOWN", {"takedown": asked | {"valid": True}})
    later = {"takedown": asked | {"received_at": "2026-01-15T18:23:45.123Z"}}
    assert stream.refuses("TAKEDOWN", later) == "takedown-differs"
    stream.send("EXPORT_REVOKED")
    assert stream.refuses("EXPORT_REVOKED") == "out-of-order"
    stream.send("TAKEDOWN", FULL["TAKEDOWN"])
    assert stream.refuses("TAKEDOWN") == "takedown-differs"
    stream.send("TAKEDOWN", {"takedown": asked | {"request_id": "td-2"}})


def test_a_delivery_has_room_for_so_many_requests():
    """Thousands may ask for one picture; the ledger is not made slow by them."""
    stream = Stream("Export", others=PRESENT)
    stream.send("EXPORT")
    asked = LEAST["TAKEDOWN"]["takedown"]
    for n in range(256):
        stream.send("TAKEDOWN", {"takedown": asked | {"request_id": f"td-{n}"}})

    assert stream.refuses("TAKEDOWN", {"takedown": asked | {"request_id": "x"}}) == "out-of-order"
    stream.send("TAKEDOWN", {"takedown": asked | {"request_id": "td-7", "removed_at": "x"}})


@pytest.mark.parametrize("type_", ["OUTPUT_RELEASED", "OUTPUT_DESTROYED"])
def test_only_what_is_in_quarantine_leaves_it_once(type_):
    """A picture that was delivered was not held back, whatever is said later."""
    stream = Stream("Generation")
    assert stream.refuses(type_) == "out-of-order"
    stream.send("GEN_ATTEMPT")
    held, free = {"asset_id": "picture-1"}, {"asset_id": "picture-2"}
    stream.send(
        "GEN",
        {"outputs": [held | {"disposition": "quarantined"}, free | {"disposition": "delivered"}]},
    )

    assert stream.refuses(type_, free | {"reason_code": "x"}) == "not-quarantined"
    stream.send(type_)
    assert stream.refuses(type_) == "not-quarantined"


@pytest.mark.parametrize("type_", ["GEN_ESCALATED", "HUMAN_REVIEW", "HUMAN_OVERRIDE"])
def test_people_look_at_what_was_attempted(type_):
    """Before and after its outcome; there is nothing else that they could look at."""
    stream = Stream("Generation")
    assert stream.refuses(type_) == "out-of-order"
    stream.send("GEN_ATTEMPT")

    for between in (type_, "GEN_DENY", type_):
        stream.send(between)


def test_only_what_gave_an_output_is_run_again():
    """A call that was denied has nothing to compare with."""
    for outcome in ("GEN", "GEN_DENY"):
        stream = Stream("Generation")
        stream.send("GEN_ATTEMPT")
        assert stream.refuses("REPLAY_RUN") == "out-of-order"
        stream.send(outcome)
        if outcome == "GEN":
            stream.send("REPLAY_RUN")
        else:
            assert stream.refuses("REPLAY_RUN") == "out-of-order"


@pytest.mark.parametrize("type_", ["ASSET_RIGHTS_CHANGED", "ASSET_CLASSIFIED"])
def test_only_an_asset_that_is_there_changes(type_):
    """And what is withdrawn stays withdrawn, whatever its rights."""
    stream = Stream("Asset")
    assert stream.refuses(type_) == "asset-unknown"
    stream.send("INGEST")
    stream.send(type_)
    stream.send("ASSET_WITHDRAWN")
    stream.send(type_)

    assert stream.state.withdrawn


def test_a_writer_starts_lives_and_stops_and_its_numbers_never_go_back():
    """It may fall without a word; then it starts again, where it was."""
    stream = Stream("Writer", "renderer-1")
    for type_ in ("WRITER_HEARTBEAT", "WRITER_STOPPED", "CONFIG_CHANGED"):
        assert stream.refuses(type_) == "out-of-order"
    stream.send("WRITER_STARTED")
    stream.send("WRITER_HEARTBEAT", {"last_n": 7})
    stream.send("CONFIG_CHANGED", LEAST["CONFIG_CHANGED"] | {"last_n": 7})
    assert stream.refuses("WRITER_HEARTBEAT", {"last_n": 6}) == "out-of-order"
    assert stream.refuses("WRITER_STARTED") == "out-of-order"  # It has numbers, so it says them.
    stream.send("WRITER_STARTED", {"last_n": 7})
    stream.send("WRITER_STOPPED", {"last_n": 8})

    assert stream.refuses("WRITER_HEARTBEAT", {"last_n": 9}) == "out-of-order"
    assert stream.refuses("WRITER_STARTED", {"last_n": 7}) == "out-of-order"
    stream.send("WRITER_STARTED", {"last_n": 8})


def test_a_red_teams_runs_follow_each_other_freely():
    """Each stands for itself."""
    stream = Stream("RedTeamSuite")

    for type_ in ("RED_TEAM_RUN", "FORENSIC_DRY_RUN", "RED_TEAM_RUN"):
        stream.send(type_)
