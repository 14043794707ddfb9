# SPDX-License-Identifier: GPL-3.0-or-later
r"""Vectors for every byte that is hashed, made by a second program that shares no code.

Everything here is written the slow, obvious way straight from the formulas: trees by recursion,
JSON character by character, HMAC from its definition. Only SHA-256 itself is Python's. If this
file and the product ever disagree, one of them is wrong, and the files beside it say which bytes
were promised. It imports nothing of the product.

    python tests/vectors/make.py [folder]       writes the JSON files, by default beside itself
"""

import json
import sys
from hashlib import sha256
from pathlib import Path


def u64be(number):
    return bytes((number >> shift) & 255 for shift in (56, 48, 40, 32, 24, 16, 8, 0))


def hash_of(*parts):
    return sha256(b"".join(parts)).digest()


def hmac_of(key, *parts):
    """RFC 2104 for a key that is not longer than a block."""
    block = key + bytes(64 - len(key))
    inner = hash_of(bytes(byte ^ 0x36 for byte in block), *parts)
    return hash_of(bytes(byte ^ 0x5C for byte in block), inner)


def base64url(data):
    """RFC 4648 §5 without padding, six bits at a time."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bits = "".join(f"{byte:08b}" for byte in data)
    groups = [bits[at : at + 6] for at in range(0, len(bits), 6)]
    return "".join(alphabet[int(group.ljust(6, "0"), 2)] for group in groups)


def utf16_units(text):
    data = text.encode("utf-16-be")
    return [data[at] * 256 + data[at + 1] for at in range(0, len(data), 2)]


def canonical_string(text):
    short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    out = '"'
    for character in text:
        code = ord(character)
        if code in short:
            out += short[code]
        elif code < 32:
            out += f"\\u{code:04x}"
        else:
            out += character
    return out + '"'


def canonical_text(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return canonical_string(value)
    if isinstance(value, list):
        return "[" + ",".join(canonical_text(item) for item in value) + "]"
    names = sorted(value, key=utf16_units)
    members = [canonical_string(name) + ":" + canonical_text(value[name]) for name in names]
    return "{" + ",".join(members) + "}"


def jcs(value):
    return canonical_text(value).encode("utf-8")


def nested(depth, opening="[", closing="]"):
    return opening * depth + closing * depth


def objects(depth):
    return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)


#: Name, text, and the value it stands for.
ACCEPTED = [
    ("empty-object", "{}", {}),
    ("empty-list", " [ ] ", []),
    ("lone-string", '"text"', "text"),
    ("lone-number", "\n0\t", 0),
    ("lone-null", "null", None),
    ("booleans-are-not-numbers", "[true,false,1,0]", [True, False, 1, 0]),
    ("white-space-goes", '{ "b" : 1,\r\n "a" : [ 2 ] }', {"b": 1, "a": [2]}),
    ("largest-number", "9007199254740991", 9007199254740991),
    ("smallest-number", "-9007199254740991", -9007199254740991),
    ("negative-one", "[-1]", [-1]),
    ("short-escapes", r'"\b\t\n\f\r\"\\"', '\b\t\n\f\r"\\'),
    ("solidus-is-not-escaped", r'"\/"', "/"),
    ("other-control-characters", r'"\u0000\u000B\u001F"', "\0\x0b\x1f"),
    ("delete-is-not-escaped", '"\x7f"', "\x7f"),
    ("unneeded-escapes-go", r'"\u0041\u00e9\u20AC"', "A\xe9\u20ac"),
    ("escaped-pair", r'"\ud83d\ude00"', "\U0001f600"),
    ("line-separators-are-not-escaped", '"\u2028\u2029"', "\u2028\u2029"),
    ("noncharacters-are-allowed", r'"\uffff\ufdd0"', "\uffff\ufdd0"),
    ("no-unicode-normalisation", '["\u00c5","A\u030a"]', ["\u00c5", "A\u030a"]),
    ("capitals-before-small", '{"b":1,"B":2,"_":3,"a":4}', {"b": 1, "B": 2, "_": 3, "a": 4}),
    ("prefix-first", '{"aa":1,"a":2,"":3}', {"aa": 1, "a": 2, "": 3}),
    (
        "names-by-utf-16-code-unit",
        '{"\ufb33":1,"\U0001f600":2,"\u20ac":3,"z":4}',
        {"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "z": 4},
    ),
    ("brackets-inside-strings", '["' + "[{" * 100 + '"]', ["[{" * 100]),
    ("brackets-after-an-escaped-quote", r'["\\\"' + "[" * 100 + '"]', ['\\"' + "[" * 100]),
    ("64-lists-deep", nested(64), json.loads(nested(64))),
    ("64-objects-deep", objects(64), json.loads(objects(64))),
    ("many-but-shallow", "[" + ",".join(["[]"] * 100) + "]", [[]] * 100),
]

#: Name, bytes, and the rule they break. Neither decoder takes them.
REFUSED = [
    ("empty", b"", "not-json"),
    ("two-values", b"1 2", "not-json"),
    ("trailing-comma", b"[1,]", "not-json"),
    ("comment", b"[1] // one", "not-json"),
    ("single-quotes", b"{'a':1}", "not-json"),
    ("nan", b"[NaN]", "not-json"),
    ("infinity", b"[Infinity]", "not-json"),
    ("negative-infinity", b"[-Infinity]", "not-json"),
    ("leading-zero", b"[01]", "not-json"),
    ("plus-sign", b"[+1]", "not-json"),
    ("underscore-in-number", b"[1_000]", "not-json"),
    ("arabic-digit", "[\u0663]".encode(), "not-json"),
    ("hexadecimal", b"[0x10]", "not-json"),
    ("raw-control-character", b'"\x01"', "not-json"),
    ("raw-line-feed", b'"\n"', "not-json"),
    ("unknown-escape", b'"\\x41"', "not-json"),
    ("no-break-space", b"\xc2\xa01", "not-json"),
    ("unclosed-string", b'["abc', "not-json"),
    ("unclosed-escape", b'["\\', "not-json"),
    ("too-many-closed", b"[]" + b"]" * 100, "not-json"),
    ("negative-zero", b"[-0]", "integer-spelling"),
    ("float", b"[1.0]", "float"),
    ("negative-zero-float", b"[-0.0]", "float"),
    ("exponent", b"[1e3]", "float"),
    ("integral-exponent", b"[10E+2]", "float"),
    ("over-the-largest-number", b"9007199254740992", "integer-range"),
    ("under-the-smallest-number", b"-9007199254740992", "integer-range"),
    ("64-bit-number", b"[18446744073709551615]", "integer-range"),
    ("5000-digits", b"[" + b"9" * 5000 + b"]", "integer-range"),
    ("name-twice", b'{"a":1,"a":1}', "duplicate-key"),
    ("name-twice-escaped", b'{"a":1,"\\u0061":2}', "duplicate-key"),
    ("name-twice-inside", b'[{"x":{"b":1,"c":2,"b":3}}]', "duplicate-key"),
    ("high-surrogate", b'"\\ud83d"', "surrogate"),
    ("low-surrogate", b'"\\uDE00"', "surrogate"),
    ("swapped-pair", b'"\\ude00\\ud83d"', "surrogate"),
    ("surrogate-in-name", b'{"\\ud800":1}', "surrogate"),
    ("surrogate-as-utf-8", b'"\xed\xa0\x80"', "utf-8"),
    ("latin-1", b'"\xe9"', "utf-8"),
    ("overlong", b'"\xc0\xaf"', "utf-8"),
    ("beyond-unicode", b'"\xf4\x90\x80\x80"', "utf-8"),
    ("cut-character", b'"\xe2\x82"', "utf-8"),
    ("utf-16", '{"a":1}'.encode("utf-16"), "utf-8"),
    ("byte-order-mark", b"\xef\xbb\xbf{}", "byte-order-mark"),
    ("65-lists-deep", nested(65).encode(), "depth"),
    ("65-objects-deep", objects(65).encode(), "depth"),
    ("deep-and-never-closed", b'[{"a":' * 40, "depth"),
]


def canonical_vectors():
    accepted = []
    for name, text, value in ACCEPTED:
        canonical = jcs(value)
        accepted.append({"name": name, "hex": text.encode().hex(), "canonical": canonical.hex()})
    refused = [{"name": name, "hex": data.hex(), "rule": rule} for name, data, rule in REFUSED]
    return {"accepted": accepted, "refused": refused}


def split(count):
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def root_of(leaves):
    if not leaves:
        return hash_of()
    if len(leaves) == 1:
        return leaves[0]
    half = split(len(leaves))
    return hash_of(b"\x01", root_of(leaves[:half]), root_of(leaves[half:]))


def path_of(index, leaves):
    if len(leaves) == 1:
        return []
    half = split(len(leaves))
    if index < half:
        return [*path_of(index, leaves[:half]), root_of(leaves[half:])]
    return [*path_of(index - half, leaves[half:]), root_of(leaves[:half])]


def consistency_of(old, leaves, *, whole=True):
    if old == len(leaves):
        return [] if whole else [root_of(leaves)]
    half = split(len(leaves))
    if old <= half:
        return [*consistency_of(old, leaves[:half], whole=whole), root_of(leaves[half:])]
    return [*consistency_of(old - half, leaves[half:], whole=False), root_of(leaves[:half])]


def frontier_of(leaves):
    nodes = []
    while leaves:
        take = 1
        while take * 2 <= len(leaves):
            take *= 2
        nodes.append(root_of(leaves[:take]))
        leaves = leaves[take:]
    return nodes


def hexes(hashes):
    return [value.hex() for value in hashes]


def merkle_vectors():
    entries = [b"", b"\x00", b"{}", *(f'{{"n":{n}}}'.encode() for n in range(14))]
    leaves = [hash_of(b"\x00", entry) for entry in entries]
    logs = [
        {
            "size": size,
            "root": root_of(leaves[:size]).hex(),
            "frontier": hexes(frontier_of(leaves[:size])),
            "paths": [hexes(path_of(index, leaves[:size])) for index in range(size)],
            "consistency": [hexes(consistency_of(old, leaves[:size])) for old in range(1, size)],
        }
        for size in range(len(entries) + 1)
    ]
    return {"entries": hexes(entries), "leaves": hexes(leaves), "logs": logs}


def chain_vectors():
    """Three epochs, the middle one empty, and a head after every entry."""
    origin = "ledger.example/images"
    key = hash_of(b"chain key of the vectors")
    leaves = [hash_of(b"\x00", bytes([n])) for n in range(5)]
    time = 1768415003123
    epochs, last_mac, position = [], None, 0
    for epoch, count in enumerate((3, 0, 2)):
        parts = [b"sealtrail.chain.v1\0", origin.encode(), b"\n", u64be(epoch)]
        start = mac = hmac_of(key, *parts, last_mac or b"")
        heads = []
        for _ in range(count + 1):
            frontier = b"".join(frontier_of(leaves[:position]))
            fields = [u64be(epoch), u64be(position), frontier, mac, u64be(time)]
            tag = hmac_of(key, b"sealtrail.head.v1\0", origin.encode(), *fields)
            head = {"size": position, "mac": mac.hex(), "time": time, "tag": tag.hex()}
            heads.append(head | {"frontier": frontier.hex()})
            if len(heads) <= count:
                mac = hmac_of(key, mac, u64be(position), leaves[position])
                position += 1
                time += 1001
        epochs.append({"epoch": epoch, "key": key.hex(), "start": start.hex(), "heads": heads})
        last_mac = mac
        key = hmac_of(key, b"sealtrail.chain.evolve.v1\0", origin.encode())
    return {"origin": origin, "leaves": hexes(leaves), "epochs": epochs}


def disclose(record_key, name, value):
    salt = base64url(hmac_of(record_key, b"sealtrail.sd.salt.v1\0", name.encode())[:16])
    disclosure = base64url(jcs([salt, name, value]))
    digest = base64url(hash_of(disclosure.encode()))
    return {"name": name, "value": value, "salt": salt, "disclosure": disclosure, "digest": digest}


def disclosure_vectors():
    fields = {
        "actor.subject_id": "employee-0042",
        "prompt.user": 'a lighthouse at dusk, "oil on canvas"\n\u00e9\u20ac\U0001f600',
        "prompt.negative": "",
        "prompt.template_vars": {"style": "woodcut", "n": 4, "tags": ["a", None, True]},
        "inputs[0].sha256": "sha256:" + hash_of(b"image").hex(),
        "inputs[999].note": -9007199254740991,
        "_x": None,
    }
    cases = []
    for key in (bytes(32), hash_of(b"record key of the vectors")):
        shown = [disclose(key, name, value) for name, value in fields.items()]
        sd = sorted(field["digest"] for field in shown)
        cases.append({"record_key": key.hex(), "fields": shown, "_sd": sd})
    return {"cases": cases}


def entry_of(kind, body, digests, **more):
    entry = {
        "v": 1,
        "type": kind,
        "schema": 1,
        "event_id": "0190b6f0-9c1e-7d43-8a11-3f2e5d6c7b8a",
        "tenant": "acme",
        "aggregate": {"type": "Generation", "id": "0190b6f0-0000-7000-8000-000000000001"},
        "time": {"recorded": "2026-01-14T18:23:45.123Z"},
        "actor": {"kind": "human", "role": "CREATOR", "credential": "c-7f3a"},
        "body": body,
    }
    entry["aggregate"]["version"] = 2
    if digests:
        entry |= {"_sd": sorted(digests), "_sd_alg": "sha-256"}
    return entry | more


def without_ledger(entry, leave_out=()):
    """The client's part, built up from nothing instead of cut down."""
    part = {}
    for name, value in entry.items():
        if name in ("tenant", "_sd", "_sd_alg"):
            continue
        hidden = {
            "aggregate": ["version"],
            "time": ["request_received", "recorded"],
            "actor": ["credential", "auth"],
        }.get(name, [])
        if not hidden:
            part[name] = value
        elif any(key not in hidden for key in value):
            part[name] = {key: item for key, item in value.items() if key not in hidden}
    sd = [digest for digest in entry.get("_sd", []) if digest not in leave_out]
    if sd:
        part |= {"_sd": sd, "_sd_alg": entry["_sd_alg"]}
    if entry["type"] == "OUTCOME_LATE":
        part |= entry["body"]["claimed"]
    return part


def entry_vectors():
    key = hash_of(b"record key of the vectors")
    person = disclose(key, "actor.subject_id", "employee-0042")["digest"]
    prompt = disclose(key, "prompt.user", "a lighthouse at dusk")["digest"]
    link = {"rel": "attempt", "type": "GEN_ATTEMPT", "id": "x-1", "leaf": "sha256:" + "0a" * 32}
    claim = {"type": "GEN", "schema": 1, "body": {"result": "success"}}
    late = {"claimed": claim, "timeout_position": 7}
    received = {"request_received": "2026-01-14T18:23:45.120Z"}
    times = received | {
        "processing_started": "2026-01-14T18:23:44.000Z",
        "recorded": "2026-01-14T18:23:45.123Z",
    }
    source = {"id": "gateway-1", "n": 0}
    cases = [
        ("person-from-the-token", entry_of("GEN_ATTEMPT", {"n": 1}, [person, prompt]), [person]),
        ("person-named-by-the-client", entry_of("GEN_ATTEMPT", {"n": 1}, [person, prompt]), []),
        ("person-only-from-the-token", entry_of("EXPORT", {}, [person]), [person]),
        ("outcome-too-late", entry_of("OUTCOME_LATE", late, [person], links=[link]), [person]),
        (
            "client-times-stay",
            entry_of("GEN", {"a": ["b"]}, [prompt], time=times, source=source),
            [],
        ),
        ("made-by-the-ledger", entry_of("ANCHOR", {"day": "2026-01-14"}, []), []),
    ]
    return {
        "cases": [
            {
                "name": name,
                "entry": jcs(entry).hex(),
                "without_sd": leave_out,
                "client_part": jcs(without_ledger(entry, leave_out)).hex(),
                "request_digest": hash_of(jcs(without_ledger(entry, leave_out))).hex(),
            }
            for name, entry, leave_out in cases
        ]
    }


FILES = {
    "canonical.json": canonical_vectors,
    "merkle.json": merkle_vectors,
    "chain.json": chain_vectors,
    "disclosure.json": disclosure_vectors,
    "entry.json": entry_vectors,
}


def main(folder):
    for name, make in FILES.items():
        text = json.dumps(make(), indent=1, ensure_ascii=True) + "\n"
        (folder / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
