"""Version of evenface."""

__version__ = "0.1.0"
