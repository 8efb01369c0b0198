"""The operators on NVIDIA GPUs, as programs whose compiled kernels are stored beside the model.

programs   what a kernel computes on which tensors, and how it is launched
tiles      which tile a convolution takes on which chip
store      compiled kernels as a file, so that a robot needs no Triton

The kernels themselves and their compilation are in `pag_ros.lab.kernel_compiler`; docs/gpu.md says
how they work.
"""
