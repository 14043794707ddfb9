# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator writes: taken as it stands, or refused at the start with the member's name."""

import pytest

from sealtrail_gateway.settings import Misconfigured, Settings

pytestmark = pytest.mark.once

DIGEST = "ab" * 32
WRONG = {
    "policy.refuse is not a list": 'policy.refuse = "passport"',
    "policy.refuse[1] is no pattern": 'policy.refuse = ["a", "("]',
    "policy has no reject": 'policy.reject = ["a"]',
    "upstream.x has no credential": 'upstream.x = {url = "http://h/v1", credential = "k"}',
    "upstream.x.url is missing": 'upstream.x = {reader = "openai"}',
    "upstream.x.url is no address": 'upstream.x = {url = "ftp://h"}',
    "upstream.y.url is no address": 'upstream.y = {url = "http://u:p@h"}',
    "upstream.z.url is no address": "upstream.z = {url = 5}",
    "upstream.x.reader is none of": 'upstream.x = {url = "http://h", reader = "x"}',
    "upstream is not a table": "upstream = 5",
    "upstream.openai is not a table": 'upstream.openai = "http://h"',
    "the file has no callers": "callers = []",
    "a caller has no name": f'caller = [{{key_sha256 = "{DIGEST}", name = "x"}}]',
    "a caller has key_sha256": f'caller = [{{key_sha256 = "{"z" * 64}", person = "x"}}]',
    "either person or service": f'caller = [{{key_sha256="{DIGEST}", person="x", service="y"}}]',
    "person or service is a name": f'caller = [{{key_sha256 = "{DIGEST}", person = ""}}]',
    "oidc.jwks_file is missing": 'oidc = {issuer = "i", audience = "a"}',
    "proxy has no secret": 'proxy.secret = "x"',
    "a file cannot be read": 'upstream.openai.credential_file = "gone.key"',
    "is not TOML": "policy = [",
}  # fmt: skip
ENVIRONMENT = {
    "SEALTRAIL_GATEWAY_LISTEN": ("8401", ":8401", "127.0.0.1:", "127.0.0.1:65536", "h:٣"),
    "SEALTRAIL_GATEWAY_TIMEOUT_S": ("nan", "inf", "-1", "0", "x"),
    "SEALTRAIL_GATEWAY_LEDGER_TIMEOUT_S": ("0",),
    "SEALTRAIL_GATEWAY_BODY_MAX_MIB": ("0", "1.5", "-3"),
    "SEALTRAIL_URL": ("ftp://h", "localhost:1", "unix:x"),
    "SEALTRAIL_TOKEN_FILE": ("gone",),
    "SEALTRAIL_TRUST": ("gone", "config.toml"),
}


@pytest.fixture
def environment(running, tmp_path):
    (tmp_path / "trust.json").write_bytes(running.service.house.trust().print())
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    (tmp_path / "openai.key").write_text("k", encoding="utf-8")
    (tmp_path / "token").write_text("t", encoding="utf-8")
    return {
        "SEALTRAIL_URL": "http://127.0.0.1:1",
        "SEALTRAIL_TOKEN_FILE": str(tmp_path / "token"),
        "SEALTRAIL_TRUST": str(tmp_path / "trust.json"),
        "SEALTRAIL_GATEWAY_CONFIG": str(tmp_path / "config.toml"),
    }


@pytest.mark.parametrize("said", WRONG)
def test_a_file_with_something_wrong_in_it_is_not_served(environment, tmp_path, said):
    """A member that nobody reads may be one that is misspelled: a credential, or a rule."""
    (tmp_path / "config.toml").write_text(WRONG[said], encoding="utf-8")
    with pytest.raises(Misconfigured) as refused:
        Settings.read(environment)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, listed in ENVIRONMENT.items() for value in listed]
)
def test_an_environment_with_something_wrong_in_it_is_not_served(
    environment, tmp_path, name, value
):
    """Without a host it would listen everywhere; without an end it would wait for ever."""
    if name == "SEALTRAIL_TRUST" and value == "config.toml":
        value = str(tmp_path / value)
    with pytest.raises(Misconfigured):
        Settings.read({**environment, name: value})


def test_a_file_as_its_page_has_it_is_read(environment, tmp_path):
    """Upstreams, callers and rules; an address of IPv6 in brackets."""
    (tmp_path / "config.toml").write_text(
        '[upstream.openai]\ncredential_file = "openai.key"\n[upstream.house]\n'
        f'url = "http://h:8000/v1/"\n[[caller]]\nkey_sha256 = "{DIGEST.upper()}"\n'
        'service = "studio"\nanonymous = false\n[policy]\nrefuse = ["(?i)passport"]\nversion = 7\n',
        encoding="utf-8",
    )
    told = Settings.read({**environment, "SEALTRAIL_GATEWAY_LISTEN": "[::1]:8401"})
    assert (told.host, told.port, told.refuse, told.policy_version) == (
        "::1", 8401, ("(?i)passport",), "7",
    )  # fmt: skip
    assert told.upstreams["openai"].credential == "k"
    assert told.upstreams["house"].reader == "openai"
    assert told.callers[DIGEST].service == "studio"
