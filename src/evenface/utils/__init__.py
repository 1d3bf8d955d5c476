"""Errors, files and folder locks, progress, registry, plugins, worker processes, version."""
