"""vLLM, by its offline `LLM` class and its `LLMEngine` step loop.

Options are vLLM's own (`EngineArgs`), and two kinds more: `boundary` ("in-core": EngineCore in this process, the default;
"child-core": vLLM's own default, a child process), and environment variables, which are the names in capitals
(`VLLM_CPU_OMP_THREADS_BIND`, `OMP_NUM_THREADS`). What the harness sets is only what it must: see `_engine_args`.

Written against vLLM 0.26 to 0.32. What is not vLLM's public interface is marked "internal" and has a way round it.
"""

import json
import os
import pathlib
import threading
import time

from . import BadRequest, OutOfMemory, Unsupported, _compiles, plain
from ._vocab import ordinary_ids

BOUNDARIES = {"in-core": "0", "child-core": "1"}

_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    # By default vLLM pins OpenMP's threads and with them the cell's own: 15 times slower where cores are few.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "INFO",
}

# How vLLM says, by a plain ValueError, that memory does not suffice for what was asked.
_NO_ROOM = (
    "is less than requested memory for kv",
    "is less than desired GPU memory utilization",
    "No available memory for the cache blocks",
    "KV cache is needed, which is larger than the available KV cache memory",
)

_FINISH = {"length": "length", "stop": "stop", "abort": "cancelled", None: None}


def load(config):
    if config["model"] is None:
        raise BadRequest("vllm: no model was given: expected a folder with config.json and safetensors")
    model = pathlib.Path(config["model"])
    if not (model / "config.json").is_file():
        raise BadRequest(
            f"vllm: {model} is not a model folder: expected config.json in it; `tacho model` converts a GGUF file"
        )
    options = dict(config["options"])
    boundary = options.pop("boundary", "in-core")
    if boundary not in BOUNDARIES:
        raise Unsupported(f"vllm: boundary {boundary!r} is not one of {', '.join(BOUNDARIES)}")
    environment = {name: str(options.pop(name)) for name in list(options) if name.isupper()}
    environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = BOUNDARIES[boundary]
    for name, value in _ENVIRONMENT.items():
        environment.setdefault(name, os.environ.get(name, value))
    os.environ.update(environment)

    # Not before: vLLM and the libraries under it read the environment as they are imported.
    from vllm.engine.arg_utils import EngineArgs

    from vllm import LLM

    asked = _engine_args(config, model, options)
    # vLLM's own refusal of names it does not know, before anything is loaded.
    try:
        EngineArgs(**asked)
    except TypeError as error:
        raise Unsupported(f"vllm: {error}") from error
    try:
        llm = LLM(**asked)
    except ValueError as error:
        if any(words in str(error) for words in _NO_ROOM):
            raise OutOfMemory(f"vllm: {error}") from error
        raise
    return Engine(llm, model, boundary, asked, environment)


def _engine_args(config, model, options):
    """vLLM's arguments: the plan's options over what makes vLLM comparable (ids only, no prefix cache, room as needed)."""
    asked = {
        "model": str(model),
        "skip_tokenizer_init": True,
        "enable_prefix_caching": False,
        "max_model_len": config["max_model_len"],
        "max_num_seqs": config["max_seqs"],
        "seed": config["seed"] % 2**31,
        "disable_log_stats": True,
    }
    asked.update(options)
    from vllm.platforms import current_platform

    sizes = ("kv_cache_memory_bytes", "gpu_memory_utilization")
    if current_platform.is_cpu() and not any(name in asked for name in sizes) and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        # Without it vLLM takes nearly all of the host's memory.
        seqs, tokens = asked["max_num_seqs"], asked["max_model_len"]
        if "num_gpu_blocks_override" in asked:
            # vLLM profiles memory even where the number of blocks is told.
            seqs, tokens = asked["num_gpu_blocks_override"], asked.get("block_size", 128)
        asked["kv_cache_memory_bytes"] = _kv_bytes(model, seqs, tokens)
    return asked


def _kv_bytes(model, seqs, tokens):
    """Room for `seqs` sequences of `tokens` tokens at 4 bytes a value, with a block more a sequence."""
    told = json.loads((model / "config.json").read_text())
    heads = told["num_attention_heads"]
    head_dim = told.get("head_dim") or told["hidden_size"] // heads
    values = 2 * told["num_hidden_layers"] * (told.get("num_key_value_heads") or heads) * head_dim
    return max(4 * values * seqs * (tokens + 128), 64 << 20)


def events_of(outputs, fresh, live, consumed):
    """Events of one step's `RequestOutput`s. `fresh` holds the requests without a token yet, `live` all in flight; returns
    the events, how many tokens were not a request's first, the prompt tokens of the requests that got their first, and the
    prompt tokens that a cache answered, of the requests that ended, whose prompts it adds to `consumed`."""
    events = []
    decode_seqs = prefill_tokens = hits = 0
    for output in outputs:
        request = int(output.request_id)
        completion = output.outputs[0]
        ids = completion.token_ids
        if request in fresh:
            if ids:
                fresh.discard(request)
                prefill_tokens += len(output.prompt_token_ids)
                decode_seqs += len(ids) - 1
        else:
            decode_seqs += len(ids)
        if output.finished:
            live.discard(request)
            fresh.discard(request)
            hits += output.num_cached_tokens or 0
            consumed.append((request, output.prompt_token_ids))
            finish = _FINISH.get(completion.finish_reason, "error")
            events.append((request, ids, len(output.prompt_token_ids), finish))
        else:
            events.append((request, ids, None, None))
    return events, decode_seqs, prefill_tokens, hits


class Engine:
    def __init__(self, llm, model, boundary, asked, environment):
        from vllm.sampling_params import RequestOutputKind

        from vllm import SamplingParams

        self._llm = llm
        self._engine = llm.llm_engine
        self._model = model
        self._boundary = boundary
        self._asked = asked
        self._environment = environment
        self._params_type = SamplingParams
        self._delta = RequestOutputKind.DELTA
        self._final = RequestOutputKind.FINAL_ONLY
        self._live = set()
        self._fresh = set()
        self._steps = 0
        self._hits = 0
        self._consumed = []
        self._core = _Core(self._engine) if boundary == "in-core" else None
        # Of this process: only an engine in it is counted.
        self._compiles = _compiles.of_torch() if self._core else None
        if self._core is None:
            _watch_child(self._engine.engine_core)

    def _params(self, output_tokens, sampling, kind, detokenise=False):
        temperature, top_p, top_k, seed = sampling
        greedy = temperature <= 0
        return self._params_type(
            temperature=0.0 if greedy else temperature,
            top_p=1.0 if greedy else top_p,
            top_k=0 if greedy else top_k,
            seed=None if greedy else seed % 2**63,
            max_tokens=output_tokens,
            ignore_eos=True,
            detokenize=detokenise,
            output_kind=kind,
        )

    def generate(self, prompts, output_tokens, samplings):
        params = [self._params(*pair, self._final) for pair in zip(output_tokens, samplings)]
        prompts = [{"prompt_token_ids": prompt} for prompt in prompts]
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        rows = []
        for output in outputs:
            self._hits += output.num_cached_tokens or 0
            self._consumed.append((None, output.prompt_token_ids))
            completion = output.outputs[0]
            finish = _FINISH.get(completion.finish_reason, "error")
            rows.append((completion.token_ids, len(output.prompt_token_ids), finish))
        return rows

    def generate_text(self, prompts, output_tokens, samplings, detokenise):
        if self._asked["skip_tokenizer_init"]:
            raise Unsupported("vllm: text needs vLLM's tokenizer: set skip_tokenizer_init to false")
        params = [self._params(*pair, self._final, detokenise) for pair in zip(output_tokens, samplings)]
        fed = [prompt if isinstance(prompt, str) else {"prompt_token_ids": prompt} for prompt in prompts]
        rows = []
        characters = 0
        for output in self._llm.generate(fed, params, use_tqdm=False):
            self._hits += output.num_cached_tokens or 0
            self._consumed.append((None, output.prompt_token_ids))
            completion = output.outputs[0]
            characters += len(completion.text)
            finish = _FINISH.get(completion.finish_reason, "error")
            rows.append((completion.token_ids, len(output.prompt_token_ids), finish))
        return rows, characters

    def score(self, prompts, continuations):
        # The log-probabilities of a prompt's own ids, from the pass that computes it; the one token after it is not used.
        params = self._params_type(
            temperature=0.0, max_tokens=1, ignore_eos=True, detokenize=False, prompt_logprobs=2, output_kind=self._final
        )
        fed = [{"prompt_token_ids": [*prompt, *after]} for prompt, after in zip(prompts, continuations)]
        outputs = self._llm.generate(fed, [params] * len(fed), use_tqdm=False)
        rows = []
        for output, prompt, after in zip(outputs, prompts, continuations):
            told = output.prompt_logprobs[len(prompt) :]
            rows.append([_scored(at, given) for at, given in zip(told, after)])
        return rows

    def submit(self, request, prompt, output_tokens, sampling):
        params = self._params(output_tokens, sampling, self._delta)
        self._engine.add_request(str(request), {"prompt_token_ids": prompt}, params)
        self._live.add(request)
        self._fresh.add(request)

    def step(self, deadline_ns):
        core = self._core
        start_ns = time.monotonic_ns()
        outputs = self._engine.step()
        time_ns = time.monotonic_ns()
        self._steps += 1
        events, decode_seqs, prefill_tokens, hits = events_of(outputs, self._fresh, self._live, self._consumed)
        self._hits += hits
        if core is not None:
            scheduled = core.scheduled_tokens()
            if scheduled is None and not events:
                return time_ns, events, None
            if scheduled is not None:
                prefill_tokens = max(scheduled - decode_seqs, 0)
            record = (start_ns, prefill_tokens, decode_seqs, *core.occupancy())
        elif events:
            waiting = len(self._fresh)
            record = (start_ns, prefill_tokens, decode_seqs, len(self._live) - waiting, waiting, None)
        else:
            record = None
        return time_ns, events, record

    def cancel(self, request):
        self._live.discard(request)
        self._fresh.discard(request)
        self._engine.abort_request([str(request)])

    def reset(self):
        for request in list(self._live):
            self.cancel(request)
        # Aborted requests leave the scheduler with its next step; a batch in its queue must come out too.
        deadline = time.monotonic() + 30
        while self._engine.has_unfinished_requests() or (self._core is not None and self._core.busy()):
            self._engine.step()
            if time.monotonic() > deadline:
                raise RuntimeError("vllm: requests were still unfinished 30 s after they had been aborted")
        if self._core is not None:
            self._core.scheduled_tokens()
        self._consumed = []
        self._engine.reset_prefix_cache()

    def consumed(self):
        return self._consumed

    def stats(self):
        stats = {"prefix_hit_tokens": self._hits}
        if self._core is not None:
            stats["preemptions"] = self._core.preemptions
            stats["steps"] = self._core.steps
            stats.update(self._compiles.stats())
            # torch's callback says nothing of code that vLLM compiles ahead of time.
            if "compiles" in stats and (own := _vllm_compiles()) is not None:
                stats["compiles.vllm_compiles"] = own
                stats["compiles"] += own
        else:
            stats["frontend_steps"] = self._steps
        return stats

    def shutdown(self):
        self._core = None
        engine, self._engine, self._llm = self._engine, None, None
        engine.engine_core.shutdown()

    def info(self):
        import torch
        import vllm
        from vllm.platforms import current_platform

        config = self._engine.vllm_config
        model, cache, scheduler = config.model_config, config.cache_config, config.scheduler_config
        parallel, compilation = config.parallel_config, config.compilation_config
        hf = model.hf_text_config
        on_cpu = current_platform.is_cpu()
        vocab_size = model.get_vocab_size()
        effective = {
            **self._asked,
            "boundary": self._boundary,
            "dtype": str(model.dtype).removeprefix("torch."),
            "block_size": cache.block_size,
            "kv_cache_dtype": cache.cache_dtype,
            "kv_tensor_dtype": _kv_tensor_dtype(self._engine, compilation) if self._core else None,
            "enable_prefix_caching": cache.enable_prefix_caching,
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "enable_chunked_prefill": scheduler.enable_chunked_prefill,
            "async_scheduling": scheduler.async_scheduling,
            "enforce_eager": model.enforce_eager,
            "compilation_mode": str(getattr(compilation, "mode", None)),
            "cudagraph_mode": str(compilation.cudagraph_mode),
            "cudagraph_capture_sizes": compilation.cudagraph_capture_sizes,
            "executor": type(getattr(self._engine, "model_executor", None)).__name__ if self._core else None,
            "attention_backend": _attention_backend(compilation) if self._core else None,
            "quantization": model.quantization,
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads() if on_cpu and self._core else None,
            **self._environment,
        }
        sizes = [path.stat().st_size for path in self._model.glob("*.safetensors")]
        return {
            "version": vllm.__version__,
            "boundary": self._boundary,
            "device": f"CPU ({torch.backends.cpu.get_cpu_capability()})" if on_cpu else current_platform.get_device_name(),
            "compile_mode": _compile_mode(model, compilation, on_cpu),
            "gpu_in_process": None if on_cpu else self._core is not None,
            "parallelism": (parallel.tensor_parallel_size, parallel.pipeline_parallel_size),
            "kv_capacity_tokens": getattr(cache, "kv_cache_size_tokens", None)
            or (cache.num_gpu_blocks or 0) * cache.block_size
            or None,
            "max_seqs": scheduler.max_num_seqs,
            "max_model_len": model.max_model_len,
            "model": {
                "name": getattr(hf, "_name_or_path", "") or self._model.resolve().name,
                "architecture": hf.model_type,
                "weights_dtype": str(model.dtype).removeprefix("torch."),
                "size_bytes": sum(sizes) or None,
                "context_len": getattr(hf, "max_position_embeddings", None),
                "vocab_size": vocab_size,
                "ordinary_ids": ordinary_ids(self._model, vocab_size),
            },
            "effective": plain(effective),
            "uncounted": {"compiles": self._compiles.uncounted() if self._compiles else _compiles.CHILD},
            # By the memory that was free as vLLM profiled it.
            # One block is vLLM's own. `kv_capacity_tokens` counts what requests of the longest length can use of the others.
            "observed": plain(
                {
                    "num_gpu_blocks": cache.num_gpu_blocks,
                    "kv_block_tokens": (cache.num_gpu_blocks - 1) * cache.block_size if cache.num_gpu_blocks else None,
                }
            ),
        }


def _vllm_compiles():
    """What vLLM counts of its own compilations so far; None where it does not. Its captures are counted by torch's."""
    try:
        from vllm.compilation.counter import compilation_counter as counter

        return counter.num_backend_compilations + counter.num_aot_compiles
    except (ImportError, AttributeError):
        return None


def _scored(at, given):
    """vLLM's {id: (logprob, rank)} of a position: the two of the best ranks, and the one that was given."""
    (top1, one), (top2, two) = sorted(at.items(), key=lambda item: item[1].rank)[:2]
    return top1, one.logprob, top2, two.logprob, at[given].logprob


class _Core:
    """EngineCore's scheduler, seen from this process. Internal to vLLM: only counters are read, nothing is changed."""

    def __init__(self, engine):
        self.preemptions = 0
        self.steps = 0
        self._scheduled = None
        self._core = engine.engine_core.engine_core
        scheduler = self._scheduler = self._core.scheduler
        manager = scheduler.kv_cache_manager
        pool = getattr(manager, "block_pool", None)
        config = engine.vllm_config.cache_config
        self._capacity = getattr(config, "kv_cache_size_tokens", None) if pool is not None else None
        self._usage = pool.get_usage if pool is not None else None

        update = scheduler.update_from_output
        preempt = scheduler._preempt_request

        def update_from_output(scheduler_output, *args, **kwargs):
            scheduled = scheduler_output.total_num_scheduled_tokens
            if scheduled:
                self._scheduled = (self._scheduled or 0) + scheduled
                self.steps += 1
            return update(scheduler_output, *args, **kwargs)

        def preempt_request(*args, **kwargs):
            self.preemptions += 1
            return preempt(*args, **kwargs)

        scheduler.update_from_output = update_from_output
        scheduler._preempt_request = preempt_request

    def scheduled_tokens(self):
        """Tokens computed by the batches that have come out since the last call; None when none has."""
        scheduled, self._scheduled = self._scheduled, None
        return scheduled

    def occupancy(self):
        """(running, waiting, KV tokens in use or None)."""
        scheduler = self._scheduler
        used = None if self._capacity is None else round(self._usage() * self._capacity)
        return len(scheduler.running), len(scheduler.waiting), used

    def busy(self):
        """Whether a batch is still under way (async scheduling) or a finished request not yet told to the workers."""
        return bool(self._core.batch_queue) or self._scheduler.has_finished_requests()


def _watch_child(client):
    """Ends the wait for an EngineCore process that is gone. vLLM's synchronous client notices the death and stops the thread
    that fills its queue of outputs, but `step`, which waits for that queue, is not told and waits for ever (seen in 0.32).
    Internal to vLLM: without these names, a trial's deadline ends the wait."""
    outputs = getattr(client, "outputs_queue", None)
    filler = getattr(client, "output_queue_thread", None)
    if outputs is None or filler is None:
        print("vllm: this version's client is not known: the death of its child is seen by the trial's deadline only")
        return

    def watch():
        filler.join()
        # The client raises its own EngineDeadError in place of this when it knows of the death.
        outputs.put_nowait(RuntimeError("vllm: its EngineCore process has ended"))

    threading.Thread(target=watch, name="tacho-watch", daemon=True).start()


def _kv_tensor_dtype(engine, compilation):
    """The type of the tensors that are the KV cache. Internal to vLLM: None where they are not found, and where they hold bytes
    of a packed format, which the configuration names."""
    import torch

    def tensors(of):
        if isinstance(of, torch.Tensor):
            return [of] if of.numel() else []
        return [one for part in of for one in tensors(part)] if isinstance(of, (list, tuple)) else []

    found = []
    try:
        found = tensors(engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner.kv_caches)
    except AttributeError:
        pass
    for layer in {} if found else getattr(compilation, "static_forward_context", {}).values():
        found += tensors(getattr(layer, "kv_cache", None))
    if not found:
        print("vllm: this version's KV cache was not found: its type is told as vLLM's configuration has it")
    if not all(one.dtype.is_floating_point for one in found):
        return None
    return ", ".join(sorted({str(one.dtype).removeprefix("torch.") for one in found})) or None


def _attention_backend(compilation):
    layers = getattr(compilation, "static_forward_context", {}).values()
    names = {layer.get_attn_backend().get_name() for layer in layers if hasattr(layer, "get_attn_backend")}
    return ", ".join(sorted(names)) or None


def _compile_mode(model, compilation, on_cpu):
    if model.enforce_eager:
        return "eager"
    mode = getattr(compilation, "mode", None)
    parts = []
    if mode is not None and int(mode) != 0:
        parts.append("inductor" if getattr(compilation, "backend", "") != "eager" else "dynamo")
    if not on_cpu and compilation.cudagraph_mode is not None and int(bool(compilation.cudagraph_mode.value)):
        parts.append("cuda-graphs")
    return "+".join(parts) or "eager"
