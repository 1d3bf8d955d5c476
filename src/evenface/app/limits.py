"""How much the page takes of its machine."""

from dataclasses import dataclass

from evenface.errors import InputError

MEGA = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What is refused, and when something is given up.

    Parameters
    ----------
    upload : int, default=64,000,000
        Bytes of a request.
    pixels : int, default=50,000,000
        Of a picture.
    frame_pixels : int, default=9,000,000
        Of a frame of a video.
    numbers : int, default=1,000,000,000
        Bytes of an archive of arrays, or of a table, when it is unpacked.
    seconds : float, default=120
        Length of a video.
    frames : int, default=7,500
        Of a video.
    waiting : int, default=8
        Jobs that wait while one is done.
    kept : int, default=32
        Ended jobs whose results can still be fetched.
    timeout : float, default=300
        Seconds that a job may take from when it begins.
    memory : int, default=8,000,000,000
        Bytes that the process of jobs may take, where the system can say so and no GPU is used.
    trust_plugins : bool, default=False
        Whether code that runs name is run.

    Raises
    ------
    InputError
        If one is not above 0.
    """

    upload: int = 64 * MEGA
    pixels: int = 50 * MEGA
    frame_pixels: int = 9 * MEGA
    numbers: int = 1_000 * MEGA
    seconds: float = 120.0
    frames: int = 7_500
    waiting: int = 8
    kept: int = 32
    timeout: float = 300.0
    memory: int = 8_000 * MEGA
    trust_plugins: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "trust_plugins" and not value > 0:
                raise InputError(f"{name} must be above 0, got {value}")
