"""The network on an NVIDIA GPU: the graph that TensorRT compiles, with our kernels as plugins."""
