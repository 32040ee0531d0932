"""The table of benches/peers/max.sh: output tokens/s of one request, Tacho's and those of `max generate`."""

import json
import re
import statistics
import sys
from pathlib import Path

from table import show


def said(text, name):
    """A number of the peer's report."""
    found = re.findall(rf"^{name}: ([0-9.]+)", text, re.MULTILINE)
    if not found:
        sys.exit(f"max generate said no '{name}'")
    return float(found[-1])


def main():
    folder, rounds, output = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    pairs = []
    for number in range(1, rounds + 1):
        theirs = (folder / f"peer.{number}").read_text()
        rows = json.loads((folder / f"run.{number}" / "points.json").read_text())
        prompt, made = said(theirs, "Prompt size"), said(theirs, "Output size")
        for row in rows:
            if (row["status"], row["output_tokens"], row["input_tokens"]) != ("ok", output, prompt):
                sys.exit(f"round {number}: expected {prompt} tokens in and {output} out, Tacho measured {row}")
        if made != output:
            sys.exit(f"round {number}: expected {output} output tokens, the peer made {made}")
        ours = statistics.median(row["seconds"] for row in rows)
        pairs.append((output / ours, output / (said(theirs, "Total Latency") / 1e3)))
        print("round {}: tacho {:.1f}, peer {:.1f}".format(number, *pairs[-1]), file=sys.stderr)
    title = f"output tokens/s of one request, {output} out, medians over {rounds} rounds; peer: max generate"
    show(title, "by", "max generate", {"rounds": pairs} if pairs else {})


if __name__ == "__main__":
    main()
