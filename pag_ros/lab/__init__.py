"""The workbench, which a robot never imports: it makes models, kernels and figures."""
