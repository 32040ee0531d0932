"""SGLang's offline throughput benchmark with the work that Tacho asks for: token ids as prompts, of exact lengths.

All arguments are the benchmark's own (`python -m sglang.benchmark.offline_throughput`), and what is timed and how is SGLang's
code. Four of its names are replaced before it runs: where requests come from (its own `random` fetches ShareGPT, and draws
lengths from 1 up), what the warm-up is (as many requests of the same lengths, as Tacho's), the tokenizer (none), and
`Engine.generate`'s argument: `input_ids` where it says `prompt`. The timed call is made PEER_TRIALS times; the one of median
duration is what the benchmark goes on with, the warm-up PEER_WARMUPS times, and all durations go into the file that PEER_TIMES names, as a JSON list of seconds.
"""

import json
import os
import pathlib
import random

from sglang.benchmark import offline_throughput as bench
from sglang.benchmark.datasets import DatasetRow


_once = bench.throughput_test_once
calls = []


def once(**asked):
    """The benchmark's own function, which it calls for the warm-up and for the timed requests."""
    calls.append(None)
    trials = int(os.environ.get("PEER_WARMUPS" if len(calls) == 1 else "PEER_TRIALS", "1"))
    timed = [_once(**asked) for _ in range(trials)]
    if len(calls) > 1:
        pathlib.Path(os.environ["PEER_TIMES"]).write_text(json.dumps([trial["total_latency"] for trial in timed]))
    return sorted(timed, key=lambda trial: trial["total_latency"])[len(timed) // 2]


class Engine(bench.Engine):
    def generate(self, prompt=None, **named):
        return super().generate(input_ids=prompt, **named)


def rows(folder, requests, length, output, seed):
    """Ids uniform over the vocabulary but for its first ids, often special."""
    vocab_size = json.loads((pathlib.Path(folder) / "config.json").read_text())["vocab_size"]
    draw = random.Random(seed)

    def prompt():
        return [draw.randrange(vocab_size // 16, vocab_size) for _ in range(length)]

    return [DatasetRow(prompt=prompt(), prompt_len=length, output_len=output) for _ in range(requests)]


def main():
    asked = {}

    def timed(args, _tokenizer):
        asked.update(requests=args.num_prompts, length=args.random_input_len, output=args.random_output_len)
        return rows(asked["folder"], seed=args.seed, **{name: asked[name] for name in ("requests", "length", "output")})

    def warmup(**_named):
        return rows(asked["folder"], seed=-1, **{name: asked[name] for name in ("requests", "length", "output")})

    def tokenizer(folder):
        asked["folder"] = folder

    bench.throughput_test_once = once
    bench.Engine = Engine
    bench.get_tokenizer = tokenizer
    bench.get_dataset = timed
    bench.sample_random_requests = warmup
    bench.cli_main()


# SGLang's children import this file again.
if __name__ == "__main__":
    main()
