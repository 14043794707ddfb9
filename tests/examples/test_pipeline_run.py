# SPDX-License-Identifier: GPL-3.0-or-later
"""The example's run, over HTTP, against a small ledger with the real catalogue and lifecycles."""

import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("numpy")
pytest.importorskip("PIL")

from PIL import Image
from small_ledger import TOKEN, SmallLedger, serving

from examples.pipeline import model, rules, steps
from examples.pipeline.journal import Journal
from examples.pipeline.run import main
from ledger import catalog, lifecycle
from ledger.errors import LedgerError
from ledger.references import model_stream
from sealtrail import Recorder, Refused
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import open_disclosure

EXPECTED = [
    *["POLICY_PUBLISHED", "PROMPT_TEMPLATE_PUBLISHED"],
    *["INGEST"] * 8,
    *["TRAIN_STARTED", "TRAIN", "MODEL_REGISTERED"],
    *["GEN_ATTEMPT", "MODERATION", "GEN"] * 3,
    *["GEN_ATTEMPT", "MODERATION", "GEN_DENY"],
    *["GEN_ATTEMPT", "GEN_ERROR"],
    *["GEN_ATTEMPT", "MODERATION", "GEN"],
    "EXPORT",
]


class CatalogueLedger(SmallLedger):
    """Refuses what the server's event classes and lifecycles refuse."""

    def __init__(self):
        super().__init__()
        self.kinds = {event.type: event.aggregate for event in catalog.CATALOG.values()}
        self.streams = {}
        self.break_at = None

    def record(self, content):
        request = canonical.parse(content)
        try:
            self._decide(request)
        except LedgerError as error:
            errors = [vars(one) if hasattr(one, "__dict__") else str(one) for one in error.errors]
            return error.status, {"code": error.problem, "detail": str(errors)}
        if request["type"] == self.break_at:
            return 409, {"code": "broken-by-the-test"}
        return super().record(content)

    def _decide(self, request):
        type_, body = request["type"], request["body"]
        catalog.validate(type_, 1, body, request.get("sealed", {}))
        names = {
            name: request[name]
            for name in catalog.envelope.Envelope.model_fields
            if name in request
        }
        catalog.validate_envelope(names)
        kind = self.kinds[type_]
        stream = f"{kind}/{request['aggregate_id']}"
        state = self.streams.get(stream) or lifecycle.fresh(kind, request["aggregate_id"])
        assert lifecycle.decide(state, type_, 1, body, self.streams) is None
        self.streams[stream] = state.after(type_, body)
        if type_ == "GEN":
            for asset_id in catalog.born_assets(type_, request["aggregate_id"], body):
                self.streams[f"Asset/{asset_id}"] = lifecycle.Asset.born(asset_id)


def run(ledger, url, out, cache, *more):
    trust = out.parent / "trust.json"
    trust.write_bytes(ledger.trust.print())
    options = {"--url": url, "--token": TOKEN, "--person": "emp-7", "--trust": trust}
    options |= {"--out": out, "--cache": cache, "--steps": 60}
    words = [str(word) for pair in options.items() for word in pair]
    return main([*words, *more])


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache):
    """A finished run: the ledger it talked to and the directory it left."""
    out = tmp_path_factory.mktemp("run") / "out"
    ledger = CatalogueLedger()
    with serving(ledger) as url:
        assert run(ledger, url, out, cache) == 0
    return ledger, out


def entries(ledger):
    return [canonical.decode(data) for data in ledger.entries]


def digest(path):
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_run_leaves_the_whole_life_of_a_picture(done):
    """Ingest, training, five calls and one made by another call, one delivery."""
    ledger, _ = done

    assert [entry["type"] for entry in entries(ledger)] == EXPECTED


def test_the_pipelines_own_numbers_have_no_gap(done):
    """source.n counts every event of the run."""
    ledger, _ = done

    sources = [entry["source"] for entry in entries(ledger)]
    assert [source["n"] for source in sources] == list(range(len(EXPECTED)))
    assert len({source["id"] for source in sources}) == 1


def test_digests_in_the_training_are_those_of_the_files(done):
    """Data set, code, weights, metrics, environment and manifest, computed again from disk."""
    ledger, out = done
    train = next(entry["body"]["train"] for entry in entries(ledger) if entry["type"] == "TRAIN")

    assert train["inputs"][0]["manifest_digest"] == digest(out / "dataset/manifest.jsonl")
    assert train["weights"]["files"][0]["sha256"] == digest(out / "model/weights.npz")
    assert train["metrics_digest"] == digest(out / "model/metrics.json")
    assert train["env_digest"] == digest(out / "model/environment.json")
    assert train["manifest_digest"] == digest(out / "model/manifest.json")
    assert train["code_digest"] == digest(Path(model.__file__))


def test_the_data_set_lists_the_photographs_that_were_ingested(done, cache):
    """Each line of the manifest is an INGEST entry, and each digest a file in the cache."""
    ledger, out = done
    manifest = (out / "dataset/manifest.jsonl").read_bytes()
    lines = [canonical.decode(line) for line in manifest.splitlines()]

    ingested = [entry for entry in entries(ledger) if entry["type"] == "INGEST"]
    assets = [entry["body"]["asset"] for entry in ingested]
    assert [line["asset_id"] for line in lines] == [one["aggregate"]["id"] for one in ingested]
    assert {line["sha256"] for line in lines} == {digest(path) for path in cache.iterdir()}
    for name in ("sha256", "pixel_sha256"):
        assert [line[name] for line in lines] == [asset[name] for asset in assets]


def test_the_pictures_on_disk_are_the_outputs_on_record(done):
    """File digest and pixel digest of every GEN; nothing else is in the folder."""
    ledger, out = done
    outputs = [entry["body"]["outputs"][0] for entry in entries(ledger) if entry["type"] == "GEN"]

    assert {path.name for path in (out / "images").iterdir()} == {
        f"{output['asset_id']}.png" for output in outputs
    }
    for output in outputs:
        path = out / "images" / f"{output['asset_id']}.png"
        assert digest(path) == output["sha256"]
        with Image.open(path) as picture:
            pixels = hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
            assert output["pixel_sha256"] == f"sha256:{pixels}"
            assert picture.size == (output["w"], output["h"])


def test_a_stranger_draws_the_same_picture_from_weights_seed_and_disclosed_prompt(done):
    """The journal opens the prompt; the entry gives the seed; the bytes come out equal."""
    ledger, out = done
    journal = json.loads((out / "run.json").read_text())
    attempt = next(entry for entry in entries(ledger) if entry["type"] == "GEN_ATTEMPT")
    gen = next(entry for entry in entries(ledger) if entry["type"] == "GEN")
    shown = journal["disclosures"][attempt["event_id"]]["prompt.rendered"]
    params = attempt["body"]["params"]

    picture = model.generate(
        model.load((out / "model/weights.npz").read_bytes()),
        open_disclosure(shown)[2],
        model.Sampling(seed=int(params["seed"]), steps=params["steps"]),
    )

    pixels = hashlib.sha256(picture.tobytes()).hexdigest()
    assert gen["body"]["outputs"][0]["pixel_sha256"] == f"sha256:{pixels}"


def test_the_child_call_binds_its_parent_by_leaf(done):
    """Id and leaf of the parent's attempt, and its place in the tree of calls."""
    ledger, out = done
    journal = json.loads((out / "run.json").read_text())
    leaves = {event["event_id"]: event["leaf"] for event in journal["events"]}
    child = next(one for one in entries(ledger) if one.get("trace", {}).get("depth") == 1)

    (link,) = [link for link in child["links"] if link["rel"] == "parent-call"]
    assert link["leaf"] == leaves[link["id"]]
    assert child["trace"]["parent_event"] == link["id"]
    assert child["trace"]["root_event"] == link["id"]
    parent = next(entry for entry in entries(ledger) if entry["event_id"] == link["id"])
    assert child["trace"]["trace_id"] == parent["trace"]["trace_id"]
    assert child["trace"]["parent_span_id"] == parent["trace"]["span_id"]


def test_no_prompt_and_no_person_is_in_any_entry(done):
    """They are in the journal, which only its owner may read."""
    ledger, out = done
    everything = b"".join(ledger.entries)

    for word in (b"emp-7", b"coffee cup on", b"passport", b"Rachel Michetti", b"editor"):
        assert word not in everything
    assert (out / "run.json").stat().st_mode & 0o777 == 0o600


def test_the_delivered_file_is_the_one_on_record_and_its_life_is_listed(done):
    """run.json names the events that a packet about the picture is made of."""
    ledger, out = done
    exported = json.loads((out / "run.json").read_text())["exported"]
    entry = entries(ledger)[-1]

    assert digest(out / exported["file"]) == entry["body"]["asset_sha256"] == exported["sha256"]
    types = {one["event_id"]: one["type"] for one in entries(ledger)}
    assert [types[event_id] for event_id in exported["event_ids"]] == [
        *["INGEST"] * 8,
        *["TRAIN_STARTED", "TRAIN", "GEN_ATTEMPT", "MODERATION", "GEN", "EXPORT"],
    ]


def test_every_event_has_its_receipt_on_disk(done):
    """As JSON, in the order of the log."""
    _, out = done
    saved = [json.loads(path.read_text()) for path in sorted((out / "receipts").iterdir())]

    assert [one["position"] for one in saved] == list(range(len(EXPECTED)))


def test_calls_name_what_the_ledger_has_in_its_registers(done):
    """Model, policy and template of each call, by version and digest, as they were registered."""
    ledger, _ = done
    registered = {}
    for one in entries(ledger):
        body, id_ = one["body"], one["aggregate"]["id"]
        if one["type"].endswith("_PUBLISHED"):
            registered[id_] = (body["version"], body["digest"])
        if one["type"] == "MODEL_REGISTERED":
            registered[id_] = (body["model"]["version"], body["manifest"]["digest"])

    calls = [one["body"] for one in entries(ledger) if one["type"] == "GEN_ATTEMPT"]
    for call in calls:
        name = model_stream(call["model"]).removeprefix("Model/")
        assert registered[name] == (call["model"]["version"], call["model"]["manifest"])
        for said in (call["policy"], call["prompt"]["template"]):
            assert registered[said["id"]] == (said["version"], said["digest"])


def test_rules_are_published_once_and_changed_under_another_version_only(done, monkeypatch):
    """A second run of the same rules goes on; other rules under the same version stop it."""
    ledger, out = done

    with serving(ledger) as url, Recorder(url, TOKEN, trust=ledger.trust) as recorder:
        again = steps.Run(recorder=recorder, journal=Journal(out.parent / "x"), person="emp-7")
        steps.publish(again)
        assert again.count == 0
        monkeypatch.setattr(rules, "RULES", rules.RULES[:1])
        with pytest.raises(Refused) as refusal:
            steps.publish(again)

    assert refusal.value.code == "digest-differs"


@pytest.mark.parametrize(("break_at", "folder"), [("GEN", "images"), ("EXPORT", "export")])
def test_without_a_receipt_nothing_is_handed_on(tmp_path, cache, capsys, break_at, folder):
    """The ledger does not take the outcome, so there is no file; the run stops and says so."""
    ledger, out = CatalogueLedger(), tmp_path / "out"
    ledger.break_at = break_at

    with serving(ledger) as url:
        code = run(ledger, url, out, cache)

    assert code == 1
    assert "broken-by-the-test" in capsys.readouterr().err
    assert not (out / folder).exists()


def test_a_directory_with_an_earlier_run_is_not_overwritten(done, cache, capsys):
    """A journal holds the only disclosures there are."""
    ledger, out = done
    before = (out / "run.json").read_bytes()

    with serving(ledger) as url:
        code = run(ledger, url, out, cache)

    assert code == 1
    assert "earlier run" in capsys.readouterr().err
    assert (out / "run.json").read_bytes() == before


def test_without_a_token_the_run_says_where_to_put_one(tmp_path, monkeypatch, capsys):
    """In the environment, because a list of processes shows the command line to everybody."""
    monkeypatch.delenv("SEALTRAIL_TOKEN", raising=False)

    with pytest.raises(SystemExit) as ended:
        main(["--url", "http://127.0.0.1:1", "--out", str(tmp_path), "--cache", str(tmp_path)])

    assert ended.value.code == 2
    assert "SEALTRAIL_TOKEN" in capsys.readouterr().err


def test_the_client_files_events_as_the_catalogue_does():
    """The recorder's table of aggregates is the server's, for every event a client can send."""
    from sealtrail.receipt import AGGREGATES

    served = {
        event.type: event.aggregate for event in catalog.CATALOG.values() if not event.ledger_made
    }

    assert dict(AGGREGATES) == served
