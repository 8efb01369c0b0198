"""From the node's parameters to a loaded network with its controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pag_ros import runtime
from pag_ros.budget import ControllerSettings, RecordedController, save_table
from pag_ros.errors import ParameterError
from pag_ros.ros.parameters import Settings, chosen_size
from pag_ros.runtime import EngineOptions, Perception, PlannedSession, find_model
from pag_ros.runtime.calibration import calibrate, latency_key
from pag_ros.runtime.models import DEFAULT_MODEL


def open_perception(
    settings: Settings, say: Callable[[str], None], is_stopped: Callable[[], bool]
) -> Perception:
    """Load the model, and measure its latency coarsely unless it has been calibrated.

    Args:
        say: told what takes long: building an engine for the GPU.
        is_stopped: asked now and then whether such a build is to end.

    Raises:
        ModelError, BackendError: the model or the device cannot be used; the text says why.
        ParameterError: the model cannot run at `network_size`, or the log of decisions cannot be
            written.
    """
    model = find_model(settings.model or DEFAULT_MODEL)
    try:
        return runtime.open_perception(
            model,
            settings.device,
            settings.threads,
            controller_settings(settings),
            settings.escalate,
            Path(settings.log_decisions).expanduser() if settings.log_decisions else None,
            EngineOptions(
                Path(settings.engine_cache_dir).expanduser() if settings.engine_cache_dir else None,
                settings.force_engine_rebuild,
                say,
                is_stopped=is_stopped,
            ),
            chosen_size(settings.network_size),
            settings.precision,
        )
    except OSError as error:
        reason = f"log_decisions {error.filename}: cannot be written ({error.strerror})"
        raise ParameterError(reason) from error


def controller_settings(settings: Settings) -> ControllerSettings:
    """The part of the parameters that the controller obeys; may be replaced at any time."""
    return ControllerSettings(settings.budget_mode, settings.budget, settings.budget_min)


def recalibrate(perception: Perception) -> str:
    """Measure the latency tables anew, use them, and keep them for later starts.

    Returns:
        Where they were written.

    Raises:
        ParameterError: the user's cache cannot be written; the new tables are used all the same.
    """
    tables = [(planned, calibrate(planned.session)) for planned in perception.sessions]
    for planned, table in tables:
        planned.controller = planned.controller.renewed(table)
    try:
        paths = [save_table(table, latency_key(planned.session)) for planned, table in tables]
    except OSError as error:
        raise ParameterError(
            f"measured and in use, but not kept for later starts: {error.filename} cannot be "
            f"written ({error.strerror}); set XDG_CACHE_HOME to a folder that can"
        ) from error
    return ", ".join(map(str, paths))


def log_cut_off(planned: PlannedSession) -> str:
    """Why the log of a session's decisions has ended before its time; empty if it has not."""
    controller = planned.controller
    return controller.cut_off if isinstance(controller, RecordedController) else ""
