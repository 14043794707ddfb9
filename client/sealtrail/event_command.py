# SPDX-License-Identifier: Apache-2.0
"""`sealtrail event`, `sealtrail tail`: one event in or out, and what has just happened."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sealtrail.complaint import complain
from sealtrail.errors import AuditUnavailable, ReceiptInvalid, RecorderError
from sealtrail.verify import base64text, canonical
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.report import EXIT, EXIT_UNREADABLE, EXIT_USAGE, visible
from sealtrail.verify.trust import Trust

if TYPE_CHECKING:
    from sealtrail.recorder import Recorder

MakeRecorder = Callable[[argparse.Namespace, Trust | None], "Recorder"]
Add = Callable[[argparse.ArgumentParser], None]

#: Seconds between two looks of `tail --follow`; each look is entered in the access Book.
_LOOK_S: Final = 5.0

#: The ledger shows no more at once.
_LISTED_MAX: Final = 500

#: Members of a request that are objects, and those that are texts.
_OBJECTS: Final = ("body", "sealed", "subjects", "source", "time", "trace")
_TEXTS: Final = ("aggregate_id", "event_id", "on_behalf_of", "record_key")

#: Exit status by kind of error; all others are wrong usage, or refused.
_STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (AuditUnavailable, EXIT["incomplete"]),
    (ReceiptInvalid, EXIT["refuted"]),
    (VerifyError, EXIT_UNREADABLE),
)


def add_event(parser: argparse.ArgumentParser, add_ledger: Add, make: MakeRecorder) -> None:
    """Add `post` and `show` to the command."""
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    post = kinds.add_parser("post", help="record one event; needs a pipeline's token")
    post.add_argument("file", metavar="FILE", help="the request in JSON; - reads standard input")
    post.add_argument("--trust", metavar="FILE", help="keys to believe; without, no signature")
    add_ledger(post)
    post.add_argument("--json", action="store_true", help="print the whole receipt")
    post.set_defaults(run=lambda options: _told(options, lambda: _post(options, make)))
    show = kinds.add_parser("show", help="one recorded entry; needs an auditor's token")
    show.add_argument("event_id", metavar="EVENT_ID")
    show.add_argument("--purpose", metavar="CODE", help="why you look; recorded by the ledger")
    add_ledger(show)
    show.add_argument("--json", action="store_true", help="the answer as it is")
    show.set_defaults(run=lambda options: _told(options, lambda: _show(options, make)))


def add_tail(parser: argparse.ArgumentParser, add_ledger: Add, make: MakeRecorder) -> None:
    """Add the options of `tail`."""
    parser.add_argument("query", nargs="?", default="", metavar="QUERY", help="docs/search.md")
    parser.add_argument("-n", type=_count, default=20, metavar="N", help="how many, to 500 (20)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    parser.add_argument("--purpose", metavar="CODE", help="why you look; recorded by the ledger")
    add_ledger(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=lambda options: _told(options, lambda: _tail(options, make)))


def _post(options: argparse.Namespace, make: MakeRecorder) -> int:
    data = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    members = canonical.parse(data)
    if not isinstance(members, dict) or not isinstance(members.get("type"), str):
        raise ValueError("an event is a JSON object with a type")  # noqa: TRY004  what was typed
    trust = None if options.trust is None else Trust.parse(Path(options.trust).read_bytes())
    kind = members.pop("type")
    with make(options, trust) as recorder:
        receipt = recorder.post(str(kind), **_arguments(members))
    if options.json:
        print(json.dumps(receipt.wire(), indent=2))  # noqa: T201  a command
    else:
        checked = "verified" if receipt.signature_checked else "verified but for its signature"
        print(f"{receipt.event_id}  {receipt.origin}  position {receipt.position}  {checked}")  # noqa: T201
    return 0


def _arguments(members: dict[str, Any]) -> dict[str, Any]:
    """Return a request's members as arguments of `post`. Raises ValueError."""
    named = dict(members)
    for name in ("aggregate_id", "body"):
        if name not in named:
            raise ValueError(f"an event has {name}")
    for names, kind, word in ((_OBJECTS, dict, "an object"), (_TEXTS, str, "a text")):
        for name in names:
            if name in named and not isinstance(named[name], kind):
                raise ValueError(f"{name} is {word}")
    if "self" in named or "custody" in named:
        raise ValueError("an event has no such member; see docs/api.md")
    if "record_key" in named:
        from sealtrail.verify.disclosure import decode_base64url  # noqa: PLC0415

        named["record_key"] = decode_base64url(named["record_key"])
    return named


def _show(options: argparse.Namespace, make: MakeRecorder) -> int:
    from sealtrail.recorder import id_segment  # noqa: PLC0415  brings the HTTP client

    path = f"/v1/events/{id_segment(options.event_id)}"
    with make(options, None) as recorder:
        answer = recorder.read(path, purpose=options.purpose)
    entry = answer.get("entry")
    shown: Any = answer
    if not options.json and isinstance(entry, str):
        shown = canonical.decode(base64text.decode(entry, "The entry"))
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    sys.stdout.writelines(visible(line) + "\n" for line in text.splitlines())
    return 0


def _tail(options: argparse.Namespace, make: MakeRecorder) -> int:
    seen = -1
    with make(options, None) as recorder:
        while True:
            question = {"q": options.query, "limit": options.n}
            page = recorder.read("/v1/search", question, purpose=options.purpose)
            for one in reversed(page.get("found", [])):
                if one["position"] > seen:
                    seen = one["position"]
                    print(_line(one, as_json=options.json), flush=True)  # noqa: T201  a command
            if not options.follow:
                return 0
            time.sleep(_LOOK_S)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _LISTED_MAX:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {_LISTED_MAX}")
    return int(text)


def _line(one: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(one)
    values = one.get("values", {})
    said = [str(values[name][0]) for name in ("model", "outcome", "flag") if values.get(name)]
    where = f"{one['recorded_at']}  {one['position']:>8}  {one['type']:<14}"
    return visible("  ".join([where, *said, one["event_id"]]))


def _told(options: argparse.Namespace, work: Callable[[], int]) -> int:
    """Run a command and tell its errors in one line, with their own exit status."""
    try:
        return work()
    except KeyboardInterrupt:
        return 0
    except (RecorderError, VerifyError, OSError, TypeError, ValueError) as error:
        found = (status for kind, status in _STATUS if isinstance(error, kind))
        return complain(str(error), next(found, EXIT_USAGE), as_json=options.json)
