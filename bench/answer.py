"""Answering by llama.cpp, timed: the peer of `metier bench --answer`.

requires: llama-cpp-python==0.3.36

    python bench/answer.py --answer decode --model model.gguf --seconds 5
    python bench/answer.py --answer prefill --model model.gguf --serve

The package is built from its sources, for the processor it is built on. Prints one line of JSON. With `--serve` it opens
the model, prints a line `{"ready": true, ...}`, and then for every line `go` on standard input works for that many seconds
and prints its line; between turns it sleeps.

`prefill` reads a prompt of 1,024 tokens, `decode` reads one token after the other 128 times, `batch` writes 128 tokens to
each of eight texts of 16 tokens at once, the likeliest each time, `start` opens the model and reads 16 tokens. Logits are made of
the last token of each text only.
"""

import argparse
import ctypes
import json
import resource
import statistics
import sys
import time

import llama_cpp
import numpy

PROMPT = 1024
REPLY = 128
TEXTS = 8
BEGINNING = 16
# Rounds at least; the first is not timed.
ROUNDS = 3


def spread(vocabulary, count, first=0):
    """Ids from all over the vocabulary, as `metier bench` takes them."""
    return [((first + at) * 2654435761 & 0xFFFFFFFF) % vocabulary for at in range(count)]


class Answerer:
    def __init__(self, arguments):
        llama_cpp.llama_backend_init()
        quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
        self.quiet = quiet
        self.arguments = arguments
        self.texts = TEXTS if arguments.answer == "batch" else 1
        self.batch = llama_cpp.llama_batch_init(PROMPT, 0, self.texts)
        began = time.perf_counter()
        self.open()
        self.opening = time.perf_counter() - began
        rounds = {"prefill": self.prefill, "decode": self.decode, "batch": self.many, "start": self.start}
        self.round = rounds[arguments.answer]
        self.tokens = {"prefill": PROMPT, "decode": REPLY, "batch": TEXTS * REPLY, "start": 1}[arguments.answer]
        self.answer = arguments.answer

    def open(self):
        model = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(self.arguments.model.encode(), model)
        if not self.model:
            sys.exit(f"{self.arguments.model}: cannot be opened")
        context = llama_cpp.llama_context_default_params()
        # Room for the longest work, as it is for us.
        context.n_ctx = max(PROMPT, self.texts * (BEGINNING + REPLY))
        context.n_batch = PROMPT
        context.n_ubatch = 512
        context.n_seq_max = self.texts
        context.kv_unified = True
        context.n_threads = context.n_threads_batch = self.arguments.threads
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        self.memory = llama_cpp.llama_get_memory(self.context)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(vocabulary)

    def read(self, rows):
        """Adds rows of (token, place, text, whether logits are wanted) to their texts."""
        self.batch.n_tokens = len(rows)
        for at, (token, place, text, wanted) in enumerate(rows):
            self.batch.token[at] = token
            self.batch.pos[at] = place
            self.batch.n_seq_id[at] = 1
            self.batch.seq_id[at][0] = text
            self.batch.logits[at] = wanted
        if llama_cpp.llama_decode(self.context, self.batch) != 0:
            sys.exit("llama_decode failed")

    def logits(self, row):
        start = llama_cpp.llama_get_logits_ith(self.context, row)
        return numpy.ctypeslib.as_array(start, shape=(self.vocabulary,))

    def prefill(self):
        ids = spread(self.vocabulary, PROMPT)
        self.read([(token, place, 0, place == PROMPT - 1) for place, token in enumerate(ids)])
        self.logits(PROMPT - 1)

    def start(self):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)
        self.open()
        self.read([(token, place, 0, place == BEGINNING - 1) for place, token in enumerate(spread(self.vocabulary, BEGINNING))])
        self.logits(BEGINNING - 1)

    def decode(self):
        for place, token in enumerate(spread(self.vocabulary, REPLY)):
            self.read([(token, place, 0, True)])
            self.logits(0)

    def many(self):
        rows = []
        for text in range(TEXTS):
            ids = spread(self.vocabulary, BEGINNING, text * BEGINNING)
            rows += [(token, place, text, place == BEGINNING - 1) for place, token in enumerate(ids)]
        self.read(rows)
        ends = [text * BEGINNING + BEGINNING - 1 for text in range(TEXTS)]
        for place in range(BEGINNING, BEGINNING + REPLY):
            chosen = [int(self.logits(row).argmax()) for row in ends]
            self.read([(token, place, text, True) for text, token in enumerate(chosen)])
            ends = range(TEXTS)

    def turn(self, seconds):
        """Works for some seconds; what it saw. The first round, which finds cold caches, is left out."""
        times = []
        start = time.perf_counter()
        while len(times) <= ROUNDS or time.perf_counter() - start < seconds:
            llama_cpp.llama_memory_clear(self.memory, True)
            before = time.perf_counter()
            self.round()
            times.append(time.perf_counter() - before)
        return {
            "answer": self.answer,
            "tokens_per_second": self.tokens / statistics.median(times[1:]),
            "rounds": len(times) - 1,
            "open_seconds": self.opening,
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "version": llama_cpp.__version__,
        }


def say(value):
    print(json.dumps(value), flush=True)


def main():
    parser = argparse.ArgumentParser(description="Prompts read and replies written by llama.cpp, timed.")
    parser.add_argument("--answer", choices=["prefill", "decode", "batch", "start"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serve", action="store_true", help="take a turn for each line `go` on standard input")
    arguments = parser.parse_args()
    answerer = Answerer(arguments)
    if not arguments.serve:
        say(answerer.turn(arguments.seconds))
        return
    say({"ready": True, "open_seconds": answerer.opening})
    for line in sys.stdin:
        if line.strip() != "go":
            sys.exit(f"standard input: {line.strip()!r} is no turn; a line `go` is")
        say(answerer.turn(arguments.seconds))


if __name__ == "__main__":
    main()
