# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event names is what the ledger holds: refused where it cannot be, or where asked for."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from administrator import administrator
from house import attempt, event_id, export, gen, house_in, ingest
from registering import PAINTER, D, E, consent, model, published, revoked, said

from anchoring.fsck import Fsck
from ledger import clock
from ledger.errors import IntegrityViolation
from ledger.lifecycle import ConsentExpired, ConsentRevoked, ConsentUnknown, ConsentWithheld
from ledger.lifecycle.references import LinkDiffers, LinkRetired, LinkUnknown
from ledger.outcome import Recorded
from ledger.references import model_stream, references_of

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

MODEL = {"provider": "acme", "name": "painter", "version": "3"}


def call(**changes):
    """An attempt with other members in its body."""
    one = attempt()
    return one | {"body": one["body"] | changes}


def problem(outcome):
    return "" if isinstance(outcome, Recorded) else outcome.problem


def linked(parent, **changes):
    """An attempt that another entry's call made."""
    link = {"rel": "parent-call", "id": parent.row.event_id}
    return attempt(links=[link | {"leaf": f"sha256:{parent.row.link.leaf.hex()}"} | changes])


def test_an_ordinary_call_names_nothing_that_is_looked_up():
    """So that the writer of a house that only flags has nothing more to do."""
    body = attempt()["body"] | {"policy": {"id": "p", "version": "1"}}

    assert references_of("GEN_ATTEMPT", None, body, strict=False) == ()
    assert references_of("GEN_ATTEMPT", [{"rel": "incident", "id": "x"}], body, strict=False) == ()


@pytest.mark.parametrize(
    ("named", "stream"),
    [
        ({**MODEL, "id": "painter-3"}, "Model/painter-3"),
        (MODEL, "Model/urn:cap:model:acme:painter"),
        ({**MODEL, "provider": "Acme", "name": "GPT-4o"}, "Model/urn:cap:model:acme:gpt-4o"),
        ({**MODEL, "name": "Painter XL"}, "Model/"),
        ({**MODEL, "name": "x" * 256}, "Model/"),
    ],
)
def test_a_model_without_an_id_is_known_by_provider_and_name(named, stream):
    """In lower case, where that makes an id."""
    assert model_stream(named) == stream


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
@pytest.mark.parametrize(
    ("end", "refusal"),
    [("CONSENT_REVOKED", ConsentRevoked), ("CONSENT_EXPIRED", ConsentExpired)],
)
def test_no_generation_rests_on_a_consent_that_is_over(house, elsewhere, end, refusal):
    """Also where another process recorded the end, and this one remembers the consent alive."""
    house.post(consent("consent/9"))
    covered, other = call(consent_ids=["consent/9"]), house.second_process()
    assert isinstance(house.post(covered)[0], Recorded)

    house.post(said(end, "consent/9", {}), by=other if elsewhere else house.shelf)
    (refused,) = house.post(call(consent_ids=["consent/9"]))
    (again,) = house.post(covered)
    (uncovered,) = house.post(attempt())

    assert isinstance(refused, refusal)
    assert [error.pointer for error in refused.errors] == ["/body/consent_ids/0"]
    assert "consent/9" not in str(refused.facts) + str(refused)
    assert again.position == 1  # What was recorded before stays, and its repeat is one.
    assert isinstance(uncovered, Recorded)


def test_a_consent_that_nobody_here_has_seen_is_asked_for_and_not_assumed(house):
    """A writer that starts knows no stream: the end of a consent is no less true for that."""
    house.post(consent("consent/9"), revoked("consent/9"))
    fresh = house.second_process()
    house.post(attempt(), by=fresh)

    (refused,) = house.post(call(consent_ids=["consent/9"]), by=fresh)

    assert isinstance(refused, ConsentRevoked)


def test_a_consent_ends_within_its_own_batch_too(house):
    """What comes behind the revocation comes too late, what comes before it does not."""
    covered = [call(consent_ids=["consent/9"]) for _ in range(2)]

    outcomes = house.post(consent("consent/9"), covered[0], revoked("consent/9"), covered[1])

    assert [problem(one) for one in outcomes] == ["", "", "", "consent-revoked"]


def test_a_consent_ends_at_its_time_without_another_event(noon):
    """The date is its own; the ledger's clock decides."""
    at = clock.rfc3339(noon.now_ms() + 3_600_000)
    noon.post(consent("consent/9", expires_at=at))
    (before,) = noon.post(call(consent_ids=["consent/9"]))
    noon.now_ms.move(hours=1)

    (after,) = noon.post(call(consent_ids=["consent/9"]))

    assert isinstance(before, Recorded)
    assert isinstance(after, ConsentExpired)


def test_no_generation_rests_on_a_refusal(house):
    """Who chose to stay out did not consent."""
    house.post(consent("consent/9", action="opt_out"))

    (refused,) = house.post(call(consent_ids=["consent/9"]))

    assert isinstance(refused, ConsentWithheld)


@pytest.mark.parametrize("strict", [False, True], ids=["flag", "refuse"])
def test_a_consent_that_is_unknown_is_refused_where_the_house_asks_for_it(house, strict):
    """Else it is recorded as it was sent, and marked where it is read."""
    house.strict = strict
    house.post(model())

    link = {"rel": "under-consent", "id": "consent/9"}
    (outcome,) = house.post(call(consent_ids=["consent/9"]))
    (by_link,) = house.post(attempt(links=[link]))
    (by_event,) = house.post(attempt(links=[link | {"id": event_id()}]))

    assert isinstance(outcome, ConsentUnknown if strict else Recorded)
    assert isinstance(by_link, ConsentUnknown if strict else Recorded)
    assert isinstance(by_event, Recorded)  # The event that gave it, in another ledger perhaps.


def test_a_parent_is_linked_by_the_leaf_that_it_has(house):
    """Here or in another process; one that is unknown may be in another ledger."""
    other = house.second_process()
    (parent,) = house.post(attempt())

    made_up = [linked(parent, leaf=E), linked(parent, leaf=E, rel="derived-from")]
    outcomes = [one for shelf in (house.shelf, other) for one in house.post(*made_up, by=shelf)]
    right = house.post(linked(parent), linked(parent, id=event_id()), linked(parent, id="x"))

    assert [type(one) for one in outcomes] == [LinkDiffers] * 4
    assert [one.errors[0].pointer for one in outcomes] == ["/links/0/leaf"] * 4
    assert [type(one) for one in right] == [Recorded] * 3


def test_a_leaf_is_not_guessed_for_an_entry_of_the_same_batch(house):
    """The parent's leaf exists when it is recorded, and before that nobody knows it."""
    parent = attempt()
    child = attempt(links=[{"rel": "parent-call", "id": parent["event_id"], "leaf": E}])

    outcomes = house.post(parent, child)

    assert [type(one) for one in outcomes] == [Recorded, LinkDiffers]


def test_an_unknown_parent_is_refused_where_the_house_asks_for_it(house):
    """Other links may lead to another ledger; a call's parent is in this one."""
    house.strict = True
    (parent,) = house.post(ingest("asset"))
    house.post(model())

    outcomes = house.post(
        linked(parent),
        linked(parent, id=event_id()),
        linked(parent, id="x"),
        linked(parent, id=event_id(), rel="incident"),
    )

    assert [problem(one) for one in outcomes] == ["", "link-unknown", "link-unknown", ""]


TEMPLATE = {"id": "template/1", "version": "1", "digest": D}
POLICY = {"id": "policy/1", "version": "1", "digest": D}


@pytest.fixture(scope="module")
def furnished(pattern, tmp_path_factory):
    """A house with one of each thing."""
    with house_in(pattern, tmp_path_factory.mktemp("furnished")) as house:
        house.post(
            model(),
            published("POLICY", "policy/1"),
            published("POLICY", "policy/3"),
            published("PROMPT_TEMPLATE", "template/1"),
            published("CONSENT_TEXT", "likeness"),
            consent("consent/9"),
            ingest("asset"),
        )
        yield house


@pytest.fixture
def strict(furnished):
    """The same, where what is unknown is refused; tests add to it and take nothing away."""
    furnished.strict = True
    return furnished


def test_a_call_that_names_what_there_is_is_recorded(strict):
    """With every link that there is, and after a start that knows nothing."""
    whole = call(
        model={**MODEL, "id": PAINTER, "manifest": D},
        prompt={"template": TEMPLATE},
        policy=POLICY,
        consent_ids=["consent/9"],
        inputs=[{"type": "image", "ref_asset": "asset"}],
    )

    (first,) = strict.post(whole)
    (other,) = strict.post(whole | {"event_id": event_id(), "aggregate_id": "x"},
                           by=strict.second_process())  # fmt: skip

    assert [type(first), type(other)] == [Recorded, Recorded]


@pytest.mark.parametrize(
    ("changes", "pointer", "rule"),
    [
        ({"model": {**MODEL, "name": "other"}}, "/body/model", "link-unknown"),
        ({"model": {**MODEL, "name": "No Id"}}, "/body/model", "link-unknown"),
        ({"model": {**MODEL, "version": "4"}}, "/body/model", "link-unknown"),
        ({"model": {**MODEL, "manifest": E}}, "/body/model", "link-differs"),
        ({"policy": {**POLICY, "id": "policy/2"}}, "/body/policy", "link-unknown"),
        ({"policy": {**POLICY, "digest": E}}, "/body/policy", "link-differs"),
        ({"prompt": {"template": {**TEMPLATE, "version": "2"}}}, "/body/prompt/template",
         "link-unknown"),
        ({"inputs": [{"type": "image", "ref_asset": "x"}]}, "/body/inputs/0/ref_asset",
         "link-unknown"),
        ({"consent_ids": ["consent/9", "consent/8"]}, "/body/consent_ids/1", "consent-unknown"),
    ],
)  # fmt: skip
def test_a_call_that_names_something_else_is_refused_and_says_where(strict, changes, pointer, rule):
    """By pointer and rule, and never with the value."""
    (refused,) = strict.post(call(**changes))

    assert [(one.pointer, one.rule) for one in refused.errors] == [(pointer, rule)]
    strict.strict = False
    assert isinstance(strict.post(call(**changes))[0], Recorded)


def test_what_is_retired_is_called_no_more_from_its_day_on(noon):
    """A retirement may be announced; a call that is made before its day is right."""
    noon.strict = True
    day = clock.rfc3339(noon.now_ms() + 3_600_000)
    noon.post(model(), published("POLICY", "policy/1"))
    noon.post(said("MODEL_RETIRED", PAINTER, {"reason_code": "x", "effective_at": day}))
    (announced,) = noon.post(call(policy=POLICY))
    noon.now_ms.move(hours=1)
    (retired,) = noon.post(call(policy=POLICY))

    assert isinstance(announced, Recorded)
    assert isinstance(retired, LinkRetired)


def test_what_happened_is_recorded_whatever_it_names(strict):
    """An outcome that is refused would be closed by the timeout: the record would be wrong."""
    start = call(policy={**POLICY, "id": "policy/3"})
    strict.post(start, said("POLICY_RETIRED", "policy/3", {"reason_code": "x"}))
    outcome = gen(start["aggregate_id"], "picture")
    outcome["body"]["reference_assets"] = ["unknown"]

    done = strict.post(outcome, export("picture"))

    assert [type(one) for one in done] == [Recorded, Recorded]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"text_id": "other"}, "link-unknown"),
        ({"text_version": "2"}, "link-unknown"),
        ({"text_digest": E}, "link-differs"),
    ],
)
def test_a_consent_is_given_under_words_that_are_published(strict, changes, rule):
    """Word for word, by their digest."""
    id_ = f"consent/{event_id()}"
    (refused,) = strict.post(consent(id_, **changes))

    assert [(one.pointer, one.rule) for one in refused.errors] == [("/body/consent/text_id", rule)]
    assert isinstance(strict.post(consent(id_))[0], Recorded)


def started(**train):
    plan = {
        "type": "LORA",
        "inputs": [{"dataset_id": "photos", "manifest_digest": D, "count": 1}],
        "output_model": "m/2",
        "code_digest": D,
    }
    return said("TRAIN_STARTED", event_id(), {"train": plan | train})


def test_a_training_run_names_a_base_and_sets_that_are_there(strict):
    """Before it starts; in a house that flags it is recorded as sent."""
    (refused,) = strict.post(started(base_model="m/0", input_asset_ids=["asset", "x"]))
    assert refused.errors[0].pointer == "/body/train/base_model"
    (refused,) = strict.post(started(base_model=PAINTER))
    assert isinstance(refused, LinkUnknown)
    assert refused.errors[0].pointer == "/body/train/inputs/0/dataset_id"

    strict.strict = False
    assert isinstance(strict.post(started(base_model="m/0"))[0], Recorded)


def test_a_deployment_and_a_new_version_race_in_two_processes(house):
    """Versions of one stream are one order, whoever writes them: one digest for each version."""
    other = house.second_process()
    with ThreadPoolExecutor(8) as pool:
        tries = [(model("7", digest), shelf) for digest in (D, E) for shelf in (house.shelf, other)]
        done = list(pool.map(lambda one: house.post(one[0], by=one[1])[0], tries))

    assert sum(isinstance(one, Recorded) for one in done) == 1
    assert {problem(one) for one in done} - {""} <= {"version-exists", "digest-differs"}


def test_a_writer_of_many_years_is_looked_up_by_its_newest_entry(house):
    """Its stream has an entry for each minute; the last one says where it stands."""
    house.post(said("WRITER_STARTED", "renderer-1", {}))
    house.post(*(said("WRITER_HEARTBEAT", "renderer-1", {"last_n": n}) for n in range(5)))
    other = house.second_process()

    back, on, stop = (
        house.post(said(type_, "renderer-1", {"last_n": n}), by=other)[0]
        for type_, n in (("WRITER_HEARTBEAT", 3), ("WRITER_HEARTBEAT", 5), ("WRITER_STOPPED", 5))
    )

    assert [problem(back), problem(on), problem(stop)] == ["out-of-order", "", ""]
    assert stop.row.version == 8
    assert Fsck(house.book).run().damage == []


def test_an_end_of_a_consent_that_was_cut_out_of_the_log_stops_the_writer(house):
    """A decision is never built on a stream with a gap."""
    house.post(consent("consent/9"), revoked("consent/9"), said("CONSENT_EXPIRED", "consent/8", {}))
    house.reopen()
    with administrator(house) as admin:
        admin.do("DELETE FROM {b}.entry_body WHERE position = 0")

    with pytest.raises(IntegrityViolation):
        house.post(call(consent_ids=["consent/9"]))
