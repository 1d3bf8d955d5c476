"""Using what was trained: what a model is given, what it says, and what is written of it. Nothing here needs torch."""
