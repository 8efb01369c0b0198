"""Make a model good where one robot works, and judge honestly whether it is."""

from pag_ros.lab.tuning.adopting import Adopted, AdoptOptions, adopt_for_recording
from pag_ros.lab.tuning.options import TuneOptions
from pag_ros.lab.tuning.tuning import Tuned, tune

__all__ = [
    "AdoptOptions",
    "Adopted",
    "TuneOptions",
    "Tuned",
    "adopt_for_recording",
    "tune",
]
