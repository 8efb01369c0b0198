"""The network on a CPU: OpenVINO around the sparse kernels of our own."""
