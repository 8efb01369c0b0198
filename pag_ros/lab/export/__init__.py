"""From torch to what a robot loads: an ONNX file with `pag` operators and its manifest."""

from pag_ros.lab.export.card import ModelCard, read_card
from pag_ros.lab.export.onnx_export import export_dense, export_model
from pag_ros.lab.export.trained_size import metric_at

__all__ = ["ModelCard", "export_dense", "export_model", "metric_at", "read_card"]
