"""Asks a metier server through OpenAI's own client; ends with an exception at the first answer that is not as expected.

    python openai_client.py http://127.0.0.1:PORT MODEL

requires: openai==3.57.0
"""

import sys

import openai

ADDRESS, MODEL = sys.argv[1], sys.argv[2]
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="sk-test", max_retries=0)


def refused(kind, words, **request):
    """Asks for something that is wrong and looks at the error."""
    try:
        client.chat.completions.create(**({"model": MODEL, "messages": MESSAGES, "max_tokens": 4} | request))
    except kind as error:
        body = error.body
        assert words in body["message"], (words, body)
        assert body["type"] == "invalid_request_error", body
        return body
    raise AssertionError(f"{request} was not refused")


def chat():
    ask = dict(model=MODEL, messages=MESSAGES, max_tokens=12, seed=7, temperature=0.8)
    whole = client.chat.completions.create(**ask)
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length"), choice
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert 0 < whole.usage.completion_tokens <= 12 and choice.logprobs is None
    again = client.chat.completions.create(**ask)
    assert again.choices[0].message.content == choice.message.content, "one seed, one reply"
    # What was answered can be sent back as it came.
    turns = MESSAGES + [choice.message, {"role": "user", "content": [{"type": "text", "text": "And of Italy?"}]}]
    client.chat.completions.create(model=MODEL, messages=turns, max_completion_tokens=4)
    return choice.message.content, whole.usage


def streaming(content, usage):
    ask = dict(model=MODEL, messages=MESSAGES, max_tokens=12, seed=7, temperature=0.8)
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == content
    again = chunks[-1].usage
    counts = [(said.prompt_tokens, said.completion_tokens, said.total_tokens) for said in (again, usage)]
    assert chunks[-1].choices == [] and counts[0] == counts[1], (chunks[-1], usage)
    # The prompt was read before: pages of 32 tokens before its last one are known.
    assert again.prompt_tokens_details.cached_tokens == (usage.prompt_tokens - 1) // 32 * 32, (again, usage)
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    assert len({chunk.id for chunk in chunks}) == 1
    plain = list(client.chat.completions.create(stream=True, **ask))
    assert plain[-1].choices and plain[-1].usage is None
    with client.chat.completions.create(stream=True, **(ask | {"max_tokens": 100})) as broken_off:
        next(iter(broken_off))


def logprobs():
    ask = dict(model=MODEL, messages=MESSAGES, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3)
    choice = client.chat.completions.create(**ask).choices[0]
    tokens = choice.logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode(errors="replace") == choice.message.content
    for token in tokens:
        assert len(token.top_logprobs) == 3 and token.logprob <= 0
        assert token.top_logprobs[0].token == token.token, "temperature 0 takes the likeliest"
        assert abs(token.top_logprobs[0].logprob - token.logprob) < 1e-6
    chunks = client.chat.completions.create(stream=True, **ask)
    streamed = [token for chunk in chunks for token in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])]
    assert streamed == tokens


def completions():
    ask = dict(model=MODEL, prompt=["The first", "A second"], max_tokens=6, n=2, logprobs=2, seed=3)
    whole = client.completions.create(**ask)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    for choice in whole.choices:
        assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset) == len(choice.logprobs.top_logprobs)
        assert choice.logprobs.text_offset[0] == 0
    texts = ["", "", "", ""]
    for chunk in client.completions.create(stream=True, **ask):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    whole_text = client.completions.create(model=MODEL, prompt="The", max_tokens=12, temperature=0).choices[0].text
    middle = whole_text[len(whole_text) // 2 :][:3]
    cut = client.completions.create(model=MODEL, prompt="The", max_tokens=12, temperature=0, stop=middle).choices[0]
    assert cut.text == whole_text[: whole_text.index(middle)] and cut.finish_reason == "stop", (whole_text, cut)


def more_completions():
    ask = dict(model=MODEL, max_tokens=6, temperature=0)
    text = client.completions.create(prompt="The", **ask).choices[0].text
    echoed = client.completions.create(prompt="The", echo=True, **ask).choices[0].text
    assert echoed == "The" + text, (echoed, text)
    tokens = client.completions.create(prompt=[[5, 6, 7], [8]], best_of=2, **ask)
    assert len(tokens.choices) == 2
    words = {"role": "user", "content": "word " * 20000}
    cut = client.chat.completions.create(model=MODEL, messages=[words, *MESSAGES], max_tokens=4, extra_body={"truncate": True})
    assert cut.truncated[0]["dropped_messages"] == 1, cut


def embeddings():
    whole = client.embeddings.create(model=MODEL, input=["one text", "another"])
    plain = client.embeddings.create(model=MODEL, input=["one text", "another"], encoding_format="float")
    assert len(whole.data) == 2 and whole.usage.prompt_tokens > 0
    for packed, numbers in zip(whole.data, plain.data):
        assert abs(sum(value * value for value in packed.embedding) - 1) < 1e-4
        assert max(abs(a - b) for a, b in zip(packed.embedding, numbers.embedding)) < 1e-6


def errors():
    refused(openai.NotFoundError, "no model is called", model="gpt-4o")
    refused(openai.BadRequestError, "`temprature` is no field here; did you mean `temperature`?", extra_body={"temprature": 1})
    long = refused(openai.BadRequestError, "longer than the model's context of", max_tokens=10**9)
    assert long["code"] == "context_length_exceeded" and "1000000000 to generate" in long["message"], long
    refused(openai.BadRequestError, "`n` must be a whole number, 1 to 128", n=129)


assert MODEL in [model.id for model in client.models.list().data]
assert client.models.retrieve(MODEL).id == MODEL
streaming(*chat())
logprobs()
completions()
more_completions()
embeddings()
errors()
print("all as expected")
