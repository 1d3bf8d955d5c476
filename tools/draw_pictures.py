"""Draw the synthetic people whose pictures are part of the package: ``src/evenface/synthesis/pictures/*.jpg``.

Run ``python tools/draw_pictures.py``. Requirement: evenface. The demo and the documentation use the pictures in place
of photographs.
"""

import argparse
from pathlib import Path

from PIL import Image

from evenface.synthesis.actions import action_units
from evenface.synthesis.geometry import Light, Pose, State
from evenface.synthesis.head import FILE
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer, Scene
from evenface.utils.files import atomic_write

SIZE = 480
PEOPLE = {
    "happy": (22, State(action_units({6: 0.8, 12: 0.95, 25: 0.8, 26: 0.2}), Pose(8, 2, 3), light=Light(30, 35, 1.05))),
    "surprise": (2, State(action_units({1: 0.95, 2: 0.95, 5: 0.8, 25: 0.5, 26: 0.75}), Pose(-6, 1, -2))),
}
"""Person and state of each picture."""
SCENE = Scene(shift=(0, -0.05), zoom=0.7, backdrop=(0.25, 0.33, 0.42), clutter=0.4)


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FILE.with_name("pictures"), help="directory (default: the package)")
    folder = parser.parse_args().out
    for name, (index, state) in PEOPLE.items():
        image = Renderer(SIZE).render(make_person(0, index), [state], SCENE)[0]
        with atomic_write(folder / f"{name}.jpg") as temporary:
            Image.fromarray(image).save(temporary, quality=90)
        print(folder / f"{name}.jpg")


if __name__ == "__main__":
    main()
