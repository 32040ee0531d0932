"""The table of benches/peers/sglang.sh: output tokens/s of both sides and their ratio, and each round's figures on standard error."""

import json
import statistics
import sys
from pathlib import Path

from table import show


def offline(folder, number, requests, length, output):
    """Seconds of the offline benchmark's trials, whose tokens it counted."""
    theirs = json.loads((folder / f"peer.{number}.jsonl").read_text())
    counted, asked = (theirs["total_input_tokens"], theirs["total_output_tokens"]), (requests * length, requests * output)
    if counted != asked:
        sys.exit(f"round {number}: expected {asked} tokens in and out, the peer counted {counted}")
    return json.loads((folder / f"peer.{number}.times").read_text())


def one_batch(folder, number, requests, length, output):
    """Seconds of the batches, a line each; it counts no tokens and leaves out a batch that is too large for it."""
    lines = [json.loads(line) for line in (folder / f"peer.{number}.jsonl").read_text().splitlines()]
    for line in lines:
        if (found := (line["batch_size"], line["input_len"], line["output_len"])) != (requests, length, output):
            sys.exit(f"round {number}: expected a batch of {(requests, length, output)}, the peer had {found}")
    if not lines:
        sys.exit(f"round {number}: the peer measured nothing: see {folder}/peer.{number}.log")
    return [line["total_latency"] for line in lines]


TOOLS = {"offline": (offline, "offline benchmark (child-core)"), "one-batch": (one_batch, "one_batch (no scheduler)")}


def main():
    folder = Path(sys.argv[1])
    rounds, requests, length, output = map(int, sys.argv[2:6])
    boundary, tool = sys.argv[6:8]
    times, name = TOOLS[tool]
    rates = {"rounds": [], "trials": []}
    tokens = requests * output
    for number in range(1, rounds + 1):
        rows = json.loads((folder / f"run.{number}" / "points.json").read_text())
        for row in rows:
            if (row["status"], row["boundary"], row["output_tokens"]) != ("ok", boundary, tokens):
                sys.exit(f"round {number}: Tacho measured something else: {row}")
        ours = [row["seconds"] for row in rows]
        peers = times(folder, number, requests, length, output)
        rates["rounds"].append((tokens / statistics.median(ours), tokens / statistics.median(peers)))
        print("round {}: tacho {:.1f}, peer {:.1f}".format(number, *rates["rounds"][-1]), file=sys.stderr)
        rates["trials"] += [(tokens / mine, tokens / other) for mine, other in zip(ours, peers, strict=True)]
    what = f"{requests} requests, {length} in and {output} out, Tacho {boundary}, medians over {rounds} rounds"
    show(f"output tokens/s, {what}; peer: SGLang's {name}", "by", "sglang bench", rates)


if __name__ == "__main__":
    main()
