# SPDX-License-Identifier: GPL-3.0-or-later
"""AUTOMATIC1111's interface for programs, behind the gateway."""

import httpx2
from closed_rows import PROMPT, Row
from closed_world import KEY


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """What a client of the interface sees."""

    def __init__(self, answer):
        super().__init__(answer.status_code)
        self.status_code, self.code = answer.status_code, answer.json()["error"]


class Text2Image(Row):
    part = "Gateway"
    name = "AUTOMATIC1111, `/a1111/sdapi/v1/txt2img`"
    harness = True
    person = None

    def run(self, at):
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=f"{at.gateway}/a1111", headers=headers, timeout=30) as client:
            answer = client.post("/sdapi/v1/txt2img", json={"prompt": PROMPT, "steps": 20})
            if answer.status_code != 200:
                raise Refused(answer)
            at.release(answer.json()["images"])
