"""Facial expression and pain from uneven classes, with honest evaluation."""

__version__ = "0.1.0"
