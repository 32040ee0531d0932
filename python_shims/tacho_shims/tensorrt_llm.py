"""TensorRT-LLM through its Python `LLM` API, of the releases 1.x: the only door from 1.3.0rc21 on.

Options are the arguments of `tensorrt_llm.LLM`; what it does not know, it refuses itself. Beside them: `backend`
("pytorch", the default, or "tensorrt", the engine backend that later releases have no more), `boundary` ("in-core", the
default: TLLM_WORKER_USE_SINGLE_PROCESS=1 keeps the worker in this process; "child-core": the library's own default, a worker
process a rank), and environment variables, which are the names in capitals. The arguments that are objects
(`kv_cache_config`, `scheduler_config`, `cuda_graph_config`) are given as tables of their fields.

`generate` is the library's own call. The step loop follows its asynchronous results on a thread that runs an event loop, as
its server does: tokens are stamped there, as they come out. Step records are made of what came out together.
"""

import asyncio
import importlib
import json
import os
import pathlib
import queue
import threading
import time

from . import BadRequest, Unsupported, _compiles, plain
from ._vocab import ordinary_ids

BOUNDARIES = {"in-core": "1", "child-core": "0"}

_FINISH = {"length": "length", "stop": "stop", "cancelled": "cancelled", "timeout": "error", None: None}
_TABLES = {
    "kv_cache_config": "KvCacheConfig",
    "scheduler_config": "SchedulerConfig",
    "cuda_graph_config": "CudaGraphConfig",
}
_PATIENCE_S = 30


def load(config):
    if config["model"] is None:
        raise BadRequest("tensorrt-llm: no model was given: expected a folder with config.json and safetensors")
    model = pathlib.Path(config["model"])
    if not (model / "config.json").is_file():
        raise BadRequest(f"tensorrt-llm: {model} is not a model folder: expected config.json in it")
    options = dict(config["options"])
    boundary = options.pop("boundary", "in-core")
    if boundary not in BOUNDARIES:
        raise Unsupported(f"tensorrt-llm: boundary {boundary!r} is not one of {', '.join(BOUNDARIES)}")
    if boundary == "in-core" and options.get("tensor_parallel_size", 1) != 1:
        raise Unsupported("tensorrt-llm: several ranks are several processes: set boundary = 'child-core'")
    backend = options.pop("backend", "pytorch")
    environment = {name: str(options.pop(name)) for name in list(options) if name.isupper()}
    environment["TLLM_WORKER_USE_SINGLE_PROCESS"] = BOUNDARIES[boundary]
    os.environ.update(environment)

    # Not before: the library reads the environment as it is imported.
    import tensorrt_llm

    door = _door(tensorrt_llm, backend)
    asked = _arguments(config, model, options, backend)
    try:
        llm = door(**{**asked, **_tables(tensorrt_llm, asked)})
    except TypeError as error:
        raise Unsupported(f"tensorrt-llm: {error}") from error
    except ValueError as error:
        # pydantic's refusal of names and values that the arguments do not know, before anything is loaded.
        if type(error).__name__ == "ValidationError":
            raise Unsupported(f"tensorrt-llm: {error}") from error
        raise
    return Engine(llm, tensorrt_llm, model, boundary, backend, asked, environment)


def _door(module, backend):
    if backend == "pytorch":
        return module.LLM
    if backend != "tensorrt":
        raise Unsupported(f"tensorrt-llm: backend {backend!r} is not one of pytorch, tensorrt")
    try:
        return importlib.import_module("tensorrt_llm._tensorrt_engine").LLM
    except ImportError as error:
        raise Unsupported(
            f"tensorrt-llm: {module.__version__} has no TensorRT engine backend: 1.3.0rc20 was the last that had; "
            "use backend = 'pytorch'"
        ) from error


def _arguments(config, model, options, backend):
    """The arguments of `LLM`: the plan's options over what makes it comparable (ids only, no prefix cache, room as needed)."""
    asked = {
        "model": str(model),
        "skip_tokenizer_init": True,
        "max_batch_size": config["max_seqs"],
        "max_seq_len": config["max_model_len"],
    }
    if backend == "pytorch":
        # The engine backend counts without being asked, and knows no such argument.
        asked["enable_iter_perf_stats"] = True
    asked.update(options)
    asked["kv_cache_config"] = {"enable_block_reuse": False, **asked.get("kv_cache_config", {})}
    return asked


def _tables(module, asked):
    """The arguments that are objects, made of their fields."""
    api = importlib.import_module(f"{module.__name__}.llmapi")
    made = {}
    for name, kind in _TABLES.items():
        if isinstance(asked.get(name), dict):
            if not hasattr(api, kind):
                raise Unsupported(f"tensorrt-llm: {module.__version__} has no {kind}")
            made[name] = getattr(api, kind)(**asked[name])
    return made


class Engine:
    def __init__(self, llm, module, model, boundary, backend, asked, environment):
        self._llm = llm
        self._module = module
        self._model = model
        self._boundary = boundary
        self._backend = backend
        self._asked = asked
        self._environment = environment
        self._updates = queue.SimpleQueue()
        self._epoch = 0
        self._live = {}
        self._fresh = set()
        self._counts = {"steps": 0, "preemptions": 0, "context_tokens": 0}
        self._hit_blocks = 0
        self._block_tokens = None
        self._capacity = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tacho-llm-results", daemon=True)
        self._thread.start()
        # Shows that it works, and makes it tell the size of its cache.
        self.generate([[_first_id(self._ordinary())]], [1], [(0.0, 1.0, 0, 0)])
        self._take_stats(2)
        double = getattr(module, "TACHO_DOUBLE", None)
        self._compiles = _compiles.of_torch() if boundary == "in-core" and double is None else None
        self._uncounted = self._why_uncounted(double)

    def _why_uncounted(self, double):
        if double is not None:
            return "a double compiles nothing and counts nothing"
        if self._compiles is None:
            return _compiles.CHILD
        if self._backend == "tensorrt":
            return "the engine backend captures its graphs in C++, where nothing counts them"
        return self._compiles.uncounted()

    def _params(self, output_tokens, sampling):
        temperature, top_p, top_k, seed = sampling
        chosen = {"top_k": 1}
        if temperature > 0:
            chosen = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed % 2**63}
        return self._module.SamplingParams(
            max_tokens=output_tokens, ignore_eos=True, detokenize=False, return_perf_metrics=True, **chosen
        )

    def generate(self, prompts, output_tokens, samplings):
        params = [self._params(*pair) for pair in zip(output_tokens, samplings)]
        prompts = [{"prompt_token_ids": prompt} for prompt in prompts]
        rows = []
        for output in self._llm.generate(prompts, params, use_tqdm=False):
            completion = output.outputs[0]
            self._count_hits(completion)
            finish = _FINISH.get(completion.finish_reason, "error") or "error"
            rows.append((completion.token_ids, len(output.prompt_token_ids), finish))
        return rows

    def submit(self, request, prompt, output_tokens, sampling):
        params = self._params(output_tokens, sampling)
        started = asyncio.run_coroutine_threadsafe(self._start(request, self._epoch, prompt, params), self._loop)
        self._live[request] = (started.result(_PATIENCE_S), len(prompt))
        self._fresh.add(request)

    async def _start(self, request, epoch, prompt, params):
        result = self._llm.generate_async({"prompt_token_ids": prompt}, sampling_params=params, streaming=True)
        task = asyncio.ensure_future(self._follow(request, epoch, result))
        return result, task

    async def _follow(self, request, epoch, result):
        """Passes on what one request gives, stamped as it comes."""
        try:
            async for output in result:
                time_ns = time.monotonic_ns()
                completion = output.outputs[0]
                finish = _FINISH.get(completion.finish_reason, "error") if output.finished else None
                if output.finished:
                    self._count_hits(completion)
                    finish = finish or "error"
                self._updates.put((time_ns, epoch, request, list(completion.token_ids_diff), finish))
        except Exception as error:  # noqa: BLE001: told by the step that meets it
            self._updates.put((time.monotonic_ns(), epoch, request, error, "error"))

    def step(self, deadline_ns):
        start_ns = time.monotonic_ns()
        events = []
        prefill_tokens = decode_seqs = 0
        time_ns = start_ns
        for update in self._ready(deadline_ns):
            stamp_ns, epoch, request, ids, finish = update
            # Cancelled, or of before a reset: nothing is said of it any more.
            if epoch != self._epoch or request not in self._live:
                continue
            if isinstance(ids, Exception):
                self._forget(request)
                raise ids
            time_ns = max(time_ns, stamp_ns)
            input_tokens = self._live[request][1]
            decode_seqs += len(ids)
            if ids and request in self._fresh:
                self._fresh.discard(request)
                prefill_tokens += input_tokens
                decode_seqs -= 1
            events.append((request, ids, input_tokens if finish else None, finish))
            if finish:
                self._forget(request)
        if not events:
            return time.monotonic_ns(), events, None
        waiting = len(self._fresh)
        record = (start_ns, prefill_tokens, decode_seqs, len(self._live) - waiting, waiting, None)
        return time_ns, events, record

    def _ready(self, deadline_ns):
        """Updates that are there; waits for the first until the deadline."""
        try:
            yield self._updates.get(timeout=max((deadline_ns - time.monotonic_ns()) / 1e9, 1e-4))
            while True:
                yield self._updates.get_nowait()
        except queue.Empty:
            return

    def _forget(self, request):
        self._live.pop(request, None)
        self._fresh.discard(request)

    def cancel(self, request):
        (result, _), _ = self._live[request]
        self._forget(request)
        self._loop.call_soon_threadsafe(result.abort)

    def reset(self):
        live = list(self._live.values())
        self._epoch += 1
        self._live.clear()
        self._fresh.clear()
        for (result, _), _ in live:
            self._loop.call_soon_threadsafe(result.abort)
        deadline = time.monotonic() + _PATIENCE_S
        while any(not task.done() for (_, task), _ in live):
            if time.monotonic() > deadline:
                raise RuntimeError(f"tensorrt-llm: requests were still unfinished {_PATIENCE_S} s after they had been aborted")
            time.sleep(0.001)

    def _count_hits(self, completion):
        metrics = getattr(completion, "request_perf_metrics", None)
        if metrics is None:
            self._hit_blocks = None
        elif self._hit_blocks is not None:
            self._hit_blocks += metrics.kv_cache_metrics.num_reused_blocks

    def _take_stats(self, timeout):
        for stats in self._llm.get_stats(timeout) or []:
            stats = json.loads(stats) if isinstance(stats, str) else stats
            batch = stats.get("inflightBatchingStats") or {}
            if batch.get("numScheduledRequests"):
                self._counts["steps"] += 1
            self._counts["preemptions"] += batch.get("numPausedRequests", 0)
            self._counts["context_tokens"] += batch.get("numCtxTokens", 0)
            cache = stats.get("kvCacheStats") or {}
            if cache.get("tokensPerBlock"):
                self._block_tokens = cache["tokensPerBlock"]
                self._capacity = cache["maxNumBlocks"] * self._block_tokens

    def stats(self):
        self._take_stats(0.1)
        stats = dict(self._counts)
        if self._hit_blocks is not None and self._block_tokens is not None:
            stats["prefix_hit_tokens"] = self._hit_blocks * self._block_tokens
        if self._compiles is not None:
            stats.update(self._compiles.stats())
        return stats

    def shutdown(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        llm, self._llm = self._llm, None
        llm.shutdown()

    def _vocab_size(self):
        told = json.loads((self._model / "config.json").read_text())
        told = told.get("pretrained_config", told)
        return told.get("text_config", told)["vocab_size"]

    def _ordinary(self):
        return ordinary_ids(self._model, self._vocab_size())

    def info(self):
        double = getattr(self._module, "TACHO_DOUBLE", None)
        args = self._llm.args
        told = json.loads((self._model / "config.json").read_text())
        # Unset in releases that leave it to the engine's own mapping.
        ways = [getattr(args, f"{kind}_parallel_size", None) or 1 for kind in ("tensor", "pipeline")]
        sizes = [path.stat().st_size for path in self._model.glob("*.safetensors")]
        graphs = getattr(args, "cuda_graph_config", None) is not None
        effective = {
            **self._asked,
            "backend": self._backend,
            "boundary": self._boundary,
            "max_batch_size": args.max_batch_size,
            "max_seq_len": args.max_seq_len,
            "max_num_tokens": args.max_num_tokens,
            "dtype": str(args.dtype),
            "kv_cache_config": _fields(args.kv_cache_config),
            "scheduler_config": _fields(getattr(args, "scheduler_config", None)),
            "tokens_per_block": self._block_tokens,
            **self._environment,
        }
        return {
            "version": self._module.__version__,
            "double": double,
            "boundary": self._boundary,
            "device": double or _device(),
            "compile_mode": "tensorrt" if self._backend == "tensorrt" else "cuda-graphs" if graphs else "eager",
            "gpu_in_process": None if double else self._boundary == "in-core",
            "parallelism": ways,
            "kv_capacity_tokens": self._capacity,
            "max_seqs": args.max_batch_size,
            "max_model_len": args.max_seq_len,
            "model": {
                "name": self._model.resolve().name,
                "architecture": told.get("model_type") or told.get("pretrained_config", {}).get("architecture"),
                "weights_dtype": str(args.dtype),
                "size_bytes": sum(sizes) or None,
                "context_len": told.get("max_position_embeddings"),
                "vocab_size": self._vocab_size(),
                "ordinary_ids": self._ordinary(),
            },
            "effective": plain(effective),
            "uncounted": {"compiles": self._uncounted},
        }


def _first_id(ranges):
    return ranges[0][0] if ranges else 0


def _fields(config):
    dump = getattr(config, "model_dump", None)
    return dump() if dump is not None else config


def _device():
    import torch

    return torch.cuda.get_device_name()
