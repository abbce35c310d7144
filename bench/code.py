"""Files of code as Dolma's own taggers see them, beside metier's `comments` and `secrets`.

requires: dolma==1.2.1, detect-secrets==1.4.0, beautifulsoup4, pygments, regex

    python bench/code.py target/release/metier FILE...

For each ending of names that both know: the share of comments and docstrings as `code_starcoder_taggers_v1` has it, metier's, and the absolute difference, in the mean over the files. Of secrets, what `code_secrets_v1` runs (detect-secrets, each line) and how many of the places it names metier tags too, by the name that it gives them; and how many metier tags that it does
not, by metier's. Prints JSON.
"""

import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from dolma.taggers.code.code_taggers import CodeStarCoderTaggers
from dolma.taggers.code.utils import get_secrets
from dolma.core.data_types import DocumentWithMetadata

CHARACTERS = 60_000
SHARE, SECRETS = "comments__comments__doc", "secrets__secrets__"


def documents(files):
    for number, file in enumerate(files):
        text = pathlib.Path(file).read_bytes().decode(errors="replace")[:CHARACTERS]
        if text.strip():
            yield {"id": str(number), "text": text, "ext": pathlib.Path(file).suffix[1:]}


def tagged(program, rows, folder):
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = '{ method = "jsonl", keep = ["ext"] }'
    tag = '[{ method = "comments" }, { method = "secrets" }]'
    arguments = [f"from={folder}/in.jsonl", f"read={read}", f"tag={tag}", "select.fraction=0.0", "--store", str(folder / "store")]
    subprocess.run([program, "curate", *arguments], check=True, capture_output=True)
    (out,) = (folder / "store" / "artifacts").glob("*/train.attributes.jsonl")
    said = {line["id"]: line["attributes"] for line in map(json.loads, out.open())}
    return [said[row["id"]] for row in rows]


def places(text):
    """Where detect-secrets' secrets stand: on the line that it names."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for _, secret in get_secrets(text):
        line, value = secret.line_number - 1, secret.secret_value or ""
        at = lines[line].find(value)
        if at >= 0 and value:
            yield starts[line] + at, starts[line] + at + len(value), secret.type


def main():
    program, files = sys.argv[1], sys.argv[2:]
    starcoder = CodeStarCoderTaggers()
    rows = list(documents(files))
    with tempfile.TemporaryDirectory() as folder:
        own = tagged(program, rows, pathlib.Path(folder))
    pairs, theirs, found, more = collections.defaultdict(list), collections.Counter(), collections.Counter(), collections.Counter()
    for row, said in zip(rows, own):
        spans = starcoder.predict(DocumentWithMetadata("source", row["id"], row["text"], metadata={"ext": row["ext"]})).spans
        ratio = next(span.score for span in spans if span.type == "nl_ratio_doc")
        if ratio >= 0 and SHARE in said:
            pairs[row["ext"]].append((ratio, said[SHARE][0][2]))
        tags = [(start, end, name.removeprefix(SECRETS)) for name, spans in said.items() if name.startswith(SECRETS) and not name.endswith("doc") for start, end, _ in spans]
        peer = list(places(row["text"]))
        for start, end, kind in peer:
            theirs[kind] += 1
            found[kind] += any(start < other_end and other_start < end for other_start, other_end, _ in tags)
        for start, end, kind in tags:
            more[kind] += not any(start < other_end and other_start < end for other_start, other_end, _ in peer)
    mean = statistics.mean
    comments = {
        ending: {
            "files": len(both),
            "dolma": mean(share for share, _ in both),
            "metier": mean(share for _, share in both),
            "difference": mean(abs(share - own) for share, own in both),
        }
        for ending, both in sorted(pairs.items())
    }
    json.dump(
        {
            "files": len(rows),
            "comments": comments,
            "secrets": {kind: {"detect_secrets": count, "metier_too": found[kind]} for kind, count in sorted(theirs.items())},
            "metier_only": dict(sorted(more.items())),
        },
        sys.stdout,
        indent=1,
    )
    print()


main()
