"""tensorrt-llm DOUBLE (not TensorRT-LLM): a thread that batches in flight, and the results that callers follow."""

import asyncio
import json
import os
import pathlib
import queue
import threading
import time

_FIRST_ID = 4
_BLOCK_TOKENS = 32


class ValidationError(ValueError):
    """As pydantic's: an argument is not known."""


class _Fields:
    known = ()

    def __init__(self, **fields):
        unknown = sorted(set(fields) - set(self.known))
        if unknown:
            raise ValidationError(f"1 validation error for {type(self).__name__}\n{unknown[0]}\n  Extra inputs are not permitted")
        for name in self.known:
            setattr(self, name, fields.get(name))

    def model_dump(self):
        return {name: getattr(self, name) for name in self.known}


class KvCacheConfig(_Fields):
    known = ("enable_block_reuse", "max_tokens", "free_gpu_memory_fraction")


class SchedulerConfig(_Fields):
    known = ("capacity_scheduler_policy",)


class SamplingParams(_Fields):
    known = (
        "max_tokens", "ignore_eos", "detokenize", "return_perf_metrics", "temperature", "top_p", "top_k", "seed",
    )  # fmt: skip


class _Plugins:
    use_paged_context_fmha = False


class BuildConfig(_Fields):
    known = ("max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width")

    def __init__(self, **fields):
        super().__init__(**fields)
        self.plugin_config = _Plugins()


class QuantAlgo:
    FP8 = "FP8"


class QuantConfig(_Fields):
    known = ("quant_algo",)


class _Arguments(_Fields):
    known = (
        "model", "skip_tokenizer_init", "dtype", "tensor_parallel_size", "max_batch_size", "max_seq_len",
        "max_num_tokens", "kv_cache_config", "scheduler_config", "enable_iter_perf_stats", "enable_chunked_prefill",
        "build_config", "quant_config",
    )  # fmt: skip


class _KvCacheMetrics:
    num_reused_blocks = 0


class _PerfMetrics:
    kv_cache_metrics = _KvCacheMetrics()


class _Completion:
    def __init__(self):
        self.token_ids = []
        self.token_ids_diff = []
        self.finish_reason = None
        self.request_perf_metrics = None


class RequestOutput:
    """A result, followed while it grows. Its queue is an asyncio one if it was made inside an event loop."""

    def __init__(self, llm, prompt, params, streaming):
        self.prompt_token_ids = prompt
        self.outputs = [_Completion()]
        self.finished = False
        self._llm = llm
        self._params = params
        self._streaming = streaming
        self._produced = 0
        self._aborted = False
        sampled = params.seed if params.temperature else -1
        self._state = hash((tuple(prompt), sampled))
        try:
            self._loop = asyncio.get_running_loop()
            self._queue = asyncio.Queue()
        except RuntimeError:
            self._loop = None
            self._queue = queue.Queue()

    def _tell(self, ids, finish):
        if self._loop is None:
            self._queue.put((ids, finish))
        else:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (ids, finish))

    def _take(self, told):
        ids, finish = told
        completion = self.outputs[0]
        completion.token_ids_diff = ids
        completion.token_ids = completion.token_ids + ids
        if finish is not None:
            completion.finish_reason = finish
            self.finished = True
            if self._params.return_perf_metrics:
                completion.request_perf_metrics = _PerfMetrics()
        return self

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.finished:
            raise StopAsyncIteration
        return self._take(await self._queue.get())

    def result(self):
        while not self.finished:
            self._take(self._queue.get())
        return self

    def abort(self):
        self._aborted = True
        self._llm._wake.set()


class LLM:
    def __init__(self, **arguments):
        self.args = _Arguments(**arguments)
        config = pathlib.Path(self.args.model) / "config.json"
        if not config.is_file():
            raise ValueError(f"(double) {config} is missing")
        if os.environ.get("TLLM_WORKER_USE_SINGLE_PROCESS") not in ("0", "1"):
            raise RuntimeError("(double) TLLM_WORKER_USE_SINGLE_PROCESS was not set before the import")
        self.args.dtype = self.args.dtype or "float16"
        self.args.max_num_tokens = self.args.max_num_tokens or 8192
        self.args.max_batch_size = self.args.max_batch_size or 64
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._waiting = []
        self._running = []
        self._stats = []
        self._iteration = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def generate_async(self, inputs, sampling_params, streaming=False):
        if sampling_params.detokenize is not False:
            raise ValueError("(double) detokenize needs a tokenizer, and skip_tokenizer_init was set")
        prompt = list(inputs["prompt_token_ids"])
        if len(prompt) + sampling_params.max_tokens > self.args.max_seq_len:
            raise ValueError(f"(double) {len(prompt)} + {sampling_params.max_tokens} tokens are more than {self.args.max_seq_len}")
        result = RequestOutput(self, prompt, sampling_params, streaming)
        with self._lock:
            self._waiting.append(result)
        self._wake.set()
        return result

    def generate(self, inputs, sampling_params, use_tqdm=True):
        return [result.result() for result in [self.generate_async(*pair) for pair in zip(inputs, sampling_params)]]

    def get_stats(self, timeout=2):
        """Statistics of the iterations since the last call."""
        with self._lock:
            stats, self._stats = self._stats, []
        return stats

    def save(self, folder):
        """A folder of the double's engines, which the double of the C++ library loads."""
        build = self.args.build_config
        model = json.loads((pathlib.Path(self.args.model) / "config.json").read_text())
        quantization = self.args.quant_config.quant_algo if self.args.quant_config else None
        ways = self.args.tensor_parallel_size or 1
        config = {
            "version": "double",
            "pretrained_config": {
                "architecture": model["model_type"],
                "dtype": self.args.dtype,
                "vocab_size": model["vocab_size"],
                "mapping": {"world_size": ways, "tp_size": ways, "pp_size": 1},
                "quantization": {"quant_algo": quantization},
            },
            "build_config": {
                **build.model_dump(),
                "plugin_config": {"use_paged_context_fmha": build.plugin_config.use_paged_context_fmha},
            },
        }
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        for rank in range(ways):
            lines = "".join(f"{name}={getattr(build, name)}\n" for name in BuildConfig.known if name != "max_beam_width")
            (folder / f"rank{rank}.engine").write_text("tensorrt-llm DOUBLE engine\n" + lines)

    def shutdown(self):
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _run(self):
        while not self._closed:
            with self._lock:
                room = self.args.max_batch_size - len(self._running)
                joining, self._waiting = self._waiting[:room], self._waiting[room:]
            if not joining and not self._running:
                self._wake.wait(0.05)
                self._wake.clear()
                continue
            decoding = len(self._running)
            self._running += joining
            self._count(joining, decoding)
            time.sleep(0.0002)
            self._running = [result for result in self._running if not self._advance(result)]

    def _count(self, joining, decoding):
        self._iteration += 1
        stats = {
            "iter": self._iteration,
            "kvCacheStats": {"maxNumBlocks": 512, "tokensPerBlock": _BLOCK_TOKENS},
            "inflightBatchingStats": {
                "numScheduledRequests": len(joining) + decoding,
                "numContextRequests": len(joining),
                "numGenRequests": decoding,
                "numPausedRequests": 0,
                "numCtxTokens": sum(len(result.prompt_token_ids) for result in joining),
            },
        }
        with self._lock:
            self._stats.append(stats)

    def _advance(self, result):
        """One token of a request; whether it was the last."""
        if result._aborted:
            result._tell([], "cancelled")
            return True
        token = _FIRST_ID + hash((result._state, result._produced)) % (1000 - _FIRST_ID)
        result._produced += 1
        ended = result._produced == result._params.max_tokens
        result._tell([token], "length" if ended else None)
        return ended
