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
from urllib.parse import urlsplit

from ledger.errors import FieldError, Refused

PREFIX: Final = "SEALTRAIL_"

Environment: TypeAlias = Literal["development", "production"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class SettingRefused(Refused):
    """A setting breaks a rule; `errors` names each variable and rule."""

    problem = "setting-refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One RFC 3161 time-stamping authority: the name used in reports, and where it answers."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process. Each member is described in SETTINGS under its name."""

    environment: Environment
    database_url: str | None = field(repr=False)
    owner_database_url: str | None = field(repr=False)
    data_dir: Path
    keystore: Path
    keystore_passphrase_file: Path | None
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
    clock_skew_s: int
    clock_jump_h: int
    night_time: str
    log_level: LogLevel

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read all settings, or raise SettingRefused with every rule that is broken."""
        errors = [_unknown(name) for name in sorted(environ) if _is_ours(name)]
        values: dict[str, Any] = {}
        for setting in SETTINGS:
            text = environ.get(setting.variable, "")
            try:
                values[setting.name] = setting.read(text) if text else setting.absent(values)
            except ValueError as error:
                errors.append(FieldError(setting.variable, setting.rule, str(error)))
        if not errors:
            errors = _contradictions(cls(**values))
        if errors:
            told = " ".join(f"{error.pointer}: {error.detail}" for error in errors)
            raise SettingRefused(told, errors=errors)
        return cls(**values)


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


# How each kind of value is read.


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of: {', '.join(words)}.")
        return text

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        # The pattern first: int() also takes underscores, spaces and other scripts' digits.
        if not re.fullmatch(r"0|[1-9][0-9]{0,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}.")
        return int(text)

    return read


def _path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("must be an absolute path.")
    return path


def _database(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a PostgreSQL URL: postgresql://user:password@host:port/database.")
    return text


def _authorities(text: str) -> tuple[Authority, ...]:
    found: list[Authority] = []
    for part in text.split(","):
        name, equals, url = part.strip().partition("=")
        if not equals or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", name):
            raise ValueError("must be name=url, name=url; a name is a-z, 0-9, dot and dash.")
        if not _is_web(url):
            raise ValueError("holds a URL that is not http or https.")
        if name in {authority.name for authority in found}:
            raise ValueError("names one authority twice.")
        found.append(Authority(name=name, url=url))
    return tuple(found)


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # whose message would show the URL
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _object_identifier(text: str) -> str:
    if not re.fullmatch(r"[0-2](\.(0|[1-9][0-9]{0,19})){1,20}", text):
        raise ValueError("must be an object identifier such as 1.2.3.4.1.")
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:-]{1,253}|unix:/[!-~]{1,90}", text):
        raise ValueError("must be an address, a host name, or unix: and an absolute path.")
    return text


def _time(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError("must be a time of day in UTC, HH:MM.")
    return text


SETTINGS: Final = (
    Setting("environment", "development or production", "choice",
        _one_of("development", "production"), "development",
        "Production refuses to start without every setting marked required, and as root."),
    Setting("database_url", "PostgreSQL URL", "postgresql-url", _database, None,
        "Where entries live, as the application role that owns nothing. Not set: the embedded "
        "PostgreSQL below the data directory, for development only.", required=True),
    Setting("owner_database_url", "PostgreSQL URL", "postgresql-url", _database, None,
        "The owner's login, for `migrate` and `init` only. Do not give it to a server process: "
        "whoever has it can remove the rules that make the tables append-only."),
    Setting("data_dir", "directory", "absolute-path", _path,
        "`/var/lib/sealtrail` as root, else `~/.local/share/sealtrail`",
        "Where everything is put that has no place of its own.", required=True),
    Setting("keystore", "directory", "absolute-path", _path, "keystore",
        "The encrypted keys. Keep it out of backups, or a destroyed chain key lives on in them.",
        below=True),
    Setting("keystore_passphrase_file", "file, mode 0600", "absolute-path", _path, None,
        "Opens the keystore. In development a random one is made in the data directory; beside "
        "the keys it protects nothing.", required=True),
    Setting("checkpoint_store", "directory", "absolute-path", _path, "checkpoints",
        "The newest signed checkpoint of each Book, read at every start. On the database's own "
        "disk it is rewound together with the database and protects nothing. If it cannot be "
        "written, ingest answers 503.", required=True, below=True),
    Setting("trust_file", "file", "absolute-path", _path, "trust.json",
        "The public keys and roots a stranger needs; served under "
        "`/.well-known/sealtrail/trust.json`.", below=True),
    Setting("chain_escrow", "file", "absolute-path", _path, None,
        "The escrowed first chain key, for `fsck`. Not set: MACs of older epochs are reported as "
        "not checked. Set on the ledger's own machine, it undoes the chain's forward security."),
    Setting("tsa_urls", "name=url, comma separated", "authorities", _authorities, (),
        "The RFC 3161 authorities asked each night; use two. Not set: the local one of `dev`, "
        "which proves nothing to anybody else.", required=True),
    Setting("tsa_roots", "PEM file", "absolute-path", _path, None,
        "The pinned roots of these authorities. A token that does not chain to one of them is "
        "refused.", required=True),
    Setting("tsa_quorum", "tokens", "range", _whole(1, 16), 1,
        "How many authorities must have answered before a day counts as anchored."),
    Setting("tsa_policy", "object identifier", "object-identifier", _object_identifier, None,
        "Ask for this time-stamp policy and refuse tokens under another one. Not set: any."),
    Setting("host", "address", "address", _host, "127.0.0.1",
        "Where the API listens. 0.0.0.0 opens it to the network; put TLS in front of it. "
        "unix:/run/sealtrail/api is a Unix socket for a proxy on this host, which may cost less "
        "than half of TCP; its group may connect."),
    Setting("port", "port", "range", _whole(0, 65535), 8400,
        "Where the API listens; 0 takes a free port and prints it."),
    Setting("attempt_deadline_s", "seconds", "range", _whole(1, 86_400), 900,
        "After this time without an outcome the ledger itself closes a generation as timed out; "
        "an outcome that comes later is recorded as OUTCOME_LATE."),
    Setting("epoch_entries", "entries", "range", _whole(2, 65_536), 65_536,
        "After so many entries, and at midnight UTC, the chain key is replaced and the old one "
        "destroyed. Fewer: a thief of the machine can re-forge less."),
    Setting("checkers", "processes", "range", _whole(0, 64), 1,
        "Processes of the API that read and check requests, each on a core of its own; they hold "
        "no key and no connection. 0: the API process checks them itself. More than one pays on "
        "machines with more than two cores."),
    Setting("batch_max", "entries", "range", _whole(1, 4096), 512,
        "The most entries in one commit. More: higher throughput, longer waits."),
    Setting("queue_max", "events", "range", _whole(1, 1_000_000), 8192,
        "Events that may wait for the writer of one Book; beyond it, and beyond two seconds of "
        "waiting as far as the last commits tell, the API answers 503 at once and the client sends "
        "again. Nothing that waits is ever dropped."),
    Setting("pool_max", "connections", "range", _whole(2, 200), 8,
        "Database connections of one process."),
    Setting("books_open_max", "Books", "range", _whole(2, 10_000), 64,
        "Books a process keeps open, each with a thread; the one unused longest is closed."),
    Setting("packet_dir", "directory", "absolute-path", _path, "packets",
        "Where court packets lie until they are fetched; they hold disclosed content.",
        below=True),
    Setting("packet_ttl_h", "hours", "range", _whole(1, 8760), 72,
        "After this time a packet is deleted; it can be built again."),
    Setting("clock_skew_s", "seconds", "range", _whole(1, 60), 5,
        "If this host's clock and the database's are further apart, ingest answers 503."),
    Setting("clock_jump_h", "hours", "range", _whole(1, 8760), 24,
        "A writer that would move the ledger's time forward by more stops until an operator "
        "confirms: a wrong date in an entry stays for ever."),
    Setting("night_time", "HH:MM, UTC", "time-of-day", _time, "00:05",
        "When the night starts. It catches up from what is missing, so a late start loses no day."),
    Setting("log_level", "level", "choice", _one_of("debug", "info", "warning", "error"), "info",
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
    inside = settings.checkpoint_store.is_relative_to(settings.keystore)
    if inside or settings.keystore.is_relative_to(settings.checkpoint_store):
        rule = "must not share a directory with SEALTRAIL_KEYSTORE."
        errors.append(FieldError("SEALTRAIL_CHECKPOINT_STORE", "separate-directories", rule))
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
