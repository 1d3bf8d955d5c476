"""Synthetic people: 3-D faces with known identity, action units and pose, and their rendering."""
