"""The table of benches/peers/vllm.sh: output tokens/s of both sides and their ratio, and each round's figures on standard error."""

import json
import statistics
import sys
from pathlib import Path

from table import show


def main():
    folder = Path(sys.argv[1])
    rounds, requests, length, output = map(int, sys.argv[2:6])
    peer, boundary, tool = sys.argv[6:9]
    rates = {"rounds": [], "trials": []}
    for number in range(1, rounds + 1):
        theirs = json.loads((folder / f"peer.{number}.json").read_text())
        rows = json.loads((folder / f"run.{number}" / "points.json").read_text())
        tokens = requests * output
        for row in rows:
            if (row["status"], row["boundary"], row["output_tokens"]) != ("ok", boundary, tokens):
                sys.exit(f"round {number}: Tacho measured something else: {row}")
        # Texts may come back from the peer's tokenizer a token longer or shorter; ids may not.
        asked = requests * (length + output)
        # `vllm bench latency` counts no tokens.
        counted = theirs["total_num_tokens"] if tool == "throughput" else asked
        if counted != asked:
            said = f"round {number}: expected {asked} tokens in and out, the peer counted {counted}"
            if peer == "ids" or abs(counted - asked) > asked / 100:
                sys.exit(said)
            print(f"note: {said}", file=sys.stderr)
        ours = [row["seconds"] for row in rows]
        elapsed = theirs["elapsed_time"] if tool == "throughput" else statistics.median(theirs["latencies"])
        rates["rounds"].append((tokens / statistics.median(ours), tokens / elapsed))
        print("round {}: tacho {:.1f}, peer {:.1f}".format(number, *rates["rounds"][-1]), file=sys.stderr)
        times = folder / f"peer.{number}.times"
        if times.is_file():
            pairs = zip(ours, json.loads(times.read_text()), strict=True)
            rates["trials"] += [(tokens / seconds, tokens / peers) for seconds, peers in pairs]
    what = f"{requests} requests, {length} in and {output} out, {boundary}, medians over {rounds} rounds"
    title = f"output tokens/s, {what}; peer: vllm bench {tool} ({peer})"
    show(title, "by", "vllm bench", {key: pairs for key, pairs in rates.items() if pairs})


if __name__ == "__main__":
    main()
