"""Depth, surface normals and segmentation from one gated network, before a deadline."""

__version__ = "0.1.0"
