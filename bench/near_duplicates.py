"""Near duplicates that `metier curate` finds beside all that there are: exact similarities of 20,000 documents.

requires: numpy==2.4.6

    python bench/near_duplicates.py target/release/metier

4,000 documents of made-up words (those of bench/corpus.py) and four versions of each, with up to six words in a hundred changed.
Two documents are near duplicates when the sets of their sequences of five words have a Jaccard similarity of 0.8 or more; all pairs
that share a sequence are compared here. MinHash runs with one, two and eight threads, and on the documents in another
order in other files. Prints one line of JSON: pairs there are, the share of them that end in one group (recall), the share of
dropped documents that a chain of near duplicates leads from to the one that stays (precision), and whether all runs drop the same.
"""

import collections
import gzip
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy

import corpus

FAMILIES, VERSIONS, CHANGED, WORDS, THRESHOLD = 4_000, 4, 0.06, 5, 0.8


def documents():
    corpus.COMMON = 0
    writer, drawn = corpus.Writer(1), numpy.random.default_rng(2)
    for family in range(FAMILIES):
        ids = writer.fresh(drawn)
        yield f"{family}-0", writer.words[ids]
        for version in range(1, VERSIONS + 1):
            changed = drawn.random(len(ids)) < drawn.random() * CHANGED
            other = ids.copy()
            other[changed] = drawn.integers(0, corpus.WORDS, changed.sum())
            yield f"{family}-{version}", writer.words[other]


def similar(texts):
    """The pairs of ids that are near duplicates."""
    sets = {name: {tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)} for name, words in texts.items()}
    holders = collections.defaultdict(list)
    for name, own in sets.items():
        for sequence in own:
            holders[hash(sequence)].append(name)
    pairs = {pair for names in holders.values() if 1 < len(names) <= 100 for pair in itertools.combinations(sorted(names), 2)}
    for one, other in pairs:
        both = len(sets[one] & sets[other])
        if both >= THRESHOLD * (len(sets[one]) + len(sets[other]) - both):
            yield one, other


def write(folder, texts, order, files):
    folder.mkdir()
    for number in range(files):
        with gzip.open(folder / f"{number}.jsonl.gz", "wt", compresslevel=1) as file:
            for name in order[number::files]:
                file.write(json.dumps({"id": name, "text": " ".join(texts[name])}) + "\n")


def curate(metier, folder, threads, store):
    """For each document that was dropped the one that stays."""
    settings = [f"from={folder}", "read.method=jsonl", 'dedup=[{method="minhash"}]', "select.method=hold_out", "select.fraction=0.1"]
    command = [metier, "curate", *settings, "--threads", str(threads), "--store", str(store), "--quiet"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    (dropped,) = store.glob("artifacts/*/dropped.jsonl")
    return {line["id"]: line["repeats"] for line in map(json.loads, dropped.read_text().splitlines())}


class Groups(dict):
    def __missing__(self, name):
        return name

    def top(self, name):
        while self[name] != name:
            name = self[name]
        return name

    def join(self, one, other):
        self[self.top(one)] = self.top(other)


def main():
    metier = pathlib.Path(sys.argv[1]).resolve()
    texts = {name: words.tolist() for name, words in documents()}
    pairs = list(similar(texts))
    true, order = Groups(), list(texts)
    for one, other in pairs:
        true.join(one, other)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        write(scratch / "a", texts, order, 4)
        random.Random(3).shuffle(order)
        write(scratch / "b", texts, order, 7)
        given = [("a", 1), ("a", 2), ("a", 8), ("b", 2)]
        runs = [curate(metier, scratch / folder, threads, scratch / f"{folder}{threads}") for folder, threads in given]
    stays = lambda name: runs[0].get(name, name)
    found = sum(stays(one) == stays(other) for one, other in pairs)
    right = sum(true.top(name) == true.top(kept) for name, kept in runs[0].items())
    result = {"documents": len(texts), "pairs": len(pairs), "recall": found / len(pairs), "dropped": len(runs[0])}
    print(json.dumps(result | {"precision": right / len(runs[0]), "same": all(run == runs[0] for run in runs)}))


if __name__ == "__main__":
    main()
