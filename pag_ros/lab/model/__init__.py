"""The gated networks in torch."""

from pag_ros.lab.model.adapt import GatedNetwork, gate_network
from pag_ros.lab.model.network import NetworkConfig, PagNetwork, build_network

__all__ = ["GatedNetwork", "NetworkConfig", "PagNetwork", "build_network", "gate_network"]
