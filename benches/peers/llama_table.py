"""The table of benches/peers/llama.sh: output tokens/s of both sides and their ratio, round by round."""

import json
import statistics
import sys
from pathlib import Path

from table import show


def main():
    folder, rounds, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    batches = [int(batch) for batch in sys.argv[4].split(",")]
    rates = {}
    for number in range(1, rounds + 1):
        for batch in batches:
            peer = [json.loads(line) for line in (folder / f"peer.{number}.{batch}").read_text().splitlines()]
            ours = json.loads((folder / f"tacho.{number}.{batch}").read_text())
            if any(row["pl"] != batch for row in peer) or any(row["batch"] != batch or row["status"] != "ok" for row in ours):
                sys.exit(f"round {number}, batch {batch}: the peer answered {peer}, Tacho {ours}")
            tokens = steps * batch
            rates.setdefault(batch, []).append(
                (
                    tokens / statistics.median(row["seconds"] for row in ours),
                    tokens / statistics.median(row["t_pp"] + row["t_tg"] for row in peer),
                )
            )
    show(f"output tokens/s of total time (prompt and decode), median of {rounds} rounds", "batch", "batched-bench", rates)


if __name__ == "__main__":
    main()
