"""Folders of one's own pictures, for the tests of training on them."""

import numpy as np
from PIL import Image


def pictures(folder, counts, gap=0.0, seed=0, colour=False, side=32, names="{}.png"):
    """Write noise, each picture of its own brightness; that of each further class is ``gap`` deviations higher."""
    random = np.random.default_rng(seed)
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            brightness = 110 + 18 * (random.normal() + gap * label)
            pixels = random.normal(brightness, 10, (side, side, 3) if colour else (side, side))
            path = folder / name / names.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return folder
