"""From the node's parameters to a loaded network with its controller."""

from __future__ import annotations

from pag_ros import runtime
from pag_ros.budget import Controller, ControllerSettings, save_table
from pag_ros.ros.parameters import Settings
from pag_ros.runtime import Perception, find_model
from pag_ros.runtime.calibration import calibrate, latency_key
from pag_ros.runtime.models import DEFAULT_MODEL


def open_perception(settings: Settings) -> Perception:
    """Load the model, and measure its latency coarsely unless it has been calibrated.

    Raises:
        ModelError, BackendError: the model or the device cannot be used; the text says why.
    """
    model = find_model(settings.model or DEFAULT_MODEL)
    return runtime.open_perception(
        model, settings.device, settings.threads, controller_settings(settings)
    )


def controller_settings(settings: Settings) -> ControllerSettings:
    """The part of the parameters that the controller obeys; may be replaced at any time."""
    return ControllerSettings(settings.budget_mode, settings.budget, settings.budget_min)


def recalibrate(perception: Perception) -> str:
    """Measure the latency table anew, use it, and keep it for later starts.

    Returns:
        Where it was written.

    Raises:
        OSError: the user's cache cannot be written; the new table is used all the same.
    """
    session = perception.session
    table = calibrate(session)
    perception.controller = Controller(session.manifest, table, perception.controller.settings)
    return str(save_table(table, latency_key(session)))
