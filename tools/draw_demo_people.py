"""Draw the synthetic people of the demo and pack them into the package.

Run: ``python tools/draw_demo_people.py``. The archive holds grey 48 px images and their table, so that the demo starts
training at once. Training people have imbalanced classes, test people as many images of each.
"""

import tempfile
import zipfile
from pathlib import Path

from PIL import Image

from evenface.data.datasets.synthetic import DEMO_PEOPLE
from evenface.synthesis.actions import LABELS
from evenface.synthesis.images import counts_per_person, make_faces

TRAIN = {"happy": 220, "neutral": 133, "sad": 81, "surprise": 49, "angry": 30, "disgust": 18, "fear": 11}
TRAIN_PEOPLE, TEST_PEOPLE, TEST_PER_CLASS = 56, 24, 4
DATE = (2026, 1, 1, 0, 0, 0)


def main() -> None:
    """Draw, convert to grey and write the archive."""
    counts = counts_per_person(TRAIN, LABELS, TRAIN_PEOPLE, 0)
    counts += [dict.fromkeys(LABELS, TEST_PER_CLASS)] * TEST_PEOPLE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = make_faces(folder, counts=counts, people=len(counts), size=48, workers=2)
        table["split"] = ["train" if int(person[1:]) < TRAIN_PEOPLE else "test" for person in table["subject"]]
        columns = ["sample", "path", "label", "subject", "split"]
        with zipfile.ZipFile(DEMO_PEOPLE, "w") as archive:
            archive.writestr(zipfile.ZipInfo("faces.csv", DATE), table[columns].to_csv(index=False))
            for path in table["path"]:
                grey = folder / f"{path}.grey"
                with Image.open(folder / path) as image:
                    image.convert("L").save(grey, "png", optimize=True)
                archive.writestr(zipfile.ZipInfo(path, DATE), grey.read_bytes())
    print(f"{DEMO_PEOPLE}: {len(table)} faces, {DEMO_PEOPLE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
