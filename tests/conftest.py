"""What all tests share: where real data lies, quiet threads, reproducible hypothesis runs."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "evenface", deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evenface")


@pytest.fixture(autouse=True, scope="session")
def one_thread_per_worker():
    """Two workers on two cores: one thread each, or they only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real data sets; tests that need it skip where it is absent."""
    folder = os.environ.get("EVENFACE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set EVENFACE_DATA to a folder with fer2013/, ferplus/, clips/ to run on real data")
    return Path(folder)
