# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: each has a rule, a default and a consequence, and none can be mistyped."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.settings import SETTINGS, Authority, SettingRefused, Settings, markdown

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"

PRODUCTION = {
    "SEALTRAIL_ENVIRONMENT": "production",
    "SEALTRAIL_DATABASE_URL": "postgresql://app:hunter2@db/ledger",
    "SEALTRAIL_DATA_DIR": "/srv/sealtrail",
    "SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": "/run/secrets/passphrase",
    "SEALTRAIL_CHECKPOINT_STORE": "/mnt/elsewhere/checkpoints",
    "SEALTRAIL_TSA_URLS": "one=https://tsa.example/, two=http://stamp.example/rfc3161",
    "SEALTRAIL_TSA_ROOTS": "/etc/sealtrail/tsa.pem",
}


def refused(environ: dict[str, str]) -> set[tuple[str, str]]:
    with pytest.raises(SettingRefused) as refusal:
        Settings.from_environment(environ)
    return {(error.pointer, error.rule) for error in refusal.value.errors}


def test_nothing_set_is_a_development_ledger():
    """`dev` needs no variable at all."""
    settings = Settings.from_environment({"PATH": "/bin"})

    assert settings.environment == "development"
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 8400)
    assert settings.keystore == settings.data_dir / "keystore"
    assert settings.data_dir.is_absolute()
    assert settings.tsa_urls == ()


def test_every_default_obeys_its_own_rule():
    """A default that could not be set by hand would be a trap."""
    for setting in SETTINGS:
        if (
            isinstance(setting.default, int | str)
            and not setting.below
            and "`" not in str(setting.default)
        ):
            assert setting.read(str(setting.default)) == setting.default


def test_production_takes_all_its_settings():
    """A complete production environment, with paths below the data directory by default."""
    settings = Settings.from_environment(PRODUCTION)

    assert settings.tsa_urls == (
        Authority(name="one", url="https://tsa.example/"),
        Authority(name="two", url="http://stamp.example/rfc3161"),
    )
    assert settings.packet_dir == Path("/srv/sealtrail/packets")
    assert settings.checkpoint_store == Path("/mnt/elsewhere/checkpoints")


@pytest.mark.parametrize("missing", [row.variable for row in SETTINGS if row.required])
def test_production_names_what_is_missing(missing):
    """Not set and set to nothing are the same: an empty secret is no secret."""
    absent = {name: value for name, value in PRODUCTION.items() if name != missing}
    rule = next(row.rule for row in SETTINGS if row.variable == missing)

    assert (missing, rule) in refused(absent)
    assert (missing, rule) in refused({**PRODUCTION, missing: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "prod"), ("ENVIRONMENT", "Production"),
        ("DATABASE_URL", "mysql://x"), ("DATABASE_URL", "host=db"),
        ("DATA_DIR", "relative/path"), ("KEYSTORE", "~/keys"),
        ("TSA_URLS", "https://tsa.example"), ("TSA_URLS", "a=ftp://x"), ("TSA_URLS", "a=https://"),
        ("TSA_URLS", "a=https://x,a=https://y"), ("TSA_URLS", "A B=https://x"), ("TSA_URLS", ","),
        ("TSA_POLICY", "1.2.03"), ("TSA_POLICY", "tsa"), ("TSA_POLICY", "3.1"),
        ("TSA_QUORUM", "0"), ("HOST", "a b"), ("PORT", "65536"), ("PORT", "-1"), ("PORT", "080"),
        ("ATTEMPT_DEADLINE_S", "0"), ("ATTEMPT_DEADLINE_S", "86401"), ("ATTEMPT_DEADLINE_S", "1_0"),
        ("ATTEMPT_DEADLINE_S", " 900"), ("ATTEMPT_DEADLINE_S", "\u0663"), ("BATCH_MAX", "1e3"),
        ("EPOCH_ENTRIES", "65537"), ("EPOCH_ENTRIES", "1"), ("EPOCH_ENTRIES", "9" * 5000),
        ("NIGHT_TIME", "24:00"), ("NIGHT_TIME", "0:05"), ("LOG_LEVEL", "chatty"),
    ],
)  # fmt: skip
def test_a_value_that_breaks_its_rule_is_refused_by_name(name, value):
    """The error names the variable and the rule, and does not show the value."""
    variable = f"SEALTRAIL_{name}"
    rule = next(row.rule for row in SETTINGS if row.variable == variable)

    assert refused({variable: value}) == {(variable, rule)}


def test_no_error_shows_a_value():
    """A database URL holds a password, and errors end in logs."""
    environ = {
        "SEALTRAIL_DATABASE_URL": "mysql://root:hunter2@db",
        "SEALTRAIL_TSA_URLS": "a=https://hunter2\u2100@tsa.example/",
        "SEALTRAIL_PASSWORD": "hunter2",
    }

    with pytest.raises(SettingRefused) as refusal:
        Settings.from_environment(environ)

    assert "hunter2" not in str(refusal.value)
    assert "SEALTRAIL_DATABASE_URL" in str(refusal.value)
    assert "hunter2" not in repr(Settings.from_environment(PRODUCTION))


def test_a_mistyped_name_is_refused():
    """SEALTRAIL_TSA_URL instead of SEALTRAIL_TSA_URLS would be a ledger that is never stamped."""
    assert refused({"SEALTRAIL_TSA_URL": "a=https://x"}) == {
        ("SEALTRAIL_TSA_URL", "unknown-setting")
    }


@given(st.from_regex(r"\A[A-Z_]{1,12}\Z"))
def test_no_unknown_name_passes_silently(name):
    """Whatever follows the prefix is a setting, another program's, or refused."""
    variable = f"SEALTRAIL_{name}"
    elsewhere = name in {"URL", "TOKEN", "TRUST"} or name.startswith(
        ("CLIENT_", "GATEWAY_", "TEST_", "BENCH_")
    )
    if elsewhere or variable in {row.variable for row in SETTINGS}:
        return

    assert refused({variable: "x"}) == {(variable, "unknown-setting")}


def test_variables_of_other_programs_are_left_alone():
    """The client on the same machine has its own."""
    Settings.from_environment({"SEALTRAIL_TOKEN": "secret", "SEALTRAIL_GATEWAY_PORT": "8401"})


def test_all_broken_rules_are_told_at_once():
    """An operator repairs a deployment in one round."""
    assert refused({"SEALTRAIL_PORT": "x", "SEALTRAIL_DATA_DIR": "x", "SEALTRAIL_X": "x"}) == {
        ("SEALTRAIL_PORT", "range"),
        ("SEALTRAIL_DATA_DIR", "absolute-path"),
        ("SEALTRAIL_X", "unknown-setting"),
    }


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"SEALTRAIL_TSA_QUORUM": "3"}, ("SEALTRAIL_TSA_QUORUM", "quorum")),
        (
            {"SEALTRAIL_OWNER_DATABASE_URL": PRODUCTION["SEALTRAIL_DATABASE_URL"]},
            ("SEALTRAIL_DATABASE_URL", "separate-roles"),
        ),
        (
            {"SEALTRAIL_KEYSTORE": "/mnt/elsewhere/checkpoints/keys"},
            ("SEALTRAIL_CHECKPOINT_STORE", "separate-directories"),
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, broken):
    """More tokens than authorities, one login for two roles, keys in the open store."""
    assert refused({**PRODUCTION, **changes}) == {broken}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": ""}, {"SEALTRAIL_KEYSTORE_PASSPHRASE_FILE"}),
        ({"SEALTRAIL_KEYS": "kms", "SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": ""}, set()),
        (
            {"SEALTRAIL_KEYS": "kms", "SEALTRAIL_KMS_ENDPOINT": "http://kms.example"},
            {"SEALTRAIL_KMS_ENDPOINT"},
        ),
        (
            {"SEALTRAIL_KEYS": "pkcs11"},
            {"SEALTRAIL_PKCS11_MODULE", "SEALTRAIL_PKCS11_TOKEN"},
        ),
    ],
)
def test_a_keeper_of_keys_needs_its_own_settings(changes, broken):
    """A passphrase or PIN, a module and its token; nothing that is unwrapped travels in clear."""
    found = refused({**PRODUCTION, **changes}) if broken else set()
    if not broken:
        Settings.from_environment({**PRODUCTION, **changes})

    assert {variable for variable, _ in found} == broken


def test_authorities_need_roots_in_development_too():
    """A token that chains to nothing pinned is no evidence."""
    assert refused({"SEALTRAIL_TSA_URLS": "a=https://x"}) == {("SEALTRAIL_TSA_ROOTS", "required")}


def test_the_data_directory_of_root_is_not_in_its_home():
    """The embedded PostgreSQL of root runs as another user, who cannot look into /root."""
    expected = "/var/lib/sealtrail" if os.geteuid() == 0 else str(Path.home())

    assert str(Settings.from_environment({}).data_dir).startswith(expected)


def test_every_setting_says_what_follows_from_it():
    """Unit and consequence are sentences for people, not repetitions of the name."""
    for setting in SETTINGS:
        assert setting.consequence.endswith(".")
        assert len(setting.consequence) > 30
        assert re.fullmatch(r"[a-z0-9_]+", setting.name)


def test_the_documentation_is_the_table():
    """`python -m ledger.settings > docs/settings.md` was run after the last change."""
    assert DOCUMENT.read_text(encoding="utf-8") == markdown()
