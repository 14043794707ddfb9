# SPDX-License-Identifier: GPL-3.0-or-later
"""compose.yaml and Dockerfile, without Docker: parsed, and every command line in them run for real.

How the services are run without containers: tests/deployed.py. The image itself is not built.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path

import pytest
import yaml
from deployed import GIVEN, ROOT, SERVER, TEXT, VARIABLE, Deployed, filled

from ledger.embedded import EmbeddedPostgres
from ledger.settings import Settings

SERVERS = ("api", "scheduler", "owner")


@pytest.fixture(scope="module")
def compose():
    return filled(yaml.safe_load(TEXT))


def mounts(service):
    """Where each volume of a service is seen: path → source."""
    split = [volume.split(":") for volume in service["volumes"]]
    return {parts[1]: parts[0] for parts in split}


def dockerfile():
    """The instructions of the Dockerfile, as (word, rest), lines joined and comments left out."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(" ".join(line.split()).split(" ", 1)) for line in lines]


# Parsed


def test_no_variable_has_a_default_or_may_be_empty():
    """A forgotten secret stops Compose with a sentence, and never becomes an empty password."""
    for name, rest in VARIABLE.findall(TEXT):
        assert rest.startswith(":?"), name
        assert len(rest) > 2, name

    assert {name for name, _ in VARIABLE.findall(TEXT)} == set(GIVEN)


def test_every_variable_is_explained_at_the_head():
    head = TEXT.split("\nname:")[0]

    assert all(f"#      {name} " in head for name in GIVEN)


def test_no_secret_is_written_down():
    """Passwords come from outside; the passphrase is a file that Compose mounts."""
    raw = yaml.safe_load(TEXT)
    for service in raw["services"].values():
        for name, value in service["environment"].items():
            if "PASSWORD" in name or "@" in str(value):
                assert re.search(r"\$\{\w+_PASSWORD:\?", value), name
    assert raw["secrets"]["keystore_passphrase"]["file"].startswith("${SEALTRAIL_PASSPHRASE_PATH:?")


def test_servers_never_see_the_owners_password(compose):
    """Whoever has it can remove the rules that make the tables append-only."""
    for name in ("api", "scheduler"):
        assert GIVEN["SEALTRAIL_OWNER_PASSWORD"] not in json.dumps(compose["services"][name])
    assert compose["services"]["owner"]["profiles"] == ["owner"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_may_do_little(compose, name):
    """No root, no capability, no writable image, and no start before the database is healthy."""
    service = compose["services"][name]

    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_every_service_that_stays_has_a_healthcheck(compose):
    staying = {name: s for name, s in compose["services"].items() if "profiles" not in s}

    assert set(staying) == {"postgres", "api", "scheduler"}
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in staying.values())


def test_the_checkpoint_store_lies_where_nothing_else_does(compose):
    """On a volume of the database it would be rewound together with it."""
    others = {
        source
        for name, service in compose["services"].items()
        for target, source in mounts(service).items()
        if not target.endswith("/checkpoints")
    }
    for name in SERVERS:
        store = mounts(compose["services"][name])["/var/lib/sealtrail/checkpoints"]

        assert store == GIVEN["SEALTRAIL_CHECKPOINT_PATH"]
        assert store not in others
        assert store not in compose["volumes"]


def test_api_and_scheduler_use_one_keystore_and_one_store(compose):
    assert mounts(compose["services"]["api"]) == mounts(compose["services"]["scheduler"])
    assert (
        compose["services"]["api"]["environment"]
        == (compose["services"]["scheduler"]["environment"])
    )


@pytest.mark.parametrize("name", SERVERS)
def test_settings_are_known_complete_and_lie_in_volumes(compose, name):
    """The product's own reader takes them, as production."""
    service = compose["services"][name]
    ours = {k: v for k, v in service["environment"].items() if k.startswith("SEALTRAIL_")}

    settings = Settings.from_environment(ours)

    assert settings.environment == "production"
    seen = {*mounts(service), "/run/secrets"}
    for path in (
        settings.keystore,
        settings.checkpoint_store,
        settings.packet_dir,
        settings.archive,
        settings.upload_dir,
        settings.trust_file,
        settings.tsa_roots,
        settings.keystore_passphrase_file,
    ):
        assert not seen.isdisjoint({str(path), *map(str, path.parents)}), path


def test_postgresql_keeps_what_it_acknowledges(compose):
    command = compose["services"]["postgres"]["command"]

    assert {"--fsync=on", "--full_page_writes=on", "--synchronous_commit=on"} < set(command)
    assert "--default_toast_compression=lz4" in command


def test_the_image_holds_no_secret_and_runs_as_nobody_in_particular():
    instructions = dockerfile()
    words = [word for word, _ in instructions]
    users = [rest for word, rest in instructions if word == "USER"]

    assert users == ["10001:10001"]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "ARG" not in words
    assert not re.search(
        "PASS|SECRET|TOKEN|KEYSTORE_", " ".join(r for w, r in instructions if w == "ENV")
    )


def test_what_the_image_is_made_of_is_there_and_let_through():
    """Every package of the wheel and everything that building it reads; nothing else gets in."""
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for word, rest in dockerfile()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]

    assert "*" in ignored
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)
    assert copied >= {*wheel["targets"]["wheel"]["packages"], "client", "pyproject.toml", "LICENSE"}


def test_the_entry_point_is_a_command_that_the_wheel_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (entry,) = [json.loads(rest) for word, rest in dockerfile() if word == "ENTRYPOINT"]

    assert entry == [SERVER]
    assert SERVER in project["scripts"]


# Run


@pytest.fixture(scope="module")
def place(compose, authority):
    """Directories for the volumes, files for the secrets, and a PostgreSQL with the login made."""
    # Below /tmp itself: pytest's own directories are closed to the containers' user.
    with tempfile.TemporaryDirectory(prefix="sealtrail-deployed-", dir="/tmp") as name:
        directory = Path(name)
        volumes = ("keystore", "trust", "packets", "archive", "uploads", "checkpoints", "escrow")
        for volume in volumes:
            (directory / volume).mkdir(mode=0o700)
        (directory / "passphrase").touch(mode=0o600)
        (directory / "passphrase").write_text("a passphrase for a test\n")
        (directory / "roots.pem").write_text(authority.root_pem)
        with EmbeddedPostgres(directory / "postgres") as postgres:
            deployed = Deployed(directory, postgres, authority, compose)
            deployed.own(".", *volumes, "passphrase")
            deployed.make_login()
            yield deployed


def owners_commands():
    """The owner's command lines at the head of compose.yaml, in order."""
    found = re.findall(r"^#\s+docker compose run --rm (?:-v \S+ )?owner (.*)$", TEXT, re.MULTILINE)
    return [shlex.split(line) for line in found]


@pytest.fixture(scope="module")
def made(place):
    """The deployment after step 2 of compose.yaml's head; what each command printed."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    auditor = X25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    values = {"AUDITOR_KEY": auditor, "/escrow": str(place.directory / "escrow")}
    printed = {}
    for words in owners_commands():
        done = place.run("owner", *[values.get(word, word) for word in words])
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}{done.stdout}"
        printed[words[0]] = done.stdout
    return printed


def test_the_owners_commands_do_what_the_head_says(place, made):
    """Migrate, keys, Books, a token: in that order, each once."""
    assert list(made) == ["migrate", "keys", "init", "token"]
    assert made["token"].startswith("st_pipeline_")
    assert len(list((place.directory / "escrow").iterdir())) == 2
    assert "ledger.example/acme" in (place.directory / "trust" / "trust.json").read_text()


@pytest.mark.usefixtures("made")
def test_the_api_answers_its_healthcheck_and_stops_when_told(place, compose):
    """`docker compose up --wait` waits for this very line of Python."""
    _, python, *words = compose["services"]["api"]["healthcheck"]["test"]

    with place.running("api") as (server, said):
        check = [word.replace("http://127.0.0.1:8400", said["api"]) for word in words]
        healthy = subprocess.run([sys.executable, *check], check=False, capture_output=True)
        with urllib.request.urlopen(f"{said['api']}/.well-known/sealtrail/trust.json") as answer:
            trust = answer.read()

    assert python == "python"
    assert healthy.returncode == 0, healthy.stderr
    assert trust == (place.directory / "trust" / "trust.json").read_bytes()
    assert server.returncode == 0


@pytest.mark.usefixtures("made")
def test_the_scheduler_starts_is_healthy_and_stops_when_told(place, compose):
    """It is healthy when it could do its work: keystore, database and store open, and agree."""
    _, program, *words = compose["services"]["scheduler"]["healthcheck"]["test"]

    with place.running("scheduler") as (process, said):
        healthy = place.run("scheduler", *words)

    assert said == {"scheduler": "started"}
    assert program == SERVER
    assert healthy.returncode == 0, healthy.stderr
    assert {row["book"] for row in json.loads(healthy.stdout)["books"]} == {"acme", "acme-access"}
    assert process.returncode == 0


@pytest.mark.usefixtures("made")
def test_the_doctor_finds_nothing_wrong(place):
    """Packages, login, Books, authorities and anchors of what was deployed."""
    done = place.run("owner", "doctor", "--json")

    rows = json.loads(done.stdout)["checks"]
    assert [row for row in rows if not row["ok"]] == []
    assert done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try to be root")
@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("service", ["api", "scheduler"])
def test_a_server_refuses_to_run_as_root_in_production(place, service):
    done = place.run(service, as_root=True)

    assert done.returncode == 2
    assert "never runs as root" in done.stderr


def test_the_owner_service_alone_changes_nothing(place):
    """`docker compose --profile owner up` by mistake prints help and ends."""
    done = place.run("owner")

    assert done.returncode == 0
    assert "migrate" in done.stdout
