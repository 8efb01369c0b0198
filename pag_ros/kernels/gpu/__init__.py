"""The operators as Triton kernels for NVIDIA GPUs; docs/gpu.md says how they work.

programs   what a kernel computes on which tensors, and how it is launched; needs no Triton
triton_*   the kernels themselves
compiler   a program -> PTX and cubin, on any machine, with a report
store      compiled kernels as a file beside the model, so that a robot needs no Triton
"""
