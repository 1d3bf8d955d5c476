"""A page of two runs, asked as a browser would, for the tests of the page."""

import io
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

from starlette.testclient import TestClient

from evenface.app.catalogue import Catalogue
from evenface.app.server import create_app
from evenface.config.limits import Limits

LOCAL = "http://127.0.0.1:8420"


def client_of(places, base=LOCAL, **options):
    limits = options.pop("limits", Limits(upload=2_000_000, timeout=60, pixels=4_000_000, seconds=20, kept=6))
    return TestClient(create_app(Catalogue(places), limits=limits, **options), base_url=base)


def picture(size=(40, 40), kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, size[::-1], np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def models(client):
    return {one["name"]: one for one in client.get("/api/v1/models").json()["models"]}


def predict_file(client, data=None, name="a.png", **fields):
    fields = {"model": models(client)["plain"]["id"]} | fields
    response = client.post(
        "/api/v1/predictions?wait=20", files={"file": (name, picture() if data is None else data)}, data=fields
    )
    assert response.status_code == 202, response.text
    return ended(client, response.json())


def ended(client, job):
    until = time.monotonic() + 60
    while job["state"] in ("waiting", "running") and time.monotonic() < until:
        job = client.get(f"/api/v1/jobs/{job['id']}?wait=5").json()
    return job


def failure(response, status):
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"what", "do"}
    return body["error"]["what"]


def png_of(width, height):
    """A PNG whose few bytes say that it is large."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * (width + 1) * 50)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
