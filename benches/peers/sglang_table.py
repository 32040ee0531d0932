"""The table of benches/peers/sglang.sh: output tokens/s of both sides and their ratio, and each round's figures."""

import json
import sys
from pathlib import Path

from table import show


def main():
    folder = Path(sys.argv[1])
    rounds, requests, length, output = map(int, sys.argv[2:6])
    boundary = sys.argv[6]
    pairs = []
    for number in range(1, rounds + 1):
        theirs = json.loads((folder / f"peer.{number}.jsonl").read_text())
        [ours] = json.loads((folder / f"run.{number}" / "points.json").read_text())
        tokens = requests * output
        if ours["status"] != "ok" or ours["boundary"] != boundary or ours["output_tokens"] != tokens:
            sys.exit(f"round {number}: Tacho measured something else: {ours}")
        counted = (theirs["total_input_tokens"], theirs["total_output_tokens"])
        if counted != (requests * length, tokens):
            sys.exit(f"round {number}: expected {(requests * length, tokens)} tokens in and out, the peer counted {counted}")
        pairs.append((tokens / ours["seconds"], tokens / theirs["total_latency"]))
        print(f"round {number}: tacho {pairs[-1][0]:.1f}, peer {pairs[-1][1]:.1f}", file=sys.stderr)
    title = f"output tokens/s, Tacho {boundary}, {length} in and {output} out, median of {rounds} rounds; peer: SGLang's offline benchmark"
    show(title, "requests", "sglang bench", {requests: pairs})


if __name__ == "__main__":
    main()
