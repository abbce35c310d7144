"""A vocabulary of 32,000 ids out of 1 GB of text by `metier tokenizer train`, in the memory it is allowed and killed on the way.

requires: tokenizers==0.23.3

    python bench/learn.py target/release/metier

The text is the English of bench/text.py and then files of Debian's linux-source-6.1 in the order of the archive (fetched with
apt-get), as documents of about 100,000 bytes. Printed as JSON: seconds and memory of one run with `--memory 2GiB --threads 2`, nine tenths of the documents being learned
from; whether a run that was killed eight times gives the same bytes; and whether the vocabulary of the first 56 MB is the one
that the trainer of `tokenizers` makes of it.
"""

import json
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import text as english

FOLDER = english.FOLDER
SOURCES = "linux-source-6.1"
BYTES, SAMPLE_BYTES = 1_130_000_000, 56_000_000
KILLS = 8


def sources():
    """The files of the package that are UTF-8, in order."""
    if not list(FOLDER.glob(f"{SOURCES}_*.deb")):
        subprocess.run(["apt-get", "download", "-q", SOURCES], cwd=FOLDER, check=True, stdout=sys.stderr)
    package = next(FOLDER.glob(f"{SOURCES}_*.deb"))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as files:
        with tarfile.open(fileobj=files.stdout, mode="r|") as outer:
            archive = next(member for member in outer if member.name.endswith(".tar.xz"))
            with tarfile.open(fileobj=outer.extractfile(archive), mode="r|xz") as inner:
                for member in inner:
                    if member.isfile():
                        try:
                            yield inner.extractfile(member).read().decode()
                        except UnicodeDecodeError:
                            pass
        files.kill()


def documents():
    """Texts of about 100,000 bytes, the English ones first."""
    yield from english.documents()
    gathered = []
    for file in sources():
        gathered.append(file)
        if sum(map(len, gathered)) >= english.DOCUMENT_BYTES:
            yield "".join(gathered)
            gathered = []


def write(folder, limit):
    """A folder with so many bytes of documents."""
    if not (folder / "texts.jsonl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        size = 0
        with open(folder / "partial", "w") as file:
            for document in documents():
                file.write(json.dumps({"text": document}) + "\n")
                size += len(document.encode())
                if size >= limit:
                    break
        (folder / "partial").rename(folder / "texts.jsonl")
    return folder


def learned(path):
    """A tokenizer's ids and merges."""
    model = json.loads(path.read_text())["model"]
    return model["vocab"], [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]


class Learning:
    """`metier tokenizer train` of a folder of texts, in a store of its own."""

    def __init__(self, metier, name, limit):
        self.store = FOLDER / f"store-{name}"
        shutil.rmtree(self.store, ignore_errors=True)
        self.run = [metier, "--quiet", "--json", "--store", str(self.store)]
        texts = write(FOLDER / name, limit)
        self.texts = self.artifact("curate", f"from={texts}", "read.method=jsonl", "license=various")
        self.learn = ["tokenizer", "train", f"from={self.texts}", f"learn.vocabulary_size={english.LEARNED}"]
        self.learn += ["--memory", "2GiB", "--threads", "2"]

    def artifact(self, *arguments):
        report = json.loads(subprocess.check_output([*self.run, *arguments]))
        return pathlib.Path(report["stages"][-1]["path"])

    def whole(self):
        """Its tokenizer, the seconds that took and the memory of any child until now."""
        begun = time.perf_counter()
        made = self.artifact(*self.learn) / "tokenizer.json"
        seconds = time.perf_counter() - begun
        return made, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024

    def killed(self, seconds):
        """The tokenizer of a run that is killed at random moments."""
        moments = random.Random(0)
        for _ in range(KILLS):
            with subprocess.Popen([*self.run, *self.learn], stdout=subprocess.DEVNULL) as child:
                time.sleep(moments.uniform(0, seconds))
                child.send_signal(signal.SIGKILL)
        return self.whole()[0]

    def theirs(self):
        """What the trainer of `tokenizers` makes of the same texts."""
        texts = [json.loads(line)["text"] for line in (self.texts / "train.jsonl").read_text().splitlines()]
        made, trainer = english.learner()
        made.train_from_iterator(texts, trainer)
        path = FOLDER / "sample.json"
        made.save(str(path))
        return path, sum(len(text.encode()) for text in texts)


def main():
    metier = str(pathlib.Path(sys.argv[1]).resolve())
    english.prepare()
    large = Learning(metier, "whole", BYTES)
    made, seconds, memory = large.whole()
    expected = made.read_bytes()
    result = {
        "bytes": sum(len(json.loads(line)["text"].encode()) for line in open(large.texts / "train.jsonl")),
        "seconds": seconds,
        "peak_rss_mib": memory,
        "kills": KILLS,
    }
    shutil.rmtree(made.parent)
    result["same_after_kills"] = large.killed(seconds).read_bytes() == expected
    small = Learning(metier, "sample", SAMPLE_BYTES)
    theirs, result["sample_bytes"] = small.theirs()
    result["same_as_tokenizers"] = learned(small.whole()[0]) == learned(theirs)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
