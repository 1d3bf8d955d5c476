"""Networks that return logits, features and maps."""

from evenface.networks.backbone import Network, Outputs, build_network

__all__ = ["Network", "Outputs", "build_network"]
