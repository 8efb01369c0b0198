"""The GPU kernels in Triton, and what makes stored machine code of them."""
