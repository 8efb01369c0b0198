"""Sends a message that is in CDR already, from where it lies.

rclpy takes such a message as `bytes` alone, copies them, and keeps Python's lock while the
middleware copies them once more. So the function behind it is called directly: rcl's, through the
libraries that rclpy has loaded. Where that cannot be had, rclpy does it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.publisher import Publisher

_DONE = 0
"""RCL_RET_OK."""


class _SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t, an rcutils_uint8_array_t. The allocator is not used to publish."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("buffer_length", ctypes.c_size_t),
        ("buffer_capacity", ctypes.c_size_t),
        ("allocator", ctypes.c_void_p * 5),
    )


def send(publisher: Publisher, message: bytes | memoryview) -> None:
    """Publish a message.

    Args:
        message: in CDR, as `rclpy.serialization.serialize_message` gives it; free to be changed
            afterwards.

    Raises:
        RuntimeError: the middleware refuses it; one of rclpy's errors.
    """
    rcl = _rcl()
    if rcl is not None:
        address = np.frombuffer(message, np.uint8).ctypes.data
        array = _SerializedMessage(address, len(message), len(message))
        with publisher.handle:  # It is not destroyed meanwhile.
            if rcl.rcl_publish_serialized_message(publisher.handle.pointer, array, None) == _DONE:
                return
        rcl.rcutils_reset_error()
    publisher.publish(bytes(message))  # says what is wrong, if anything is


@cache
def _rcl() -> Any:
    """The libraries of rclpy as one; None where they do not show what is needed."""
    if not hasattr(rclpy_implementation.Publisher, "pointer"):
        return None
    try:
        library = ctypes.CDLL(rclpy_implementation.__file__)
        publish, reset = library.rcl_publish_serialized_message, library.rcutils_reset_error
    except (OSError, AttributeError):
        return None
    publish.argtypes = (ctypes.c_void_p, ctypes.POINTER(_SerializedMessage), ctypes.c_void_p)
    publish.restype = ctypes.c_int
    reset.restype = None
    return library
