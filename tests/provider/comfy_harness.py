# SPDX-License-Identifier: GPL-3.0-or-later
"""What ComfyUI's server does with a prompt, restated: it is not installed where the tests run.

    trigger_on_prompt   every handler in turn; what one raises is logged, and the prompt goes on
    post_prompt         400 without a prompt, otherwise into the queue, and its id at once
    history, view       what came out, once it has run

Read in ComfyUI's `server.py` and `execution.py` (October 2026); rows of tests that run on this are
marked `harness`.
"""

import json
import logging
import threading
import uuid
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from provider_server import picture


class SaveImage:
    """Stands for ComfyUI's own node that puts something out."""

    OUTPUT_NODE = True


class Quiet:
    """Stands for all nodes that put nothing out."""


GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "painter.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["1", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blur", "clip": ["1", 1]}},
    "4": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 64, "height": 32, "batch_size": 1},
    },
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 7,
            "steps": 20,
            "cfg": 7.5,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "x"}},
}


def graph_with(kind, **more):
    """Return the graph whose last node is of another class."""
    return {**GRAPH, "7": {**GRAPH["7"], "class_type": kind}, **more}


class PromptServer:
    """The server's two functions, a queue of one worker, and what it shows."""

    instance = None

    def __init__(self):
        self.on_prompt_handlers = []
        self.history = {}
        self.files = {}
        self.uploads = {}
        self.calls = []
        self.waits = False  #: Prompts stay queued until `work` is called.
        self.fails = False
        self.queue = []
        self.nodes = {node["class_type"]: Quiet for node in GRAPH.values()}
        self.nodes["SaveImage"] = SaveImage

    def add_on_prompt_handler(self, handler):
        self.on_prompt_handlers.append(handler)

    def trigger_on_prompt(self, json_data):
        for handler in self.on_prompt_handlers:
            try:
                json_data = handler(json_data)
            except Exception as problem:  # noqa: BLE001 - so it is there
                logging.getLogger("comfy").info("a handler failed: %s", type(problem).__name__)
        return json_data

    def post_prompt(self, json_data):
        """Return status and answer of POST /prompt."""
        json_data = self.trigger_on_prompt(json_data)
        if "prompt" not in json_data:
            error = {"type": "no_prompt", "message": "No prompt provided", "details": ""}
            return 400, {"error": error, "node_errors": {}}
        graph = json_data["prompt"]
        if any(node["class_type"] not in self.nodes for node in graph.values()):
            error = {"type": "invalid_prompt", "message": "a node is missing", "details": ""}
            return 400, {"error": error, "node_errors": {}}
        prompt_id = str(json_data.get("prompt_id") or uuid.uuid4())
        self.queue.append((prompt_id, graph, json_data.get("extra_data", {})))
        if not self.waits:
            self.work()
        return 200, {"prompt_id": prompt_id, "number": len(self.history), "node_errors": {}}

    def work(self):
        """Run what is queued."""
        while self.queue:
            prompt_id, graph, extra = self.queue.pop(0)
            self.calls.append(prompt_id)
            try:
                outputs = self._run(graph, extra)
                status = {"status_str": "success", "completed": True, "messages": []}
            except Exception as problem:  # noqa: BLE001 - so it is there
                outputs = {}
                told = {"exception_type": type(problem).__name__, "exception_message": "it broke"}
                messages = [["execution_error", told]]
                status = {"status_str": "error", "completed": False, "messages": messages}
            self.history[prompt_id] = {"outputs": outputs, "status": status}

    def _run(self, graph, extra):
        if self.fails:
            raise RuntimeError("no memory")
        outputs = {}
        for name, node in graph.items():
            kind = self.nodes[node["class_type"]]
            if kind is SaveImage:
                file = f"x_{len(self.files):05}_.png"
                self.files[file, "", "output"] = picture((len(self.files), 30, 60))
                shown = {"filename": file, "subfolder": "", "type": "output"}
                outputs[name] = {"images": [shown]}
            elif kind is not Quiet:
                hidden = {
                    "prompt": graph,
                    "extra_pnginfo": extra.get("extra_pnginfo"),
                    "unique_id": name,
                }
                outputs[name] = kind().save(self.paint(), "x", **hidden)["ui"]
        return outputs

    def paint(self):
        """Return pictures as nodes hand them on: numbers from 0 to 1."""
        import numpy as np

        return np.full((1, 32, 64, 3), 0.5, dtype="float32")


class FolderPaths:
    """The two functions of ComfyUI's `folder_paths` that a saving node needs."""

    def __init__(self, folder):
        self._folder = folder

    def get_output_directory(self):
        return str(self._folder)

    def get_save_image_path(self, prefix, folder, width, height):
        del width, height
        counter = 1 + len(list(Path(folder).iterdir()))
        return folder, prefix, counter, "", prefix


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, parts = self.server.comfy, urlsplit(self.path)
        if parts.path == "/view":
            asked = {name: one[0] for name, one in parse_qs(parts.query).items()}
            key = (asked["filename"], asked.get("subfolder", ""), asked.get("type", "output"))
            data = server.files.get(key)
            self._send(404 if data is None else 200, data or b"", "image/png")
        elif parts.path.startswith("/history/"):
            prompt_id = parts.path.rpartition("/")[2]
            found = server.history.get(prompt_id)
            self._json(200, {} if found is None else {prompt_id: found})
        elif parts.path == "/history":
            self._json(200, server.history)
        else:
            self._json(200, {"exec_info": {"queue_remaining": len(server.queue)}})

    def do_POST(self):
        data = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/upload/image":
            name = _file_in(self.headers["content-type"], data)
            self._json(200, {"name": name, "subfolder": "", "type": "input"})
        else:
            self._json(*self.server.comfy.post_prompt(json.loads(data)))

    def _json(self, status, told):
        self._send(status, json.dumps(told).encode(), "application/json")

    def _send(self, status, data, kind):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _file_in(kind, data):
    head = Message()
    head["content-disposition"] = next(
        line.partition(b":")[2].decode().strip()
        for line in data.split(b"\r\n")
        if line.lower().startswith(b"content-disposition")
    )
    del kind
    return head.get_filename()


@contextmanager
def comfy_serving(server):
    """The address of a harness on a port of this machine."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listening.comfy = server
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
