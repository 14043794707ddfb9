# SPDX-License-Identifier: Apache-2.0
"""A program that knows of no audit: a picture and a chat, by OpenAI's own SDK.

    OPENAI_BASE_URL=http://127.0.0.1:8401/openai/v1 OPENAI_API_KEY=stg_… \
        python examples/plug_in/unchanged.py "a lighthouse in the fog" lighthouse.png

Behind a gateway both calls are on record; without the two variables it talks to OpenAI itself.
"""

import base64
import sys
from pathlib import Path

from openai import OpenAI


def main(prompt: str, path: str) -> None:
    with OpenAI() as client:
        picture = client.images.generate(model="gpt-image-1", prompt=prompt)
        Path(path).write_bytes(base64.b64decode(picture.data[0].b64_json))
        title = client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": f"Name a picture of {prompt}, in five words."}],
            stream=True,
        )
        for chunk in title:
            print(chunk.choices[0].delta.content or "", end="")
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
