"""Shims: one small module an engine, one shape for all.

`tacho-cell-python` imports `tacho_shims.<engine>` (dashes in an engine's id become underscores) inside the engine's own
environment and calls, always on the thread that is Python's main one:

    load(config) -> Engine

`config` is a dict: `engine` (id), `model` (path or None), `max_seqs`, `max_model_len`, `seed`, `options` (the plan's, by the
engine's own names). `load` makes room for at least `max_seqs` sequences of `max_model_len` tokens, or raises, unless an
option of the engine sets the size itself. Options that the engine does not know must fail here, with its own words.

The object returned has:

    info() -> dict
        What runs, read back from the running engine: `version`, `boundary` ("in-core" | "child-core"), `device`,
        `model` {name, vocab_size, ordinary_ids [(start, end)…], architecture, weights_dtype, n_params, size_bytes,
        context_len}, `compile_mode`, `gpu_in_process`, `parallelism` (tensor, pipeline), `kv_capacity_tokens`, `max_seqs`,
        `max_model_len`, `capabilities` {continuous_batching, cancel, sampling, mixed_lengths; true if left out},
        `effective` (a flat dict by the engine's own names: what options, defaults and device settle; it is part of
        a point's key, by which an interrupted run is resumed), `observed` (the same for what the engine found at this
        launch and may find otherwise at the next, such as KV blocks by free memory), `scheduler` ("engine", or "tacho"
        where the shim decides what runs in a step), `double` (only for a stand-in: what it is), `uncounted` {counter of
        `stats`: why it is not told, or of a part only; None: it is whole}. What is unknown is left out or None. Values must survive `json.dumps`; see `plain`.
    generate(prompts, output_tokens, samplings) -> [(ids, input_tokens, finish), …]
        The engine's own blocking offline call. Lists of equal length: ids a prompt, exact output length (end-of-sequence is
        ignored), sampling. Answers in the same order; `input_tokens` is what the engine says it consumed.
    generate_text(prompts, output_tokens, samplings, detokenise) -> (rows, characters)
        May be left out by an engine that takes ids alone. As `generate`, with prompts that are texts, or lists of ids as there;
        `detokenise` asks the engine to decode outputs to text, and `characters` is how many came out (0 without it). `rows` are
        those of `generate`. A rung of the boundary ledger (docs/ledger.md).
    submit(request, prompt, output_tokens, sampling)
        Hands over one request, by its number.
    step(deadline_ns) -> (time_ns, events, record)
        One step of the engine; called only while something is in flight. `events` is a list of tuples
        (request, new_ids, input_tokens | None, finish | None), `input_tokens` set at the latest with `finish`. `time_ns` is
        `time.monotonic_ns()` right after the engine's step: when the tokens could first be seen. `record` is None or
        (start_ns, prefill_tokens, decode_seqs, running, waiting, kv_tokens | None). An engine that waits for children
        returns at `deadline_ns` at the latest.
    cancel(request)
        Stops a request: nothing more is said of it. Only called for requests in flight.
    reset()
        Drops pending work and prefix caches.
    stats() -> dict
        Counters since load, by name: `prefix_hit_tokens`, `preemptions`, `steps`, `compiles` (graphs captured, code compiled,
        kernels tuned; its parts as `compiles.<kind>`: see `_compiles`), and the engine's own.
    consumed() -> [(request | None, ids), …]
        May be left out by an engine that does not give back which ids it was given. What its own records say of the prompts that
        it has ended since the last reset: the request's number, or None for one of `generate`, in the order of its calls and
        answers. Untimed: keep references while the engine runs, copy nothing.
    score(prompts, continuations) -> [[(top1, top1_lp, top2, top2_lp, given_lp), …], …]
        May be left out by an engine that cannot. For each position of each continuation, given the prompt and all ids before
        it: the likeliest id, the second likeliest, and their log-probabilities (natural, of the softmax over the whole
        vocabulary at temperature 1), and that of the id that stands there. Untimed; see docs/agreement.md.
    shutdown()

A sampling is a tuple (temperature, top_p, top_k, seed); temperature 0 is greedy, top_k 0 keeps all. A finish reason is
"length", "stop", "cancelled" or "error". Exceptions may be any; those below tell the harness what kind of failure it is.
What a shim or its engine prints goes to the cell's log.

A step's cost outside the engine counts against every figure: touch each event once, and nothing else.
"""

__all__ = ["BadRequest", "Mismatch", "OutOfMemory", "ShimError", "Unsupported", "plain"]


class ShimError(Exception):
    """A failure whose kind the shim knows."""

    tacho_kind = "engine"


class Unsupported(ShimError):
    """The engine cannot do what was asked; nothing was timed."""

    tacho_kind = "unsupported"


class BadRequest(ShimError):
    """A request or option that can never work."""

    tacho_kind = "bad_request"


class OutOfMemory(ShimError):
    """Memory of the host or of a device does not suffice, said by the engine in its own way. `MemoryError` and torch's
    `OutOfMemoryError` are known without it."""

    tacho_kind = "out_of_memory"


class Mismatch(ShimError):
    """What came out is not what was asked."""

    tacho_kind = "mismatch"


def plain(value):
    """`value` as JSON can hold it: numbers, text, lists and dicts stay, everything else becomes its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)
