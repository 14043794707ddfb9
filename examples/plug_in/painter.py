# SPDX-License-Identifier: Apache-2.0
"""A model of one's own, on record: a judge looks at the wish, a painter paints, both by `Trail`.

    SEALTRAIL_URL=… SEALTRAIL_TOKEN_FILE=… SEALTRAIL_TRUST=… \
        python examples/plug_in/painter.py emp-7 "a lighthouse in the fog" lighthouse.ppm

Each call of a model is an attempt and an outcome. A wish that is refused is on record, too. Without
a ledger nothing is painted and the program ends with AuditUnavailable.
"""

import sys
from hashlib import sha256
from pathlib import Path

from sealtrail import Trail

FORBIDDEN = ("passport", "banknote")
SIDE = 16


def painted(prompt: str, seed: int) -> bytes:
    """A picture (PPM) whose colours are the digest of what was asked for."""
    colours = b"".join(
        sha256(f"{prompt} {seed} {row}".encode()).digest()[: SIDE * 3] * 2 for row in range(SIDE)
    )
    return f"P6 {SIDE} {SIDE} 255\n".encode() + colours[: SIDE * SIDE * 3]


def main(person: str, prompt: str, path: str) -> None:
    with Trail(application="painter") as trail, trail.acting_for(person):
        with trail.gen(model="house/judge@1", prompt=prompt, operation="chat") as judged:
            refused = next((word for word in FORBIDDEN if word in prompt), None)
            if refused is not None:
                judged.deny(f"no-{refused}s", text="This is not painted here.")
            else:
                judged.output("allowed")
        if refused is not None:
            print(f"refused, and on record at position {judged.receipt.position}")
            return
        with trail.gen(model="house/painter@2", prompt=prompt, params={"seed": 7}) as call:
            picture = painted(prompt, 7)
            call.output(picture, mime="image/x-portable-pixmap")
        Path(path).write_bytes(picture)
        print(f"{path}, on record at position {call.receipt.position}")


if __name__ == "__main__":
    main(*sys.argv[1:])
