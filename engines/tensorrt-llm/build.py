"""Builds a folder of TensorRT engines from a model folder, by the LLM API of the releases that can (1.0 to 1.3.0rc20).

Run by `tacho engines build` with the `python` of the environment that has TensorRT-LLM: `build.py probe` prints what is
there as one line of JSON, `build.py build '{…}'` builds. What the library says goes to standard error.
"""

import importlib
import json
import os
import pathlib
import shutil
import sys

_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json")


def _builder():
    """The engine backend's module, or None in the releases that have none."""
    try:
        return importlib.import_module("tensorrt_llm._tensorrt_engine")
    except ImportError:
        return None


def _architecture(module):
    double = getattr(module, "TACHO_DOUBLE", None)
    if double is not None:
        return double
    import torch

    major, minor = torch.cuda.get_device_capability()
    return f"sm{major}{minor}"


def probe():
    import tensorrt_llm

    builder = _builder() is not None
    return {
        "version": tensorrt_llm.__version__,
        "has_builder": builder,
        "architecture": _architecture(tensorrt_llm) if builder else "",
    }


def build(asked):
    import tensorrt_llm

    api = importlib.import_module("tensorrt_llm.llmapi")
    limits = tensorrt_llm.BuildConfig(
        max_batch_size=asked["max_batch_size"],
        max_input_len=asked["max_seq_len"],
        max_seq_len=asked["max_seq_len"],
        max_num_tokens=asked["max_num_tokens"],
        max_beam_width=1,
    )
    # For prompts computed over several steps.
    limits.plugin_config.use_paged_context_fmha = True
    arguments = {"dtype": asked["dtype"]}
    if asked["dtype"] == "fp8":
        arguments = {"dtype": "auto", "quant_config": api.QuantConfig(quant_algo=api.QuantAlgo.FP8)}
    llm = _builder().LLM(
        model=asked["model"],
        skip_tokenizer_init=True,
        tensor_parallel_size=asked["tensor_parallel_size"],
        build_config=limits,
        **arguments,
    )
    llm.save(asked["folder"])
    llm.shutdown()
    # Which ids are ordinary stands in the model's own files.
    for name in _FILES:
        path = pathlib.Path(asked["model"]) / name
        if path.is_file():
            shutil.copy(path, asked["folder"])


def main():
    # The answer has standard output to itself; the library prints to it too.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Engines are built by the calling process, not by ranks of their own.
    os.environ.setdefault("TLLM_WORKER_USE_SINGLE_PROCESS", "1")
    if sys.argv[1] == "probe":
        print(json.dumps(probe()), file=answer, flush=True)
    else:
        build(json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
