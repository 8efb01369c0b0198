"""Builds an engine of an ONNX file with the real TensorRT-RTX builder.

Prints JSON: the engine's size, the number of convolutions in float16, and type and shape of every
input and output as the parser understands them. Run as a program, since what this builder does not
like may end the process. Needs no GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def main(model: Path) -> int:
    found = importlib.util.find_spec("tensorrt_rtx_libs")
    assert found is not None
    assert found.origin is not None
    for library in sorted(Path(found.origin).parent.glob("*.so*")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    import tensorrt_rtx_bindings as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.read_bytes()):
        for number in range(parser.num_errors):
            print(parser.get_error(number), file=sys.stderr)
        return 1
    half = sum(
        network.get_layer(i).get_output(0).dtype == trt.float16
        for i in range(network.num_layers)
        if network.get_layer(i).type == trt.LayerType.CONVOLUTION
    )
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    if engine is None:
        return 1
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    told = {"inputs": _described(inputs), "outputs": _described(outputs)}
    print(json.dumps({"size": engine.nbytes, "half_convolutions": half, **told}))
    return 0


def _described(tensors: list[Any]) -> dict[str, Any]:
    return {t.name: [str(t.dtype).rpartition(".")[2], list(t.shape)] for t in tensors}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
