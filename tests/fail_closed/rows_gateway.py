# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that changed a base URL and nothing else."""

from closed_rows import MESSAGES, PROMPT, Row
from closed_world import KEY


class _Through(Row):
    part = "Gateway"
    tested_with = ("openai",)
    needs = ("sealtrail_gateway", "openai")
    person = None  # The gateway knows whose key it is.


class Images(_Through):
    name = "OpenAI SDK, pictures"

    def run(self, at):
        import openai

        with openai.OpenAI(api_key=KEY, base_url=f"{at.gateway}/openai/v1") as client:
            at.release(client.images.generate(model="m", prompt=PROMPT))


class Chat(_Through):
    name = "OpenAI SDK, chat"

    def run(self, at):
        import openai

        with openai.OpenAI(api_key=KEY, base_url=f"{at.gateway}/openai/v1") as client:
            at.release(client.chat.completions.create(model="m", messages=MESSAGES))


class ChatStream(_Through):
    name = "OpenAI SDK, chat as a stream"
    stream = True

    def run(self, at):
        import openai

        with openai.OpenAI(api_key=KEY, base_url=f"{at.gateway}/openai/v1") as client:
            for one in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
                at.release(one)


class AsyncChatStream(_Through):
    name = "OpenAI SDK, async, chat as a stream"
    stream = True

    async def run(self, at):
        import openai

        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{at.gateway}/openai/v1") as client:
            asked = {"model": "m", "messages": MESSAGES, "stream": True}
            async for one in await client.chat.completions.create(**asked):
                at.release(one)


class Messages(_Through):
    name = "Anthropic SDK, messages"
    tested_with = ("anthropic",)
    needs = ("sealtrail_gateway", "anthropic")

    def run(self, at):
        import anthropic

        with anthropic.Anthropic(api_key=KEY, base_url=f"{at.gateway}/anthropic") as client:
            at.release(client.messages.create(model="m", max_tokens=9, messages=MESSAGES))


class MessageStream(_Through):
    name = "Anthropic SDK, messages as a stream"
    tested_with = ("anthropic",)
    needs = ("sealtrail_gateway", "anthropic")
    stream = True

    def run(self, at):
        import anthropic

        with (
            anthropic.Anthropic(api_key=KEY, base_url=f"{at.gateway}/anthropic") as client,
            client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream,
        ):
            for text in stream.text_stream:
                at.release(text)


class Gemini(_Through):
    name = "google-genai, contents"
    tested_with = ("google-genai",)
    needs = ("sealtrail_gateway", "google.genai")

    def run(self, at):
        from google import genai

        options = {"base_url": f"{at.gateway}/google"}
        with genai.Client(api_key=KEY, http_options=options) as client:
            at.release(client.models.generate_content(model="gemini", contents=PROMPT))


class PlainHttp(_Through):
    name = "any program, HTTP"
    tested_with = ("httpx2",)
    needs = ("sealtrail_gateway", "httpx2")

    def run(self, at):
        import httpx2

        with httpx2.Client(headers={"authorization": f"Bearer {KEY}"}) as client:
            request = {"model": "m", "prompt": PROMPT}
            answer = client.post(f"{at.gateway}/openai/v1/images/generations", json=request)
            answer.raise_for_status()
            at.release(answer.json()["data"])
