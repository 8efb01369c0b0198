"""Compiles an ONNX file by `builder.compile_network` with the real TensorRT-RTX builder.

Prints the engine's size, the shares of progress that were reported, whether outputs of plugins may
lie in their inputs and whether float32 may be rounded (TF32), or the error. With "stop" the build
is to end after its first step; a number is the most that every value of the input `keep` may be.
Run as a program, since what this builder does not like may end the process. Needs no GPU.
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


def main(model: Path, option: str) -> None:
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
            trt,
            model.read_bytes(),
            progress,
            is_stopped=lambda: option == "stop" and bool(shares),
            most={"keep": [int(option)]} if option.isdigit() else None,
        )
        config = builder_config(trt, trt.Builder(trt.Logger()))
        aliased = config.get_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03)
        told = {"aliased": aliased, "rounded": config.get_flag(trt.BuilderFlag.TF32)}
        print(json.dumps({"size": len(engine), "shares": shares, **told}))
    except BackendError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "".join(sys.argv[2:]))
