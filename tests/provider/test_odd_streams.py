# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams as servers other than the usual ones send them: line ends, choices, errors on the way."""

import base64
import json

import pytest
from provider_server import event, picture
from test_provider_formats import fits, streamed

from sealtrail.content import digest_text
from sealtrail.providers.exchange import Asked, Unspeakable
from sealtrail.providers.sse import EVENT_MAX

pytestmark = pytest.mark.once

DONE = b"data: [DONE]\n\n"


def asked(form="chat/completions", operation="chat", **params):
    model = {"provider": "p", "name": "m", "version": "hosted"}
    return Asked(
        model=model, operation=operation, input_type="text", params=params, stream=True, form=form
    )


def chunk(text=None, at=0, reason=None, **more):
    delta = {} if text is None else {"content": text}
    return event({"choices": [{"index": at, "delta": delta, "finish_reason": reason}], **more})


def digests(told):
    return [one["sha256"] for one in told.body["outputs"]]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e"])
def test_what_unicode_takes_for_a_line_end_stays_in_its_event(separator):
    """JSON may hold them as they are; only CR and LF end a line of a stream."""
    text = f"one{separator}two"
    said = json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=False)
    pieces = [f"data: {said}\n\n".encode(), chunk(reason="stop"), DONE]
    if separator > "\x1f":
        _, rest, told = streamed("openai", asked(), pieces)
        assert digests(told)[0] == digest_text(text.encode())
        assert rest == DONE
    end = {"type": "response.completed", "response": {"status": "completed", "note": text}}
    last = f"data: {json.dumps(end, ensure_ascii=False)}\n\n".encode()
    _, rest, told = streamed("openai", asked("responses"), [last])
    assert (rest, told.type, told.body["result"]) == (last, "GEN", "success")


@pytest.mark.parametrize("ends", ["\n\n", "\r\n\r\n", "\r\r", "\n\r\n", "\r\n\n", "\n\r", "\n", ""])
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_the_last_event_is_found_whatever_ends_its_lines(ends, size):
    """Also where the empty line behind it is missing, and nothing goes on before the outcome."""
    last = b"data: [DONE]" + ends.encode()
    pieces = [b"\xef\xbb\xbf" + chunk("hello"), chunk(reason="stop"), last]
    released, rest, told = streamed("openai", asked(), pieces, size=size)
    assert released + rest == b"".join(pieces)
    assert b"[DONE]" not in released
    assert told.body["result"] == "success"
    assert told.body["finish_reason"] == "stop"
    assert digests(told)[0] == digest_text(b"hello")


def test_a_chat_without_its_last_line_is_whole_if_it_says_why_it_ended():
    """Some servers leave `[DONE]` out; without a reason, or cut, it is a part."""
    pieces = [chunk("a"), chunk(reason="length")]
    for given, aborted, result in (
        (pieces, False, "success"), (pieces, True, "partial"), (pieces[:1], False, "partial"),
    ):  # fmt: skip
        _, _, told = streamed("openai", asked(), given, aborted=aborted)
        assert (told.type, told.body["result"]) == ("GEN", result)


def test_each_choice_of_a_stream_is_an_output():
    """As in a whole answer: two choices in turns are two texts, not one that nobody got."""
    turns = [chunk("a", 0), chunk("x", 1), chunk("b", 0), chunk("y", 1)]
    ends = [chunk(reason="stop"), chunk(at=1, reason="content_filter"), DONE]
    _, _, told = streamed("openai", asked(n=2), [*turns, *ends])
    assert digests(told)[:2] == [digest_text(b"ab"), digest_text(b"xy")]
    assert (told.type, told.body["finish_reason"]) == ("GEN", "stop")


def test_a_filter_that_comes_late_denies_with_what_was_said():
    """All choices filtered: GEN_DENY, and the words that went out are sealed with it."""
    pieces = [chunk("once upon"), chunk(reason="content_filter"), DONE]
    _, _, told = streamed("openai", asked(), pieces)
    assert (told.type, told.sealed) == ("GEN_DENY", {"refusal_text": "once upon"})


@pytest.mark.parametrize("error", [{"code": "server_error", "message": "no"}, "overloaded"])
def test_an_error_behind_a_text_leaves_the_text_on_record(error):
    """What went out was put out: GEN `partial`. With nothing before it, GEN_ERROR."""
    broken = event({"error": error})
    _, rest, told = streamed("openai", asked(), [chunk("half"), broken])
    assert (told.type, told.body["result"], rest) == ("GEN", "partial", broken)
    assert digests(told)[0] == digest_text(b"half")
    _, _, told = streamed("openai", asked(), [broken])
    assert told.type == "GEN_ERROR"


def test_an_error_of_anthropics_behind_a_text_leaves_the_text_on_record():
    """`overloaded_error` in the middle: the words before it are an output."""
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "half"}}
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ping = event({"type": "ping"}, "ping")
    pieces = [ping, event(delta, delta["type"]), event(error, "error")]
    _, _, told = streamed("anthropic", asked(""), pieces)
    assert (told.type, told.body["finish_reason"]) == ("GEN", "overloaded_error")
    assert digests(told)[0] == digest_text(b"half")
    _, _, told = streamed("anthropic", asked(""), pieces[::2])
    assert (told.type, told.body["error"]["retryable"]) == ("GEN_ERROR", True)


def test_what_comes_behind_the_last_event_is_read_too():
    """It is released with the outcome, so its picture and its usage are in it."""
    shown = base64.b64encode(picture()).decode()
    late = {"choices": [{"index": 0, "delta": {"images": [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{shown}"}}
    ]}}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}  # fmt: skip
    _, rest, told = streamed("openai", asked(), [chunk("a"), DONE, event(late)])
    assert rest == DONE + event(late)
    assert digest_text(picture()) in digests(told)
    assert told.body["usage"]["output_tokens"] == 4


def test_a_stream_without_end_behind_its_last_event_is_given_up():
    """What is kept back for the outcome is limited."""
    found = stream_of("openai", asked())
    found.feed(DONE)
    piece = b": " + b"x" * (EVENT_MAX // 16) + b"\n\n"
    for _ in range(15):
        found.feed(piece)
    with pytest.raises(Unspeakable, match="64 MiB"):
        found.feed(piece)


def stream_of(name, wanted):
    from sealtrail.providers.registry import reader

    return reader(name).stream(wanted)


def test_every_completed_picture_of_a_stream_counts():
    """Two were asked for: the first does not end it, and usage says two."""
    done = [{"type": "image_generation.completed", "b64_json": base64.b64encode(picture((n, 0, 0)))
             .decode()} for n in (1, 2)]  # fmt: skip
    pieces = [event(one, one["type"]) for one in done]
    _, rest, told = streamed("openai", asked("", "generate", n=2), pieces)
    assert (rest, told.body["usage"]["images"]) == (pieces[1], 2)
    assert digests(told)[:2] == [digest_text(picture((n, 0, 0))) for n in (1, 2)]


@pytest.mark.parametrize("whole", [False, True])
def test_a_response_that_a_filter_stopped_is_a_denial(whole):
    """`incomplete` because of `content_filter`; because of its length it is an answer."""
    for reason, type_ in (("content_filter", "GEN_DENY"), ("max_output_tokens", "GEN")):
        response = {"status": "incomplete", "incomplete_details": {"reason": reason}, "output": []}
        if whole:
            told = found_openai().told(asked("responses"), 200, {}, json.dumps(response).encode())
            fits(told.type, told.body, told.sealed)
        else:
            end = event({"type": "response.incomplete", "response": response})
            _, _, told = streamed("openai", asked("responses"), [end])
        assert told.type == type_
        assert type_ == "GEN_DENY" or told.body["finish_reason"] == reason


def found_openai():
    from sealtrail.providers.registry import reader

    return reader("openai")


def test_a_drawn_picture_is_on_record_though_the_response_breaks_off():
    """It went out with its item, before the end that says it again."""
    item = {"type": "image_generation_call", "result": base64.b64encode(picture()).decode()}
    done = event({"type": "response.output_item.done", "output_index": 0, "item": item})
    end = event({"type": "response.completed", "response": {"status": "completed",
                                                            "output": [item]}})  # fmt: skip
    for pieces, aborted in (([done], True), ([done, end], False)):
        _, _, told = streamed("openai", asked("responses"), pieces, aborted=aborted)
        assert digests(told).count(digest_text(picture())) == 1


def test_candidates_and_thoughts_of_googles_are_apart():
    """Each candidate's text by itself, without what it thought; usage may come behind the end."""

    def candidate(at, text, reason=None, **part):
        told = {"index": at, "content": {"parts": [{"text": text, **part}]}}
        return event({"candidates": [told | ({"finishReason": reason} if reason else {})]})

    usage = {"usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 5}}
    pieces = [
        candidate(0, "hmm", thought=True), candidate(0, "a"), candidate(1, "x"),
        candidate(0, "b", "STOP"), candidate(1, "y", "STOP"), event(usage),
    ]  # fmt: skip
    _, rest, told = streamed("google", asked("content", n=2), pieces)
    assert rest == pieces[4] + pieces[5]
    assert digests(told)[0] == digest_text(b"ab")
    assert digest_text(b"xy") in digests(told)
    assert told.body["usage"]["output_tokens"] == 5


def test_nanogpt_says_in_a_stream_what_it_cost():
    """As in a whole answer: the cost clear, payer and balance sealed."""
    told_last = {"cost": 0.0125, "paymentSource": "USD", "remainingBalance": 3.5}
    pieces = [chunk("a"), chunk(reason="stop", **told_last), DONE]
    _, _, told = streamed("nanogpt", asked(), pieces)
    assert (told.body["usage"]["cost"], told.body["usage"]["currency"]) == ("0.0125", "USD")
    assert told.sealed == {"usage.payment_source": "USD", "usage.remaining_balance": "3.5"}
