"""`sglang.Engine` as users run it: the scheduler and the detokenizer are child processes, the tokenizer manager is here.

`generate` is its blocking offline call. The step loop is `async_generate` with streaming, a task a request on the engine's
own event loop; a step ends when a first chunk has come, with all chunks that came with it. A chunk may hold several tokens.
"""

import asyncio
import time

from . import BadRequest
from ._compiles import CHILD
from ._sglang_core import FINISH, server_args

_PATIENCE_S = 60


class Child:
    TOKENIZER = "SGLang's, in its tokenizer manager and its detokenizer"

    def __init__(self, asked):
        from sglang.srt.entrypoints.engine import Engine
        from sglang.srt.plugins import load_plugins

        load_plugins()
        self._engine = Engine(server_args=server_args(asked))
        self._loop = self._engine.loop
        self._info = self._engine.get_server_info()
        # As in `Core`: never used again, and all of one length.
        self._serial = 0
        self._live = {}
        self._fresh = set()
        self._tasks = set()
        self._chunks = []
        self._last_chunk_ns = 0
        self._failed = None
        self._polls = self._hits = self._retractions = 0

    def limits(self):
        return self._info["max_req_input_len"], self._info["max_total_num_tokens"]

    def dtype(self):
        return str(self._engine.tokenizer_manager.model_config.dtype).removeprefix("torch.")

    def kv_dtype(self):
        # The pool is the child's.
        return None

    def state(self):
        """What the scheduler in the child says of itself."""
        return self._info["internal_states"][0]

    def generate(self, prompts, params):
        answers = self._engine.generate(input_ids=prompts, sampling_params=params)
        return [(answer["output_ids"], *self._ended(answer["meta_info"])) for answer in answers]

    def encode(self, prompts):
        """Texts as they are: `generate` takes them."""
        return prompts

    def generate_text(self, prompts, params, detokenise):
        """With a tokenizer the detokenizer decodes every output, whether it is asked for or not."""
        texts = bool(prompts) and isinstance(prompts[0], str)
        answers = self._engine.generate(**{"prompt" if texts else "input_ids": prompts}, sampling_params=params)
        rows = [(answer["output_ids"], *self._ended(answer["meta_info"])) for answer in answers]
        return rows, sum(len(answer["text"]) for answer in answers) if detokenise else 0

    def prompt_logprobs(self, prompts, starts, params):
        """As `Core.prompt_logprobs`, by SGLang's public call."""
        answers = self._engine.generate(
            input_ids=prompts,
            sampling_params=[params] * len(prompts),
            return_logprob=True,
            logprob_start_len=starts,
            top_logprobs_num=2,
        )
        pairs = lambda told: None if told is None else [(lp, token) for lp, token, *_ in told]  # noqa: E731
        metas = [answer["meta_info"] for answer in answers]
        return [(pairs(meta["input_token_logprobs"]), [pairs(at) for at in meta["input_top_logprobs"]]) for meta in metas]

    def _ended(self, meta):
        """(prompt tokens, finish reason) of a request that ended."""
        self._hits += meta["cached_tokens"]
        self._retractions += meta.get("num_retractions") or 0
        reason = meta["finish_reason"]
        if reason["type"] == "abort":
            print(f"sglang ended a request: {reason.get('message')}")
        return meta["prompt_tokens"], FINISH.get(reason["type"], "error")

    def submit_checked(self, check):
        def submit(request, prompt, output_tokens, sampling):
            params = check(prompt, output_tokens, sampling)
            self._serial += 1
            rid = f"{self._serial:012}"
            self._live[request] = rid
            self._fresh.add(request)
            task = self._loop.create_task(self._follow(rid, request, prompt, params))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Far enough for the request to be sent: it is handed over now, not with the next step.
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

        return submit

    async def _follow(self, rid, request, prompt, params):
        """Keeps every chunk of one request."""
        seen = 0
        try:
            chunks = await self._engine.async_generate(input_ids=prompt, sampling_params=params, stream=True, rid=rid)
            async for chunk in chunks:
                # All ids so far, in a list that grows while we look at it.
                ids = chunk["output_ids"][seen:]
                seen += len(ids)
                self._last_chunk_ns = time.monotonic_ns()
                if self._live.get(request) == rid:
                    self._tell(request, ids, chunk["meta_info"])
        except Exception as error:
            # An aborted request ends with an exception in some versions.
            if self._live.get(request) == rid:
                self._failed = error
                self._loop.stop()

    def _tell(self, request, ids, meta):
        if not self._chunks:
            # Ends the loop after what is ready by now, which is the rest of what came in the same message.
            self._loop.stop()
        self._chunks.append((request, ids, meta))

    def step(self, deadline_ns):
        self._polls += 1
        start_ns = time.monotonic_ns()
        while not self._chunks and self._failed is None:
            left = (deadline_ns - time.monotonic_ns()) / 1e9
            if left <= 0:
                break
            timer = self._loop.call_later(left, self._loop.stop)
            self._loop.run_forever()
            timer.cancel()
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return time.monotonic_ns(), [], None
        events = []
        prefilled = decoded = 0
        for request, ids, meta in chunks:
            if request not in self._live:
                continue
            decoded += len(ids)
            if ids and request in self._fresh:
                self._fresh.discard(request)
                prefilled += meta["prompt_tokens"]
                decoded -= 1
            if meta["finish_reason"] is None:
                events.append((request, ids, None, None))
            else:
                del self._live[request]
                self._fresh.discard(request)
                events.append((request, ids, *self._ended(meta)))
        waiting = len(self._fresh)
        record = (start_ns, prefilled, decoded, len(self._live) - waiting, waiting, None)
        return self._last_chunk_ns, events, record

    def cancel(self, request):
        rid = self._live.pop(request, None)
        if rid is not None:
            self._fresh.discard(request)
            self._engine.tokenizer_manager.abort_request(rid)

    def reset(self):
        for request in list(self._live):
            self.cancel(request)
        deadline = time.monotonic() + _PATIENCE_S
        while self._tasks:
            self._loop.run_until_complete(asyncio.wait(list(self._tasks), timeout=1))
            if time.monotonic() > deadline:
                raise RuntimeError(f"sglang: requests were still under way {_PATIENCE_S} s after they had been aborted")
        self._chunks = []
        self._failed = None
        # The scheduler may be a step behind what it has told.
        while not self._engine.flush_cache().success:
            if time.monotonic() > deadline:
                raise RuntimeError(f"sglang: its caches could not be emptied within {_PATIENCE_S} s")
            time.sleep(0.01)

    def stats(self):
        return {
            "prefix_hit_tokens": self._hits,
            "preemptions": self._retractions,
            "frontend_steps": self._polls,
        }

    def uncounted(self):
        return CHILD

    def shutdown(self):
        engine, self._engine = self._engine, None
        engine.shutdown()
