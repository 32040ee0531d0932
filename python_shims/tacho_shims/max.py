"""MAX, by its pipeline and `GenerateIterator`: a fixed batch of token ids in this process.

Options are MAX's own (`PipelineArgs`, flat), and `device` ("cpu" | "gpu"; left out: a GPU if there is one). This door runs
the batch it is given and schedules nothing: there is no continuous batching here and no request is cancelled. A call with
more requests than the batch has rows runs them in waves of that many, each to its longest; who schedules is thus Tacho.

Written against MAX 26.7.
"""

import asyncio
import os
import pathlib
import time

from . import BadRequest, Unsupported, _compiles, plain
from ._vocab import ordinary_ids

_ENVIRONMENT = {"MODULAR_TELEMETRY_ENABLED": "0", "MAX_SERVE_DISABLE_TELEMETRY": "1"}


def load(config):
    if config["model"] is None:
        raise BadRequest("max: no model was given: expected a folder with config.json and safetensors")
    model = pathlib.Path(config["model"])
    if not (model / "config.json").is_file():
        raise BadRequest(
            f"max: {model} is not a model folder: expected config.json in it; `tacho model` converts a GGUF file"
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "TACHO_CACHE_DIR" in os.environ:
        # What MAX compiles takes minutes: it is kept where Tacho keeps all that it can make again.
        os.environ.setdefault("MODULAR_CACHE_DIR", os.path.join(os.environ["TACHO_CACHE_DIR"], "max-compiled"))

    from max.driver import DeviceSpec, accelerator_count
    from max.pipelines import PIPELINE_REGISTRY
    from max.pipelines.lib import PipelineArgs, PipelineConfig

    options = dict(config["options"])
    device = options.pop("device", "gpu" if accelerator_count() else "cpu")
    if device not in ("cpu", "gpu"):
        raise Unsupported(f"max: device {device!r} is not cpu or gpu")
    asked = {
        "model_path": str(model),
        "device_specs": [DeviceSpec.cpu() if device == "cpu" else DeviceSpec.accelerator(0)],
        # A length is compiled in: a round one is found in the compile cache again.
        "max_length": _round_up(config["max_model_len"]),
        "max_batch_size": max(config["max_seqs"], 1),
        "enable_prefix_caching": False,
        **({"device_graph_capture": False} if device == "cpu" else {}),
        **options,
    }
    # MAX's own refusal of names and values it does not know, before anything is loaded.
    try:
        arguments = PipelineArgs.from_flat_kwargs(**asked)
    except (ValueError, TypeError) as error:
        raise Unsupported(f"max: {error}") from error
    pipeline_config = PipelineConfig.from_args(arguments)
    start = time.monotonic()
    retrieved = PIPELINE_REGISTRY.retrieve_factory(pipeline_config)
    pipeline = retrieved.factory()
    print(f"max: compiled or found in the cache, and loaded, in {time.monotonic() - start:.1f} s")
    return Engine(pipeline, retrieved.tokenizer, model, device, asked)


def _round_up(tokens):
    length = 512
    while length < tokens:
        length *= 2
    return length


class Engine:
    def __init__(self, pipeline, tokenizer, model, device, asked):
        self._pipeline = pipeline
        self._tokenizer = tokenizer
        # MAX's tokenizer is asynchronous.
        self._loop = asyncio.new_event_loop()
        self._model = model
        self._device = device
        self._asked = asked
        self._steps = 0
        self._consumed = []
        self._rows = int(pipeline.max_batch_size)
        self._compiles = _compiles.of_max()

    def _params(self, sampling, **more):
        from max.pipelines.context import SamplingParams

        temperature, top_p, top_k, seed = sampling
        greedy = temperature <= 0
        return SamplingParams(
            temperature=0.0 if greedy else temperature,
            top_p=1.0 if greedy else top_p,
            top_k=1 if greedy else (top_k or -1),
            seed=0 if greedy else seed,
            # No id ends a sequence: exact lengths.
            ignore_eos=True,
            detokenize=False,
            **more,
        )

    def _context(self, prompt, output_tokens, sampling):
        import numpy
        from max.pipelines.context import EOSTracker, TextContext, TokenBuffer
        from max.pipelines.modeling.types import RequestID

        return TextContext(
            request_id=RequestID(),
            max_length=len(prompt) + output_tokens,
            tokens=TokenBuffer(numpy.asarray(prompt, dtype=numpy.int64)),
            eos_tracker=EOSTracker(eos_token_ids=set()),
            sampling_params=self._params(sampling),
        )

    def _run(self, contexts):
        """The whole sequences, prompts and outputs, of one wave."""
        from max.pipelines.lib.generate import GenerateIterator

        with GenerateIterator.from_contexts(self._pipeline, contexts) as batch:
            while not batch.done:
                batch.step()
                self._steps += 1
            return batch.sequences

    def generate(self, prompts, output_tokens, samplings):
        rows = []
        for first in range(0, len(prompts), self._rows):
            wave = slice(first, first + self._rows)
            contexts = [self._context(*row) for row in zip(prompts[wave], output_tokens[wave], samplings[wave])]
            sequences = self._run(contexts)
            for sequence, prompt, wanted in zip(sequences, prompts[wave], output_tokens[wave]):
                # MAX gives prompt and output back as one; that the prompt stands there unchanged is what it consumed.
                consumed = len(prompt) if sequence[: len(prompt)] == list(prompt) else 0
                self._consumed.append((sequence, len(prompt)))
                ids = sequence[consumed:]
                rows.append((ids, consumed, "length" if len(ids) == wanted else "stop"))
        return rows

    async def _text_context(self, prompt, output_tokens, sampling):
        """A text's context as MAX's own tokenizer makes it, and `max generate` with it; ids as in `_context`."""
        from max.pipelines.modeling.types import RequestID, TextGenerationRequest

        if not isinstance(prompt, str):
            return self._context(prompt, output_tokens, sampling)
        request = TextGenerationRequest(
            request_id=RequestID(),
            model_name="model",
            prompt=prompt,
            sampling_params=self._params(sampling, max_new_tokens=output_tokens),
        )
        return await self._tokenizer.new_context(request)

    async def _text_contexts(self, requests):
        return await asyncio.gather(*(self._text_context(*request) for request in requests))

    async def _decode(self, outputs):
        return [await self._tokenizer.decode(ids, skip_special_tokens=True) for ids in outputs]

    def generate_text(self, prompts, output_tokens, samplings, detokenise):
        """Waves as in `generate`: MAX's tokenizer makes their contexts before, and decodes their outputs after each."""
        rows, characters = [], 0
        for first in range(0, len(prompts), self._rows):
            wave = slice(first, first + self._rows)
            requests = list(zip(prompts[wave], output_tokens[wave], samplings[wave]))
            contexts = self._loop.run_until_complete(self._text_contexts(requests))
            lengths = [len(context.tokens) for context in contexts]
            outputs = []
            for sequence, length, wanted in zip(self._run(contexts), lengths, output_tokens[wave]):
                self._consumed.append((sequence, length))
                outputs.append(sequence[length:])
                rows.append((outputs[-1], length, "length" if len(outputs[-1]) == wanted else "stop"))
            if detokenise:
                characters += sum(map(len, self._loop.run_until_complete(self._decode(outputs))))
        return rows, characters

    def score(self, prompts, continuations):
        # MAX tells the logits after a prompt, so that every position is the end of a prompt of its own.
        import numpy
        from max.pipelines.lib.generate import GenerateIterator

        if getattr(self._pipeline, "overlap_active", False):
            raise Unsupported("max: logits are told by a pipeline without overlap only")
        ends = [
            (place, [*prompt, *after[:index]], after[index])
            for place, (prompt, after) in enumerate(zip(prompts, continuations))
            for index in range(len(after))
        ]
        rows = [[] for _ in prompts]
        greedy = (0.0, 1.0, 0, 0)
        for first in range(0, len(ends), self._rows):
            wave = ends[first : first + self._rows]
            contexts = [self._context(ids, 1, greedy) for _, ids, _ in wave]
            told = [[] for _ in wave]
            for context, into in zip(contexts, told):
                # The last row is the next token's, whether the model tells one row or one a position.
                context.sampling_params.logits_processors = [
                    lambda inputs, into=into: into.append(
                        numpy.array(inputs.logits[-1, :].to_numpy(), dtype=numpy.float64).reshape(-1)
                    )
                ]
            with GenerateIterator.from_contexts(self._pipeline, contexts) as batch:
                while not batch.done:
                    batch.step()
            for (place, _, given), logits in zip(wave, told):
                rows[place].append(_scored(logits[0], given))
        return rows

    def _refuse(self, what):
        raise Unsupported(f"max: {what} needs continuous batching, which this door (a fixed batch) does not have")

    def submit(self, request, prompt, output_tokens, sampling):
        self._refuse("the step loop")

    def step(self, deadline_ns):
        self._refuse("the step loop")

    def cancel(self, request):
        self._refuse("cancel")

    def consumed(self):
        return [(None, sequence[:length]) for sequence, length in self._consumed]

    def reset(self):
        self._consumed = []
        reset = getattr(self._pipeline.kv_manager, "reset_prefix_cache", None)
        if self._asked["enable_prefix_caching"] and reset is not None:
            reset()

    def stats(self):
        return {"steps": self._steps, **self._compiles.stats()}

    def shutdown(self):
        self._pipeline = None
        self._loop.close()

    def info(self):
        import importlib.metadata

        pipeline = self._pipeline
        model_config = pipeline.pipeline_config.model
        hf = model_config.huggingface_config
        vocab_size = hf.vocab_size
        encoding = str(getattr(model_config, "quantization_encoding", None) or "auto")
        sizes = [path.stat().st_size for path in self._model.glob("*.safetensors")]
        params = pipeline.kv_manager.params
        page_size = getattr(params, "page_size", None)
        blocks = pipeline.kv_manager.block_count().total
        effective = {
            **self._asked,
            "device": self._device,
            "pipeline": type(pipeline).__name__,
            "quantization_encoding": encoding,
            "page_size": page_size,
            "kv_cache_dtype": getattr(params, "dtype", None),
            "overlap": bool(getattr(pipeline, "overlap_active", False)),
            "batching": "fixed, in waves of max_batch_size",
        }
        return {
            "version": importlib.metadata.version("modular"),
            "boundary": "in-core",
            "scheduler": "tacho",
            "device": _device_name(self._device),
            "compile_mode": "graph-compiler",
            "gpu_in_process": None if self._device == "cpu" else True,
            "kv_capacity_tokens": blocks * page_size if page_size else None,
            "max_seqs": self._rows,
            "max_model_len": int(pipeline._pipeline_model.max_seq_len),
            "capabilities": {
                "continuous_batching": False,
                "cancel": False,
                "sampling": True,
                "mixed_lengths": True,
            },
            "model": {
                "name": self._model.resolve().name,
                "architecture": hf.model_type,
                "weights_dtype": encoding,
                "size_bytes": sum(sizes) or None,
                "context_len": getattr(hf, "max_position_embeddings", None),
                "vocab_size": vocab_size,
                "ordinary_ids": ordinary_ids(self._model, vocab_size),
            },
            "effective": plain(effective),
            "observed": plain({"kv_blocks": blocks}),
            "uncounted": {"compiles": self._compiles.uncounted()},
        }


def _scored(logits, given):
    import numpy

    second, first = (int(at) for at in numpy.argsort(logits)[-2:])
    lps = logits - logits[first]
    lps -= numpy.log(numpy.exp(lps).sum())
    return first, float(lps[first]), second, float(lps[second]), float(lps[given])


def _device_name(device):
    if device == "cpu":
        return "CPU"
    from max.driver import Accelerator

    accelerator = Accelerator()
    return f"{accelerator.label} {getattr(accelerator, 'architecture_name', '')}".strip()
