# SPDX-License-Identifier: GPL-3.0-or-later
"""Training with Hugging Face's own Trainer and with accelerate, tiny and on the processor."""

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from sealtrail import AuditUnavailable
from sealtrail.verify import canonical

for _library in ("torch", "transformers", "accelerate", "datasets"):
    pytest.importorskip(_library, reason=f"{_library} is not installed")

pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore")]

ROWS = [{"x": [float(at), 1.0], "labels": [2.0 * at]} for at in range(4)]


def _digest(data):
    return f"sha256:{sha256(data).hexdigest()}"


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "learn.py"
    path.write_text("print('learn')\n", "utf-8")
    return path


@pytest.fixture
def trainer_of(tmp_path):
    """Makes a Trainer of a model with two weights, which says how often it has learnt."""
    import torch
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.steps, self.breaks = torch.nn.Linear(2, 1), 0, False

        def forward(self, x, labels=None):
            self.steps += 1
            if self.breaks:
                raise RuntimeError("the memory is full")
            out = self.line(x)
            return {"loss": ((out - labels) ** 2).mean(), "logits": out}

    def make(audit, **more):
        args = TrainingArguments(
            output_dir=str(tmp_path / "out"),
            num_train_epochs=1,
            per_device_train_batch_size=2,
            learning_rate=0.01,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            **more,
        )
        data = Dataset.from_list(ROWS)
        return Trainer(model=Line(), args=args, train_dataset=data, callbacks=[audit])

    return make


def _audit(trail, code, **more):
    from sealtrail.huggingface import Audit

    return Audit(trail, output_model="acme/line", code=code, **more)


def test_a_run_is_on_record_with_data_arguments_code_and_weights(
    trainer_of, trail, recorded, code, tmp_path
):
    """The start before the first step, the end with the digest of the file of weights."""
    audit = _audit(trail, code)
    with trail.acting_for("emp-7"), audit:
        trainer_of(audit, save_strategy="epoch", save_total_limit=1).train()
    started, ended = recorded.entries
    plan, result = started["body"]["train"], ended["body"]["train"]
    assert recorded.types == ["TRAIN_STARTED", "TRAIN"]
    assert plan["code_digest"] == _digest(code.read_bytes())
    assert plan["config"]["learning_rate"] == "0.01"
    assert (plan["config"]["epochs"], plan["config"]["batch_size"]) == (1, 2)
    lines = b""
    for at, row in enumerate(ROWS):
        told = {name: [str(int(one)) for one in values] for name, values in row.items()}
        told = {name: [f"{one}.0" for one in values] for name, values in told.items()}
        line = {"row": at, "sha256": _digest(canonical.encode(told))}
        lines += canonical.encode(line) + b"\n"
    assert plan["inputs"][0]["manifest_digest"] == _digest(lines)
    assert plan["inputs"][0]["count"] == 4
    weights = next((tmp_path / "out" / "checkpoint-2").glob("model.safetensors"))
    assert result["weights"]["files"] == [
        {
            "path": "model.safetensors",
            "sha256": _digest(weights.read_bytes()),
            "size": str(weights.stat().st_size),
        }
    ]


def test_a_run_without_files_names_the_weights_in_memory(trainer_of, trail, recorded, code):
    """Nothing was saved: the digest is over the tensors that came out."""
    from sealtrail.fingerprints import component, plain_digest

    audit = _audit(trail, code)
    with trail.acting_for("emp-7"), audit:
        trainer = trainer_of(audit, save_strategy="no")
        trainer.train()
    result = recorded.entries[1]["body"]["train"]
    assert result["manifest_digest"] == plain_digest(component(trainer.model))
    assert "weights" not in result


def test_a_run_that_breaks_off_is_on_record(trainer_of, trail, recorded, code):
    """The Trainer has no hook for it; the block around it has."""
    audit = _audit(trail, code)
    with trail.acting_for("emp-7"), pytest.raises(RuntimeError), audit:  # noqa: PT012
        trainer = trainer_of(audit, save_strategy="no")
        trainer.model.breaks = True
        trainer.train()
    assert recorded.types == ["TRAIN_STARTED", "TRAIN_FAILED"]
    assert recorded.entries[1]["body"]["error"]["code"] == "RuntimeError"


def test_without_a_ledger_no_step_is_made(trainer_of, nobody, code):
    audit = _audit(nobody, code)
    trainer = trainer_of(audit, save_strategy="no")
    with nobody.acting_for("emp-7"), pytest.raises(AuditUnavailable):
        trainer.train()
    assert trainer.model.steps == 0


def test_a_loop_of_accelerate_begins_once_its_start_is_on_record(
    trail, nobody, recorded, code, tmp_path
):
    """One process: the block is run with a ledger, and not at all without one."""
    from accelerate import Accelerator

    from sealtrail.huggingface import training

    one = {"dataset_id": "d", "manifest_digest": _digest(b"d"), "count": 1}
    plan = {"output_model": "acme/line", "code": code, "type": "FINETUNE", "inputs": [one]}
    accelerator, ran = Accelerator(cpu=True), []
    (tmp_path / "w.safetensors").write_bytes(b"w")
    with trail.acting_for("emp-7"), training(trail, accelerator, **plan) as run:
        ran.append(recorded.types)
        run.produced(tmp_path / "w.safetensors")
    assert ran == [["TRAIN_STARTED"]]
    assert recorded.types == ["TRAIN_STARTED", "TRAIN"]
    with (
        nobody.acting_for("emp-7"),
        pytest.raises(AuditUnavailable),
        training(nobody, accelerator, **plan),
    ):
        ran.append("never")
    assert len(ran) == 1


_PROCESS = """
import sys
from accelerate import Accelerator
from sealtrail import Trail
from sealtrail.huggingface import training

one = {"dataset_id": "d", "manifest_digest": "sha256:" + "0" * 64, "count": 1}
plan = {"output_model": "acme/line", "code": __file__, "type": "FINETUNE", "inputs": [one]}
accelerator = Accelerator(cpu=True)
with Trail(journal=False, attempts=1) as trail, trail.acting_for("emp-7"):
    try:
        with training(trail, accelerator, **plan) as run:
            told = "ran"
            run.fact(manifest_digest="sha256:" + "1" * 64)
    except Exception as problem:
        told = type(problem).__name__
print(f"{accelerator.process_index} of {accelerator.num_processes}: {told}\\n", end="", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_there", "told"),
    [
        pytest.param(True, "ran", id="with a ledger"),
        pytest.param(False, "AuditUnavailable", id="without"),
    ],
)
def test_two_processes_go_on_together_or_not_at_all(shared, recorded, tmp_path, is_there, told):
    """The first one records; the second one begins only when it could."""
    (tmp_path / "learn.py").write_text(_PROCESS, "utf-8")
    (tmp_path / "trust.json").write_bytes(shared.house.trust().print())
    settings = {
        "SEALTRAIL_URL": shared.url if is_there else "http://127.0.0.1:9",
        "SEALTRAIL_TOKEN": shared.pipeline,
        "SEALTRAIL_TRUST": str(tmp_path / "trust.json"),
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(tmp_path / "learn.py")),
        ],
        check=False,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert sorted(done.stdout.split("\n"))[-2:] == [f"0 of 2: {told}", f"1 of 2: {told}"]
    assert recorded.types == (["TRAIN_STARTED", "TRAIN"] if is_there else [])
