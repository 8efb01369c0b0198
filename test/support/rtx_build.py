"""Builds an engine of an ONNX file with the real TensorRT-RTX builder.

Prints JSON: the engine's size, the number of convolutions in float16, and type and shape of every
input and output as the parser understands them. An input that decides on shapes, such as the counts
of a transformer's patches, may have values from 1 to the second argument; the third names the GPU,
"SM89". Run as a program, since what this builder does not like may end the process. Needs no GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def main(model: Path, most: int = 1, gpu: str = "") -> int:
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
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    config = builder.create_builder_config()
    counts = [each for each in inputs if each.is_shape_tensor]
    if counts:
        profile = builder.create_optimization_profile()
        for each in counts:
            limits = (1, max(1, most // 2), most)
            profile.set_shape_input(each.name, *([limit] * each.shape[0] for limit in limits))
        config.add_optimization_profile(profile)
    if gpu:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, gpu), 0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return 1
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    told = {"inputs": _described(inputs), "outputs": _described(outputs)}
    print(json.dumps({"size": engine.nbytes, "half_convolutions": half, **told}))
    return 0


def _described(tensors: list[Any]) -> dict[str, Any]:
    return {t.name: [str(t.dtype).rpartition(".")[2], list(t.shape)] for t in tensors}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:]))
