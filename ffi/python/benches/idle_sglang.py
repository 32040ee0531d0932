"""The SGLang shim, in-core, over a scheduler that does nothing: what a step costs outside SGLang's own iteration."""

from array import array
from types import SimpleNamespace

from tacho_shims import _sglang_core


class Output:
    """What a scheduler sends after a decode step: one token for each of `rids`."""

    def __init__(self, rids):
        self.rids = rids
        self.output_ids = [array("q", [1000]) for _ in rids]
        self.finished_reasons = [None] * len(rids)


class Shim(_sglang_core.Core):
    def __init__(self):
        allocator = SimpleNamespace(available_size=lambda: 1024)
        self._scheduler = SimpleNamespace(waiting_queue=[], max_total_num_tokens=4096, token_to_kv_pool_allocator=allocator)
        self._ends = _sglang_core._Ends(self._scheduler)
        self._io = SimpleNamespace(BatchTokenIDOutput=Output)
        self._serial = self._steps = self._hits = self._retractions = self._computed = 0
        self._live, self._rids, self._fresh = {}, {}, set()
        self._output = None
        self.submit = self.submit_checked(lambda *_request: {})

    def _request(self, *_request):
        self._output = None

    def _dispatch(self, _scheduler):
        if self._output is None:
            self._output = Output(list(self._live))
        self._ends.send_output(self._output)

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
