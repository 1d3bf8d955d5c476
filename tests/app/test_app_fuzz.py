"""Damaged uploads and requests: the server continues, responds in its own form, and discloses no paths."""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
from urllib.parse import unquote_to_bytes

import fuzz
import numpy as np
import pandas as pd
import pytest

import evenface as ef

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("av")

from evenface.app.catalogue import Catalogue, entry_id
from evenface.app.schemas import INTERNAL_ERROR
from evenface.app.server import create_app
from evenface.config.limits import Limits

QUICK, FULL = 150, 2_400
SETTINGS = ["frame_stride", "window", "overlap", "smooth", "abstain", "prior", "margin", "model", "wait", "explain"]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A run on action units in files."""
    folder = tmp_path_factory.mktemp("units")
    random = np.random.default_rng(0)
    for label, name in enumerate(("calm", "joy")):
        (folder / name).mkdir()
        for actor in range(6):
            values = pd.DataFrame(random.random((9, 3)) + label, columns=["AU01_r", "AU04_r", "AU12_r"])
            values.to_csv(folder / name / f"p{actor}-1.csv", index=False)
    recipe = {
        "name": "units",
        "data": {"source": "openface", "root": str(folder), "subjects": "^(p[0-9]+)-", "sequences": {"frames": 6}},
        "protocol": {"test": 0.3, "validation": 0.0},
        "network": {"name": "recurrent", "recurrent": {"dense": 4, "hidden": 4, "top": 4}},
        "training": {"epochs": 1, "batch_size": 8, "accelerator": "cpu", "precision": "32-true", "checkpoint": "last"},
        "augment": {"flip": 0},
    }
    return ef.train(recipe, out=tmp_path_factory.mktemp("run") / "units", sample_faces=False).folder


class Asked:
    """An application that is called without a client, which would correct what is sent."""

    def __init__(self, places):
        # A picture of 48 megapixels, or an array of gigabytes, would only take long.
        self.app = create_app(
            Catalogue(places), limits=Limits(upload=4_000_000, pixels=4_000_000, memory=4_000_000_000)
        )
        self.keys = [entry_id(places[0] / "plain"), entry_id(places[0] / "weighted"), entry_id(places[1])]
        self.secret = [str(self.app.state.jobs.folder), *(str(place.parent) for place in places), tempfile.gettempdir()]
        self.secret += ["Traceback", 'File "', "site-packages", "/etc/passwd", "root:"]
        self.loop = asyncio.new_event_loop()
        self.ended = {"done": 0, "failed": 0}

    def __call__(self, method, path, query=b"", headers=None, body=b"", pieces=1):
        """Ask, and check the form of the answer."""
        head = {b"host": b"127.0.0.1"} | (headers or {})
        status, content = self.loop.run_until_complete(self._answer(method, path, query, head, body, pieces))
        text = content.decode("utf-8")
        assert status < 500, (method, path, body[:200], text)
        assert not [word for word in self.secret if word in text], (method, path, text)
        if status >= 400 and method != "HEAD":
            assert set(json.loads(text)["error"]) == {"what", "do"}
        return status, text

    async def _answer(self, method, path, query, headers, body, pieces):
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http"}
        scope |= {"path": unquote_to_bytes(path).decode("utf-8", "replace"), "raw_path": path, "root_path": ""}
        scope |= {
            "query_string": query,
            "headers": list(headers.items()),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        step = len(body) // pieces + 1
        left = [body[i : i + step] for i in range(0, len(body), step)] or [b""]
        sent = []

        async def receive():
            if not left:
                return {"type": "http.disconnect"}
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left)}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    def upload(self, number, name, data, random):
        """Send a file, and wait for what comes of it."""
        fields = {"model": self.keys[2 * (number % 2)], "faces": "all" if number % 8 == 0 else "none"}
        if random.random() < 0.2:
            field = SETTINGS[random.integers(len(SETTINGS))]
            fields[field] = fuzz.NUMBERS[random.integers(len(fuzz.NUMBERS))]
        damaged = random if random.random() < 0.1 else None
        body, kind = fuzz.form(fields, name, data, damaged), {b"content-type": b"multipart/form-data; boundary=b"}
        status, text = self("POST", b"/api/v1/predictions", b"wait=20", kind, body, int(random.integers(1, 4)))
        if status == 202:
            job = json.loads(text)
            while job["state"] in ("waiting", "running"):
                job = json.loads(self("GET", f"/api/v1/jobs/{job['id']}".encode(), b"wait=20")[1])
            self.ended[job["state"]] += 1
            told = job["error"]["what"] if job["error"] else ""
            assert told != INTERNAL_ERROR, (number, name, data[:60])
            assert not told.startswith(("A decoder crashed", "The job took more")), (number, name, data[:60])


@pytest.fixture
def asked(two_runs, numbers, forked_workers):
    asked = Asked([two_runs, numbers])
    yield asked
    folder = asked.app.state.jobs.folder
    assert list(folder.iterdir()) == []
    asked.app.state.jobs.close()
    asked.loop.close()
    assert not folder.exists()


def throw(asked, count, seed):
    """Send so many files and requests, two files for each request."""
    random = np.random.default_rng([seed, 2])
    files = count * 2 // 3
    for number, (name, data) in enumerate(fuzz.uploads(files, seed)):
        asked.upload(number, name, data, random)
    for _ in range(count - files):
        method, path, query, headers, body = fuzz.request(random, asked.keys)
        asked(method, path, query, headers, body)
    assert asked("GET", b"/api/v1/about")[0] == 200
    assert min(asked.ended.values()) > 0


def test_damaged_files_and_requests_crash_nothing_and_disclose_nothing(asked):
    throw(asked, QUICK, 0)


@pytest.mark.slow
def test_thousands_of_damaged_files_and_requests_crash_nothing_and_disclose_nothing(asked):
    throw(asked, FULL, 1)


@pytest.mark.slow
def test_invalid_http_does_not_stop_the_server(two_runs):
    code = "from evenface.cli import main; main()"
    command = [sys.executable, "-c", code, "app", str(two_runs), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline().split()[1].rstrip("/").rpartition(":")[2])
        random = np.random.default_rng(3)
        good = b"POST /api/v1/predictions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n--b\r\n\r\n--"
        for number in range(200):
            data = random.bytes(int(random.integers(1, 500))) if number % 4 == 0 else fuzz.mutated(good, [good], random)
            with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda line=line: line.recv(65536), b""))
            assert b"Traceback" not in answer
            assert tempfile.gettempdir().encode() not in answer
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(b"GET /api/v1/about HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            assert line.recv(65536).startswith(b"HTTP/1.1 200")
        server.terminate()
        assert "Traceback" not in server.stderr.read()
