"""One image in, depth, normals, labels out: sessions on every backend, free of ROS and torch."""

from __future__ import annotations

from pathlib import Path

from pag_ros.budget import Controller, ControllerSettings, RecordedController
from pag_ros.errors import BackendError, ModelError, ParameterError
from pag_ros.runtime.calibration import table_for
from pag_ros.runtime.models import find_model, shipped_models
from pag_ros.runtime.perception import FrameResult, Perception, PlannedSession
from pag_ros.runtime.session import Deadline, Prediction, Session

__all__ = [
    "Deadline",
    "FrameResult",
    "Perception",
    "PlannedSession",
    "Prediction",
    "Session",
    "find_model",
    "open_perception",
    "open_session",
    "shipped_models",
]

DEVICES = ("auto", "cpu", "tensorrt")


def open_session(
    model: Path, device: str = "auto", threads: int = 0, half: bool = False
) -> Session:
    """Load a model on a device.

    Args:
        model: path of the ONNX file, its manifest beside it; `find_model` finds it by name.
        device: "cpu", "tensorrt", or "auto" for the best that there is.
        threads: CPU threads to use; 0 takes all that this process may use.
        half: run it at half its input resolution.

    Raises:
        ModelError: the model or its manifest is missing, damaged or unfit, or has odd sides that
            cannot be halved.
        BackendError: the device's backend is not installed or not supported.
        ParameterError: no such device.
    """
    if device not in DEVICES:
        raise ParameterError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "tensorrt":
        raise BackendError("this version has no TensorRT session yet; use device cpu or auto")
    try:
        from pag_ros.runtime.openvino_session import OpenVinoSession
    except ImportError as error:
        raise BackendError(
            f"the CPU backend is not installed ({error}); pip install openvino"
        ) from error
    return OpenVinoSession(model, threads, half)


def open_perception(
    model: Path,
    device: str = "auto",
    threads: int = 0,
    settings: ControllerSettings | None = None,
    escalate: bool = False,
    decision_log: Path | None = None,
) -> Perception:
    """Load a model and make it ready: warmed up, with a controller that knows its latency.

    Arguments and errors are those of `open_session`; `settings` are the controller's. With
    `escalate` the model is loaded at half its resolution too, if its sides can be halved.
    Decisions are written to `decision_log`, those at half the resolution beside it.

    Raises:
        OSError: the log cannot be written.
    """
    whole = _planned(open_session(model, device, threads), settings, decision_log)
    if not escalate:
        return Perception(whole)
    try:
        half = open_session(model, device, threads, half=True)
    except ModelError:
        return Perception(whole)
    log = decision_log and decision_log.with_stem(f"{decision_log.stem}_half")
    return Perception(whole, _planned(half, settings, log))


def _planned(
    session: Session, settings: ControllerSettings | None, log: Path | None
) -> PlannedSession:
    manifest, table = session.manifest, table_for(session)
    if log is None:
        return PlannedSession(session, Controller(manifest, table, settings))
    return PlannedSession(session, RecordedController(log, manifest, table, settings))
