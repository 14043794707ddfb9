# SPDX-License-Identifier: GPL-3.0-or-later
"""SDKs' own clients behind `trail.watch` and `trail.transport`."""

from closed_rows import MESSAGES, PROMPT, Row


class _Watched(Row):
    part = "Watched clients"
    tested_with = ("openai",)
    needs = ("openai",)


class Images(_Watched):
    name = "`trail.watch(OpenAI())`, pictures"

    def run(self, at):
        import openai

        with (
            openai.OpenAI(api_key="k", base_url=f"{at.provider}/v1") as plain,
            at.trail.watch(plain) as client,
        ):
            at.release(client.images.generate(model="m", prompt=PROMPT))


class Stream(_Watched):
    name = "`trail.watch(OpenAI())`, chat as a stream"
    stream = True

    def run(self, at):
        import openai

        with (
            openai.OpenAI(api_key="k", base_url=f"{at.provider}/v1") as plain,
            at.trail.watch(plain) as client,
        ):
            for one in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
                at.release(one)


class Responses(_Watched):
    name = "`trail.watch(OpenAI())`, responses"

    def run(self, at):
        import openai

        with (
            openai.OpenAI(api_key="k", base_url=f"{at.provider}/v1") as plain,
            at.trail.watch(plain) as client,
        ):
            at.release(client.responses.create(model="m", input=PROMPT))


class AsyncImages(_Watched):
    name = "`trail.watch(AsyncOpenAI())`, pictures"

    async def run(self, at):
        import openai

        plain = openai.AsyncOpenAI(api_key="k", base_url=f"{at.provider}/v1")
        async with plain, at.trail.watch(plain) as client:
            at.release(await client.images.generate(model="m", prompt=PROMPT))


class AsyncStream(_Watched):
    name = "`trail.watch(AsyncOpenAI())`, chat as a stream"
    stream = True

    async def run(self, at):
        import openai

        plain = openai.AsyncOpenAI(api_key="k", base_url=f"{at.provider}/v1")
        asked = {"model": "m", "messages": MESSAGES, "stream": True}
        async with plain, at.trail.watch(plain) as client:
            async for one in await client.chat.completions.create(**asked):
                at.release(one)


class Messages(_Watched):
    name = "`trail.watch(Anthropic())`, messages"
    tested_with = ("anthropic",)
    needs = ("anthropic",)

    def run(self, at):
        import anthropic

        with (
            anthropic.Anthropic(api_key="k", base_url=at.provider) as plain,
            at.trail.watch(plain) as client,
        ):
            at.release(client.messages.create(model="m", max_tokens=9, messages=MESSAGES))


class MessageStream(_Watched):
    name = "`trail.watch(Anthropic())`, messages as a stream"
    tested_with = ("anthropic",)
    needs = ("anthropic",)
    stream = True

    def run(self, at):
        import anthropic

        with (
            anthropic.Anthropic(api_key="k", base_url=at.provider) as plain,
            at.trail.watch(plain) as client,
            client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream,
        ):
            for text in stream.text_stream:
                at.release(text)


class Gemini(_Watched):
    name = "google-genai with `trail.transport`"
    tested_with = ("google-genai",)
    needs = ("google.genai",)

    def run(self, at):
        import httpx2
        from google import genai
        from google.genai import types

        transport = at.trail.transport(httpx2.HTTPTransport(), provider="google")
        with httpx2.Client(transport=transport) as http:
            options = types.HttpOptions(base_url=at.provider, httpx_client=http)
            with genai.Client(api_key="k", http_options=options) as client:
                at.release(client.models.generate_content(model="gemini", contents=PROMPT))


class Httpx(_Watched):
    name = "`trail.transport` in an `httpx.Client`"
    tested_with = ("httpx",)
    needs = ("httpx",)

    def run(self, at):
        import httpx

        transport = at.trail.transport(httpx.HTTPTransport(), provider="house-models")
        with httpx.Client(transport=transport) as client:
            request = {"model": "m", "messages": MESSAGES}
            at.release(client.post(f"{at.provider}/v1/chat/completions", json=request).json())


class Httpx2(_Watched):
    name = "`trail.transport` in an `httpx2.AsyncClient`"
    tested_with = ("httpx2",)
    needs = ("httpx2",)

    async def run(self, at):
        import httpx2

        transport = at.trail.transport(httpx2.AsyncHTTPTransport(), provider="house-models")
        async with httpx2.AsyncClient(transport=transport) as client:
            request = {"model": "m", "messages": MESSAGES}
            answer = await client.post(f"{at.provider}/v1/chat/completions", json=request)
            at.release(answer.json())
