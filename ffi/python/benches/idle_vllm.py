"""The vLLM shim over an engine that does nothing: what a step costs outside the engine."""

from tacho_shims import vllm


class Completion:
    finish_reason = None

    def __init__(self, token):
        self.token_ids = [token]


class Output:
    finished = False
    num_cached_tokens = 0
    prompt_token_ids = [7] * 8

    def __init__(self, request_id):
        self.request_id = request_id
        self.outputs = [Completion(1000 + int(request_id))]


class IdleEngine:
    def __init__(self):
        self.outputs = []

    def add_request(self, request_id, prompt, params):
        self.outputs.append(Output(request_id))

    def step(self):
        return self.outputs


class IdleCore:
    def __init__(self, engine):
        self._engine = engine

    def scheduled_tokens(self):
        return len(self._engine.outputs)

    def occupancy(self):
        return len(self._engine.outputs), 0, 4096


class Shim(vllm.Engine):
    def __init__(self):
        self._engine = IdleEngine()
        self._core = IdleCore(self._engine)
        self._live, self._fresh, self._consumed = set(), set(), []
        self._steps = self._hits = 0
        self._delta = None
        self._params_type = lambda **options: options

    def info(self):
        return {
            "version": "idle",
            "boundary": "in-core",
            "device": "none",
            "double": "an engine that does nothing",
            "model": {"name": "idle", "vocab_size": 32_000, "ordinary_ids": [(4, 32_000)]},
        }

    def reset(self):
        self._engine.outputs = []


def load(config):
    return Shim()
