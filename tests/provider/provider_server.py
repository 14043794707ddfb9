# SPDX-License-Identifier: GPL-3.0-or-later
"""A provider of models on this machine that speaks the real wire formats, and keeps its own books.

What it does with the next calls is said in `moods`, one word each: nothing, `refuse`, `429`, `500`,
`slow`, `cut` (the stream breaks in the middle), `redirect`, `garbage`. Its log (`calls`) is what a
provider's invoice would be made of: one line for each call that reached it.
"""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

#: What a whole answer of a chat says.
SPOKEN = "A lighthouse stands in the fog."


def picture(color: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(out, format="PNG")
    return out.getvalue()


class Provider:
    def __init__(self) -> None:
        self.moods: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.slow_s = 0.5
        self.model = "returned-model-2026-10-01"

    def call(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
        """Enter a call in the books; returns its mood and the call."""
        with self.lock:
            mood = self.moods.pop(0) if self.moods else ""
            call = {
                "path": path,
                "id": f"req_{len(self.calls):06d}",
                "headers": headers,
                "body": body,
                "mood": mood,
            }
            self.calls.append(call)
        return mood, call


#: (status, content type, body) or (200, "text/event-stream", pieces).
Answer = tuple[int, str, Any]


def openai_image(_: Provider, request: dict[str, Any], mood: str) -> Answer:
    if mood == "refuse":
        error = {"code": "moderation_blocked", "type": "user_error", "message": "Not this."}
        return 400, "application/json", {"error": error}
    shown = base64.b64encode(picture()).decode()
    if str(request.get("stream")).lower() == "true":
        partial = {"type": "image_generation.partial_image", "partial_image_index": 0}
        done = {"type": "image_generation.completed", "b64_json": shown}
        done["usage"] = {"input_tokens": 5, "output_tokens": 100}
        return 200, "text/event-stream", [event(partial), event(done)]
    many = int(request.get("n") or 1)
    data = [{"b64_json": shown} for _ in range(many)]
    if request.get("response_format") == "url":
        data = [{"url": "https://images.example/1.png"}]
    usage = {"input_tokens": 5, "output_tokens": 100, "total_tokens": 105}
    return 200, "application/json", {"created": 1, "data": data, "usage": usage}


def openai_chat(provider: Provider, request: dict[str, Any], mood: str) -> Answer:
    common = {
        "id": "chatcmpl-1",
        "model": provider.model,
        "system_fingerprint": "fp_1",
        "created": 1,
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}
    refusal = "I will not." if mood == "refuse" else None
    if request.get("stream"):
        key = "refusal" if refusal else "content"
        words = (refusal or SPOKEN).split(" ")
        chunks = [
            {**common, "object": "chat.completion.chunk",
             "choices": [{"index": 0, "delta": {key: word + " "}, "finish_reason": None}]}
            for word in words
        ]  # fmt: skip
        last = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        chunks.append(
            {**common, "object": "chat.completion.chunk", "choices": last, "usage": usage}
        )
        return 200, "text/event-stream", [*map(event, chunks), b"data: [DONE]\n\n"]
    message = {"role": "assistant", "content": None if refusal else SPOKEN, "refusal": refusal}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    whole = {**common, "object": "chat.completion", "choices": choices, "usage": usage}
    return 200, "application/json", whole


def openai_response(provider: Provider, request: dict[str, Any], mood: str) -> Answer:
    part = {"type": "output_text", "text": SPOKEN, "annotations": []}
    if mood == "refuse":
        part = {"type": "refusal", "refusal": "I will not."}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    whole = {
        "id": "resp_1", "object": "response", "created_at": 1, "model": provider.model,
        "status": "completed", "output": [{**message, "content": [part]}], "tools": [],
        "parallel_tool_calls": False, "tool_choice": "auto",
        "usage": {"input_tokens": 7, "output_tokens": 6, "total_tokens": 13,
                  "input_tokens_details": {"cached_tokens": 0},
                  "output_tokens_details": {"reasoning_tokens": 0}},
    }  # fmt: skip
    if request.get("tools"):
        shown = base64.b64encode(picture()).decode()
        drawn = {"type": "image_generation_call", "id": "ig", "status": "completed"}
        whole["output"].append({**drawn, "result": shown})
    if not request.get("stream"):
        return 200, "application/json", whole
    place = {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}
    events = [{"type": "response.created", "response": {**whole, "output": []}}]
    kind = "response.refusal.delta" if mood == "refuse" else "response.output_text.delta"
    words = (part.get("text") or part["refusal"]).split(" ")
    events += [{"type": kind, "delta": word + " ", **place} for word in words]
    events.append({"type": "response.completed", "response": whole})
    numbered = [{**one, "sequence_number": at} for at, one in enumerate(events)]
    return 200, "text/event-stream", [event(one, one["type"]) for one in numbered]


def anthropic_message(provider: Provider, request: dict[str, Any], mood: str) -> Answer:
    reason = "refusal" if mood == "refuse" else "end_turn"
    whole = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": provider.model,
        "content": [{"type": "text", "text": SPOKEN}], "stop_reason": reason,
        "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 6},
    }  # fmt: skip
    if not request.get("stream"):
        return 200, "application/json", whole
    start = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 7, "output_tokens": 1},
    }
    block = {"type": "text", "text": ""}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
    ]
    for word in SPOKEN.split(" "):
        delta = {"type": "text_delta", "text": word + " "}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 6}},
        {"type": "message_stop"},
    ]
    return 200, "text/event-stream", [event(one, one["type"]) for one in events]


def google_content(provider: Provider, request: dict[str, Any], mood: str) -> Answer:
    del request
    common = {"modelVersion": provider.model, "responseId": f"resp-{len(provider.calls)}"}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 6, "totalTokenCount": 13}
    if mood == "refuse":
        return 200, "application/json", {**common, "promptFeedback": {"blockReason": "SAFETY"}}
    shown = {"mimeType": "image/png", "data": base64.b64encode(picture()).decode()}
    parts = [{"text": SPOKEN}, {"inlineData": shown}]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    whole = {**common, "candidates": [candidate], "usageMetadata": usage}
    return 200, "application/json", whole


def google_stream(provider: Provider, request: dict[str, Any], mood: str) -> Answer:
    _, _, whole = google_content(provider, request, mood)
    if mood == "refuse":
        return 200, "text/event-stream", [event(whole)]
    chunks = [
        {
            "candidates": [
                {"content": {"role": "model", "parts": [{"text": word + " "}]}, "index": 0}
            ]
        }
        for word in SPOKEN.split(" ")
    ]
    end = {
        "content": {"role": "model", "parts": [{"text": ""}]},
        "finishReason": "STOP",
        "index": 0,
    }
    last = {**whole, "candidates": [end]}
    return 200, "text/event-stream", [*map(event, chunks), event(last)]


def a1111_picture(_: Provider, request: dict[str, Any], mood: str) -> Answer:
    del mood
    info = {"sd_model_name": "painter-v3", "sd_model_hash": "abcdef0123", "all_seeds": [7]}
    shown = [base64.b64encode(picture()).decode()] * int(request.get("batch_size") or 1)
    whole = {"images": shown, "parameters": request, "info": json.dumps(info)}
    return 200, "application/json", whole


ROUTES: dict[str, Any] = {
    "/v1/models/gemini:generateContent": google_content,
    "/v1/models/gemini:streamGenerateContent": google_stream,
    "/sdapi/v1/txt2img": a1111_picture,
    "/sdapi/v1/img2img": a1111_picture,
    "/v1/images/generations": openai_image,
    "/v1/images/edits": openai_image,
    "/v1/images/variations": openai_image,
    "/v1/chat/completions": openai_chat,
    "/v1beta/openai/chat/completions": openai_chat,
    "/v1/responses": openai_response,
    "/v1/messages": anthropic_message,
}


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def answer(provider: Provider, path: str, body: bytes, mood: str) -> Answer:
    if mood in {"429", "500", "503"}:
        error = {"code": None, "type": "requests", "message": "Too much."}
        return int(mood), "application/json", {"type": "error", "error": error}
    if mood == "redirect":
        return 307, "application/json", {"elsewhere": True}
    if mood == "garbage":
        return 200, "application/json", b"<html>oops</html>"
    try:
        request = json.loads(body)
    except ValueError:
        request = {}  # A form.
    if path not in ROUTES:
        return 200, "application/json", {"object": "list", "data": []}
    return ROUTES[path](provider, request, mood)


class Handler(BaseHTTPRequestHandler):
    provider: Provider
    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else self.chunks()
        headers = {name.lower(): value for name, value in self.headers.items()}
        mood, call = self.provider.call(self.path, headers, body)
        if mood == "slow":
            time.sleep(self.provider.slow_s)
        status, kind, content = answer(self.provider, self.path.partition("?")[0], body, mood)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("x-request-id", call["id"])
        self.send_header("request-id", call["id"])
        if status == 307:
            self.send_header("Location", "/elsewhere")
        if isinstance(content, list):
            self.pieces(content, cut=mood == "cut")
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.do_POST()

    def chunks(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def pieces(self, content: list[bytes], *, cut: bool) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in content[: len(content) // 2] if cut else content:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        if cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may hang up; the books have its call all the same."""


@contextmanager
def providing(provider: Provider) -> Iterator[str]:
    """The address of `provider` on a port of this machine, without a path."""
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"provider": provider}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
