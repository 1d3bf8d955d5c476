"""How fast and how lean evenface is, measured; ``python -m benchmarks.speed`` runs everything."""
