"""What TensorRT's ONNX parser does at a node that it does not know: it asks a creator for a plugin.

Written after onnx-tensorrt's `addPluginWithCreator`, `loadFields` and `copyField`, which the tests
cannot run: the parser exists in a full TensorRT only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper


def import_node(trt: Any, node: NodeProto, *request: Any) -> Any:
    """The plugin of a node with string attributes.

    Args:
        trt: the bindings.
        request: what the parser hands to creators of quickly deployable plugins besides.
    """
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    namespace = attributes["plugin_namespace"].decode()
    creator = trt.get_plugin_registry().get_creator(
        node.op_type, attributes["plugin_version"].decode(), namespace
    )
    # The fields refer to these arrays without owning them.
    texts = {field.name: as_field(attributes[field.name]) for field in creator.field_names}
    fields = trt.PluginFieldCollection(
        [trt.PluginField(name, text, trt.PluginFieldType.CHAR) for name, text in texts.items()]
    )
    names = (node.op_type, namespace) if request else (node.name,)
    return creator.create_plugin(*names, fields, trt.TensorRTPhase.BUILD, *request)


def as_field(attribute: bytes) -> NDArray[np.int8]:
    """A string attribute as the parser copies it: with the NUL that ends a C string, counted."""
    return np.frombuffer(attribute + b"\0", np.int8).copy()
