"""Resource limits of the local page and its HTTP API."""

from pydantic import Field

from evenface.config.section import Section

MEGA = 1_000_000


class Limits(Section):
    """What the page accepts, and how long a job may take."""

    upload: int = Field(64 * MEGA, gt=0, description="bytes of a request")
    pixels: int = Field(50 * MEGA, gt=0, description="pixels of an image")
    frame_pixels: int = Field(9 * MEGA, gt=0, description="pixels of a video frame")
    numbers: int = Field(1_000 * MEGA, gt=0, description="bytes of an unpacked archive or table")
    seconds: float = Field(120.0, gt=0, description="duration of a video")
    frames: int = Field(7_500, gt=0, description="frames of a video")
    waiting: int = Field(8, gt=0, description="jobs in the queue")
    kept: int = Field(32, gt=0, description="finished jobs whose results can still be fetched")
    timeout: float = Field(300.0, gt=0, description="seconds that a job may run")
    memory: int = Field(
        8_000 * MEGA, gt=0, description="bytes of memory of the worker process, where the system can limit it; CPU only"
    )
    trust_plugins: bool = Field(False, description="run plugin code named by runs")
