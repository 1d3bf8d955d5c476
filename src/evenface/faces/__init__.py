"""Faces from files to one array: reading, preparing, storing."""
