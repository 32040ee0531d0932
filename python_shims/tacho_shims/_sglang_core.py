"""SGLang's own Scheduler, constructed and stepped in this process: no child, no ZMQ, tensor parallelism 1.

Internal to SGLang, of the two versions that `sglang.VERSIONS` names. An iteration is SGLang's own event loop (the overlapped
one too), entered for one pass: the loop ends by its own flag, `gracefully_exit`, which is raised while it asks for requests.
What is put in place of SGLang's own are the two ends of the loop: where requests come from, and where outputs go.
"""

import time
from array import array
from collections import deque

from . import _compiles

FINISH = {"length": "length", "stop": "stop", "abort": "error"}
# How long requests that were dropped may take to leave the scheduler.
_PATIENCE_S = 60

# Between two of our steps the scheduler stands still, and its watchdog would take that for a fault and signal the parent
# process, which is the harness here. The harness has deadlines of its own.
_NO_WATCHDOG_S = 1e9


class _Ends:
    """Both ends of the scheduler's loop: what it receives from, and what it sends to."""

    def __init__(self, scheduler):
        self._scheduler = scheduler
        self.handed = []
        self.outputs = []

    def recv_requests(self, local_reqs=None):
        # The loop looks at this flag before every iteration: one pass, then out.
        self._scheduler.gracefully_exit = True
        handed, self.handed = self.handed, []
        return [*local_reqs, *handed] if local_reqs else handed

    def send_output(self, output, recv_obj=None):
        self.outputs.append(output)


def _scheduler(asked):
    """A scheduler as `run_scheduler_process` makes it, in this process. `asked` are ServerArgs by name."""
    from sglang.srt.entrypoints.engine import _set_envs_and_config
    from sglang.srt.managers import scheduler as module
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import PortArgs
    from sglang.srt.utils import configure_logger

    class Stepped(module.Scheduler):
        """Entering the overlapped loop empties its queue of batches under way; here it is entered at every step."""

        @property
        def result_queue(self):
            # 0.5.17 asks whether it is empty before the loop was ever entered.
            return self.__dict__.setdefault("result_queue", deque())

        @result_queue.setter
        def result_queue(self, queue):
            self.__dict__.setdefault("result_queue", queue)

    load_plugins()
    args = server_args(asked)
    configure_logger(args)
    if hasattr(args, "resolve_once"):  # 0.5.23
        args.resolve_once()
    _set_envs_and_config(args)
    args.check_server_args()
    ports = PortArgs.init_new(args)
    if hasattr(module, "SpawnRanks"):  # 0.5.23
        rank = module.spawn_world_rank(args, tp_rank=0, pp_rank=0)
        module.publish(args, role="scheduler", ranks=module.SpawnRanks(world_rank=rank, gpu_id=0))
        made = Stepped(args, ports)
    else:
        module.publish(args, role="scheduler")
        made = Stepped(
            args, ports, gpu_id=0, tp_rank=0, moe_ep_rank=0, pp_rank=0, attn_cp_rank=0, moe_dp_rank=0, dp_rank=None
        )
    # run_event_loop makes the scheduler's streams and then stays in the loop: let it make them, and no more.
    dispatch, module.dispatch_event_loop = module.dispatch_event_loop, lambda scheduler: None
    try:
        made.run_event_loop()
    finally:
        module.dispatch_event_loop = dispatch
    if made.device == "cuda":
        import torch

        torch.cuda.set_stream(made.schedule_stream)
    return made, dispatch


def server_args(asked):
    """SGLang's ServerArgs, or its own refusal of names it does not know, before anything is loaded."""
    from sglang.srt.server_args import ServerArgs

    from . import Unsupported

    try:
        return ServerArgs(**asked)
    except TypeError as error:
        raise Unsupported(f"sglang: {error}") from error


def _tokenizer(args):
    """The tokenizer as SGLang's tokenizer manager and its detokenizer load it, of resolved ServerArgs."""
    from sglang.srt.utils.hf_transformers_utils import get_tokenizer

    backend = {"tokenizer_backend": args.tokenizer_backend} if hasattr(args, "tokenizer_backend") else {}  # 0.5.23
    return get_tokenizer(
        # Not resolved where no tokenizer is asked for.
        args.tokenizer_path or args.model_path,
        tokenizer_mode=args.tokenizer_mode,
        trust_remote_code=args.trust_remote_code,
        revision=args.revision,
        **backend,
    )


class Core:
    # SGLang's processes with tokenizers are not here: what they do with theirs is done around the scheduler.
    TOKENIZER = "SGLang's, called around the scheduler"

    def __init__(self, asked):
        from sglang.srt.managers import io_struct
        from sglang.srt.sampling.sampling_params import SamplingParams

        # With a tokenizer of its own the scheduler would prepare every output's decoding, that of calls with ids too.
        alone = {"skip_tokenizer_init": True, "watchdog_timeout": _NO_WATCHDOG_S}
        self._scheduler, self._dispatch = _scheduler({**asked, **alone})
        self._tokenizer = None if asked["skip_tokenizer_init"] else _tokenizer(self._scheduler.server_args)
        self._io = io_struct
        self._compiles = _compiles.of_torch()
        self._params_type = SamplingParams
        self._vocab_size = self._scheduler.model_config.vocab_size
        self._ends = _Ends(self._scheduler)
        self._scheduler.request_receiver = self._ends
        self._scheduler.ipc_channels.send_to_detokenizer.send_output = self._ends.send_output
        self._scheduler.ipc_channels.send_to_tokenizer.send_output = self._ends.send_output
        # Never used again: an aborted request may still speak when its number is. All of one length, because SGLang aborts
        # every request whose id begins with the one named.
        self._serial = 0
        self._live = {}
        self._rids = {}
        self._fresh = set()
        self._steps = self._hits = self._retractions = 0
        # Prompt tokens computed by the batches whose results were processed since the last step.
        self._computed = 0
        self._scheduler.process_batch_result = self._counting(self._scheduler.process_batch_result)

    def _counting(self, process):
        """The scheduler's `process_batch_result`, which also counts the step and the prompt tokens that it computed."""

        def process_batch_result(batch, result):
            process(batch, result)
            self._steps += 1
            mode = batch.forward_mode
            # In a mixed batch, the sequences that decode are counted there with one token each.
            prefilled = (batch.extend_num_tokens or 0) - len(batch.decoding_reqs or ()) if mode.is_extend() else 0
            self._computed += prefilled

        return process_batch_result

    def limits(self):
        return self._scheduler.max_req_input_len, self._scheduler.max_total_num_tokens

    def dtype(self):
        return str(self._scheduler.model_config.dtype).removeprefix("torch.")

    def kv_dtype(self):
        """The type that the pool of cached keys and values is of; None where this version's has none."""
        pool = getattr(self._scheduler, "token_to_kv_pool_allocator", None)
        pool = pool.get_kvcache() if hasattr(pool, "get_kvcache") else None
        dtype = getattr(pool, "dtype", None)
        return None if dtype is None else str(dtype).removeprefix("torch.")

    def state(self):
        """What the running scheduler says of itself: its resolved arguments and what it made of them."""
        return self._scheduler.get_internal_state(None).internal_state

    def _request(self, rid, prompt, params, stream, score_from=None):
        sampling = self._params_type(**params)
        sampling.normalize(None)
        sampling.verify(self._vocab_size)
        self._ends.handed.append(
            self._io.TokenizedGenerateReqInput(
                rid=rid,
                input_text=None,
                input_ids=array("q", prompt),
                input_embeds=None,
                mm_inputs=None,
                token_type_ids=None,
                sampling_params=sampling,
                return_logprob=score_from is not None,
                logprob_start_len=-1 if score_from is None else score_from,
                top_logprobs_num=0 if score_from is None else 2,
                token_ids_logprob=None,
                stream=stream,
            )
        )

    def _next_rid(self):
        self._serial += 1
        return f"{self._serial:012}"

    def _iterate(self):
        self._scheduler.gracefully_exit = False
        self._dispatch(self._scheduler)

    def _take(self):
        """Outputs since the last call, of requests; answers to control requests and aborts say nothing that is not known."""
        outputs, self._ends.outputs = self._ends.outputs, []
        return [output for output in outputs if isinstance(output, self._io.BatchTokenIDOutput)]

    def generate(self, prompts, params):
        """All at once and without streaming, as Engine.generate hands them over; blocks until all have ended."""
        places = {}
        for place, (prompt, param) in enumerate(zip(prompts, params)):
            rid = self._next_rid()
            places[rid] = place
            self._request(rid, prompt, param, False)
        rows = [None] * len(prompts)
        ids = [[] for _ in prompts]
        while places:
            self._iterate()
            for output in self._take():
                for row, rid in enumerate(output.rids):
                    place = places.get(rid)
                    if place is None:
                        continue
                    ids[place].extend(output.output_ids[row])
                    if output.finished_reasons[row] is not None:
                        del places[rid]
                        rows[place] = (ids[place], output.prompt_tokens[row], self._finish(output, row))
        self._computed = 0
        return rows

    def encode(self, prompts):
        """Ids of prompts that are texts, each by itself as SGLang's tokenizer manager does it unless told otherwise."""
        return [self._tokenizer([one])["input_ids"][0] if isinstance(one, str) else one for one in prompts]

    def generate_text(self, prompts, params, detokenise):
        """`generate`, and how many characters its outputs have, decoded as SGLang's detokenizer does it, but once at the end."""
        rows = self.generate(prompts, params)
        if not detokenise:
            return rows, 0
        texts = self._tokenizer.batch_decode(
            [ids for ids, _, _ in rows], skip_special_tokens=True, spaces_between_special_tokens=True
        )
        return rows, sum(map(len, texts))

    def prompt_logprobs(self, prompts, starts, params):
        """For each prompt from its start on: [(lp, id)] of its own ids, and a position's two likeliest as [(lp, id)]."""
        places = {}
        for place, (prompt, start) in enumerate(zip(prompts, starts)):
            rid = self._next_rid()
            places[rid] = place
            self._request(rid, prompt, params, False, start)
        rows = [None] * len(prompts)
        while places:
            self._iterate()
            for output in self._take():
                for row, rid in enumerate(output.rids):
                    if rid not in places or output.finished_reasons[row] is None:
                        continue
                    own = list(zip(output.input_token_logprobs_val[row], output.input_token_logprobs_idx[row]))
                    values, ids = output.input_top_logprobs_val[row], output.input_top_logprobs_idx[row]
                    top = [list(zip(*pair)) if pair[0] is not None else None for pair in zip(values, ids)]
                    rows[places.pop(rid)] = (own, top)
        self._computed = 0
        return rows

    def _finish(self, output, row):
        reason = output.finished_reasons[row]
        self._hits += output.cached_tokens[row]
        self._retractions += output.retraction_counts[row]
        if reason["type"] == "abort":
            print(f"sglang ended a request: {reason.get('message')}")
        return FINISH.get(reason["type"], "error")

    def submit_checked(self, check):
        def submit(request, prompt, output_tokens, sampling):
            params = check(prompt, output_tokens, sampling)
            rid = self._next_rid()
            self._request(rid, prompt, params, True)
            self._live[rid] = request
            self._rids[request] = rid
            self._fresh.add(request)

        return submit

    def step(self, deadline_ns):
        scheduler, live, fresh = self._scheduler, self._live, self._fresh
        start_ns = time.monotonic_ns()
        self._iterate()
        time_ns = time.monotonic_ns()
        events = []
        decoded = 0
        for output in self._take():
            for row, (rid, ids, reason) in enumerate(zip(output.rids, output.output_ids, output.finished_reasons)):
                request = live.get(rid)
                if request is None:
                    continue
                decoded += len(ids)
                if request in fresh and len(ids):
                    fresh.discard(request)
                    decoded -= 1
                if reason is None:
                    events.append((request, ids, None, None))
                else:
                    del live[rid], self._rids[request]
                    fresh.discard(request)
                    events.append((request, ids, output.prompt_tokens[row], self._finish(output, row)))
        prefilled, self._computed = self._computed, 0
        if not (prefilled or decoded or events):
            # Nothing came out: a batch was launched, or one that holds ended requests only (the overlap's last).
            return time_ns, events, None
        waiting = len(scheduler.waiting_queue)
        held = scheduler.max_total_num_tokens - scheduler.token_to_kv_pool_allocator.available_size()
        return time_ns, events, (start_ns, prefilled, decoded, max(len(live) - waiting, 0), waiting, max(held, 0))

    def cancel(self, request):
        rid = self._rids.pop(request, None)
        if rid is not None:
            del self._live[rid]
            self._fresh.discard(request)
            self._ends.handed.append(self._io.AbortReq(rid=rid))

    def reset(self):
        for request in list(self._rids):
            self.cancel(request)
        deadline = time.monotonic() + _PATIENCE_S
        while self._ends.handed or not self._scheduler.is_fully_idle():
            self._iterate()
            if time.monotonic() > deadline:
                raise RuntimeError(f"sglang: requests were still under way {_PATIENCE_S} s after they had been aborted")
        self._ends.outputs = []
        self._ends.handed.append(self._io.FlushCacheReqInput())
        self._iterate()
        answers = [output for output in self._ends.outputs if isinstance(output, self._io.FlushCacheReqOutput)]
        self._ends.outputs = []
        self._computed = 0
        if not answers or not answers[0].success:
            raise RuntimeError(f"sglang: its caches could not be emptied: {answers}")

    def stats(self):
        stats = {"prefix_hit_tokens": self._hits, "preemptions": self._retractions, "steps": self._steps}
        return {**stats, **self._compiles.stats()}

    def uncounted(self):
        return self._compiles.uncounted()

    def shutdown(self):
        scheduler, self._scheduler = self._scheduler, None
        scheduler.metrics_reporter._shutdown_fpm()
        scheduler.release_host_resources()
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
