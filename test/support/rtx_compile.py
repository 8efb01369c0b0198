"""Compiles an ONNX file by `builder.compile_network` with the real TensorRT-RTX builder.

Prints the engine's size, the shares of progress that were reported and whether outputs of plugins
may lie in their inputs, or the error. With "stop" the build is to end after its first step. Run as
a program, since what this builder does not like may end the process. Needs no GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from pathlib import Path

from pag_ros.errors import BackendError
from pag_ros.runtime.tensorrt.builder import builder_config, compile_network
from pag_ros.runtime.tensorrt.progress import BuildProgress


def main(model: Path, stops: bool) -> None:
    found = importlib.util.find_spec("tensorrt_rtx_libs")
    assert found is not None
    assert found.origin is not None
    for library in sorted(Path(found.origin).parent.glob("*.so*")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    import tensorrt_rtx_bindings as trt

    shares: list[float] = []
    progress = BuildProgress(lambda share, left_s, phase: shares.append(share))
    try:
        engine = compile_network(
            trt, model.read_bytes(), progress, is_stopped=lambda: stops and bool(shares)
        )
        config = builder_config(trt, trt.Builder(trt.Logger()))
        aliased = config.get_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03)
        print(json.dumps({"size": len(engine), "shares": shares, "aliased": aliased}))
    except BackendError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["stop"])
