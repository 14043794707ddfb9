# SPDX-License-Identifier: GPL-3.0-or-later
"""ComfyUI: the gateway before it, our handler and node in it, and a handler that raises."""

import sys
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import httpx2
from closed_rows import Row
from closed_world import KEY, TOKEN, answering

_PROVIDER = str(Path(__file__).resolve().parents[1] / "provider")
if _PROVIDER not in sys.path:
    sys.path.append(_PROVIDER)

from comfy_harness import (  # noqa: E402
    GRAPH,
    FolderPaths,
    PromptServer,
    comfy_serving,
    graph_with,
)


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """What a client of ComfyUI sees."""

    def __init__(self, status, told):
        super().__init__(status)
        self.status_code, self.code = status, told["error"]["type"]


def _counting(at):
    """A server whose prompts are counted as calls of a model."""

    class Counting(PromptServer):
        def _run(self, graph, extra):
            at.model()
            return super()._run(graph, extra)

    return Counting()


class _Comfy(Row):
    harness = True


class Gateway(_Comfy):
    part = "Gateway"
    name = "ComfyUI, `/comfyui/prompt`, `history` and `view`"

    def run(self, at):
        from sealtrail_gateway.assembly import make_gateway
        from sealtrail_gateway.settings import KnownKey, Settings, Upstream

        with comfy_serving(_counting(at)) as address:
            upstream = Upstream(name="comfyui", url=address, reader="comfyui", credential="")
            settings = Settings(
                ledger_url=at.ledger_url,
                ledger_token=TOKEN,
                trust=at.ledger.trust,
                upstreams={"comfyui": upstream},
                callers={sha256(KEY.encode()).hexdigest(): KnownKey(person="emp-7")},
                ledger_timeout_s=0.15 if at.case == "slow" else 10.0,
            )
            with answering(make_gateway(settings, attempts=1)) as url:
                at.release(self.ask(f"{url}/comfyui"))

    def ask(self, url):
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
            prompt_id = _json(client.post("/prompt", json={"prompt": GRAPH}))["prompt_id"]
            shown = _json(client.get(f"/history/{prompt_id}"))
            (file,) = shown[prompt_id]["outputs"]["7"]["images"]
            return client.get("/view", params=file).content


class _Inside(_Comfy):
    part = "Programs with hooks"

    @contextmanager
    def server(self, at):
        """A server, with the modules under which nodes find it, and the folder of its outputs."""
        from sealtrail import comfyui

        server = _counting(at)
        server.nodes[comfyui.NODE] = comfyui.AuditedSaveImage
        named = {
            "server": {"PromptServer": type("PromptServer", (), {"instance": server})},
            "nodes": {"NODE_CLASS_MAPPINGS": server.nodes},
        }
        with TemporaryDirectory() as folder:
            modules = {"folder_paths": FolderPaths(folder)}
            for name, members in named.items():
                modules[name] = ModuleType(name)
                vars(modules[name]).update(members)
            sys.modules.update(modules)
            try:
                yield server, Path(folder)
            finally:
                for name in modules:
                    sys.modules.pop(name)


class Node(_Inside):
    name = "ComfyUI, `sealtrail.comfyui` (handler and `Audited Save Image`)"

    def run(self, at):
        from sealtrail import comfyui

        with self.server(at) as (server, folder):
            comfyui.install(lambda: at.trail, lambda _: "emp-7")
            status, told = server.post_prompt({"prompt": graph_with(comfyui.NODE)})
            if status != 200:
                raise Refused(status, told)
            for file in folder.iterdir():
                at.release(file.read_bytes())
            (entry,) = server.history.values()
            for _, message in entry["status"]["messages"]:
                raise Refused(200, {"error": {"type": message["exception_type"]}})


class Raising(_Inside):
    name = "ComfyUI `PromptServer.trigger_on_prompt` handlers that raise"
    holds = False
    reason = (
        "`trigger_on_prompt` logs what a handler raises and queues the prompt all the same; one "
        "that hands back no `prompt` is answered with 400, as `sealtrail.comfyui` does."
    )

    def run(self, at):
        with self.server(at) as (server, _):

            def handler(request):
                with at.trail.gen(model="acme/painter") as call:
                    call.output(b"queued")
                return request

            server.add_on_prompt_handler(handler)
            server.post_prompt({"prompt": GRAPH})
            for data in server.files.values():
                at.release(data)


def _json(answer):
    if answer.status_code != 200:
        raise Refused(answer.status_code, answer.json())
    return answer.json()
