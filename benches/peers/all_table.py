"""The table of benches/peers/all.sh: every peer's rows with ratio, interval and the known reason where the ratio is not 1.

    all_table.py FOLDER     with NAME.table (what a peer's script printed), NAME.missing or NAME.failed
"""

import re
import sys
from pathlib import Path

# Why a ratio of Tacho to an engine's own tool is what it is, where it is known. Peers whose own tool makes the same call as Tacho
# (vllm, vllm-latency, sglang) have none: where the interval leaves out 1, the reason is not known. docs/results/README.md has what was measured.
REASONS = {
    "llama": "Tacho picks every token (an argmax over the vocabulary); llama-batched-bench feeds random ids and picks none",
    "sglang-one-batch": "SGLang's model runner step by step, without the scheduler that Tacho's side runs; it waits for the device at every step",
    "max": "`max generate` also tokenises, decodes and prints each token, and yields to an event loop every step",
}
_NUMBER = r"([0-9.]+)"
# A row as `table.show` prints it.
ROW = re.compile(rf"^\s*(\S+)\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s+(?:{_NUMBER} to {_NUMBER}|too few rounds.*)$")


def rows(text):
    """(key, Tacho's figure, the peer's, ratio, low or None, high or None) of each row."""
    for line in text.splitlines():
        if found := ROW.match(line):
            key, *numbers = found.groups()
            yield key, *(None if number is None else float(number) for number in numbers)


def reason(name, low, high):
    """Why a ratio is not 1; only of one that an interval shows to be another."""
    if low is None:
        return "no interval: too few rounds"
    return "1 lies in the interval" if low <= 1 <= high else REASONS.get(name, "not known")


def main():
    folder = Path(sys.argv[1])
    print("| peer | by | Tacho | the peer | ratio | 95 % interval | why it is not 1 |\n|---|---|--:|--:|--:|---|---|")
    for file in sorted(folder.glob("*.table")):
        name = file.stem
        found = list(rows(file.read_text()))
        for key, ours, theirs, ratio, low, high in found:
            bounds = "–" if low is None else f"{low:.3f} to {high:.3f}"
            print(f"| {name} | {key} | {ours:.1f} | {theirs:.1f} | {ratio:.3f} | {bounds} | {reason(name, low, high)} |")
        if not found:
            print(f"| {name} | – | – | – | – | – | figures of another kind, below |")
    failed = sorted(folder.glob("*.failed"))
    for file in failed:
        print(f"| {file.stem} | – | – | – | – | – | **failed**: see above |")
    for file in sorted(folder.glob("*.missing")):
        print(f"| {file.stem} | – | – | – | – | – | not run: {file.read_text().strip()} |")
    for file in sorted(folder.glob("*.table")):
        text = file.read_text()
        if not list(rows(text)):
            print(f"\n{file.stem}:\n\n{text.rstrip()}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
