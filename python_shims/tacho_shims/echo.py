"""`echo`: an engine in pure Python that computes nothing. The example to copy, and a subject for the tests.

Its tokens are a hash of prompt, position and (when sampling) seed. Options: `vocab_size`, `step_us` (it waits that long in
each step), `fault` and `fault_at_step`, by which it misbehaves as real engines do.
"""

import os
import signal
import subprocess
import sys
import time

from . import Unsupported, _compiles

_FIRST_ID = 4  # the ids below stand for a real vocabulary's control tokens

_LOAD_FAULTS = ("import_error", "load_error", "load_memory", "load_exit", "load_hang", "load_segv")
_STEP_FAULTS = (
    "error",
    "exit",
    "memory",
    "noise",
    "short_output",
    "wrong_input",
    "bad_shape",
    "hang",
    "deadlock",
    "endless",
    "segv",
    "abort",
    "cxx_exception",
    "kill",
    "orphans",
    "compile",
)


def load(config):
    options = {"vocab_size": 32_000, "step_us": 0, "fault": None, "fault_at_step": 0}
    unknown = sorted(set(config["options"]) - set(options))
    if unknown:
        raise Unsupported(f"echo has no option {unknown[0]!r}; it has {', '.join(options)}")
    options.update(config["options"])
    fault = options["fault"]
    if fault is not None and fault not in _LOAD_FAULTS + _STEP_FAULTS:
        raise Unsupported(f"echo has no fault {fault!r}; it has {', '.join(_LOAD_FAULTS + _STEP_FAULTS)}")
    if fault == "import_error":
        import a_module_that_no_environment_has  # noqa: F401
    if fault == "load_error":
        raise ValueError("echo: architecture 'TarotForCausalLM' is not supported")
    if fault == "load_memory":
        raise MemoryError("echo: no room for the weights")
    if fault == "load_exit":
        sys.exit(5)
    if fault == "load_hang":
        print("echo: reading the weights", file=sys.stderr)
        _native("deadlock")
    if fault == "load_segv":
        print("echo: compiling kernels", file=sys.stderr)
        _native("segv")
    return Engine(config, options)


def _native(fault):
    """What native code of an engine does to its process."""
    import ctypes

    if fault == "segv":
        ctypes.string_at(0)
    if fault == "abort":
        os.abort()
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "deadlock":
        # A PyDLL's functions keep the interpreter's lock: no other thread of Python runs again.
        ctypes.PyDLL(None).pause()
    if fault == "cxx_exception":
        _throw(ctypes)


def _throw(ctypes):
    """Throws a `std::exception` of C++ that nobody catches."""
    cxx = ctypes.CDLL("libstdc++.so.6")
    allocate = cxx.__cxa_allocate_exception
    allocate.restype = ctypes.c_void_p
    thrown = allocate(ctypes.c_size_t(8))
    address = lambda symbol: ctypes.addressof(ctypes.c_char.in_dll(cxx, symbol))  # noqa: E731
    # An object of that class is a pointer to its table of virtual functions, behind the table's two first words.
    ctypes.c_void_p.from_address(thrown).value = address("_ZTVSt9exception") + 16
    cxx.__cxa_throw(ctypes.c_void_p(thrown), ctypes.c_void_p(address("_ZTISt9exception")), None)


def _leave_orphans():
    """Children in the cell's process group, outside of it, and with an empty environment in a session of their own."""
    subprocess.Popen(["sleep", "1004"])
    subprocess.Popen(["sleep", "1004"], process_group=0)
    subprocess.Popen(["sleep", "1004"], start_new_session=True, env={})
    os.kill(os.getpid(), signal.SIGKILL)


class _Seq:
    __slots__ = ("done", "input", "output", "request", "state")

    def __init__(self, request, prompt, output, sampling):
        temperature, _top_p, _top_k, seed = sampling
        self.request = request
        self.input = len(prompt)
        self.output = output
        self.done = 0
        self.state = hash((tuple(prompt), seed if temperature > 0 else -1))


def _two(told):
    (top1, top1_lp), (top2, top2_lp) = told.items()
    return top1, top1_lp, top2, top2_lp


class Engine:
    def __init__(self, config, options):
        self._max_seqs = max(config["max_seqs"], 1)
        self._max_model_len = max(config["max_model_len"], 2)
        self._options = options
        self._waiting = []
        self._running = []
        self._steps = 0
        self._consumed = []
        self._endless = False
        self._compiles = _compiles.Counters()
        self._compiles.add("compilers started", self._compiles.processes)

    def info(self):
        vocab_size = self._options["vocab_size"]
        return {
            "version": "1",
            "double": "echo computes nothing: its figures are the harness's own cost",
            "boundary": "in-core",
            "device": "none",
            "model": {"name": "echo", "vocab_size": vocab_size, "ordinary_ids": [(_FIRST_ID, vocab_size)]},
            "kv_capacity_tokens": self._max_seqs * self._max_model_len,
            "max_seqs": self._max_seqs,
            "max_model_len": self._max_model_len,
            "effective": dict(self._options),
        }

    def generate(self, prompts, output_tokens, samplings):
        first = len(self._waiting)
        for number, (prompt, output, sampling) in enumerate(zip(prompts, output_tokens, samplings)):
            self._waiting.append(_Seq(number, prompt, output, sampling))
            self._consumed.append((None, prompt))
        assert first == 0, "generate with requests of the step loop in flight"
        rows = [([], 0, None) for _ in prompts]
        while self._waiting or self._running:
            _, events, _ = self.step(0)
            for request, ids, consumed, finish in events:
                rows[request] = (rows[request][0] + ids, consumed or 0, finish)
        return rows

    def score(self, prompts, continuations):
        span = self._options["vocab_size"] - _FIRST_ID
        rows = []
        for prompt, continuation in zip(prompts, continuations):
            state = hash((tuple(prompt), -1))
            tops = [_FIRST_ID + hash((state, place)) % span for place in range(len(continuation))]
            seconds = [_FIRST_ID + (top - _FIRST_ID + 1) % span for top in tops]
            told = [{top: -0.1, second: -2.5} for top, second in zip(tops, seconds)]
            rows.append([(*_two(at), at.get(given, -20.0)) for at, given in zip(told, continuation)])
        return rows

    def submit(self, request, prompt, output_tokens, sampling):
        self._consumed.append((request, prompt))
        self._waiting.append(_Seq(request, prompt, output_tokens, sampling))

    def step(self, deadline_ns):
        start_ns = time.monotonic_ns()
        fault = self._options["fault"] if self._steps == self._options["fault_at_step"] else None
        self._endless = self._endless or fault == "endless"
        self._steps += 1
        if fault is not None and (odd := self._misbehave(fault)) is not None:
            return odd
        decode_seqs = len(self._running)
        room = self._max_seqs - decode_seqs
        joining, self._waiting = self._waiting[:room], self._waiting[room:]
        self._running += joining
        if self._options["step_us"]:
            time.sleep(self._options["step_us"] / 1e6)
        time_ns = time.monotonic_ns()
        span = self._options["vocab_size"] - _FIRST_ID
        events = []
        ended = False
        for seq in self._running:
            token = _FIRST_ID + hash((seq.state, seq.done)) % span
            seq.done += 1
            finish = "length" if seq.done == seq.output and not self._endless else None
            if fault == "short_output":
                finish = finish or "stop"
                seq.done = seq.output
            consumed = seq.input + (fault == "wrong_input") if finish else None
            events.append((seq.request, [token], consumed, finish))
            ended = ended or finish is not None
        if ended:
            self._running = [seq for seq in self._running if seq.done < seq.output]
        prefill_tokens = sum(seq.input for seq in joining)
        kv_tokens = sum(seq.input + seq.done - 1 for seq in self._running)
        record = (start_ns, prefill_tokens, decode_seqs, len(self._running), len(self._waiting), kv_tokens)
        return time_ns, events, record

    def _misbehave(self, fault):
        if fault == "error":
            try:
                {}["kv_block"]
            except KeyError as cause:
                raise RuntimeError("echo: the scheduler lost a block") from cause
        if fault == "exit":
            sys.exit("echo: fatal")
        if fault == "memory":
            raise RuntimeError("echo: CUDA out of memory. Tried to allocate 2.00 GiB")
        if fault == "bad_shape":
            return ["not", "a", "step"]
        if fault == "hang":
            time.sleep(3600)
        if fault in ("deadlock", "segv", "abort", "cxx_exception", "kill"):
            _native(fault)
        if fault == "compile":
            # By its name a compiler: nothing need be installed.
            subprocess.run(["cc", "-c", "exit 0"], executable="/bin/sh", check=True)
        if fault == "orphans":
            _leave_orphans()
        if fault == "noise":
            noise = "\x00\x1b{" + "echo: \udc80 " * 1000
            for _ in range(300):
                print(noise)
                print(noise, file=sys.stderr)
        return None

    def cancel(self, request):
        self._waiting = [seq for seq in self._waiting if seq.request != request]
        self._running = [seq for seq in self._running if seq.request != request]

    def reset(self):
        self._waiting.clear()
        self._running.clear()
        self._consumed = []

    def consumed(self):
        return self._consumed

    def stats(self):
        return {"steps": self._steps, "prefix_hit_tokens": 0, "preemptions": 0, **self._compiles.stats()}

    def shutdown(self):
        self.reset()
