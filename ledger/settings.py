# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything an operator can set, in one table: unit, default, and what follows from it.

Settings are read from environment variables named SEALTRAIL_*, once, at start. A variable that is
set to nothing counts as not set. A name that is not in the table is refused, because a mistyped
setting must not vanish; an error names the variable and the rule, and never shows the value, which
may hold a password. `docs/settings.md` is this table, printed (`python -m ledger.settings`).
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ledger import setting_values as values
from ledger.errors import FieldError, Refused
from ledger.setting_values import Authority, BucketName, LinkCheck

PREFIX: Final = "SEALTRAIL_"

Environment: TypeAlias = Literal["development", "production"]
KeysDriver: TypeAlias = Literal["file", "pkcs11", "kms"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class SettingRefused(Refused):
    """A setting breaks a rule; `errors` names each variable and rule."""

    problem = "setting-refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process. Each member is described in SETTINGS under its name."""

    environment: Environment
    database_url: str | None = field(repr=False)
    owner_database_url: str | None = field(repr=False)
    data_dir: Path
    keys: KeysDriver
    keystore: Path
    keystore_passphrase_file: Path | None
    pkcs11_module: Path | None
    pkcs11_token: str | None
    kms_endpoint: str | None
    kms_region: str | None
    checkpoint_store: Path
    trust_file: Path
    chain_escrow: Path | None
    tsa_urls: tuple[Authority, ...]
    tsa_roots: Path | None
    tsa_quorum: int
    tsa_policy: str | None
    host: str
    port: int
    attempt_deadline_s: int
    epoch_entries: int
    checkers: int
    batch_max: int
    queue_max: int
    pool_max: int
    books_open_max: int
    packet_dir: Path
    packet_ttl_h: int
    archive: Path | BucketName
    archive_endpoint: str | None
    archive_region: str | None
    upload_dir: Path
    artifact_deadline_s: int
    artifact_lock_d: int
    link_ttl_s: int
    backup_keep_d: int
    key_sheet_dir: Path | None
    redaction_model: str | None
    link_check: LinkCheck
    clock_skew_s: int
    clock_jump_h: int
    night_time: str
    log_level: LogLevel

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read all settings, or raise SettingRefused with every rule that is broken."""
        errors = [_unknown(name) for name in sorted(environ) if _is_ours(name)]
        found: dict[str, Any] = {}
        for setting in SETTINGS:
            text = environ.get(setting.variable, "")
            try:
                found[setting.name] = setting.read(text) if text else setting.absent(found)
            except ValueError as error:
                errors.append(FieldError(setting.variable, setting.rule, str(error)))
        if not errors:
            errors = _contradictions(cls(**found))
        if errors:
            told = " ".join(f"{error.pointer}: {error.detail}" for error in errors)
            raise SettingRefused(told, errors=errors)
        return cls(**found)


class Setting(NamedTuple):
    """One row of the table."""

    name: str  #: Member of Settings; the variable is SEALTRAIL_ and this in capitals.
    unit: str  #: Unit or type, for people.
    rule: str  #: Stable name of the rule that a bad value breaks.
    read: Callable[[str], Any]  #: Raises ValueError with a sentence that does not show the text.
    default: Any  #: A value; for a path below the data directory, its name there.
    consequence: str  #: What follows from it, in sentences.
    required: bool = False  #: Whether production must set it.
    below: bool = False  #: Whether the default is a name below the data directory.

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    def absent(self, before: Mapping[str, Any]) -> Any:
        """Return the default, given the settings read before this one."""
        if self.required and before.get("environment") == "production":
            raise ValueError("is required in production.")
        if self.name == "data_dir":
            return default_data_dir()
        if self.below:  # a refused data directory is told once, not for every name below it
            return before.get("data_dir", default_data_dir()) / self.default
        return self.default


def default_data_dir() -> Path:
    """Return `/var/lib/sealtrail` for root, else `~/.local/share/sealtrail`."""
    if os.geteuid() == 0:
        return Path("/var/lib/sealtrail")
    return Path("~/.local/share/sealtrail").expanduser()


SETTINGS: Final = (
    Setting("environment", "development or production", "choice",
        values.one_of("development", "production"), "development",
        "Production refuses to start without every setting marked required, and as root."),
    Setting("database_url", "PostgreSQL URL", "postgresql-url", values.database, None,
        "Where entries live, as the application role that owns nothing. Not set: the embedded "
        "PostgreSQL below the data directory, for development only.", required=True),
    Setting("owner_database_url", "PostgreSQL URL", "postgresql-url", values.database, None,
        "The owner's login, for `migrate` and `init` only. Do not give it to a server process: "
        "whoever has it can remove the rules that make the tables append-only."),
    Setting("data_dir", "directory", "absolute-path", values.path,
        "`/var/lib/sealtrail` as root, else `~/.local/share/sealtrail`",
        "Where everything is put that has no place of its own.", required=True),
    Setting("keys", "file, pkcs11 or kms", "choice", values.one_of("file", "pkcs11", "kms"), "file",
        "Who keeps the keys (docs/keys.md): encrypted files, a hardware module, or a service that "
        "speaks AWS KMS. Chosen before `keys init`; keys cannot move from one to another."),
    Setting("keystore", "directory", "absolute-path", values.path, "keystore",
        "The encrypted keys, or with a module or service the cards that name them. Keep it out of "
        "backups, or a chain key destroyed in a file lives on in them.", below=True),
    Setting("keystore_passphrase_file", "file, mode 0600", "absolute-path", values.path, None,
        "Opens the keystore; for pkcs11 it holds the token's PIN. Required in production, but for "
        "kms. In development a random one is made in the data directory; beside the keys it "
        "protects nothing."),
    Setting("pkcs11_module", "file", "absolute-path", values.path, None,
        "The module's library, such as /usr/lib/softhsm/libsofthsm2.so, which keeps keys in files "
        "and is for trials only."),
    Setting("pkcs11_token", "label", "label", values.label, None,
        "The token in it that holds the keys; this ledger's alone."),
    Setting("kms_endpoint", "URL", "web-url", values.web, None,
        "Where the service answers, if not at the region's own address; https in production. "
        "Credentials come from the environment or the machine's role, as for every AWS program."),
    Setting("kms_region", "region", "label", values.label, None,
        "The service's region, such as eu-central-1. Not set: as for every AWS program."),
    Setting("checkpoint_store", "directory", "absolute-path", values.path, "checkpoints",
        "The newest signed checkpoint of each Book, read at every start. On the database's own "
        "disk it is rewound together with the database and protects nothing. If it cannot be "
        "written, ingest answers 503.", required=True, below=True),
    Setting("trust_file", "file", "absolute-path", values.path, "trust.json",
        "The public keys and roots a stranger needs; served under "
        "`/.well-known/sealtrail/trust.json`.", below=True),
    Setting("chain_escrow", "file", "absolute-path", values.path, None,
        "The escrowed first chain key, for `fsck`. Not set: MACs of older epochs are reported as "
        "not checked. Set on the ledger's own machine, it undoes the chain's forward security."),
    Setting("tsa_urls", "name=url, comma separated", "authorities", values.authorities, (),
        "The RFC 3161 authorities asked each night; use two. Not set: the local one of `dev`, "
        "which proves nothing to anybody else.", required=True),
    Setting("tsa_roots", "PEM file", "absolute-path", values.path, None,
        "The pinned roots of these authorities. A token that does not chain to one of them is "
        "refused.", required=True),
    Setting("tsa_quorum", "tokens", "range", values.whole(1, 16), 1,
        "How many authorities must have answered before a day counts as anchored."),
    Setting("tsa_policy", "object identifier", "object-identifier", values.object_identifier, None,
        "Ask for this time-stamp policy and refuse tokens under another one. Not set: any."),
    Setting("host", "address", "address", values.host, "127.0.0.1",
        "Where the API listens. 0.0.0.0 opens it to the network; put TLS in front of it. "
        "unix:/run/sealtrail/api is a Unix socket for a proxy on this host, which may cost less "
        "than half of TCP; its group may connect."),
    Setting("port", "port", "range", values.whole(0, 65535), 8400,
        "Where the API listens; 0 takes a free port and prints it."),
    Setting("attempt_deadline_s", "seconds", "range", values.whole(1, 86_400), 900,
        "After this time without an outcome the ledger itself closes a generation as timed out; "
        "an outcome that comes later is recorded as OUTCOME_LATE."),
    Setting("epoch_entries", "entries", "range", values.whole(2, 65_536), 65_536,
        "After so many entries, and at midnight UTC, the chain key is replaced and the old one "
        "destroyed. Fewer: a thief of the machine can re-forge less."),
    Setting("checkers", "processes", "range", values.whole(0, 64), 1,
        "Processes of the API that read and check requests, each on a core of its own; they hold "
        "no key and no connection. 0: the API process checks them itself. More than one pays on "
        "machines with more than two cores."),
    Setting("batch_max", "entries", "range", values.whole(1, 4096), 512,
        "The most entries in one commit. More: higher throughput, longer waits."),
    Setting("queue_max", "events", "range", values.whole(1, 1_000_000), 8192,
        "Events that may wait for the writer of one Book; beyond it, and beyond two seconds of "
        "waiting as far as the last commits tell, the API answers 503 at once and the client sends "
        "again. Nothing that waits is ever dropped."),
    Setting("pool_max", "connections", "range", values.whole(2, 200), 8,
        "Database connections of one process."),
    Setting("books_open_max", "Books", "range", values.whole(2, 10_000), 64,
        "Books a process keeps open, each with a thread; the one unused longest is closed."),
    Setting("packet_dir", "directory", "absolute-path", values.path, "packets",
        "Where court packets lie until they are fetched; they hold disclosed content.",
        below=True),
    Setting("packet_ttl_h", "hours", "range", values.whole(1, 8760), 72,
        "After this time a packet is deleted; it can be built again."),
    Setting("archive", "directory, or s3://bucket/prefix", "archive", values.archive, "archive",
        "Where sealed content and cold entries lie. A bucket needs versions, Object Lock and a "
        "default retention in COMPLIANCE mode: then nobody deletes before the date, its owner "
        "included. A directory keeps this program from it, and nobody else.", below=True),
    Setting("archive_endpoint", "URL", "web-url", values.web, None,
        "The S3 that has the bucket, if it is not Amazon's. Credentials are taken from where "
        "Amazon's tools take them, never from a setting."),
    Setting("archive_region", "region", "label", values.label, None,
        "The region that requests to the bucket are signed for."),
    Setting("upload_dir", "directory", "absolute-path", values.path, "uploads",
        "Where uploads lie, sealed, until they are whole. API processes on several hosts share it, "
        "or a client that is sent to another host begins again.", below=True),
    Setting("artifact_deadline_s", "seconds", "range", values.whole(60, 2_592_000), 3_600,
        "Content that an event names and that has not arrived so long after it was announced is "
        "reported as missing; it is still taken."),
    Setting("artifact_lock_d", "days", "range", values.whole(1, 36_500), 183,
        "How long content is locked at first. Retention makes a lock longer; nothing makes it "
        "shorter, erasure included: that destroys the key."),
    Setting("link_ttl_s", "seconds", "range", values.whole(10, 86_400), 900,
        "How long a signed link to one artifact works. Whoever has it needs no token."),
    Setting("backup_keep_d", "days", "range", values.whole(1, 36_500), 35,
        "How long backups are kept. ERASURE says until when one from before may exist; nothing in "
        "it opens without the keys that the erasure destroyed."),
    Setting("key_sheet_dir", "directory", "absolute-path", values.path, None,
        "Where the scheduler writes a key sheet when the vault's keys have moved on, after each "
        "erasure and rotation; beside the backups. Not set: older backups open no content."),
    Setting("redaction_model", "name or directory", "model", values.model, None,
        "An installed spaCy model that finds names and places in prompts. Not set: redacted copies "
        "hide what has a pattern, such as addresses and numbers, and no names."),
    Setting("link_check", "flag or refuse, then tenant=mode", "link-check", values.link_check,
        LinkCheck(),
        "What becomes of a call that names a model, template, policy or consent that is unknown or "
        "retired (docs/registers.md): `flag` records it as sent, and search marks it; `refuse` "
        "answers 409. `flag,acme=refuse` is for one tenant otherwise. A generation under a consent "
        "that was revoked is refused either way."),
    Setting("clock_skew_s", "seconds", "range", values.whole(1, 60), 5,
        "If this host's clock and the database's are further apart, ingest answers 503."),
    Setting("clock_jump_h", "hours", "range", values.whole(1, 8760), 24,
        "A writer that would move the ledger's time forward by more stops until an operator "
        "confirms: a wrong date in an entry stays for ever."),
    Setting("night_time", "HH:MM, UTC", "time-of-day", values.time_of_day, "00:05",
        "When the night starts. It catches up from what is missing, so a late start loses no day."),
    Setting("log_level", "level", "choice",
        values.one_of("debug", "info", "warning", "error"), "info",
        "How much is told on standard error. No level shows prompts, names or secrets."),
)  # fmt: skip

#: Read by the client, the gateway or the test suite, whose environment a server may share.
_ELSEWHERE: Final = re.compile(
    r"SEALTRAIL_(URL|TOKEN|TOKEN_FILE|TRUST|LEDGER|(CLIENT|GATEWAY|TEST|BENCH)_.*)"
)

_VARIABLES: Final = frozenset(setting.variable for setting in SETTINGS)


def _is_ours(name: str) -> bool:
    """Whether a variable claims to be a setting and is none."""
    return name.startswith(PREFIX) and name not in _VARIABLES and not _ELSEWHERE.fullmatch(name)


def _unknown(name: str) -> FieldError:
    return FieldError(name, "unknown-setting", "is not a setting; see docs/settings.md.")


def _contradictions(settings: Settings) -> list[FieldError]:
    """Return the rules that two settings break together."""
    errors = []
    if settings.tsa_quorum > max(1, len(settings.tsa_urls)):
        rule = "asks for more tokens than there are authorities."
        errors.append(FieldError("SEALTRAIL_TSA_QUORUM", "quorum", rule))
    if settings.tsa_urls and settings.tsa_roots is None:
        rule = "is required with SEALTRAIL_TSA_URLS: a token without a pinned root proves nothing."
        errors.append(FieldError("SEALTRAIL_TSA_ROOTS", "required", rule))
    owner = settings.owner_database_url
    if settings.environment == "production" and owner and owner == settings.database_url:
        rule = "is the owner's login; a server process must not be able to change the tables."
        errors.append(FieldError("SEALTRAIL_DATABASE_URL", "separate-roles", rule))
    errors += _without_keys(settings)
    inside = settings.checkpoint_store.is_relative_to(settings.keystore)
    if inside or settings.keystore.is_relative_to(settings.checkpoint_store):
        rule = "must not share a directory with SEALTRAIL_KEYSTORE."
        errors.append(FieldError("SEALTRAIL_CHECKPOINT_STORE", "separate-directories", rule))
    return errors


def _without_keys(settings: Settings) -> list[FieldError]:
    """Return what the chosen keeper of keys lacks."""
    errors = []
    opened = settings.keys == "kms" or settings.keystore_passphrase_file is not None
    if settings.environment == "production" and not opened:
        rule = "is required in production."
        errors.append(FieldError("SEALTRAIL_KEYSTORE_PASSPHRASE_FILE", "required", rule))
    if settings.keys == "pkcs11":
        errors += [
            FieldError(variable, "required", "is required with SEALTRAIL_KEYS=pkcs11.")
            for variable, value in (
                ("SEALTRAIL_PKCS11_MODULE", settings.pkcs11_module),
                ("SEALTRAIL_PKCS11_TOKEN", settings.pkcs11_token),
            )
            if value is None
        ]
    plain = settings.kms_endpoint is not None and settings.kms_endpoint.startswith("http:")
    if settings.environment == "production" and plain:
        rule = "must be https: what the service unwraps would cross the network in clear."
        errors.append(FieldError("SEALTRAIL_KMS_ENDPOINT", "encrypted", rule))
    return errors


def markdown() -> str:
    """Return docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Made from the table in `ledger/settings.py` (`python -m ledger.settings`); do not edit.",
        "",
        "Every setting is an environment variable, read once at start. A variable set to nothing",
        "counts as not set. An unknown variable that starts with `SEALTRAIL_` is refused, except",
        "`SEALTRAIL_URL`, `SEALTRAIL_TOKEN`, `SEALTRAIL_TRUST` and names that start with",
        "`SEALTRAIL_CLIENT_`, `SEALTRAIL_GATEWAY_`, `SEALTRAIL_TEST_` or `SEALTRAIL_BENCH_`, which",
        "belong to other programs. Paths are absolute.",
        "",
        "| variable | unit | default | consequence |",
        "| --- | --- | --- | --- |",
    ]
    for setting in SETTINGS:
        default = _printed(setting)
        if setting.required:
            default += " (required in production)"
        row = (f"`{setting.variable}`", setting.unit, default, setting.consequence)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _printed(setting: Setting) -> str:
    if setting.default in (None, ()):
        return "not set"
    if setting.below:
        return f"`{setting.default}` in the data directory"
    text = str(setting.default)
    return text if "`" in text else f"`{text}`"


# A setting without a member, or a member without a setting, is a mistake of ours.
if tuple(member.name for member in fields(Settings)) != tuple(row.name for row in SETTINGS):
    raise TypeError("Settings and SETTINGS differ")

if __name__ == "__main__":
    sys.stdout.write(markdown())
