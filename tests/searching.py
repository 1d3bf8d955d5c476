"""What tests of searches share: a recipe that searches."""

from evenface.config import load_recipe

OVER = {
    "network.recurrent.dense": [16, 64],
    "network.recurrent.hidden": [32, 128],
    "optimizer.lr": [1e-4, 1e-1, "log"],
}


def recipe(**overrides):
    content = {
        "name": "toy",
        "data": {"source": "sequences"},
        "network": {"name": "recurrent"},
        "training": {"epochs": 12, "monitor": "loss"},
        "search": {"trials": 20, "space": OVER, "startup_trials": 8, "parallel_trials": 3, "prune": False},
    }
    return load_recipe(content, overrides)
