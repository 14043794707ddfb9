# SPDX-License-Identifier: GPL-3.0-or-later
"""gateway/compose.yaml and its Dockerfile, without Docker: parsed, and every command run for real.

The image itself is not built. Paths are moved below a directory of the test.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from deployed import ROOT, VARIABLE, filled
from gateway_world import CREDENTIAL, PERSON_KEY
from openai import OpenAI

FOLDER = ROOT / "gateway"
TEXT = (FOLDER / "compose.yaml").read_text("utf-8")
GIVEN = {"SEALTRAIL_URL": "https://ledger.example", "SEALTRAIL_GATEWAY_DIR": "/given/gateway"}
FILES = "/etc/sealtrail-gateway"
START_S = 60


@pytest.fixture(scope="module")
def service():
    return filled(yaml.safe_load(TEXT), GIVEN)["services"]["gateway"]


def instructions():
    """The instructions of the Dockerfile, as (word, rest), lines joined and comments left out."""
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(" ".join(line.split()).split(" ", 1)) for line in lines]


def test_every_variable_of_the_gateway_is_explained_and_has_no_default():
    """A forgotten one stops Compose with a sentence."""
    head = TEXT.split("\nname:")[0]

    assert {name for name, _ in VARIABLE.findall(TEXT)} == set(GIVEN)
    assert all(rest.startswith(":?") and len(rest) > 2 for _, rest in VARIABLE.findall(TEXT))
    assert all(f"#      {name} " in head for name in GIVEN)


def test_the_gateway_may_do_little_and_is_nobody_else(service):
    """No root, no capability, no writable image, its files read only; another user than servers."""
    assert service["user"] == "10002:10002"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert f"{GIVEN['SEALTRAIL_GATEWAY_DIR']}:{FILES}:ro" in service["volumes"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert [rest for word, rest in instructions() if word == "USER"] == [service["user"]]


def test_its_image_is_made_of_client_and_gateway_alone():
    """Nothing of the server gets in, and nothing that is secret."""
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))["project"]
    (entry,) = [json.loads(rest) for word, rest in instructions() if word == "ENTRYPOINT"]

    assert "*" in ignored
    assert copied == {line[1:] for line in ignored if line.startswith("!")} == {"client", "gateway"}
    assert set(entry) <= set(project["scripts"])
    assert "ARG" not in [word for word, _ in instructions()]


@pytest.fixture(scope="module")
def directory(running):
    """The files that the head of compose.yaml names, for the ledger and provider of the tests."""
    # Below /tmp itself: pytest's own directories are closed to the container's user.
    with tempfile.TemporaryDirectory(prefix="sealtrail-gateway-", dir="/tmp") as name:
        place = Path(name)
        (place / "journal").mkdir(mode=0o700)
        (place / "pipeline.token").write_text(running.service.pipeline)
        (place / "trust.json").write_bytes(running.service.house.trust().print())
        (place / "openai.key").write_text(CREDENTIAL)
        (place / "gateway.toml").write_text(
            f'[upstream.openai]\nurl = "{running.address}/v1"\ncredential_file = "openai.key"\n'
            f'[[caller]]\nkey_sha256 = "{sha256(PERSON_KEY.encode()).hexdigest()}"\n'
            'person = "emp-7"\n'
        )
        for path in (place, *place.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o400)
            if os.geteuid() == 0:
                os.chown(path, 10002, 10002)
        yield place


def environment(service, directory, url):
    moved = {
        name: value.replace(FILES, str(directory)).replace(
            "/var/lib/sealtrail-gateway", str(directory / "journal")
        )
        for name, value in service["environment"].items()
    }
    beside = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONSAFEPATH": "1",
              "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    port = {"SEALTRAIL_URL": url, "SEALTRAIL_GATEWAY_LISTEN": "127.0.0.1:0"}
    return beside | moved | port


def command(*words):
    """The container's command line, run as the container's user where the test is root's.

    That user may pass through closed directories (a capability): the interpreter may lie below
    root's home.
    """
    program = [str(Path(sys.executable).parent / "sealtrail-gateway"), *words]
    if os.geteuid() != 0:
        return program
    return [
        *("setpriv", "--reuid=10002", "--regid=10002", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override", *program),
    ]


@contextlib.contextmanager
def serving(service, directory, url):
    """Start the container's process; yields its address, and ends it as Docker does."""
    process = subprocess.Popen(
        [*command(*service["command"]), "--json"],
        env=environment(service, directory, url),
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        yield json.loads(process.stdout.readline() if ready else "")["gateway"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=START_S)


def test_the_doctor_of_the_container_finds_nothing_wrong(service, directory, world):
    """As the head says: `docker compose run --rm gateway doctor`."""
    done = subprocess.run(
        command("doctor"),
        env=environment(service, directory, world.service.url),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout


def test_the_container_records_a_call_is_healthy_and_keeps_its_receipts(service, directory, world):
    """An unchanged SDK gets its picture; both events are on record, both receipts in the volume."""
    _, _, *words = service["healthcheck"]["test"]

    with serving(service, directory, world.service.url) as url:
        check = [word.replace("http://127.0.0.1:8401", url) for word in words]
        healthy = subprocess.run([sys.executable, *check], check=False, capture_output=True)
        with OpenAI(base_url=f"{url}/openai/v1", api_key=PERSON_KEY, max_retries=0) as client:
            client.images.generate(model="painter", prompt="a lighthouse")
        with urllib.request.urlopen(f"{url}/livez", timeout=5) as alive:
            assert alive.status == 200

    kept = [line for path in directory.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert healthy.returncode == 0, healthy.stderr
    assert world.types == ["GEN_ATTEMPT", "GEN"]
    assert len(kept) == 2
    assert len(world.provider.calls) == 1
