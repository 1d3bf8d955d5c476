"""Former names of recipe keys, study keys and methods, and those of other tools, each with the current name."""

from evenface.utils.errors import InputError

RECIPE_KEYS = {
    "augment.added": "augment.flip_duplicates",
    "augment.frames": "augment.temporal_jitter",
    "augment.mirror": "augment.flip_landmarks",
    "data.clips.every": "data.clips.stride",
    "data.clips.keep": "data.clips.stored_frames",
    "data.clips.lost": "data.clips.missing_face",
    "data.clips.lost_share": "data.clips.max_missing",
    "data.clips.take": "data.clips.sampling",
    "data.sequences.of": "data.sequences.source",
    "data.sequences.short": "data.sequences.padding",
    "data.sequences.take": "data.sequences.sampling",
    "network.recompute": "network.gradient_checkpointing",
    "optimizer.decay": "optimizer.weight_decay_on",
    "protocol.copies": "protocol.duplicates",
    "protocol.share": "protocol.train_fraction",
    "schedule.every": "schedule.step_size",
    "schedule.final": "schedule.min_lr_ratio",
    "search.first": "search.startup_trials",
    "search.over": "search.space",
    "search.together": "search.parallel_trials",
    "training.average": "training.ema_decay",
    "training.features": "training.cache_features",
    "training.mirror": "training.tta_flip",
    "training.select": "training.checkpoint",
}
"""Former dotted key of a recipe to its current name."""
STUDY_KEYS = {
    "leave_out": "exclude",
    "on": "datasets",
    "printed.on": "printed.dataset",
    "printed.test": "printed.test_set",
    "statistics.mixed": "statistics.mixed_model",
    "tests": "test_sets",
}
"""Former key of a study to its current name, without the indices of list entries."""
SYNONYMS = {
    "architecture": "network.name",
    "backbone": "network.name",
    "batch": "training.batch_size",
    "bs": "training.batch_size",
    "device": "training.accelerator",
    "early_stopping": "training.patience",
    "folder": "data.root",
    "gpu": "training.accelerator",
    "image_size": "data.size",
    "imgsz": "data.size",
    "learning_rate": "optimizer.lr",
    "lr0": "optimizer.lr",
    "max_epochs": "training.epochs",
    "model": "network.name",
    "num_epochs": "training.epochs",
    "path": "data.root",
    "pretrained": "network.weights",
    "random_seed": "seed",
    "random_state": "seed",
    "sampler": "training.sampling",
    "scheduler": "schedule.name",
}
"""Key of other tools to the recipe's key for the same."""
VALUES = {
    "cross-validation": "kfold",
    "gpu": "cuda",
    "k-fold": "kfold",
    "leave-one-subject-out": "leave-one-out",
    "loo": "leave-one-out",
    "lopo": "leave-one-out",
    "loso": "leave-one-out",
}
"""Other words for values of a recipe."""
METHODS = {"plain": "erm", "votes": "label-distribution"}
"""Former name of a method to its current name."""


def renamed(key: str) -> str | None:
    """Return the current name of a renamed key of a recipe or study, else None."""
    return RECIPE_KEYS.get(key) or STUDY_KEYS.get(key)


def check_key(key: str) -> None:
    """Raise an InputError if a dotted key of a recipe was renamed."""
    if new := RECIPE_KEYS.get(key):
        raise InputError(f"the key {key} was renamed to {new}")


def check_method_name(name: str, origin: str) -> None:
    """Raise an InputError if a method was renamed; ``origin`` is the file that has its name."""
    if new := METHODS.get(name):
        raise InputError(f"{origin}: the method {name!r} was renamed to {new!r}", f"Use method.name: {new}.")
