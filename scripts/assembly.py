# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the parts of a process are put together: settings in, an opened ledger out."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from anchoring.checkpoint import sign_checkpoint, verifier_keys
from anchoring.checkpoint_store import FileCheckpointStore
from anchoring.rotation import Publish
from anchoring.shelf import Shelf
from anchoring.timestamp import Authority
from evidence.cap_sign import packet_verifiers
from ledger import durable
from ledger.archive.artifacts import Storeroom, Terms
from ledger.archive.directory import DirectoryArchive
from ledger.archive.s3 import BucketArchive
from ledger.archive.store import Archive
from ledger.aws import Client
from ledger.database import Connection, Database, connect
from ledger.errors import Refused
from ledger.head import Chain, HeadRow
from ledger.keydrivers.held import HeldKeystore
from ledger.keydrivers.kms import KmsDevice
from ledger.keys import Keys, Recipient, chain_key, log_key, packet_key, was_made
from ledger.keystore import FileKeystore, read_passphrase
from ledger.migrate import BookRow, make_book
from ledger.settings import Settings
from ledger.vault.ring import keys_of
from ledger.writer import Limits
from sealtrail.verify.merkle import EMPTY_ROOT
from sealtrail.verify.note import Checkpoint, VerifierKey
from sealtrail.verify.timestamp import certificates_from_pem
from sealtrail.verify.trust import Bound, Trust

PACKAGES: Final = ("ledger", "anchoring", "evidence", "api", "scripts")


def check_packages() -> None:
    """Refuse to start when another distribution has overwritten one of our packages.

    Some of our import names exist on the package index as other people's packages, and an installer
    overwrites files without a word.
    """
    homes = set()
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise Refused(f"the package {name} is missing from this installation")
        homes.add(Path(spec.origin).resolve().parent.parent)
    if len(homes) != 1:
        raise Refused("our packages lie in different places: another package overwrote one")
    if sys.flags.optimize:
        raise Refused("python -O removes checks of our own; start without it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """An opened ledger: everything that a command or a server works with."""

    settings: Settings
    database: Database
    keys: Keys
    store: FileCheckpointStore
    shelf: Shelf


@contextlib.contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open database, keystore, checkpoint store and shelf; close what was opened."""
    if settings.database_url is None:
        raise Refused("SEALTRAIL_DATABASE_URL is not set (`dev` brings a database of its own)")
    keys = open_keystore(settings)
    store = open_store(settings, keys)
    with Database(
        settings.database_url,
        pool_max=settings.pool_max,
        skew_ms=settings.clock_skew_s * 1000,
    ) as database:
        shelf = Shelf(
            database=database,
            keys=keys,
            store=store,
            limits=Limits(
                batch_max=settings.batch_max,
                queue_max=settings.queue_max,
                epoch_entries=settings.epoch_entries,
                jump_ms=settings.clock_jump_h * 3_600_000,
            ),
            open_max=settings.books_open_max,
        )
        try:
            yield Ledger(settings=settings, database=database, keys=keys, store=store, shelf=shelf)
        finally:
            shelf.close()


def open_keystore(settings: Settings) -> Keys:
    """Open the keystore that the settings choose; the library of a device is asked for only now."""
    if settings.keys == "kms":
        client = Client("kms", endpoint=settings.kms_endpoint, region=settings.kms_region)
        return HeldKeystore(settings.keystore, KmsDevice(client))
    if settings.keystore_passphrase_file is None:
        raise Refused("SEALTRAIL_KEYSTORE_PASSPHRASE_FILE is not set")
    passphrase = read_passphrase(settings.keystore_passphrase_file)
    if settings.keys == "file":
        return FileKeystore(settings.keystore, passphrase)
    if settings.pkcs11_module is None or settings.pkcs11_token is None:
        raise Refused("SEALTRAIL_PKCS11_MODULE or SEALTRAIL_PKCS11_TOKEN is not set")
    try:
        from ledger.keydrivers.pkcs11 import Pkcs11Device  # noqa: PLC0415
    except ImportError:
        raise Refused("python-pkcs11 is missing: pip install 'sealtrail-server[hsm]'") from None
    device = Pkcs11Device(settings.pkcs11_module, settings.pkcs11_token, passphrase)
    return HeldKeystore(settings.keystore, device)


def open_archive(settings: Settings) -> Archive:
    """Open the archive; raises ArchiveUnfit if it locks nothing."""
    archive = _archive(settings)
    archive.check()
    return archive


def _archive(settings: Settings) -> Archive:
    if isinstance(settings.archive, Path):
        return DirectoryArchive(settings.archive)
    client = Client("s3", endpoint=settings.archive_endpoint, region=settings.archive_region)
    return BucketArchive(
        client,
        settings.archive.bucket,
        prefix=settings.archive.prefix,
        scratch=settings.upload_dir,
    )


def open_storeroom(settings: Settings) -> Storeroom:
    """Open the archive with where uploads wait for it; an archive that is away comes back."""
    return Storeroom(
        archive=_archive(settings),
        uploads=settings.upload_dir,
        terms=Terms(deadline_s=settings.artifact_deadline_s, lock_d=settings.artifact_lock_d),
    )


def open_store(settings: Settings, keys: Keys) -> FileCheckpointStore:
    def keys_of(origin: str) -> Sequence[VerifierKey]:
        return verifier_keys(keys, origin)

    return FileCheckpointStore(settings.checkpoint_store, keys_of)


def origins_of(origin: str) -> tuple[str, str]:
    """Return the origins of a tenant's two Books: the main one and the one of looks."""
    return origin, f"{origin}/access"


def make_keys(keys: Keys, origin: str, recipient: Recipient) -> dict[str, bytes]:
    """Make a tenant's keys: log, chain and vault keys of both Books, and its packet key.

    Returns each origin's escrow file, made once.
    """
    escrows: dict[str, bytes] = {}
    for each in origins_of(origin):
        # What was destroyed since is not made again: the Book is in a later epoch or incarnation.
        if not was_made(keys, log_key(each)):
            keys.make(log_key(each), "ed25519")
        if not was_made(keys, chain_key(each, 0)):
            keys.make(chain_key(each, 0), "hmac")
            escrows[each] = keys.escrow(chain_key(each, 0), recipient)
        for name, kind in keys_of(each, 1):
            if not was_made(keys, name):
                keys.make(name, kind)
    if not was_made(keys, packet_key(origin)):
        keys.make(packet_key(origin), "ed25519")
    return escrows


def trust_of(keys: Keys, origins: Sequence[str], tsa_roots: Sequence[bytes]) -> Trust:
    """Return what strangers pin: the keys of logs and of evidence packs, the authorities' roots."""
    return Trust(
        origins={origin: tuple(verifier_keys(keys, origin)) for origin in origins},
        tsa_roots=tuple(tsa_roots),
        packet_keys={
            origin: signers for origin in origins if (signers := packet_verifiers(keys, origin))
        },
    )


def tsa_roots_of(settings: Settings) -> list[bytes]:
    """Return the pinned roots of the configured time-stamp authorities."""
    if settings.tsa_roots is None:
        return []
    try:
        return list(certificates_from_pem(settings.tsa_roots.read_text("ascii")))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("SEALTRAIL_TSA_ROOTS cannot be read") from error


def publish_trust(path: Path, trust: Trust) -> Trust:
    """Add logs to the trust file; logs that are there already stay. Returns what it then holds."""
    with durable.locked(path.with_name(f".{path.name}.lock")):
        origins, until = dict(trust.origins), dict(trust.until)
        packet_keys = dict(trust.packet_keys)
        if path.exists():
            before = Trust.parse(path.read_bytes())
            origins = {**before.origins, **origins}
            # Whoever lost a keystore has new keys; what the old ones signed is still to be checked.
            for origin, known in before.packet_keys.items():
                packet_keys[origin] = tuple(dict.fromkeys((*known, *packet_keys.get(origin, ()))))
            until = {
                **until,
                **{vkey: _least(one, until, vkey) for vkey, one in before.until.items()},
            }
        merged = Trust(
            origins=origins, tsa_roots=trust.tsa_roots, until=until, packet_keys=packet_keys
        )
        durable.write_durably(path, merged.print(), mode=0o644)
    return merged


def _least(one: Bound, until: Mapping[str, Bound], vkey: str) -> Bound:
    """Return what both files say: a key never speaks for more than was once published."""
    other = until.get(vkey, one)
    return Bound(size=min(one.size, other.size), time=min(one.time, other.time))


def publish_packet_keys(settings: Settings, origin: str, signers: Sequence[VerifierKey]) -> None:
    """Tell the world, through the trust file, which keys sign a tenant's evidence packs."""
    roots = tuple(tsa_roots_of(settings))
    trust = Trust(origins={}, tsa_roots=roots, packet_keys={origin: tuple(signers)})
    publish_trust(settings.trust_file, trust)


def publisher(settings: Settings) -> Publish:
    """Return what tells the world, through the trust file, that a log changes its key."""

    def publish(origins: Mapping[str, Sequence[VerifierKey]], until: Mapping[str, Bound]) -> None:
        trust = Trust(
            origins={origin: tuple(keys) for origin, keys in origins.items()},
            tsa_roots=tuple(tsa_roots_of(settings)),
            until=dict(until),
        )
        publish_trust(settings.trust_file, trust)

    return publish


def make_tenant(
    owner: Connection, keys: Keys, store: FileCheckpointStore, *, tenant: str, origin: str
) -> list[BookRow]:
    """Make a tenant's two Books as the owner, safe to repeat; sign the empty log of each new one.

    Raises CheckpointExists when a Book is new here but its log is older in the checkpoint store.
    """
    made = []
    for kind, each in zip(("main", "access"), origins_of(origin), strict=True):
        if not was_made(keys, log_key(each)):
            raise Refused(f"there are no keys for {each}; run `keys init` first")
        row = make_book(owner, tenant=tenant, kind=kind, origin=each)
        laid = HeadRow(row.schema).lay(owner, Chain(keys, each))
        if laid is not None:
            empty = Checkpoint(origin=each, size=0, root=EMPTY_ROOT)
            store.initialise(each, sign_checkpoint(keys, empty))
        made.append(row)
    return made


def confirm_clock(owner: Connection, book: str, until_ms: int) -> None:
    """Record the owner's word that this Book's time may move on to `until_ms`."""
    owner.execute(
        "INSERT INTO sealtrail.clock_confirmation (book, until_ms) VALUES (%s, %s)"
        " ON CONFLICT DO NOTHING",
        (book, until_ms),
    )


@contextlib.contextmanager
def owner_connection(settings: Settings) -> Iterator[Connection]:
    """Connect as the owner: for migrate, init and credentials only."""
    url = settings.owner_database_url
    if url is None:
        raise Refused("SEALTRAIL_OWNER_DATABASE_URL is not set")
    with connect(url) as connection:
        yield connection


def authorities(settings: Settings) -> list[Authority]:
    """Return the configured time-stamp authorities with their pinned roots."""
    if settings.tsa_roots is None:
        return []
    roots = tuple(tsa_roots_of(settings))
    return [
        Authority(name=one.name, url=one.url, roots=roots, policy=settings.tsa_policy)
        for one in settings.tsa_urls
    ]
