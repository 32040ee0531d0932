"""SGLang, by its `Engine` or by its `Scheduler`.

Options are SGLang's own (`ServerArgs`), and two kinds more: `boundary` ("in-core": SGLang's Scheduler and with it all device
work in this process, the default, see `_sglang_core`; "child-core": `sglang.Engine` as shipped, whose scheduler is a child
process, see `_sglang_child`), and environment variables, which are the names in capitals. What the harness sets is only what
it must: see `_server_args`. docs/engines/sglang.md says how the two differ.

The scheduler's interface changes from release to release: other versions than those below are refused.
"""

import importlib.metadata
import json
import os
import pathlib

from . import BadRequest, Mismatch, Unsupported, plain
from ._vocab import ordinary_ids

BOUNDARIES = ("in-core", "child-core")
VERSIONS = ("0.5.17", "0.5.23")

_ENVIRONMENT = {
    # One machine: rendezvous sockets need no name service and no other interface.
    "SGLANG_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
}

# What SGLang keeps for itself of its context length: a request has at most context_length - 2 tokens, and its prompt at most
# context_length - 7 (tp_worker.py and scheduler.py of both versions).
_CONTEXT_MARGIN = 6

# Of what the running scheduler says of itself, the settings that decide how it works.
_SETTINGS = (
    "attention_backend",
    "prefill_attention_backend",
    "decode_attention_backend",
    "sampling_backend",
    "grammar_backend",
    "chunked_prefill_size",
    "max_prefill_tokens",
    "max_running_requests",
    "max_total_tokens",
    "context_length",
    "page_size",
    "mem_fraction_static",
    "schedule_policy",
    "schedule_conservativeness",
    "stream_interval",
    "disable_radix_cache",
    "disable_overlap_schedule",
    "disable_cuda_graph",
    "enable_mixed_chunk",
    "enable_torch_compile",
    "enable_deterministic_inference",
    "dtype",
    "kv_cache_dtype",
    "quantization",
    "load_format",
    "device",
    "random_seed",
    "skip_tokenizer_init",
    "log_level",
)


def load(config):
    if config["model"] is None:
        raise BadRequest("sglang: no model was given: expected a folder with config.json and safetensors")
    model = pathlib.Path(config["model"])
    if not (model / "config.json").is_file():
        raise BadRequest(
            f"sglang: {model} is not a model folder: expected config.json in it; `tacho model` converts a GGUF file"
        )
    options = dict(config["options"])
    boundary = options.pop("boundary", "in-core")
    if boundary not in BOUNDARIES:
        raise Unsupported(f"sglang: boundary {boundary!r} is not one of {', '.join(BOUNDARIES)}")
    version = importlib.metadata.version("sglang")
    if version not in VERSIONS:
        raise Unsupported(
            f"sglang: version {version} has not been tried, and what this drives changes from release to release: "
            f"expected one of {', '.join(VERSIONS)}; `tacho engines install sglang` installs one"
        )
    told = json.loads((model / "config.json").read_text())
    environment = {name: str(options.pop(name)) for name in list(options) if name.isupper()}
    for name, value in _ENVIRONMENT.items():
        environment.setdefault(name, os.environ.get(name, value))
    os.environ.update(environment)
    asked = _server_args(config, model, options)
    if asked["device"] == "cpu":
        environment.setdefault("SGLANG_USE_CPU_ENGINE", "1")
    if asked["context_length"] > told.get("max_position_embeddings", asked["context_length"]) >= config["max_model_len"]:
        # For the margin alone: no position past the model's own is reached.
        environment.setdefault("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN", "1")
    os.environ.update(environment)

    # Not before: SGLang and what is under it read the environment as they are imported.
    if boundary == "in-core":
        from ._sglang_core import Core as Door
    else:
        from ._sglang_child import Child as Door
    return Engine(Door(asked), model, told, boundary, version, asked, environment)


def _server_args(config, model, options):
    """SGLang's arguments: the plan's options over what makes SGLang comparable (ids only, no prefix cache, room as needed)."""
    asked = {
        "model_path": str(model),
        "skip_tokenizer_init": True,
        "disable_radix_cache": True,
        "grammar_backend": "none",
        "context_length": config["max_model_len"] + _CONTEXT_MARGIN,
        "max_running_requests": config["max_seqs"],
        "random_seed": config["seed"] % 2**31,
        # As Engine has it when nothing is said.
        "log_level": "error",
    }
    if "device" not in options:
        import torch

        asked["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    asked.update(options)
    if asked["device"] == "cpu":
        asked.setdefault("sampling_backend", "pytorch")
        asked.setdefault("attention_backend", "torch_native")
        asked.setdefault("disable_cuda_graph", True)
        if not any(name in asked for name in ("max_total_tokens", "mem_fraction_static")):
            # By itself SGLang takes most of the host's memory for the KV cache.
            asked["max_total_tokens"] = max(asked["max_running_requests"] * (asked["context_length"] + 64), 4096)
            asked["mem_fraction_static"] = 0.9
    if asked.get("tp_size", 1) != 1 or asked.get("pp_size", 1) != 1 or asked.get("dp_size", 1) != 1:
        raise Unsupported("sglang: one device only here: expected tp_size, pp_size and dp_size of 1")
    return asked


class Engine:
    def __init__(self, door, model, told, boundary, version, asked, environment):
        self._door = door
        self._model = model
        self._told = told
        self._boundary = boundary
        self._version = version
        self._asked = asked
        self._environment = environment
        state = self._state = door.state()
        self._seeded = bool(state.get("enable_deterministic_inference"))
        max_input, capacity = door.limits()
        # A prompt is shorter than max_req_input_len, which is 5 below max_req_len, and prompt and output together are below
        # that and below the KV cache's capacity. SGLang would cut a longer output short without a word.
        self._longest_prompt = max_input - 1
        self._longest = min(max_input + 4, capacity - 2 * (state.get("page_size") or 1))
        self._capacity = capacity
        self.submit = door.submit_checked(self._params)
        self.step = door.step
        self.cancel = door.cancel
        self.reset = door.reset
        self.stats = door.stats
        self.shutdown = door.shutdown

    def generate_text(self, prompts, output_tokens, samplings, detokenise):
        if self._asked["skip_tokenizer_init"]:
            raise Unsupported("sglang: text needs SGLang's tokenizer: set skip_tokenizer_init to false")
        prompts = self._door.encode(prompts)
        params = [self._params(*request) for request in zip(prompts, output_tokens, samplings)]
        return self._door.generate_text(prompts, params, detokenise)

    def _params(self, prompt, output_tokens, sampling):
        """SGLang's sampling parameters of a request, as its public calls take them; raises for what can never work."""
        # A text's ids are not known here: they are counted when it has answered.
        length = 0 if isinstance(prompt, str) else len(prompt)
        if length > self._longest_prompt or length + output_tokens > self._longest:
            raise BadRequest(
                f"sglang: a prompt of {length} and an output of {output_tokens} tokens are longer than this engine takes: "
                f"{self._longest_prompt} tokens of prompt, {self._longest} in all"
            )
        temperature, top_p, top_k, seed = sampling
        params = {"max_new_tokens": output_tokens, "ignore_eos": True, "temperature": 0.0}
        if temperature > 0:
            if not self._seeded:
                raise Unsupported(
                    "sglang: a request's seed only counts with the option enable_deterministic_inference = true; without it "
                    "sampled outputs do not repeat"
                )
            params.update(temperature=temperature, top_p=top_p, top_k=top_k or -1, sampling_seed=seed % 2**63)
        return params

    def generate(self, prompts, output_tokens, samplings):
        params = [self._params(*request) for request in zip(prompts, output_tokens, samplings)]
        return self._door.generate(prompts, params)

    def score(self, prompts, continuations):
        fed = [[*prompt, *after] for prompt, after in zip(prompts, continuations)]
        starts = [len(prompt) - 1 for prompt in prompts]
        params = self._params(max(fed, key=len), 1, (0.0, 1.0, 0, 0))
        rows = []
        for (own, top), after in zip(self._door.prompt_logprobs(fed, starts, params), continuations):
            # What is told ends with the prompt's last id, wherever it begins.
            own, top = own[-len(after) :], top[-len(after) :]
            if [token for _, token in own] != list(after):
                raise Mismatch(f"sglang: log-probabilities of {after} were asked for, and it told those of {own}")
            row = []
            for (given_lp, _), two in zip(own, top):
                (one_lp, one), (two_lp, other) = two[:2]
                row.append((one, one_lp, other, two_lp, given_lp))
            rows.append(row)
        return rows

    def info(self):
        import torch

        state = self._state
        config = self._told
        vocab_size = config["vocab_size"]
        on_cpu = self._asked["device"] == "cpu"
        effective = {
            **self._asked,
            **{name: state[name] for name in _SETTINGS if name in state},
            **_graphs(state),
            "kv_pool_dtype": self._door.kv_dtype(),
            "boundary": self._boundary,
            "max_running_requests": state.get("effective_max_running_requests_per_dp"),
            "tokenizer": None if self._asked["skip_tokenizer_init"] else self._door.TOKENIZER,
            "sgl_kernel": _sgl_kernel(),
            "torch": torch.__version__,
            **self._environment,
        }
        sizes = [path.stat().st_size for path in self._model.glob("*.safetensors")]
        dtype = self._door.dtype() or state.get("dtype")
        return {
            "version": self._version,
            "boundary": self._boundary,
            "device": f"CPU ({torch.backends.cpu.get_cpu_capability()})" if on_cpu else torch.cuda.get_device_name(),
            "compile_mode": _compile_mode(state, on_cpu),
            "gpu_in_process": None if on_cpu else self._boundary == "in-core",
            "parallelism": (1, 1),
            "kv_capacity_tokens": self._capacity,
            "max_seqs": state.get("effective_max_running_requests_per_dp"),
            "max_model_len": self._longest,
            "capabilities": {"sampling": self._seeded},
            "model": {
                "name": config.get("_name_or_path") or self._model.resolve().name,
                "architecture": config.get("model_type"),
                "weights_dtype": dtype,
                "size_bytes": sum(sizes) or None,
                "context_len": config.get("max_position_embeddings"),
                "vocab_size": vocab_size,
                "ordinary_ids": ordinary_ids(self._model, vocab_size),
            },
            "effective": plain(effective),
            "uncounted": {"compiles": self._door.uncounted()},
            # By the memory that was free as SGLang profiled it.
            "observed": plain({"max_total_num_tokens": self._capacity, "memory_usage": state.get("memory_usage")}),
        }


def _sgl_kernel():
    """The version of SGLang's kernel package, or what stands in for it."""
    import sgl_kernel

    return getattr(sgl_kernel, "TACHO_STAND_IN", None) or getattr(sgl_kernel, "__version__", "unknown")


def _graphs(state):
    """The CUDA graphs of each phase: how they are made, and for which batch sizes (decode) or token counts (prefill)."""
    config = state.get("cuda_graph_config")
    found = {}
    for phase in ("decode", "prefill"):
        graphs = config.get(phase) if isinstance(config, dict) and not state.get("disable_cuda_graph") else None
        backend = str((graphs or {}).get("backend") or "disabled").lower().rsplit(".", 1)[-1]
        found[f"cuda_graph_backend_{phase}"] = backend
        if backend != "disabled":
            found[f"cuda_graph_bs_{phase}"] = graphs.get("bs")
    return found


def _compile_mode(state, on_cpu):
    parts = ["torch-compile"] if state.get("enable_torch_compile") else []
    if not on_cpu:
        graphs = _graphs(state)
        phases = [phase for phase in ("decode", "prefill") if graphs[f"cuda_graph_backend_{phase}"] != "disabled"]
        if phases:
            parts.append(f"cuda-graphs ({', '.join(phases)})")
    return "+".join(parts) or "eager"
