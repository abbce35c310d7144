"""Asks a metier server on this machine from many clients at once and says what came of it.

    python3 load.py http://127.0.0.1:PORT MODEL CLIENTS SECONDS

Each client asks again as soon as it is answered; after a 429 it waits as long as it is told. Some requests are streams, some have several
replies, some are broken off by the client. Every answer but 200 and 429 is a failure; so is memory that grows by more
than 5 % after the first minute. Needs nothing but Python.
"""

import collections
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse
import urllib.request

ADDRESS, MODEL, CLIENTS, SECONDS = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
HOST = urllib.parse.urlsplit(ADDRESS).netloc
WORDS = "the packet is sent to the server and the header of each message has a length field".split()
answers, failures = collections.Counter(), []
end = time.monotonic() + SECONDS


def client(number):
    draw = random.Random(number)
    while time.monotonic() < end:
        stream = draw.random() < 0.5
        body = {
            "model": MODEL, "messages": [{"role": "user", "content": " ".join(draw.choices(WORDS, k=draw.randint(1, 20)))}],
            "max_tokens": draw.randint(1, 60), "n": draw.choice([1, 1, 1, 2]), "stream": stream,
            "logprobs": draw.random() < 0.3, "seed": draw.randint(0, 9),
        }
        connection = http.client.HTTPConnection(HOST, timeout=120)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if stream and response.status == 200 and draw.random() < 0.1:
                response.read(100)
                answers["broken off by the client"] += 1
                continue
            text = response.read()
            answers[response.status] += 1
            if response.status == 429:
                time.sleep(float(response.headers["Retry-After"]) * draw.uniform(0.5, 1.5))
            elif response.status != 200 or (stream and not text.endswith(b"data: [DONE]\n\n")):
                failures.append((response.status, text[-200:]))
        except OSError as error:
            failures.append(repr(error))
        finally:
            connection.close()


def metric(name):
    with urllib.request.urlopen(f"{ADDRESS}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    return float(next((line.split(" ")[-1] for line in lines if line.startswith(name + " ")), 0))


made = f'metier_tokens_total{{model="{MODEL}",kind="completion"}}'
begun, before = time.monotonic(), metric(made)
threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
for thread in threads:
    thread.start()
held = []
while time.monotonic() < end:
    time.sleep(min(10, max(0.1, end - time.monotonic())))
    held.append((time.monotonic() - begun, metric("process_resident_memory_bytes") / 1e6))
    print(f"{held[-1][0]:6.0f} s  {held[-1][1]:8.1f} MB  {dict(answers)}", flush=True)
for thread in threads:
    thread.join()
took = time.monotonic() - begun
print(f"{CLIENTS} clients, {took:.0f} s: {dict(answers)}, {(metric(made) - before) / took:.0f} tokens/s")
settled = [megabytes for seconds, megabytes in held if seconds >= 60] or [held[-1][1]]
print(f"memory after the first minute: {settled[0]:.1f} MB, at the end: {settled[-1]:.1f} MB, most: {max(settled):.1f} MB")
print(f"failures: {len(failures)} {failures[:5]}")
sys.exit(bool(failures) or max(settled) > settled[0] * 1.05)
