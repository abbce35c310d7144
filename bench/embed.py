"""Vectors of all-MiniLM-L6-v2: `metier embed` beside sentence-transformers and transformers, on the same texts, in turns.

requires: numpy==2.4.6, sentence-transformers==6.2.0, torch==2.15.0, transformers==5.24.0

    python bench/embed.py METIER FOLDER [ROUNDS]

METIER is the program, FOLDER the folder of the model. Texts are pieces of fixtures/corpora/general of 8 to 100 words, 400 of them. Both
run on two threads; a time is that of a whole process, from its start to the file of vectors, so it holds what opening takes.
"""

import gzip
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
THEIRS = """
import json, sys, time
import numpy, torch
torch.set_num_threads(2)
kind, folder, texts, output = sys.argv[1:]
texts = [json.loads(line)["text"] for line in open(texts)]
if kind == "sentence-transformers":
    import sentence_transformers
    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    began = time.time()
    vectors = model.encode(texts, batch_size=32)
else:
    import transformers
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    began, vectors = time.time(), []
    with torch.no_grad():
        for at in range(0, len(texts), 32):
            inputs = tokenizer(texts[at : at + 32], padding=True, return_tensors="pt")
            hidden = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None]
            vectors.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1))
    vectors = torch.cat(vectors).numpy()
print(time.time() - began, file=sys.stderr)
numpy.save(output, vectors)
"""


def texts():
    words = []
    for path in sorted((ROOT / "fixtures/corpora/general").glob("*.txt*")):
        opened = gzip.open(path, "rt") if path.suffix == ".gz" else open(path)
        with opened as file:
            words += file.read().split()
    draw = random.Random(5)
    found = []
    for _ in range(400):
        count = draw.randint(8, 100)
        first = draw.randrange(len(words) - count)
        found.append(" ".join(words[first : first + count]))
    return found


def main():
    import numpy

    metier, folder = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        lines = place / "texts.jsonl"
        lines.write_text("".join(json.dumps({"id": str(at), "text": text}) + "\n" for at, text in enumerate(texts())))
        one = place / "one.jsonl"
        one.write_text(json.dumps({"id": "0", "text": "one"}) + "\n")
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}

        def own(source):
            output = place / "own.jsonl"
            output.unlink(missing_ok=True)
            command = [metier, "embed", folder, str(source), "--output", str(output), "--threads", "2"]
            began = time.time()
            subprocess.run(command, check=True, cwd=place, stderr=subprocess.DEVNULL)
            return time.time() - began

        def theirs(kind):
            command = [sys.executable, "-c", THEIRS, kind, folder, str(lines), str(place / f"{kind}.npy")]
            began = time.time()
            said = subprocess.run(command, check=True, env=environment, stderr=subprocess.PIPE, text=True).stderr
            return time.time() - began, float(said.strip().splitlines()[-1])

        kinds = ["sentence-transformers", "transformers"]
        whole, inside = {"metier": [], "opening": []}, {}
        for _ in range(rounds):
            whole["opening"].append(own(one))
            whole["metier"].append(own(lines))
            for kind in kinds:
                process, encode = theirs(kind)
                whole.setdefault(kind, []).append(process)
                inside.setdefault(kind, []).append(encode)
        vectors = [json.loads(line) for line in (place / "own.jsonl").read_text().splitlines()]
        tokens = sum(line["tokens"] for line in vectors)
        vectors = numpy.array([line["vector"] for line in vectors])
        differ = {kind: float(numpy.abs(numpy.load(place / f"{kind}.npy") - vectors).max()) for kind in kinds}
    middle = {name: statistics.median(times) for name, times in whole.items()}
    work = middle["metier"] - middle["opening"]
    print(json.dumps({
        "texts": len(vectors),
        "tokens": tokens,
        "seconds of the process": {name: [round(second, 2) for second in times] for name, times in whole.items()},
        "seconds of encoding": {name: [round(second, 2) for second in times] for name, times in inside.items()},
        "metier, texts a second without opening": round(len(vectors) / work, 1),
        "ratio of encoding": {kind: round(statistics.median(inside[kind]) / work, 2) for kind in kinds},
        "ratio of the process": {kind: round(middle[kind] / middle["metier"], 2) for kind in kinds},
        "largest difference": differ,
    }, indent=1))


main()
