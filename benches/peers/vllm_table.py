"""The table of benches/peers/vllm.sh: output tokens/s of both sides and their ratio, and each round's figures."""

import json
import sys
from pathlib import Path

from table import show


def main():
    folder = Path(sys.argv[1])
    rounds, requests, length, output = map(int, sys.argv[2:6])
    peer, boundary = sys.argv[6:8]
    pairs = []
    for number in range(1, rounds + 1):
        theirs = json.loads((folder / f"peer.{number}.json").read_text())
        [ours] = json.loads((folder / f"run.{number}" / "points.json").read_text())
        tokens = requests * output
        if ours["status"] != "ok" or ours["boundary"] != boundary or ours["output_tokens"] != tokens:
            sys.exit(f"round {number}: Tacho measured something else: {ours}")
        # Texts may come back from the peer's tokenizer a token longer or shorter; ids may not.
        counted, asked = theirs["total_num_tokens"], requests * (length + output)
        if counted != asked:
            said = f"round {number}: expected {asked} tokens in and out, the peer counted {counted}"
            if peer == "ids" or abs(counted - asked) > asked / 100:
                sys.exit(said)
            print(f"note: {said}", file=sys.stderr)
        pairs.append((tokens / ours["seconds"], tokens / theirs["elapsed_time"]))
        print(f"round {number}: tacho {pairs[-1][0]:.1f}, peer {pairs[-1][1]:.1f}", file=sys.stderr)
    title = f"output tokens/s, {boundary}, {length} in and {output} out, median of {rounds} rounds; peer: vllm bench throughput ({peer})"
    show(title, "requests", "vllm bench", {requests: pairs})


if __name__ == "__main__":
    main()
