#!/usr/bin/env python3
"""trtllm-bench DOUBLE (not trtllm-bench): what `trtllm-bench throughput` takes and reports, over no engine at all.

Its flags are those of TensorRT-LLM's tensorrt_llm/bench/benchmark/throughput.py that benches/peers/trtllm.sh gives; it counts the tokens
of the dataset, and its time is made up: a second.
"""

import argparse
import json
import os
from pathlib import Path

top = argparse.ArgumentParser(allow_abbrev=False)
top.add_argument("--model", required=True)
top.add_argument("--model_path", type=Path)
top.add_argument("--workspace", type=Path, default=Path("/tmp"))
throughput = top.add_subparsers(required=True).add_parser("throughput", allow_abbrev=False)
throughput.add_argument("--backend", choices=["pytorch", "tensorrt", "_autodeploy"], default="pytorch")
throughput.add_argument("--dataset", type=Path)
for name, default in {"num_requests": 0, "warmup": 2, "max_batch_size": None, "max_num_tokens": None, "max_seq_len": None}.items():
    throughput.add_argument(f"--{name}", type=int, default=default)
throughput.add_argument("--extra_llm_api_options", type=Path)
throughput.add_argument("--report_json", type=Path)
args = top.parse_args()
args.workspace.mkdir(parents=True, exist_ok=True)

assert (args.model_path / "config.json").is_file()
arguments = json.loads(args.extra_llm_api_options.read_text())
assert arguments["kv_cache_config"]["enable_block_reuse"] is False, arguments
lines = [json.loads(line) for line in args.dataset.read_text().splitlines()][: args.num_requests or None]
tokens = sum(line["output_tokens"] for line in lines)
report = {
    "double": "trtllm-bench DOUBLE (not trtllm-bench)",
    "single_process": os.environ.get("TLLM_WORKER_USE_SINGLE_PROCESS"),
    "warmup": args.warmup,
    "request_info": {
        "num_requests": len(lines),
        "avg_input_length": sum(len(line["input_ids"]) for line in lines) / len(lines),
        "avg_output_length": tokens / len(lines),
    },
    "performance": {"total_latency_ms": 1000.0, "system_output_throughput_tok_s": float(tokens)},
}
args.report_json.write_text(json.dumps(report))
