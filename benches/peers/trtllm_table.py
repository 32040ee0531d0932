"""The table of benches/peers/trtllm.sh: output tokens/s of both sides and their ratio, and each round's figures on standard error."""

import json
import statistics
import sys
from pathlib import Path

from table import show


def main():
    folder = Path(sys.argv[1])
    rounds, requests, length, output = map(int, sys.argv[2:6])
    boundary = sys.argv[6]
    tokens = requests * output
    rates = []
    doubles = set()
    for number in range(1, rounds + 1):
        theirs = json.loads((folder / f"peer.{number}.json").read_text())
        asked = {"num_requests": requests, "avg_input_length": length, "avg_output_length": output}
        counted = {name: theirs["request_info"][name] for name in asked}
        if counted != asked:
            sys.exit(f"round {number}: expected {asked}, the peer counted {counted}")
        rows = json.loads((folder / f"run.{number}" / "points.json").read_text())
        for row in rows:
            if (row["status"], row["boundary"], row["output_tokens"]) != ("ok", boundary, tokens):
                sys.exit(f"round {number}: Tacho measured something else: {row}")
        doubles |= {row["double"] for row in rows} | {theirs.get("double")}
        ours = statistics.median(row["seconds"] for row in rows)
        rates.append((tokens / ours, tokens / theirs["performance"]["total_latency_ms"] * 1e3))
        print("round {}: tacho {:.1f}, peer {:.1f}".format(number, *rates[-1]), file=sys.stderr)
    what = f"{requests} requests, {length} in and {output} out, {boundary}, medians over {rounds} rounds"
    doubles = sorted(doubles - {None})
    named = f"; NO MEASUREMENT, doubles: {', '.join(doubles)}" if doubles else ""
    show(f"output tokens/s, {what}; peer: trtllm-bench throughput{named}", "by", "trtllm-bench", {"rounds": rates})


if __name__ == "__main__":
    main()
