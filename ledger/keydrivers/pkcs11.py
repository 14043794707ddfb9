# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys inside a hardware module, through PKCS#11: made there, used there, and never shown.

    ed25519   CKM_EC_EDWARDS_KEY_PAIR_GEN   CKM_EDDSA            private half: SIGN only
    hmac      CKM_GENERIC_SECRET_KEY_GEN    CKM_SHA256_HMAC      SIGN only
    wrap      CKM_AES_KEY_GEN, 256 bits     CKM_AES_GCM          ENCRYPT and DECRYPT only

Every secret object is TOKEN, PRIVATE, SENSITIVE, not EXTRACTABLE, not MODIFIABLE, and is used only
if the module says that it always was so and that it was made there: a key that somebody planted
or imported under our name is refused. No key may both wrap keys and decrypt, so none can be used
to carry another out (Clulow 2003; Bortolozzo et al. 2010), and none of ours may be carried.

An object is found by CKA_ID, the random reference on its card, and its name, CKA_LABEL. The public
half of a signing key stays when the private one is destroyed; its name is then never used again.

wrapped = nonce of 12 random bytes ‖ cipher text ‖ tag of 16 bytes

A process calls a module from one thread at a time: python-pkcs11 gives C_Initialize no arguments,
by which it promises just that (PKCS#11 3.0 §5.4). SoftHSM2 called otherwise refuses, then crashes.

KNOWN GAP: one process has one login per token. A second keystore that this process opens on the
same token is not asked for its PIN again.

Source: OASIS PKCS#11 3.0 §2.3.6, 2.12.4, 2.20.2; the module that we test with is SoftHSM2, which
keeps keys in files and is no hardware.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11 import exceptions as refusal

from ledger import clock
from ledger.keydrivers.device import CipherRefused, Made
from ledger.keys import (
    KeyMissing,
    KeystoreDamaged,
    KeystoreLocked,
    KeystoreUnreachable,
    KeystoreUnsafe,
    Kind,
)

NOTE: Final = (
    "Made in the module and not extractable; whoever has its PIN can use it, and a module that"
    " its maker lets back up or clone may hold another copy"
)

#: CKA_EC_PARAMS: the name of the curve (PKCS#11 3.0 §2.3.6), DER PrintableString.
_CURVE: Final = b"\x13\x0cedwards25519"
_NONCE: Final = 12
_TAG_BITS: Final = 128
_HALF: Final = 32

_T = TypeVar("_T")

#: What a secret object has to say about itself before it is used.
_DEMANDS: Final = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.LOCAL: True,
}
_TEMPLATE: Final = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
}
_CLASSES: Final[dict[Kind, tuple[ObjectClass, KeyType]]] = {
    "ed25519": (ObjectClass.PRIVATE_KEY, KeyType.EC_EDWARDS),
    "hmac": (ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET),
    "wrap": (ObjectClass.SECRET_KEY, KeyType.AES),
}

_MISSING: Final = (
    refusal.ObjectHandleInvalid,
    refusal.KeyHandleInvalid,
    refusal.NoSuchKey,
)
_LOST: Final = (
    refusal.SessionHandleInvalid,
    refusal.SessionClosed,
    refusal.UserNotLoggedIn,
    refusal.DeviceRemoved,
    refusal.TokenNotPresent,
)


@dataclass(slots=True)
class _Session:
    """A session, and the objects that were found and examined through it."""

    handle: Any = field(repr=False)
    objects: dict[tuple[str, Kind], Any] = field(default_factory=dict, repr=False)


class Pkcs11Device:
    """`ledger.keydrivers.device.Device` in one token of one PKCS#11 module."""

    driver = "pkcs11"
    note = NOTE
    message_max: int | None = None

    def __init__(self, module: Path, token: str, pin: bytes) -> None:
        """Log in. Raises KeystoreLocked for a wrong PIN, KeystoreUnreachable for anything else."""
        self._module, self._token, self._pin = str(module), token, pin
        self._module_alone = _turn_of(self._module)
        self._session: _Session | None = None
        self._do(lambda _session: None)

    def make(self, name: str, kind: Kind, reference: str) -> Made:
        """Make a key under `reference`; what was made under it before is destroyed."""
        self.destroy(reference)

        def work(session: _Session) -> Made:
            for left in session.handle.get_objects({Attribute.ID: _id(reference)}):
                left.destroy()  # The public half of a pair that nobody was told of.
            common = {"store": True, "label": name, "id": _id(reference)}
            if kind == "ed25519":
                curve = session.handle.create_domain_parameters(
                    KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _CURVE}, local=True
                )
                public, _ = curve.generate_keypair(
                    mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                    capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                    public_template={Attribute.MODIFIABLE: False},
                    private_template=_TEMPLATE,
                    **common,
                )
                return Made(reference, _half(public[Attribute.EC_POINT]))
            mac = kind == "hmac"
            session.handle.generate_key(
                KeyType.GENERIC_SECRET if mac else KeyType.AES,
                256,
                capabilities=MechanismFlag.SIGN
                if mac
                else MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template=_TEMPLATE,
                **common,
            )
            return Made(reference, None)

        made = self._do(work)
        self._do(lambda session: self._object(session, reference, kind))  # Examined at once.
        return made

    def holds(self, name: str) -> bool:
        """Say if any key object has this label, be it only the public half of a destroyed one."""

        def work(session: _Session) -> bool:
            found = list(session.handle.get_objects({Attribute.LABEL: name}))
            return bool(found)

        return self._do(work)

    def sign(self, reference: str, message: bytes) -> bytes:
        return self._use(
            reference, "ed25519", lambda key: key.sign(message, mechanism=Mechanism.EDDSA)
        )

    def mac(self, reference: str, message: bytes) -> bytes:
        return self._use(
            reference, "hmac", lambda key: key.sign(message, mechanism=Mechanism.SHA256_HMAC)
        )

    def encrypt(self, reference: str, secret: bytes, aad: bytes) -> bytes:
        nonce = clock.random_bytes(_NONCE)
        return self._use(reference, "wrap", lambda key: nonce + _encrypt(key, nonce, secret, aad))

    def decrypt(self, reference: str, sealed: bytes, aad: bytes) -> bytes:
        """Open what `encrypt` made.

        Modules do not agree on how they refuse a wrong tag; SoftHSM2 says only that something went
        wrong. So one that refuses is asked to open a probe of now: if it can, the fault is in what
        was to be opened.
        """
        if len(sealed) < _NONCE + _TAG_BITS // 8:
            raise CipherRefused
        nonce, rest = sealed[:_NONCE], sealed[_NONCE:]

        def opened(key: Any) -> bytes:
            try:
                return _decrypt(key, nonce, rest, aad)
            except (*_MISSING, *_LOST):
                raise
            except refusal.PKCS11Error:
                probe = clock.random_bytes(_NONCE)
                if _decrypt(key, probe, _encrypt(key, probe, probe, aad), aad) != probe:
                    raise
                raise CipherRefused from None

        return self._use(reference, "wrap", opened)

    def destroy(self, reference: str) -> str:
        """Destroy the secret object; a module does that at once and for good."""

        def work(session: _Session) -> None:
            for known in [one for one in session.objects if one[0] == reference]:
                del session.objects[known]
            for class_ in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY):
                wanted = {Attribute.ID: _id(reference), Attribute.CLASS: class_}
                for found in list(session.handle.get_objects(wanted)):
                    found.destroy()

        self._do(work)
        return clock.rfc3339(clock.now_ms())

    def _use(self, reference: str, kind: Kind, job: Callable[[Any], bytes]) -> bytes:
        def work(session: _Session) -> bytes:
            try:
                return job(self._object(session, reference, kind))
            except _MISSING:
                session.objects.pop((reference, kind), None)
                return job(self._object(session, reference, kind))

        return self._do(work)

    def _object(self, session: _Session, reference: str, kind: Kind) -> Any:
        """Return the key object of a reference, examined when it is first used in a session."""
        known = session.objects.get((reference, kind))
        if known is not None:
            return known
        class_, key_type = _CLASSES[kind]
        wanted = {
            Attribute.ID: _id(reference),
            Attribute.CLASS: class_,
            Attribute.KEY_TYPE: key_type,
        }
        found = list(session.handle.get_objects(wanted))
        if not found:
            raise KeyMissing
        if len(found) > 1:
            raise KeystoreDamaged("The module has two keys of one identity.")
        for attribute, demand in _DEMANDS.items():
            if found[0][attribute] != demand:
                raise KeystoreUnsafe(
                    f"A key in the module has not {attribute.name} = {demand}: it can be, or once"
                    " could be, taken out."
                )
        session.objects[reference, kind] = found[0]
        return found[0]

    def _do(self, work: Callable[[_Session], _T]) -> _T:
        """Do something in the session; once more in a new one if the module dropped it."""
        with self._module_alone, self._translated():
            try:
                return work(self._open())
            except _LOST:
                self._session = None
                return work(self._open())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except refusal.PKCS11Error as error:
            raise _unreachable(error) from error

    def _open(self) -> _Session:
        """Return our session. Never closed before the process ends: that would log out others."""
        if self._session is None:
            token = pkcs11.lib(self._module).get_token(token_label=self._token)
            try:
                self._session = _Session(token.open(rw=True, user_pin=self._pin.decode()))
            except refusal.UserAlreadyLoggedIn:
                self._session = _Session(token.open(rw=True))
            except (refusal.PinIncorrect, refusal.PinInvalid, refusal.PinLenRange):
                raise KeystoreLocked("The PIN does not open this token.") from None
            except refusal.PinLocked:
                raise KeystoreLocked("The token is locked after too many wrong PINs.") from None
            except UnicodeDecodeError:
                raise KeystoreLocked("The PIN is not text.") from None
        return self._session


def _turn_of(module: str) -> threading.Lock:
    """Return the lock that every call of a module in this process waits for."""
    with _guard:
        return _turns.setdefault(module, threading.Lock())


_guard: Final = threading.Lock()
_turns: Final[dict[str, threading.Lock]] = {}


def _encrypt(key: Any, nonce: bytes, secret: bytes, aad: bytes) -> bytes:
    parameters = GCMParams(nonce, aad, _TAG_BITS)
    sealed: bytes = key.encrypt(secret, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    return sealed


def _decrypt(key: Any, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    parameters = GCMParams(nonce, aad, _TAG_BITS)
    secret: bytes = key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    return secret


def _half(point: bytes) -> bytes:
    """Return the 32 bytes of a public key; most modules wrap them as a DER OCTET STRING."""
    if len(point) == _HALF + 2 and point[:2] == bytes([0x04, _HALF]):
        return point[2:]
    if len(point) == _HALF:
        return point
    raise KeystoreUnreachable("The module gives a public key of another form.")


def _id(reference: str) -> bytes:
    return reference.encode("ascii")


def _unreachable(error: refusal.PKCS11Error) -> KeystoreUnreachable:
    """Name the module's refusal by its constant; its text may hold anything."""
    return KeystoreUnreachable(reason=type(error).__name__)
