"""Manifests, where they come from, and who trains and who tests."""
