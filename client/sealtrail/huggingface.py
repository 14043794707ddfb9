# SPDX-License-Identifier: Apache-2.0
"""Hugging Face: training runs of its Trainer, and of loops that accelerate carries.

    audit = Audit(trail, output_model="acme/painter", code=__file__)
    trainer = Trainer(..., callbacks=[audit])
    with audit:                                  so that a run which breaks off is on record, too
        trainer.train()                          TRAIN_STARTED, or it does not begin; TRAIN

    with training(trail, accelerator, output_model=…, code=__file__, inputs=[…]) as run:
        …                                        every process waits for the receipt
        run.produced("painter/model.safetensors")

The Trainer has no hook for a run that breaks off: without `with audit`, its start stays open on
record. Of several processes the first one records; with accelerate the others are told when it
cannot, with the Trainer their launcher stops them.
"""

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from sealtrail.content import digest_text
from sealtrail.errors import AuditUnavailable, NotRecordable
from sealtrail.fingerprints import (
    component,
    file_digest,
    libraries,
    loaded_from,
    plain,
    plain_digest,
)
from sealtrail.models import decimal_text
from sealtrail.providers.exchange import plain_code, plain_line
from sealtrail.stages import Training
from sealtrail.verify import canonical

if TYPE_CHECKING:
    from sealtrail.trail import Trail

    TrainerCallback = object
else:
    try:
        from transformers import TrainerCallback
    except ImportError:  # accelerate alone is enough for `training`.
        TrainerCallback = object

JSON = dict[str, Any]

_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf")
#: What a checkpoint holds besides weights.
_OTHERS: Final = ("optimizer", "scheduler", "rng_state", "training_args", "scaler")

#: An entry holds 16 KiB: more files are listed by one digest; `env_digest` is over all arguments.
_FILES_MAX: Final = 40
_PARAMETERS_MAX: Final = 32
_VALUE_MAX: Final = 80

#: Arguments that say where things lie, or how to get in.
_UNTOLD: Final = ("dir", "token", "path", "hub", "name", "url", "push", "report", "project")


class Audit(TrainerCallback):
    """Records the runs of one Trainer; raises instead of letting one begin without a receipt."""

    def __init__(
        self,
        trail: "Trail",
        *,
        output_model: str,
        code: str | Path | None = None,
        inputs: Sequence[Mapping[str, Any]] | None = None,
        **plan: Any,
    ) -> None:
        """code: the training program, a file or its digest; this program's own if it has a file.

        inputs: the data sets as `train.inputs` names them, best sealed before (docs/absence.md);
        otherwise the rows of the Trainer's data set are hashed, once through. plan: further
        members of `train`.
        """
        self._trail = trail
        self._fixed: JSON = {"output_model": output_model, "code": _code(code), **plan}
        self._inputs = inputs
        self._run: Training | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run, self._run = self._run, None
        if run is not None:
            left = problem or RuntimeError("the run was left without an end")
            run.__exit__(type(left), left, trace)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Put the start on record. Raises what `Trail.record` raises; then nothing is learnt."""
        del control
        if not state.is_world_process_zero:
            return
        inputs = self._inputs
        if inputs is None:
            inputs = [rows_of(getattr(given.get("train_dataloader"), "dataset", None))]
        model = given.get("model")
        plan = _plan(args, model) | self._fixed | {"inputs": [dict(one) for one in inputs]}
        run = self._trail.train(**plan)
        run.__enter__()
        self._run = run

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Put the end on record, with the newest checkpoint's files or the weights in memory."""
        del control
        run, self._run = self._run, None
        if run is None:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = weights_in(folder)
        if 1 <= len(files) <= _FILES_MAX:
            for path in files:
                run.produced(path, name=path.relative_to(folder).as_posix())
        elif files:
            run.fact(manifest_digest=_listing(folder, files))
        else:
            run.fact(manifest_digest=plain_digest(component(given["model"])))
        if state.log_history:
            run.fact(metrics_digest=plain_digest(plain(state.log_history)))
        run.__exit__(None, None, None)


@contextmanager
def training(trail: "Trail", accelerator: Any, **plan: Any) -> Iterator[Training]:
    """Run the block once its start is on record, in every process or in none.

    plan: as for `trail.train`; what the other processes name in `produced` is not recorded. Raises
    AuditUnavailable in those, where the first one could not record.
    """
    run = trail.train(**plan)
    first = bool(accelerator.is_main_process)
    problem: BaseException | None = None
    if first:
        try:
            run.__enter__()
        except Exception as error:  # noqa: BLE001 - raised below, once the others know
            problem = error
    _agree(accelerator, problem)
    try:
        yield run
    except BaseException as error:
        if first:
            run.__exit__(type(error), error, error.__traceback__)
        raise
    accelerator.wait_for_everyone()  # Only a run that ended well in every process has ended well.
    problem = None
    if first:
        try:
            run.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001 - as above
            problem = error
    _agree(accelerator, problem)


def rows_of(dataset: Any) -> JSON:
    """Return a data set of `datasets` as a member of `train.inputs`: every row is read once.

    Its manifest is a line of canonical JSON for each row, `{"row": n, "sha256": digest}`, the
    digest over the row's own canonical JSON: bytes by their digest, fractions as text. Raises
    NotRecordable for what has no rows that stand still.
    """
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "num_rows"):
        raise NotRecordable("This data set cannot be read twice; name it with `inputs`.")
    running, number = sha256(), 0
    for table in dataset.with_format("arrow").iter(batch_size=1_000):
        for row in table.to_pylist():
            digest = digest_text(canonical.encode(_row(row)))
            running.update(canonical.encode({"row": number, "sha256": digest}) + b"\n")
            number += 1
    name = getattr(getattr(dataset, "info", None), "dataset_name", None)
    named = plain_code(name) or "dataset"
    fingerprint = plain_code(getattr(dataset, "_fingerprint", None))
    return {
        "dataset_id": f"{named}:{fingerprint}"[:128] if fingerprint else named,
        "manifest_digest": f"sha256:{running.hexdigest()}",
        "count": number,
    }


def weights_in(folder: Path) -> list[Path]:
    """Return the files of weights in a folder; none if it is not there."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in _WEIGHTS and not path.name.startswith(_OTHERS)
    ]


def _plan(args: Any, model: Any) -> JSON:
    """Return what the arguments of a Trainer say."""
    config: JSON = {
        "batch_size": int(args.train_batch_size) * int(args.gradient_accumulation_steps),
        "learning_rate": decimal_text(args.learning_rate),
        "parameters": _parameters(args),
    }
    if float(args.num_train_epochs).is_integer():
        config["epochs"] = int(args.num_train_epochs)
    plan: JSON = {
        "type": "LORA" if getattr(model, "peft_config", None) else "FINETUNE",
        "seed": str(int(args.seed)),
        "hardware": plain_line(f"{args.world_size} x {args.device}"),
        "config": config,
        "env_digest": plain_digest({"libraries": libraries(), "arguments": _all(args)}),
    }
    base = None if model is None else loaded_from(model)
    if base is not None:
        plan["base_model"] = plain_code(base.name) or "unnamed"
    return plan


def _parameters(args: Any) -> JSON:
    """Return the arguments that are not what they are by default; not those that name places."""
    found: JSON = {}
    for one in dataclasses.fields(args):
        value = getattr(args, one.name, None)
        if value == one.default or any(part in one.name for part in _UNTOLD):
            continue
        told = decimal_text(value) if isinstance(value, float) else plain(value)
        if not isinstance(told, (bool, int)):
            told = plain_line(str(told)[:_VALUE_MAX])
        if told is not None and len(found) < _PARAMETERS_MAX:
            found[one.name] = told
    return found


def _all(args: Any) -> JSON:
    return {
        one.name: plain(getattr(args, one.name, None))
        for one in dataclasses.fields(args)
        if "token" not in one.name and "dir" not in one.name
    }


def _listing(folder: Path, files: Sequence[Path]) -> str:
    return plain_digest(
        [{"path": one.relative_to(folder).as_posix(), "sha256": file_digest(one)} for one in files]
    )


def _row(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return digest_text(bytes(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _row(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_row(one) for one in value]
    return plain(value)


def _code(code: str | Path | None) -> str | Path:
    """Return the program, as it was given or as Python knows it. Raises ValueError."""
    file = code or getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise ValueError("name the training program: code=<its file, or a digest>")
    return file


def _agree(accelerator: Any, problem: BaseException | None) -> None:
    """Have all processes go on, or none. Raises the first one's problem there."""
    accelerator.wait_for_everyone()
    told = import_module("accelerate.utils").broadcast_object_list(
        [problem is None], from_process=0
    )
    if problem is not None:
        raise problem
    if told[0] is not True:
        raise AuditUnavailable("The first process could not record the run.", attempts=0)
