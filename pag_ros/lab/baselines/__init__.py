"""What pixel-wise gating must beat: other ways of spending less compute on the same network."""

from pag_ros.lab.baselines.comparison import Comparison, TrainingJob
from pag_ros.lab.baselines.costs import NetworkCosts, Spending, network_costs, spending
from pag_ros.lab.baselines.finetune import Recipe, finetune
from pag_ros.lab.baselines.methods import METHODS, Method, make_method
from pag_ros.lab.baselines.scoring import score

__all__ = [
    "METHODS",
    "Comparison",
    "Method",
    "NetworkCosts",
    "Recipe",
    "Spending",
    "TrainingJob",
    "finetune",
    "make_method",
    "network_costs",
    "score",
    "spending",
]
