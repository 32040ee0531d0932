"""What `tacho_shims._compiles` counts, over doubles of torch, Triton, CuTe's DSL and MAX: modules of these names that compute nothing and
have the places that it hooks. Run by `compiles.rs`; prints "done" at the end."""

import subprocess
import sys
import types


def module(name, **names):
    made = sys.modules[name] = types.ModuleType(name)
    # `find_spec` of a loaded module asks for it.
    made.__spec__ = types.SimpleNamespace(name=name)
    vars(made).update(names)
    return made


class CUDAGraph:
    def capture_begin(self, pool=None):
        return pool


class Handler:
    def __init__(self):
        self.start_callbacks = []


def on_compile_start(callback):
    handler.start_callbacks.append(callback)
    return callback


class JITFunction:
    compiled_hook = None


class Autotuner:
    def _bench(self, config):
        return config


class CachingAutotuner:
    def bench(self, launcher):
        return launcher


class CuteCompile:
    options = ()

    def __getitem__(self, options):
        made = CuteCompile()
        made.options = options
        return made

    def __call__(self, kernel):
        return (kernel, self.options)


class InferenceSession:
    def load(self, graph):
        return self.load_all(graph)

    def load_all(self, graph):
        return graph


class Model:
    def capture(self, key):
        return key


handler = Handler()
torch = module("torch", cuda=types.SimpleNamespace(CUDAGraph=CUDAGraph))
module("torch._dynamo")
module("torch._dynamo.callback", on_compile_start=on_compile_start, callback_handler=handler)
heuristics = module("torch._inductor.runtime.triton_heuristics", CachingAutotuner=CachingAutotuner)
heard = []
knobs = types.SimpleNamespace(runtime=types.SimpleNamespace(jit_post_compile_hook=lambda **told: heard.append(told)))
triton = module("triton", knobs=knobs)
module("triton.runtime")
module("triton.runtime.jit", JITFunction=JITFunction)
module("triton.runtime.autotuner", Autotuner=Autotuner)
cute = module("cutlass.cute", compile=CuteCompile())
module("max")
module("max.engine", InferenceSession=InferenceSession, Model=Model)

from tacho_shims import _compiles  # noqa: E402 - after the doubles

counters = _compiles.of_torch()
assert counters.uncounted() is None, counters.uncounted()
quiet = counters.stats()
assert quiet["compiles"] == 0 and len(quiet) == 8, quiet


def counted(part, work, number=1):
    """That `work` counts `number` times, under `part` and nowhere else."""
    before = counters.stats()
    work()
    after = counters.stats()
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    wanted = {"compiles": number, f"compiles.{part}": number} if number else {}
    assert changed == wanted, (part, changed)


run = lambda *command: subprocess.run(command, executable="/bin/sh", check=True)  # noqa: E731
counted("compiler_processes", lambda: run("/usr/bin/x86_64-linux-gnu-g++-13", "-c", "exit 0"))
counted("compiler_processes", lambda: subprocess.check_call(["ninja", "-c", "exit 0"], executable="/bin/sh"))
counted("compiler_processes", lambda: subprocess.run("nvcc -x || true", shell=True, check=True, stderr=subprocess.DEVNULL))
counted("none", lambda: run("python3", "-c", "exit 0"), 0)
counted("dynamo_compiles", lambda: [callback(None) for callback in handler.start_callbacks])
counted("cuda_graph_captures", lambda: CUDAGraph().capture_begin(pool=1))
counted("inductor_benchmarks", lambda: CachingAutotuner().bench(1))
counted("triton_benchmarks", lambda: Autotuner()._bench(config=1))
counted("triton_compiles", lambda: knobs.runtime.jit_post_compile_hook(fn="kernel"))
assert heard == [{"fn": "kernel"}], "the hook that was there before"
counted("cute_compiles", lambda: cute.compile["opt"]("kernel"))
assert cute.compile["opt"]("kernel") == ("kernel", "opt")
assert CUDAGraph().capture_begin(pool=7) == 7

# A hook that somebody takes away takes the total with it, for good; the parts stay.
knobs.runtime.jit_post_compile_hook = None
lost = counters.stats()
assert "compiles" not in lost and lost["compiles.cute_compiles"] == 2, lost
assert "compiles" not in counters.stats()
again = _compiles.of_torch()
assert "compiles" in again.stats()
handler.start_callbacks.clear()
assert "compiles" not in again.stats()

# Older Triton: the hook is the class's, and stays a function there.
del triton.knobs
old = _compiles.of_torch()
JITFunction().compiled_hook(fn="kernel")
assert (old.stats()["compiles.triton_compiles"], old.uncounted()) == (1, None), (old.stats(), old.uncounted())

# What this environment does not have is said, and what is left is counted.
del JITFunction.compiled_hook, CUDAGraph.capture_begin
poor = _compiles.of_torch()
why = poor.uncounted()
assert "captures of CUDA graphs (CUDAGraph has no capture_begin)" in why and "neither knobs" in why, why
CachingAutotuner().bench(1)
assert poor.stats()["compiles"] == 1
module("vllm.utils.deep_gemm")
assert old.uncounted() is None, old.uncounted()
module("vllm.third_party.deep_gemm")
assert "deep_gemm is loaded" in old.uncounted()
del sys.modules["vllm.third_party.deep_gemm"]

counters = _compiles.of_max()
assert counters.uncounted() is None
counted("graph_compiles", lambda: InferenceSession().load("graph"))
counted("graph_compiles", lambda: InferenceSession().load_all("graph"))
counted("device_graph_captures", lambda: Model().capture(3))
print("done")
