"""The gated networks in torch."""

from pag_ros.model.network import NetworkConfig, PagNetwork, build_network

__all__ = ["NetworkConfig", "PagNetwork", "build_network"]
