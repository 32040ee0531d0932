"""What the Python shims hand to their engines: prints {shim: its keyword arguments} for the options in argv[2], with stand-ins
for the engines' modules. argv[1] is the folder of the package `tacho_shims`."""

import json
import pathlib
import sys
import tempfile
import types


def module(name, **names):
    made = types.ModuleType(name)
    made.__dict__.update(names)
    sys.modules[name] = made
    return made


class Seen(Exception):
    """Carries what MAX's own parser would get, before anything is loaded."""


class PipelineArgs:
    @staticmethod
    def from_flat_kwargs(**asked):
        raise Seen(asked)


class Platform:
    @staticmethod
    def is_cpu():
        return False


class DeviceSpec:
    cpu = accelerator = staticmethod(lambda *_: "a device")


module("vllm")
module("vllm.platforms", current_platform=Platform)
module("max")
module("max.driver", DeviceSpec=DeviceSpec, accelerator_count=lambda: 0)
module("max.pipelines", PIPELINE_REGISTRY=None)
module("max.pipelines.lib", PipelineArgs=PipelineArgs, PipelineConfig=None)

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
options = json.loads(sys.argv[2])

from tacho_shims import max as max_shim  # noqa: E402
from tacho_shims import sglang, tensorrt_llm, vllm  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    model = pathlib.Path(folder)
    (model / "config.json").write_text("{}")
    config = {"model": folder, "max_seqs": 4, "max_model_len": 64, "seed": 1, "options": options}
    found = {
        "vllm": vllm._engine_args(config, model, options),
        "sglang": sglang._server_args(config, model, {"device": "cuda", **options}),
        "tensorrt_llm": tensorrt_llm._arguments(config, model, options, "pytorch"),
    }
    try:
        max_shim.load(config)
    except Seen as seen:
        found["max"] = seen.args[0]
print(json.dumps(found))
