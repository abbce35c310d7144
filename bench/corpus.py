"""A corpus of any size to try `curate` on: documents of made-up words, some of them copies of others.

requires: numpy==2.4.6

    python bench/corpus.py --gigabytes 20 --out /path/to/corpus

Writes `part-00000.jsonl.gz` and so on, 256 MB of text in each, the same for the same seed. Words are made of syllables and as
frequent as in a language (the share of the r-th is about 1/r). Of a hundred documents five are copies of one of 20,000 that
every file draws from, five are such copies with three words in a hundred changed, and five are too short to be kept.
Prints one line of JSON: documents, bytes of text and of files, and how many of each kind.
"""

import argparse
import collections
import concurrent.futures
import gzip
import json
import pathlib

import numpy

WORDS = 60_000
COMMON = 20_000
PART_BYTES = 256 << 20
SYLLABLES = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er", "in")]


def vocabulary(random):
    words = set()
    while len(words) < WORDS:
        words.add("".join(random.choice(SYLLABLES, random.integers(1, 5))))
    words = numpy.array(sorted(words), dtype=object)
    random.shuffle(words)
    shares = 1 / numpy.arange(2, WORDS + 2)
    return words, numpy.cumsum(shares / shares.sum())


class Writer:
    def __init__(self, seed):
        random = numpy.random.default_rng([seed, 0])
        self.words, self.shares = vocabulary(random)
        self.common = [self.fresh(random) for _ in range(COMMON)]

    def fresh(self, random):
        length = int(numpy.clip(random.lognormal(5.8, 0.7), 60, 5000))
        return numpy.minimum(numpy.searchsorted(self.shares, random.random(length)), WORDS - 1)

    def document(self, random):
        kind = random.random()
        if kind < 0.05:
            return "short", self.fresh(random)[:8]
        if kind < 0.15:
            ids = self.common[random.integers(COMMON)]
            if kind < 0.10:
                return "copy", ids
            ids = ids.copy()
            changed = random.random(len(ids)) < 0.03
            ids[changed] = random.integers(0, WORDS, changed.sum())
            return "near copy", ids
        return "own", self.fresh(random)

    def text(self, ids):
        words = self.words[ids]
        return "\n".join(" ".join(words[at : at + 12]) + "." for at in range(0, len(words), 12))


def write(out, seed, part):
    writer, random = Writer(seed), numpy.random.default_rng([seed, 1 + part])
    path = out / f"part-{part:05}.jsonl.gz"
    kinds, size, number = collections.Counter(), 0, 0
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        while size < PART_BYTES:
            kind, ids = writer.document(random)
            text = writer.text(ids)
            file.write(json.dumps({"id": f"{part}-{number}", "text": text}) + "\n")
            kinds[kind] += 1
            size += len(text)
            number += 1
    return kinds, size, path.stat().st_size


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--gigabytes", type=float, required=True)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--processes", type=int, default=2)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    parts = range(max(1, round(given.gigabytes * 1e9 / PART_BYTES)))
    kinds, text, files = collections.Counter(), 0, 0
    with concurrent.futures.ProcessPoolExecutor(given.processes) as pool:
        for some, size, length in pool.map(write, [given.out] * len(parts), [given.seed] * len(parts), parts):
            kinds, text, files = kinds + some, text + size, files + length
    print(json.dumps({"documents": sum(kinds.values()), "kinds": kinds, "text_bytes": text, "file_bytes": files}))


if __name__ == "__main__":
    main()
