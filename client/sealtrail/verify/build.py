# SPDX-License-Identifier: Apache-2.0
"""The verifier as one file, the same bytes whoever builds it.

verify.pyz is an archive in the form of `zip` (fixed times, order and modes, no compression) that
holds this package, and nothing else that could be imported: it runs under `python -I -S`. It can
build itself. Source: Python's documentation of `zipapp`, "The Python Zip Application Archive
Format".
"""

from importlib.resources import files
from typing import Final

from sealtrail.verify.zip import write_zip

_START: Final = """\
# SPDX-License-Identifier: Apache-2.0
\"\"\"Check a Sealtrail packet: python verify.pyz PACKET.zip --trust trust.json\"\"\"

import sys

from sealtrail.verify.command import main

sys.exit(main())
"""
_PARENT: Final = """\
# SPDX-License-Identifier: Apache-2.0
\"\"\"Holds the verifier; the rest of the client is not in this file.\"\"\"
"""


def build_verifier() -> bytes:
    """The bytes of verify.pyz, from this package's own source files."""
    package = {
        f"sealtrail/verify/{file.name}": file.read_bytes()
        for file in files("sealtrail.verify").iterdir()
        if file.name.endswith(".py")
    }
    return write_zip(
        {"__main__.py": _START.encode(), "sealtrail/__init__.py": _PARENT.encode(), **package}
    )
