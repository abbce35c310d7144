"""Calls functions through OpenAI's own client; ends with an exception at the first answer that is not as expected.

    python openai_tools.py http://127.0.0.1:PORT MODEL

The model needs a context of 1,024 tokens. Runs in the environment of openai_client.py.
"""

import json
import sys
from typing import Literal

import openai
import pydantic

ADDRESS, MODEL = sys.argv[1], sys.argv[2]
MESSAGES = [{"role": "user", "content": "Is it warm in Pune?"}]
client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="sk-test", max_retries=0)


class get_weather(pydantic.BaseModel):
    """Weather of a place"""

    place: Literal["Pune", "Rome"]
    days: Literal[1, 2, 3]


TOOLS = [openai.pydantic_function_tool(get_weather)]
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def made(choice):
    """The calls of a choice that is held to at least one."""
    assert choice.finish_reason == "tool_calls" and choice.message.content is None, choice
    for call in choice.message.tool_calls:
        assert call.type == "function" and call.function.name == "get_weather" and call.id, call
        get_weather.model_validate_json(call.function.arguments)
    return [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]


def calls():
    ask = dict(model=MODEL, messages=MESSAGES, tools=TOOLS, max_tokens=200, temperature=1, seed=5, parallel_tool_calls=False)
    for choice in (NAMED, "required"):
        whole = client.chat.completions.create(tool_choice=choice, **ask).choices[0]
        first = made(whole)
        assert len(first) == 1
        # OpenAI's own client joins the pieces of a stream.
        with client.chat.completions.stream(tool_choice=choice, **ask) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion().choices[0]
        assert made(final) == first and "tool_calls.function.arguments.delta" in kinds, kinds
        parsed = final.message.tool_calls[0].function.parsed_arguments
        assert isinstance(parsed, get_weather) and parsed.model_dump() == json.loads(first[0][1])
    result = {"role": "tool", "tool_call_id": whole.message.tool_calls[0].id, "content": "18 degrees"}
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES + [whole.message, result], tools=TOOLS, max_tokens=8)
    assert answer.choices[0].message.role == "assistant"
    none = client.chat.completions.create(tool_choice="none", **(ask | {"max_tokens": 8})).choices[0]
    assert none.message.tool_calls is None and none.message.content, none
    for seed in range(4):
        auto = client.chat.completions.create(**(ask | {"seed": seed, "max_tokens": 80})).choices[0]
        if auto.message.tool_calls and auto.finish_reason == "tool_calls":
            get_weather.model_validate_json(auto.message.tool_calls[0].function.arguments)


def errors():
    def refused(words, **request):
        try:
            client.chat.completions.create(**({"model": MODEL, "messages": MESSAGES, "tools": TOOLS} | request))
        except openai.BadRequestError as error:
            assert words in error.body["message"] and error.body["type"] == "invalid_request_error", error.body
            return
        raise AssertionError(f"{request} was not refused")

    refused("which is none of `tools`", tool_choice={"type": "function", "function": {"name": "get_time"}})
    refused("answers no call before it", messages=MESSAGES + [{"role": "tool", "tool_call_id": "x", "content": "a"}])
    schema = {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}
    refused("uniqueItems", tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])


calls()
errors()
print("all as expected")
