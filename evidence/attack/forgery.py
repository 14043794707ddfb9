# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet's forger tries: any file is his, listed rightly again; the log's keys are not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from evidence.attack.defences import good_packet
from evidence.attack.rows import outcome_of_nothing
from evidence.attack.target import Attack, NotApplicable, Target
from ledger.keys import log_key
from sealtrail.verify import canonical
from sealtrail.verify.bag import BAGIT, INFO, MANIFEST, TAG_MANIFEST, seal
from sealtrail.verify.contents import LOG_KEYS
from sealtrail.verify.disclosure import commit
from sealtrail.verify.note import Checkpoint, Note, SignatureLine, VerifierKey
from sealtrail.verify.tlog_proof import TlogProof
from sealtrail.verify.trust import Trust
from sealtrail.verify.zip import read_zip, write_zip

WHO: Final = "packet forger"
_CONSISTENCY: Final = "data/proofs/consistency-"
_LISTS: Final = (BAGIT, INFO, MANIFEST, TAG_MANIFEST)

Files = dict[str, bytes]


def unpack(packet: bytes) -> Files:
    """Return a packet's files by their names below its folder, without its lists."""
    files = {name.partition("/")[2]: data for name, data in read_zip(packet).files.items()}
    return {name: data for name, data in files.items() if name not in _LISTS}


def pack(files: Files) -> bytes:
    """Return a packet of these files, every list and checksum as it should be."""
    return write_zip({f"packet-forged/{name}": data for name, data in seal(files, {}).items()})


def two(target: Target, position: int) -> bytes:
    """Return a genuine packet of the entry at `position` and of the one after it."""
    book = target.running
    ids = [book.reader.at(at).entry.event_id for at in (position, position + 1)]
    return good_packet(target, book, ids)


def entry_of(files: Files, position: int) -> str:
    """Return the name of the file that holds an entry."""
    return next(name for name in files if name.startswith(f"data/records/{position}-"))


def proof_of(position: int) -> str:
    """Return the name of the file that holds an entry's proof."""
    return f"data/proofs/{position}.tlog-proof"


def _change(change: Callable[[Target, int, Files], None]) -> Callable[[Target, int], bytes]:
    def perform(target: Target, position: int) -> bytes:
        files = unpack(two(target, position))
        change(target, position, files)
        return pack(files)

    return perform


def _another_entry(_target: Target, position: int, files: Files) -> None:
    name = entry_of(files, position)
    files[name] = files[name].replace(b'"v":1', b'"v":2')


def _another_proof(_target: Target, position: int, files: Files) -> None:
    files[proof_of(position)] = files[proof_of(position + 1)]


def _another_leaf(_target: Target, position: int, files: Files) -> None:
    files[entry_of(files, position)] = files[entry_of(files, position + 1)]


def _inner_node(_target: Target, position: int, files: Files) -> None:
    """Show the two halves of a node as an entry, one level up, under the path from there."""
    proof = TlogProof.parse(files[proof_of(position)])
    name = entry_of(files, position)
    files[name] = b"\x01" + bytes(32) + proof.path[0]
    raised = replace(proof, index=proof.index // 2, path=proof.path[1:])
    files[proof_of(position)] = raised.print()


def _key_twice(_target: Target, position: int, files: Files) -> None:
    name = entry_of(files, position)
    files[name] = files[name].replace(b'"v":1', b'"v":1,"v":1')


def _spelled_otherwise(_target: Target, position: int, files: Files) -> None:
    name = entry_of(files, position)
    files[name] = files[name].replace(b'":', b'": ')


def _strip(_target: Target, position: int, files: Files) -> None:
    proof = TlogProof.parse(files[proof_of(position)])
    bare = Note.parse(proof.checkpoint).text.encode() + b"\n"
    files[proof_of(position)] = files[proof_of(position)].replace(proof.checkpoint, bare)


def _sign_anew(target: Target, files: Files, position: int, origin: str) -> None:
    """Sign both proofs' checkpoints with the other log's key, as that of `origin`.

    Whatever else the log has signed is left out: it would contradict him.
    """
    for name in [name for name in files if name.startswith(("data/anchors/", _CONSISTENCY))]:
        del files[name]
    key = VerifierKey.ed25519(origin, target.keys.public_key(log_key(target.other)))
    for name in (proof_of(position), proof_of(position + 1)):
        proof = TlogProof.parse(files[name])
        said = Checkpoint.parse(Note.parse(proof.checkpoint).text)
        text = replace(said, origin=origin).print()
        signature = target.keys.sign(log_key(target.other), text.encode())
        line = SignatureLine(name=origin, key_id=key.key_id, signature=signature)
        note = Note(text=text, signatures=(line,)).print()
        files[name] = replace(proof, checkpoint=note).print()
    forged = Trust(origins={origin: (key,)}, tsa_roots=target.trust.tsa_roots)
    files[LOG_KEYS] = f"{key.vkey()}\n".encode()
    files["data/trust/trust.json"] = forged.print()
    files["trust.json"] = forged.print()


def _foreign_key(target: Target, position: int, files: Files) -> None:
    _sign_anew(target, files, position, target.origin)


def _of_another_ledger(target: Target, position: int, files: Files) -> None:
    _sign_anew(target, files, position, target.other)


def _false_disclosure(_target: Target, position: int, files: Files) -> None:
    _, disclosures = commit(bytes(32), {"prompt.user": "something else"})
    name = f"data/records/{position}.disclosures.json"
    files[name] = canonical.encode(list(disclosures.values()))


def _damaged_token(_target: Target, _position: int, files: Files) -> None:
    for name in [name for name in files if name.endswith(".tsr")]:
        files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])


def _flipped_byte(target: Target, position: int) -> bytes:
    """Change a byte where it lies, and no list: what a bad disk does, too."""
    packet = two(target, position)
    name = entry_of(unpack(packet), position).encode()
    at = packet.index(name) + len(name) + 20
    return packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]


def _outcome_of_nothing(target: Target, position: int, files: Files) -> None:
    """Add an entry that the log does not hold, under a neighbour's proof."""
    files[f"data/records/{position + 2}-GEN.entry.json"] = outcome_of_nothing(target)
    proof = TlogProof.parse(files[proof_of(position)])
    files[proof_of(position + 2)] = replace(proof, index=position + 2).print()


def _middle(target: Target) -> int:
    return target.middle(least=2) - 1


def _stamped(target: Target) -> int:
    """Return position 0, if it and the one after it lie under a stamp."""
    ((size,),) = target.admin.do(
        "SELECT min(size) FROM {b}.anchor JOIN {b}.token USING (anchor_id)"
    )
    if size is None or size < 2:
        raise NotApplicable("no time stamp is kept")
    return 0


def _attack(name: str, tries: str, perform: Callable[[Target, int], bytes]) -> Attack:
    return Attack(
        name=name,
        adversary=WHO,
        tries=tries,
        strike=_stamped if perform is _DAMAGED else _middle,
        perform=perform,
        caught_by=("packet",),
    )


_DAMAGED: Final = _change(_damaged_token)

ATTACKS: Final = (
    _attack("packet-entry-changed", "another version number in an entry, listed again",
            _change(_another_entry)),
    _attack("packet-another-leaf", "a genuine proof with another entry", _change(_another_leaf)),
    _attack("packet-another-proof", "a genuine entry with another's proof",
            _change(_another_proof)),
    _attack("packet-inner-node", "a node of the tree shown as an entry", _change(_inner_node)),
    _attack("packet-outcome-of-nothing", "an entry that the log does not hold",
            _change(_outcome_of_nothing)),
    _attack("packet-key-twice", "a member twice in an entry", _change(_key_twice)),
    _attack("packet-spelled-otherwise", "the same JSON with spaces", _change(_spelled_otherwise)),
    _attack("packet-unsigned", "the checkpoint's signature is stripped", _change(_strip)),
    _attack("packet-own-trust", "signed by a key of his own, whose trust file lies in the packet",
            _change(_foreign_key)),
    _attack("packet-of-another-ledger", "a packet that another ledger of his has signed rightly",
            _change(_of_another_ledger)),
    _attack("packet-false-disclosure", "another text as what the entry commits to",
            _change(_false_disclosure)),
    _attack("packet-token-damaged", "one bit of the time stamp", _DAMAGED),
    _attack("packet-byte-flipped", "one byte, where it lies", _flipped_byte),
)  # fmt: skip
