"""A double of SGLang's scheduler, which does nothing, under the real in-core stepping: what a step costs outside SGLang's own.

Everything of `_sglang_core.Core.step` runs as it is: the loop's two ends, the count of what a batch computed, the events. The
double's pass through the event loop is what is left when nothing is scheduled, run or processed: it asks for requests, takes a
decode batch as processed and sends one token a running request, in a message that stays the same while nobody joins.
"""

from array import array
from types import SimpleNamespace

from tacho_shims import _sglang_core


class Output:
    """What a scheduler sends after a decode step: one token for each of `rids`."""

    def __init__(self, rids):
        self.rids = rids
        self.output_ids = [array("q", [1000]) for _ in rids]
        self.finished_reasons = [None] * len(rids)


class SchedulerDouble:
    """The attributes that stepping touches, and a pass through the event loop without work."""

    max_total_num_tokens = 4096
    waiting_queue = ()
    token_to_kv_pool_allocator = SimpleNamespace(available_size=lambda: 1024)
    _decode = SimpleNamespace(forward_mode=SimpleNamespace(is_extend=lambda: False))

    def process_batch_result(self, batch, result):
        """Where SGLang's would take up the tokens of a batch."""

    def pass_once(self):
        self.request_receiver.recv_requests()
        self.process_batch_result(self._decode, None)
        self.send_output(self.output)


class Shim(_sglang_core.Core):
    """`Core` but for its making, which builds the real scheduler."""

    def __init__(self):
        scheduler = self._scheduler = SchedulerDouble()
        scheduler.request_receiver = self._ends = _sglang_core._Ends(scheduler)
        scheduler.send_output = self._ends.send_output
        scheduler.process_batch_result = self._counting(scheduler.process_batch_result)
        self._dispatch = SchedulerDouble.pass_once
        self._io = SimpleNamespace(BatchTokenIDOutput=Output)
        self._serial = self._steps = self._hits = self._retractions = self._computed = 0
        self.reset()
        self.submit = self.submit_checked(lambda *_request: {})

    def submit_checked(self, check):
        submit = super().submit_checked(check)

        def submit_and_answer(*request):
            submit(*request)
            self._scheduler.output = Output(list(self._live))

        return submit_and_answer

    def _request(self, *_request):
        """The double takes no requests: it answers for all that live."""

    def info(self):
        return {
            "version": "idle",
            "boundary": "in-core",
            "device": "none",
            "double": "a scheduler that does nothing",
            "model": {"name": "idle", "vocab_size": 32_000, "ordinary_ids": [(4, 32_000)]},
        }

    def reset(self):
        self._live, self._rids, self._fresh = {}, {}, set()


def load(config):
    return Shim()
