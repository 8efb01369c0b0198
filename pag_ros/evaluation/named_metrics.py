"""What each metric is called, how it is written for people, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How one metric is called and written: `scale` and `unit` for people, better up or down."""

    task: str
    name: str
    text: str
    scale: float
    unit: str
    higher_is_better: bool

    def format(self, value: float | None) -> str:
        """The value with its unit; a dash where there is none."""
        return "-" if value is None else f"{value * self.scale:.{self.digits}f}{self.unit}"

    def format_difference(self, value: float) -> str:
        """A difference of two values with its sign; of shares, in points."""
        return self._signed(value) + self._unit_of_difference

    def format_interval(self, low: float, high: float) -> str:
        """Two differences: "-0.3 to +0.2°"."""
        return f"{self._signed(low)} to {self._signed(high)}{self._unit_of_difference}"

    @property
    def key(self) -> str:
        """Of JSON: "depth delta1"."""
        return f"{self.task} {self.name}"

    @property
    def digits(self) -> int:
        return 1 if self.unit in (" %", "°") else 3

    @property
    def _unit_of_difference(self) -> str:
        return " points" if self.unit == " %" else self.unit

    def _signed(self, value: float) -> str:
        rounded = round(value * self.scale, self.digits) + 0.0  # never "-0.0"
        return f"{rounded:+.{self.digits}f}"


DEPTH_TASKS = ("depth", "depth (median-scaled)")
METRICS = (
    *(
        metric
        for task in DEPTH_TASKS
        for metric in (
            Metric(task, "delta1", "δ < 1.25", 100, " %", True),
            Metric(task, "delta2", "δ < 1.25²", 100, " %", True),
            Metric(task, "delta3", "δ < 1.25³", 100, " %", True),
            Metric(task, "AbsRel", "AbsRel", 1, "", False),
            Metric(task, "SqRel", "SqRel", 1, " m", False),
            Metric(task, "RMSE", "RMSE", 1, " m", False),
            Metric(task, "RMSElog", "RMSE log", 1, "", False),
            Metric(task, "SILog", "SILog", 1, "", False),
        )
    ),
    Metric("normals", "mean", "mean angle", 1, "°", False),
    Metric("normals", "median", "median angle", 1, "°", False),
    Metric("normals", "RMSE", "RMSE", 1, "°", False),
    Metric("normals", "<11.25", "within 11.25°", 100, " %", True),
    Metric("normals", "<22.5", "within 22.5°", 100, " %", True),
    Metric("normals", "<30", "within 30°", 100, " %", True),
    Metric("segmentation", "mIoU", "mIoU", 100, " %", True),
    Metric("segmentation", "pixel_accuracy", "pixel accuracy", 100, " %", True),
    Metric("segmentation", "mean_accuracy", "mean accuracy", 100, " %", True),
    Metric("boundary", "ODS", "ODS", 1, "", True),
    Metric("boundary", "OIS", "OIS", 1, "", True),
    Metric("boundary", "AP", "AP", 1, "", True),
)


def metric_of(task: str, name: str) -> Metric:
    """The one of `METRICS` with this task and name.

    Raises:
        KeyError: there is none.
    """
    for metric in METRICS:
        if (metric.task, metric.name) == (task, name):
            return metric
    raise KeyError(f"{task} {name}")
