"""What is compiled, captured or tuned in this process after an engine has loaded: the counters behind `compiles`.

Each source is a place that such work must pass, wrapped or hooked once, after the load; none lies on the path of a step that
compiles nothing. A source that this environment's versions do not have is said in `uncounted` and never fails a load: what
is left still speaks against a trial, but not for one.

Not seen: children of this process, and machine code that native libraries make for themselves (oneDNN's kernels, NVRTC).
"""

import functools
import importlib
import importlib.util
import os
import subprocess
import sys
import threading

# Programs that engines run to compile kernels as they go: nvcc and ninja by FlashInfer and torch's C++ extensions, a C++
# compiler by Inductor, a C compiler by Triton's launchers.
_COMPILERS = ("nvcc", "ninja", "ptxas", "cc", "gcc", "c++", "g++", "clang", "clang++", "cicc", "hipcc")

# DeepGEMM compiles inside its C++ extension. vllm.utils.deep_gemm only looks for it.
_UNSEEN = ("deep_gemm", "vllm.third_party.deep_gemm")

CHILD = "the engine works in a child process, where nothing is counted"


class Counters:
    """Cumulative counts since the load, by source."""

    def __init__(self):
        self.counts = {}
        self._missing = []
        # Where others may take a hook away: (what, whether it is still there).
        self._kept = []
        self._lost = False

    def add(self, what, install):
        """Installs a source; `install` answers None, or the reason for which there is none."""
        try:
            why = install()
        except Exception as error:  # noqa: BLE001 - whatever internals raise that are not as expected
            why = f"{type(error).__name__}: {error}"
        if why is not None:
            self._missing.append(f"not counted: {what} ({why})")

    def stats(self):
        """`compiles` and its parts. Without `compiles` once a hook was taken away: what was missed is not known."""
        for what, there in self._kept:
            if not self._lost and not there():
                print(f"tacho: the hook that counts {what} was taken away: compilations are not checked from here on")
                self._lost = True
        parts = {f"compiles.{name}": count for name, count in self.counts.items()}
        return parts if self._lost or not parts else {"compiles": sum(self.counts.values()), **parts}

    def uncounted(self):
        """Why the counts do not cover all; None where they cover what they are meant to."""
        unseen = [name for name in _UNSEEN if name in sys.modules]
        said = [f"{name} is loaded, which compiles its kernels where nothing counts them" for name in unseen]
        return "; ".join([*self._missing, *said]) or None

    def source(self, name):
        """A counter: a function that takes anything and counts its calls."""
        self.counts.setdefault(name, 0)

        def count(*_args, **_kwargs):
            self.counts[name] += 1

        return count

    def wrap(self, owner, methods, name):
        """Counts the calls of a class's methods, of every object; one within another is not counted again."""
        found = [method for method in methods if hasattr(owner, method)]
        if not found:
            return f"{getattr(owner, '__name__', owner)} has no {' or '.join(methods)}"
        count = self.source(name)
        within = threading.local()

        def counted(inner):
            @functools.wraps(inner)
            def call(*args, **kwargs):
                if getattr(within, "call", False):
                    return inner(*args, **kwargs)
                count()
                within.call = True
                try:
                    return inner(*args, **kwargs)
                finally:
                    within.call = False

            return call

        for method in found:
            setattr(owner, method, counted(getattr(owner, method)))
        return None

    def processes(self):
        """Compilers started by this process."""
        count = self.source("compiler_processes")
        inner = subprocess.Popen.__init__

        @functools.wraps(inner)
        def started(popen, args, *rest, **kwargs):
            if _is_compiler(args):
                count()
            return inner(popen, args, *rest, **kwargs)

        subprocess.Popen.__init__ = started

    def dynamo(self):
        """Compilations of torch.compile, by the callback that PyTorch offers."""
        callback = importlib.import_module("torch._dynamo.callback")
        count = callback.on_compile_start(self.source("dynamo_compiles"))
        handler = callback.callback_handler
        self._kept.append(("compilations of torch.compile", lambda: count in handler.start_callbacks))

    def graphs(self):
        """Captures of CUDA graphs through PyTorch, whoever makes them."""
        import torch

        return self.wrap(torch.cuda.CUDAGraph, ["capture_begin"], "cuda_graph_captures")

    def inductor(self):
        """Benchmarks by which Inductor tunes its Triton kernels. What would import it later compiles, which is counted."""
        heuristics = sys.modules.get("torch._inductor.runtime.triton_heuristics")
        if heuristics is None:
            return None
        return self.wrap(heuristics.CachingAutotuner, ["bench"], "inductor_benchmarks")

    def triton(self):
        """Kernels that Triton makes ready at their first use (compiled, or found in its cache), and its autotuner's benchmarks."""
        if importlib.util.find_spec("triton") is None:
            return None
        triton = importlib.import_module("triton")
        why = self._triton_hook(triton, importlib.import_module("triton.runtime.jit").JITFunction)
        autotuner = importlib.import_module("triton.runtime.autotuner").Autotuner
        return why or self.wrap(autotuner, ["_bench"], "triton_benchmarks")

    def _triton_hook(self, triton, function):
        knobs = getattr(getattr(triton, "knobs", None), "runtime", None)
        for owner, hook in ((knobs, "jit_post_compile_hook"), (function, "compiled_hook")):
            if owner is not None and hasattr(owner, hook):
                break
        else:
            return "this version has neither knobs.runtime.jit_post_compile_hook nor JITFunction.compiled_hook"
        count = self.source("triton_compiles")
        inner = getattr(owner, hook)

        def compiled(*args, **kwargs):
            count()
            return None if inner is None else inner(*args, **kwargs)

        setattr(owner, hook, _Chained(compiled))
        ours = getattr(owner, hook)
        self._kept.append(("what Triton compiles", lambda: getattr(owner, hook) is ours))
        return None

    def cute(self):
        """Compilations of CuTe's DSL, where it is loaded."""
        cute = sys.modules.get("cutlass.cute")
        if cute is not None:
            cute.compile = _Compile(cute.compile, self.source("cute_compiles"))


class _Chained:
    """A function that a class hands out as it is, and not as a method."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)


class _Compile:
    """`cute.compile`, which is called, and indexed with options."""

    def __init__(self, inner, count):
        self._inner = inner
        self._count = count

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __getitem__(self, options):
        return _Compile(self._inner[options], self._count)

    def __call__(self, *args, **kwargs):
        self._count()
        return self._inner(*args, **kwargs)


def _is_compiler(args):
    """Whether a command's program is a compiler: `g++-13`, `x86_64-linux-gnu-gcc` and `/usr/bin/nvcc -c x.cu` are."""
    if isinstance(args, (str, bytes)):
        program = (os.fsdecode(args).split() or [""])[0]
    else:
        program = os.fsdecode(args if isinstance(args, os.PathLike) else next(iter(args or ()), ""))
    name = os.path.basename(program).rstrip("0123456789.").rstrip("-")
    return name in _COMPILERS or name.rsplit("-", 1)[-1] in _COMPILERS


def of_torch():
    """Counters for an engine on PyTorch, in this process."""
    counters = Counters()
    counters.add("compilers started", counters.processes)
    counters.add("compilations of torch.compile", counters.dynamo)
    counters.add("captures of CUDA graphs", counters.graphs)
    counters.add("Inductor's tuning", counters.inductor)
    counters.add("Triton's compilations and tuning", counters.triton)
    counters.add("compilations of CuTe's DSL", counters.cute)
    return counters


def of_max():
    """Counters for MAX, in this process."""
    counters = Counters()

    def sessions():
        from max.engine import InferenceSession

        methods = ["load", "load_all", "compile", "compile_async", "compile_reusing_mefs"]
        return counters.wrap(InferenceSession, methods, "graph_compiles")

    def captures():
        from max.engine import Model

        return counters.wrap(Model, ["capture"], "device_graph_captures")

    counters.add("compilers started", counters.processes)
    counters.add("graphs that MAX compiles", sessions)
    counters.add("captures of device graphs", captures)
    return counters
