"""Errors, files, progress, registry, plugins, worker processes, version."""
