"""One image in, depth, normals, labels out: sessions on every backend, free of ROS and torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pag_ros.budget import Controller, ControllerSettings, RecordedController
from pag_ros.errors import BackendError, ModelError, ParameterError, RangesError
from pag_ros.manifest import load_manifest
from pag_ros.runtime.calibration import table_for
from pag_ros.runtime.models import find_model, shipped_models
from pag_ros.runtime.network_size import Size, scaled_size, size_of, size_text
from pag_ros.runtime.perception import FrameResult, Perception, PlannedSession
from pag_ros.runtime.precision import PRECISIONS, untried_text
from pag_ros.runtime.session import Deadline, Prediction, Session
from pag_ros.runtime.tensorrt.options import EngineOptions, Say

__all__ = [
    "PRECISIONS",
    "Deadline",
    "EngineOptions",
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
    model: Path,
    device: str = "auto",
    threads: int = 0,
    size: Size | None = None,
    engine: EngineOptions | None = None,
    precision: str = "fp32",
) -> Session:
    """Load a model on a device.

    "auto" takes an NVIDIA GPU if TensorRT can use it, else the CPU; `Session.backend` says which,
    and it is said why it is the CPU. An engine for the GPU is built if there is none yet, which
    takes minutes on a Jetson.

    Args:
        model: path of the ONNX file, its manifest beside it; `find_model` finds it by name.
        device: "cpu", "tensorrt", or "auto" for the best that there is.
        threads: CPU threads to use; 0 takes all that this process may use.
        size: (width, height) that the network runs at, None for the model's own; another one on the
            CPU only.
        engine: how the engine is obtained, and who is told.
        precision: of the CPU, one of `precision.PRECISIONS`; a GPU's engine has its own.

    Raises:
        ModelError: the model or its manifest is missing, damaged or unfit.
        BackendError: the device's backend is not installed, or refuses the model or the precision.
        ParameterError: no such device or precision, or the model cannot run at that size.
    """
    if device not in DEVICES:
        raise ParameterError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if precision not in PRECISIONS:
        raise ParameterError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    say = (engine or EngineOptions()).say
    session = None
    if device == "tensorrt":
        session = _open_tensorrt(model, size, engine)
    elif device == "auto":
        session = _open_gpu_if_usable(model, size, engine or EngineOptions())
    if session is None:
        return _open_cpu(model, threads, size, precision, say)
    if precision in ("bf16", "int8"):
        say(f"precision {precision} is left aside: it is of the CPU, and this is a GPU's engine")
    return session


def _open_gpu_if_usable(model: Path, size: Size | None, engine: EngineOptions) -> Session | None:
    from pag_ros.runtime.tensorrt.requirements import tensorrt_problem

    problem = tensorrt_problem()
    if problem is not None:
        reason = problem.partition(":")[0]
        engine.say(f"device auto takes the CPU: {reason} (`pag_ros doctor` tells what to do)")
        return None
    try:
        return _open_tensorrt(model, size, engine)
    except BackendError as error:
        if engine.is_stopped():
            raise
        engine.say(f"device auto takes the CPU, since TensorRT cannot be used: {error}")
    return None


def _open_tensorrt(model: Path, size: Size | None, engine: EngineOptions | None) -> Session:
    if size is not None and size != (own := size_of(load_manifest(model))):
        # An engine and its kernels are made for one size; others would have to be shipped.
        raise BackendError(
            f"TensorRT runs {model.name} at {size_text(own)} only, which its engine is made for; "
            "use device cpu"
        )
    from pag_ros.runtime.tensorrt.opening import open_tensorrt

    session, _ = open_tensorrt(model, engine)
    return session


def _open_cpu(model: Path, threads: int, size: Size | None, precision: str, say: Say) -> Session:
    try:
        from pag_ros.runtime.openvino.session import OpenVinoSession
    except ImportError as error:
        raise BackendError(
            f"the CPU backend is not installed ({error}); pip install openvino"
        ) from error
    try:
        session = OpenVinoSession(model, threads, size, precision)
    except RangesError as error:
        # Their nodes may have other names in another OpenVINO: no reason not to start.
        if precision != "auto":
            raise
        say(f"precision auto does without int8: {error}")
        session = OpenVinoSession(model, threads, size, precision, may_round=False)
    if session.untried:
        say(untried_text(model, session.untried))
    return session


def open_perception(
    model: Path,
    device: str = "auto",
    threads: int = 0,
    settings: ControllerSettings | None = None,
    escalate: bool = False,
    decision_log: Path | None = None,
    engine: EngineOptions | None = None,
    size: Size | None = None,
    precision: str = "fp32",
) -> Perception:
    """Load a model and make it ready: warmed up, with a controller that knows its latency.

    Arguments and errors are those of `open_session`; `settings` are the controller's. With
    `escalate` the model is loaded at half the size too, if its blocks and the device allow it.
    Decisions are written to `decision_log`, those at half the resolution beside it.

    Raises:
        ParameterError: the session cannot do what the settings' mode needs.
        OSError: the log cannot be written.
    """
    engine = engine or EngineOptions()
    session = open_session(model, device, threads, size, engine, precision)
    whole, half = _planned(session, settings, decision_log, engine), None
    if escalate and session.device == "cpu":
        log = decision_log and decision_log.with_stem(f"{decision_log.stem}_half")
        # What there is to say of the CPU was said of the whole.
        quiet = replace(engine, say=lambda _: None)
        try:
            half_size = scaled_size(session.manifest, 0.5)
            smaller = open_session(model, "cpu", threads, half_size, quiet, precision)
        except (ModelError, ParameterError):  # its blocks do not allow it, or it is too small
            pass
        else:
            half = _planned(smaller, settings, log, engine)
    try:
        return Perception(whole, half, threads)
    except ParameterError:
        whole.session.close()
        whole.controller.close()
        raise


def _planned(
    session: Session, settings: ControllerSettings | None, log: Path | None, engine: EngineOptions
) -> PlannedSession:
    manifest, table = session.manifest, table_for(session, engine.say)
    if log is None:
        return PlannedSession(session, Controller(manifest, table, settings))
    return PlannedSession(session, RecordedController(log, manifest, table, settings))
