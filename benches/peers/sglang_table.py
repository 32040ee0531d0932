"""The table of benches/peers/sglang.sh: output tokens/s of both sides and their ratio, and each round's figures on standard error."""

import json
import statistics
import sys
from pathlib import Path

from table import show


def main():
    folder = Path(sys.argv[1])
    rounds, requests, length, output = map(int, sys.argv[2:6])
    boundary = sys.argv[6]
    rates = {"rounds": [], "trials": []}
    tokens = requests * output
    for number in range(1, rounds + 1):
        theirs = json.loads((folder / f"peer.{number}.jsonl").read_text())
        rows = json.loads((folder / f"run.{number}" / "points.json").read_text())
        for row in rows:
            if (row["status"], row["boundary"], row["output_tokens"]) != ("ok", boundary, tokens):
                sys.exit(f"round {number}: Tacho measured something else: {row}")
        counted, asked = (theirs["total_input_tokens"], theirs["total_output_tokens"]), (requests * length, tokens)
        if counted != asked:
            sys.exit(f"round {number}: expected {asked} tokens in and out, the peer counted {counted}")
        ours = [row["seconds"] for row in rows]
        peers = json.loads((folder / f"peer.{number}.times").read_text())
        rates["rounds"].append((tokens / statistics.median(ours), tokens / statistics.median(peers)))
        print("round {}: tacho {:.1f}, peer {:.1f}".format(number, *rates["rounds"][-1]), file=sys.stderr)
        rates["trials"] += [(tokens / mine, tokens / other) for mine, other in zip(ours, peers, strict=True)]
    what = f"{requests} requests, {length} in and {output} out, Tacho {boundary}, medians over {rounds} rounds"
    show(f"output tokens/s, {what}; peer: SGLang's offline benchmark (child-core)", "by", "sglang bench", rates)


if __name__ == "__main__":
    main()
