# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenLineage in: the real client, with its own HTTP transport, records a training run."""

import base64
import hmac
import json
from pathlib import Path

import jsonschema
import openlineage.client.event_v2 as ol
import pytest
import requests
from openlineage.client import OpenLineageClient, set_producer
from openlineage.client.facet_v2 import (
    BaseFacet,
    dataset_version_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    parent_run,
)
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport
from openlineage.client.uuid import generate_new_uuid

from sealtrail.verify.disclosure import commit

pytestmark = pytest.mark.once

SPEC = (
    Path(__file__).resolve().parents[2]
    / ".." / "shared" / "vectors" / "openlineage" / "spec" / "OpenLineage.json"
)  # fmt: skip
PRODUCER = "https://studio.example/trainer/3"
D, E = "sha256:" + "11" * 32, "sha256:" + "22" * 32
RUN_KEY = bytes(range(32))
HEADERS = {
    "Sealtrail-Run-Key": base64.urlsafe_b64encode(RUN_KEY).rstrip(b"=").decode(),
    "Sealtrail-On-Behalf-Of": "employee-7",
}

set_producer(PRODUCER)


def facet(**members):
    """A facet of ours, as a client without generated classes makes one."""
    return BaseFacet().with_additional_properties(**members)


TRAIN = {"type": "FINETUNE", "code_digest": D, "seed": "7", "config": {"learning_rate": "0.0001"}}


def run_event(kind, run_id, *, train=TRAIN, inputs=None, outputs=None, run=None, **more):
    facets = {} if train is None else {"sealtrail_train": facet(**train)}
    return ol.RunEvent(
        eventType=getattr(ol.RunState, kind),
        eventTime="2026-11-21T10:20:30.123456+01:00",
        run=ol.Run(runId=run_id, facets=facets | (run or {})),
        job=ol.Job(namespace="studio", name="finetune.painter"),
        inputs=[dataset()] if inputs is None else inputs,
        outputs=[model()] if outputs is None else outputs,
        **more,
    )


def dataset(name="portraits", *, ours=None, version=D, rows=1_000):
    facets = {} if ours is None else {"sealtrail_dataset": facet(**ours)}
    if version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(version)
    statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(rowCount=rows)
    counted = {"inputStatistics": statistics} if rows else {}
    return ol.InputDataset(namespace="lake", name=name, facets=facets, inputFacets=counted)


def model(version=E):
    facets = {"version": dataset_version_dataset.DatasetVersionDatasetFacet(version)}
    return ol.OutputDataset(namespace="urn:cap:model:acme", name="painter-7", facets=facets)


@pytest.fixture(scope="module")
def client(service):
    """The client as its users configure it: an address, a token, two headers."""
    config = HttpConfig.from_dict(
        {
            "url": service.url,
            "auth": {"type": "api_key", "apiKey": service.pipeline},
            "custom_headers": HEADERS,
            "retry": {"total": 0},
        }
    )
    transport = HttpTransport(config)
    yield OpenLineageClient(transport=transport)
    transport.close()


def send(service, event, headers=HEADERS, path="/v1/openlineage"):
    content = event if isinstance(event, bytes) else Serde.to_json(event)
    return service.ask("POST", path, token=service.pipeline, content=content, headers=headers)


def entry_of(answer):
    return json.loads(base64.b64decode(answer.json()["entry"]))


def complaints(answer):
    return {(one["pointer"], one["rule"]) for one in answer.json()["errors"]}


def last_entry(service):
    size = service.size
    return service.house.book.reader.between(size - 1, size)[0].entry.value


def test_the_real_client_records_a_run_from_start_to_end(service, client):
    """It is given the ledger's address and nothing else; its own path is answered."""
    run_id = str(generate_new_uuid())
    before = service.size

    client.emit(run_event("START", run_id))
    started = last_entry(service)
    client.emit(run_event("RUNNING", run_id))
    client.emit(run_event("COMPLETE", run_id))
    completed = last_entry(service)

    assert service.size == before + 2
    assert (started["type"], completed["type"]) == ("TRAIN_STARTED", "TRAIN")
    assert started["aggregate"]["id"] == completed["aggregate"]["id"] == run_id
    plan = {
        **TRAIN,
        "inputs": [{"dataset_id": "lake/portraits", "manifest_digest": D, "count": 1_000}],
        "output_model": "urn:cap:model:acme/painter-7",
    }
    assert started["body"]["train"] == plan
    ended = {"ended_at": "2026-11-21T09:20:30.123Z", "manifest_digest": E}
    assert completed["body"]["train"] == plan | ended
    assert started["time"]["producer"] == "2026-11-21T09:20:30.123Z"
    assert started["producer"] == {"id": PRODUCER, "event_id": f"{run_id}/START"}
    job = {"rel": "member-of", "id": "studio/finetune.painter", "type": "OpenLineageJob"}
    assert started["links"] == [job]


def test_a_second_send_is_a_repeat(service, client):
    """The client retries by itself."""
    event = run_event("START", str(generate_new_uuid()))

    first, again = send(service, event), send(service, event)
    client.emit(event)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["sealtrail-repeat"] == "true"
    assert first.json()["position"] == again.json()["position"]


def test_a_failure_is_recorded_with_its_message_sealed(service, client):
    run_id = str(generate_new_uuid())
    message = error_message_run.ErrorMessageRunFacet("max muster's disk is full", "PYTHON")
    client.emit(run_event("START", run_id))

    answer = send(
        service, run_event("FAIL", run_id, train=None, run={"errorMessage": message}, inputs=[])
    )

    entry = entry_of(answer)
    failure = {"class": "openlineage", "code": "FAIL", "stage": "run", "retryable": False}
    assert entry["type"] == "TRAIN_FAILED"
    assert entry["body"] == {"error": failure, "ended_at": "2026-11-21T09:20:30.123Z"}
    assert "muster" not in json.dumps(entry)
    assert set(answer.json()["disclosures"]) == {"actor.subject_id", "error.message"}


def test_our_facet_says_more_of_a_failure(service):
    run_id = str(generate_new_uuid())
    error = {"class": "hardware", "code": "gpu-lost", "stage": "epoch-3", "retryable": True}
    send(service, run_event("START", run_id))

    answer = send(service, run_event("ABORT", run_id, train={"error": error}))

    assert entry_of(answer)["body"]["error"] == error


def test_our_facets_come_before_what_others_say(service):
    ours = {"dataset_id": "urn:cap:dataset:acme:portraits", "smt_root": E, "count": 9}
    event = run_event(
        "START",
        str(generate_new_uuid()),
        train=TRAIN | {"output_model": "urn:cap:model:acme:painter", "base_model": "base"},
        inputs=[dataset(ours=ours), dataset("faces", version=E, rows=3)],
        outputs=[],
    )

    train = entry_of(send(service, event))["body"]["train"]

    first = {**ours, "manifest_digest": D}
    second = {"dataset_id": "lake/faces", "manifest_digest": E, "count": 3}
    assert train["inputs"] == [first, second]
    assert (train["output_model"], train["base_model"]) == ("urn:cap:model:acme:painter", "base")


def test_the_run_that_made_this_one_is_linked(service):
    run_id, parent = str(generate_new_uuid()), str(generate_new_uuid())
    made_by = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=parent), job=parent_run.Job(namespace="airflow", name="nightly")
    )
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="AIRFLOW")
    event = run_event("START", run_id, run={"parent": made_by})
    event.job.facets["jobType"] = kind

    answer = send(service, event)

    assert {"rel": "member-of", "id": parent, "type": "OpenLineageRun"} in entry_of(answer)["links"]
    assert answer.headers["sealtrail-ignored"] == "1"  # jobType has no place in an entry.


@pytest.mark.parametrize("kind", ["RUNNING", "OTHER"])
def test_what_adds_nothing_is_answered_and_not_recorded(service, kind):
    before = service.size

    answer = send(service, run_event(kind, str(generate_new_uuid()), train=None))

    assert (answer.status_code, answer.json()["recorded"]) == (200, False)
    assert "START" in answer.json()["reason"]
    assert service.size == before


def test_an_event_of_a_data_set_is_answered_and_not_recorded(service, client):
    event = ol.DatasetEvent(
        eventTime="2026-11-21T10:20:30Z", dataset=ol.StaticDataset(namespace="lake", name="x")
    )
    before = service.size

    client.emit(event)

    assert service.size == before


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"train": None}, "/run/facets/sealtrail_train"),
        ({"train": {"type": "FINETUNE"}}, "/run/facets/sealtrail_train/code_digest"),
        ({"train": TRAIN | {"epochs": 3}}, "/run/facets/sealtrail_train/epochs"),
        ({"train": TRAIN | {"inputs": []}}, "/run/facets/sealtrail_train/inputs"),
        (
            {"train": TRAIN | {"config": {"learning_rate": 0.1}}},
            "/run/facets/sealtrail_train/config/learning_rate",
        ),
        ({"inputs": []}, "/inputs"),
        ({"inputs": [dataset(version=None)]}, "/inputs/0/facets/sealtrail_dataset/manifest_digest"),
        ({"inputs": [dataset(version="v3")]}, "/inputs/0/facets/sealtrail_dataset/manifest_digest"),
        (
            {"inputs": [dataset(), dataset("b c", rows=None)]},
            "/inputs/1/facets/sealtrail_dataset/dataset_id",
        ),
        ({"outputs": []}, "/outputs"),
        ({"outputs": [model(), model()]}, "/outputs"),
    ],
    ids=["no-facet", "no-code", "unknown", "inputs-twice", "float", "no-inputs", "no-digest",
         "version", "no-name", "no-model", "two-models"],
)  # fmt: skip
def test_what_is_missing_names_the_facet(service, changes, pointer):
    before = service.size

    answer = send(service, run_event("START", str(generate_new_uuid()), **changes))

    assert answer.status_code == 422, answer.text
    assert pointer in {one for one, _ in complaints(answer)}
    assert service.size == before


def test_the_client_sees_a_refusal(client):
    """Its user reads the answer: it says which facet is missing."""
    with pytest.raises(requests.HTTPError) as refusal:
        client.emit(run_event("START", str(generate_new_uuid()), train=None))

    assert refusal.value.response.json()["errors"][0]["pointer"] == "/run/facets/sealtrail_train"


def test_a_completion_that_names_other_inputs_is_refused_where_they_were_sent(service):
    run_id = str(generate_new_uuid())
    send(service, run_event("START", run_id))

    answer = send(service, run_event("COMPLETE", run_id, inputs=[dataset(version=E)]))

    assert (answer.status_code, answer.json()["code"]) == (409, "training-differs")
    assert complaints(answer) == {("/inputs", "training-differs")}


def test_a_second_start_of_one_run_is_a_conflict(service):
    run_id = str(generate_new_uuid())
    send(service, run_event("START", run_id))

    answer = send(service, run_event("START", run_id, train=TRAIN | {"seed": "8"}))

    assert (answer.status_code, answer.json()["code"]) == (409, "event-conflict")


@pytest.mark.parametrize(
    ("headers", "pointer"),
    [
        ({"Sealtrail-On-Behalf-Of": "employee-7"}, "/headers/sealtrail-run-key"),
        (HEADERS | {"Sealtrail-Run-Key": "c2hvcnQ"}, "/headers/sealtrail-run-key"),
        ({"Sealtrail-Run-Key": HEADERS["Sealtrail-Run-Key"]}, "/headers/sealtrail-on-behalf-of"),
        (HEADERS | {"Sealtrail-On-Behalf-Of": "%zz"}, "/headers/sealtrail-on-behalf-of"),
        (HEADERS | {"Sealtrail-On-Behalf-Of": "renderer"}, "/headers/sealtrail-on-behalf-of"),
    ],
    ids=["no-key", "short-key", "nobody", "not-decodable", "a-pipeline"],
)
def test_the_person_and_the_key_come_as_headers(service, headers, pointer):
    """Lineage goes to other people's servers, too."""
    answer = send(service, run_event("START", str(generate_new_uuid())), headers=headers)

    assert answer.status_code == 422
    assert {one for one, _ in complaints(answer)} == {pointer}


def test_the_client_can_make_the_record_key_again(service):
    """Nobody but the holder of the run's key can, and the server keeps neither of them."""
    answer = send(service, run_event("START", str(generate_new_uuid()))).json()
    message = b"sealtrail.openlineage.record.v1\0" + answer["event_id"].encode()

    _, disclosures = commit(
        hmac.digest(RUN_KEY, message, "sha256"), {"actor.subject_id": "employee-7"}
    )

    assert answer["disclosures"] == disclosures


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"eventType": "FINISHED"}, "/eventType"),
        ({"eventTime": "2026-11-21"}, "/eventTime"),
        ({"run": {"runId": "7"}}, "/run/runId"),
        ({"run": 7}, "/run/runId"),
        ({"producer": "a b"}, "/producer"),
    ],
)
def test_what_is_wrong_is_named_in_the_event(service, changes, pointer):
    event = Serde.to_dict(run_event("START", str(generate_new_uuid()))) | changes

    answer = send(service, json.dumps(event).encode())

    assert (answer.status_code, {one for one, _ in complaints(answer)}) == (422, {pointer})


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000],
    ids=["nothing", "cut", "twice", "nan", "latin", "mark", "deep"],
)
def test_what_is_no_json_is_refused(service, data):
    assert send(service, data).status_code == 400


def test_numbers_of_other_peoples_facets_pass(service):
    """Statistics are floats and may be large; only in a facet of ours they have to be exact."""
    event = run_event("START", str(generate_new_uuid()), run={"quality": facet(f=1.5, n=2**80)})

    answer = send(service, event)

    assert (answer.status_code, answer.headers["sealtrail-ignored"]) == (201, "1")


def test_others_do_not_record_by_this_way_either(service):
    event = Serde.to_json(run_event("START", str(generate_new_uuid())))

    for path in ("/api/v1/lineage", "/v1/openlineage"):
        assert service.ask("POST", path, content=event).status_code == 401
        assert service.ask("POST", path, token=service.auditor, content=event).status_code == 403


@pytest.mark.skipif(not SPEC.is_file(), reason="the public schema (shared/vectors) is not here")
@pytest.mark.parametrize("kind", ["START", "COMPLETE", "FAIL", "RUNNING"])
def test_our_examples_are_run_events(kind):
    """OpenLineage's own schema takes what we tell people to send."""
    schema = json.loads(SPEC.read_text("utf-8"))
    event = Serde.to_dict(run_event(kind, str(generate_new_uuid())))

    jsonschema.Draft202012Validator(schema).validate(event)
