"""A frame's report, as the node makes it."""

from pag_ros.ros.budget_report import BudgetReport

REPORT = BudgetReport(
    budget=0.5,
    density=0.48,
    keep=(24, 12),
    keep_planned=(24, 24),
    network_planned_ms=21.5,
    network_allowed_ms=25.25,
    time_allowed_ms=33.3,
    late=False,
    slowdown=1.125,
    margin=0.05,
    to_node_ms=1.5,
    waiting_ms=0.25,
    prepare_ms=2.0,
    network_ms=20.5,
    publish_ms=1.75,
    slowest_output="points (412 ms)",
    slow_publishing=True,
    thinned_outputs="points 1 of 4",
)
