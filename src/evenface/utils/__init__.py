"""Errors, files and folder locks, progress, registry, plugins, worker processes, version."""

__version__ = "0.1.0"
