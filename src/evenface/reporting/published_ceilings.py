"""Accuracies above nearly all published ones, by dataset, and the publications they are compared with."""

from typing import NamedTuple


class Ceiling(NamedTuple):
    """An accuracy on a dataset that few or no published results exceed.

    Parameters
    ----------
    classes : int
        Number of classes that it applies to.
    accuracy : float
        Results above it are suspicious, 0 to 1.
    test : str
        The dataset, its classes and its test set, in words.
    published : str
        Published results, each with its source.
    """

    classes: int
    accuracy: float
    test: str
    published: str

    @property
    def warning(self) -> str:
        """The sentence that precedes a suspicious result."""
        return (
            f"accuracy on {self.test} is above {100 * self.accuracy:.0f} %. Published results: {self.published}. "
            "Check for leakage (evenface audit dataset) before trusting it"
        )


CEILINGS = {
    "biovid": Ceiling(
        5,
        0.45,
        "BioVid's five levels, on people who were not trained on,",
        "from face video alone, leaving one person out at a time, 30.8 % (Werner 2016), 31.5 % (Gkikas and Tsiknakis "
        "2023) and 35.4 % (Gkikas 2024)",
    ),
    "fer2013": Ceiling(
        7,
        0.77,
        "FER2013",
        "on PrivateTest 71.2 % (winner of the contest, Goodfellow 2013), 73.3 % with one network (Khaireddin and Chen "
        "2021), 76.8 % with an ensemble of seven (Pham 2020); one higher, 79.8 % (Roy 2024)",
    ),
    "rafdb": Ceiling(
        7,
        0.93,
        "RAF-DB's seven expressions",
        "92.05 % (POSTER, Zheng 2023) and 92.21 % (POSTER++, Mao 2023); one higher, 94.8 % (Roy 2024)",
    ),
    "affectnet": Ceiling(
        7,
        0.68,
        "AffectNet's seven expressions",
        "67.31 % (POSTER, Zheng 2023) and 67.49 % (POSTER++, Mao 2023); one higher, 72.4 % (Roy 2024)",
    ),
}
"""Source of data to its ceiling."""
