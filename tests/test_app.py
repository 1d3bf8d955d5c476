"""The page's server: what it shows, judges and compares, what it refuses, and what it keeps to itself."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")

from starlette.testclient import TestClient

from evenface.app.api import create_app
from evenface.app.catalogue import Catalogue
from evenface.app.guard import COOKIE
from evenface.app.keeping import suffix_of
from evenface.app.limits import Limits
from evenface.errors import InputError
from evenface.evaluation.comparison import compare
from evenface.runs import Run
from evenface.serving.inputs import Source
from evenface.serving.opening import open_model
from evenface.serving.pipeline import predicted
from evenface.serving.settings import Settings

LOCAL = "http://127.0.0.1:8420"
PEOPLE = Path(__file__).parent / "pictures" / "two-made-up-people.jpg"


def client_of(places, base=LOCAL, **options):
    limits = options.pop("limits", Limits(upload=2_000_000, timeout=60, pixels=4_000_000, seconds=20, kept=6))
    return TestClient(create_app(Catalogue(places), limits=limits, **options), base_url=base)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept") / "here"


@pytest.fixture(scope="module")
def client(two_runs, kept):
    with client_of([two_runs], keep=kept) as client:
        folder = client.app.state.jobs.folder
        yield client
        assert list(folder.iterdir()) == []
    assert not folder.exists()


def picture(size=(40, 40), kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, size[::-1], np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def models(client):
    return {one["name"]: one for one in client.get("/api/v1/models").json()["models"]}


def judged(client, data=None, name="a.png", **fields):
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


def test_runs_and_what_is_known_of_them_are_listed(client, two_runs):
    found = models(client)
    assert set(found) == {"plain", "weighted"}
    run = Run.open(two_runs / "plain")
    known = client.get(f"/api/v1/models/{found['plain']['id']}").json()
    assert known["classes"] == ["calm", "fear", "happy"]
    assert known["takes"] == ["picture", "video"]
    assert known["overall"]["accuracy"] == run.metrics["overall"]["accuracy"]
    assert known["confusion"] == run.metrics["confusion"]
    assert known["calibrated"] == (run.folder / "calibration.json").is_file()
    assert "medical device" in known["card"]


def test_a_picture_is_judged_as_predict_judges_it(client, two_runs, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    model = open_model(two_runs / "plain")
    row, _ = predicted(model, [Source(str(tmp_path / "a.png"), "picture")], Settings())
    job = judged(client)
    assert job["state"] == "done"
    (got,) = job["prediction"]["rows"]
    np.testing.assert_allclose(got["probabilities"], row.probabilities, atol=1e-6)
    assert got["label"] == model.classes[int(row.probabilities.argmax())]
    assert (job["prediction"]["width"], job["prediction"]["height"]) == (40, 40)
    assert client.get(f"/api/v1/jobs/{job['id']}").json() == job


def test_an_explanation_has_a_heat_map_for_each_class(client):
    (one,) = judged(client, explain=True)["prediction"]["explained"]
    assert one["kind"] == "map"
    assert [len(maps) for maps in one["maps"]] == [1, 1, 1]
    assert all(maps[0].startswith("data:image/jpeg;base64,") for maps in one["maps"])


def test_faces_of_people_are_found_and_boxed(client):
    pytest.importorskip("mediapipe")
    rows = judged(client, PEOPLE.read_bytes(), "two.jpg", faces="all")["prediction"]["rows"]
    centres = sorted((row["box"][0] + row["box"][2]) / 2 for row in rows)
    assert centres == [pytest.approx(136, abs=25), pytest.approx(388, abs=25)]


def test_runs_are_compared_as_compare_does(client, two_runs):
    keys = [models(client)[name]["id"] for name in ("plain", "weighted")]
    job = ended(client, client.post("/api/v1/comparisons?wait=20", json={"models": keys}).json())
    got = job["comparison"]
    runs = {name: Run.open(two_runs / name).predictions for name in ("plain", "weighted")}
    (pair,) = compare(runs).pairs
    assert [one["value"] for one in got["pairs"][0]["classes"]] == [one.value for one in pair.classes]
    assert got["pairs"][0]["overall"][0]["low"] == pair.overall["balanced_accuracy"].low
    assert got["units"] > 0
    again = client.post("/api/v1/comparisons?wait=20", json={"models": keys[:1] * 2}).json()
    assert ended(client, again)["error"]["what"] == "the run plain is given twice"


def test_what_is_no_picture_is_told_in_a_sentence(client):
    broken = b"\x89PNG\r\n\x1a\n" + bytes(50)
    for data, name in ((b"hello", "a.png"), (broken, "a.png"), (bytes(99), "a.mp4"), (b"x,y\n1,2", "a.csv")):
        job = judged(client, data, name)
        assert job["state"] == "failed"
        assert job["error"]["what"].startswith("The file cannot be used: ")
        assert "/" not in job["error"]["what"]


def test_what_is_too_large_is_refused_before_it_is_read(client):
    most = 2_000_000
    sent = client.post("/api/v1/predictions", content=b"x", headers={"content-length": "100000000"})
    assert "larger than 2 MB" in failure(sent, 413)
    taken = 0

    def pieces():
        nonlocal taken
        for _ in range(100):
            taken += 1_000_000
            yield b"x" * 1_000_000

    kind = {"content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    for content in (pieces(), (part for part in (head, b"x" * most, b"x" * most))):
        failure(client.post("/api/v1/predictions", content=content, headers=kind), 413)
    assert judged(client)["state"] == "done"
    assert "megapixels" in judged(client, png_of(3000, 2000))["error"]["what"]


def test_a_bomb_of_pixels_is_not_unpacked(client):
    began = time.monotonic()
    assert "huge" in judged(client, png_of(20000, 20000))["error"]["what"]
    assert time.monotonic() - began < 5


def png_of(width, height):
    """A PNG whose few bytes say that it is large."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * (width + 1) * 50)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/models/0123456789abcdef", 404),
        ("GET", "/api/v1/models/..%2f..%2fetc", 404),
        ("GET", "/api/v1/models/zz", 422),
        ("GET", "/page/../api.py", 404),
        ("GET", "/page/..%2fapi.py", 404),
        ("GET", "/docs", 404),
        ("PUT", "/api/v1/models", 405),
        ("POST", "/api/v1/predictions", 422),
        ("DELETE", "/api/v1/jobs/0123456789abcdef", 404),
        ("GET", "/api/v1/jobs/0123456789abcdef?wait=nan", 422),
        ("GET", "/api/v1/jobs/0123456789abcdef?wait=1e9", 422),
    ],
)
def test_every_failure_has_the_same_form(client, method, path, status):
    failure(client.request(method, path), status)


def test_bad_json_and_settings_are_told(client):
    assert "not understood" not in failure(client.post("/api/v1/comparisons", content=b"{"), 422)
    failure(client.post("/api/v1/comparisons", json={"models": ["a", "b"]}), 422)
    key, sent = models(client)["plain"]["id"], {"file": ("a.png", picture())}
    wrong = [("every", "0"), ("window", "nan"), ("window", "inf"), ("overlap", "1"), ("prior", "x" * 3000)]
    for field, value in wrong:
        answer = client.post("/api/v1/predictions", files=sent, data={"model": key, field: value})
        assert field in failure(answer, 422)
    sent = client.post("/api/v1/predictions", files=sent, data={"model": key, "overlap": "0.5"})
    assert failure(sent, 400) == "overlap is of windows, and no window is said"
    assert judged(client, window="2")["error"]["what"].startswith("window is for models of clips")
    assert "nobody" in judged(client, prior="nobody=1")["error"]["what"]


def test_reports_and_tables_are_given_and_nothing_beside_them(client, two_runs):
    key = models(client)["plain"]["id"]
    report = client.get(f"/api/v1/models/{key}/report.html")
    assert report.content == (two_runs / "plain" / "report.html").read_bytes()
    assert "script-src" not in report.headers["content-security-policy"]
    assert report.headers["content-security-policy"].startswith("default-src 'none'")
    assert client.get(f"/api/v1/models/{key}/tables/recall.csv").status_code in (200, 404)
    name = next((two_runs / "plain" / "tables").iterdir()).name
    assert client.get(f"/api/v1/models/{key}/tables/{name}").status_code == 200
    for bad in ("..%2frun.json", "%2e%2e/run.json", "..%5crun.json", "run.json", "x.csv"):
        failure(client.get(f"/api/v1/models/{key}/tables/{bad}"), 404)


def test_another_name_another_page_or_no_token_is_refused(client, two_runs):
    assert "name" in failure(client.get("/", headers={"host": "evil.example:8420"}), 421)
    assert failure(client.get("/", headers={"host": "192.168.1.9:8420"}), 421)
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert "another page" in failure(client.post("/api/v1/comparisons", json={}, headers=headers), 403)
    failure(client.post("/api/v1/comparisons", json={}, headers={"origin": LOCAL}), 422)
    with client_of([two_runs], "http://192.168.1.9:8420", host="0.0.0.0", token="s3cret") as other:
        failure(other.get("/"), 401)
        failure(other.get("/api/v1/about", headers={"authorization": "Bearer wrong"}), 401)
        failure(other.get("/", headers={"host": "evil.example"}), 421)
        assert other.get("/api/v1/about", headers={"authorization": "Bearer s3cret"}).status_code == 200
        welcome = other.get("/?token=s3cret", follow_redirects=False)
        assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
        assert "HttpOnly" in welcome.headers["set-cookie"]
        assert other.cookies[COOKIE] == "s3cret"
        assert other.get("/").status_code == 200


def test_every_answer_tells_the_browser_to_load_nothing_from_elsewhere(client):
    for path in ("/", "/page/page.js", "/api/v1/about", "/nothing", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


def test_the_interface_is_described_whole(client):
    told = client.get("/openapi.json").json()
    assert len(told["paths"]) == 12
    for path, methods in told["paths"].items():
        assert path.startswith("/api/v1/")
        for one in methods.values():
            assert one["summary"]
            assert {"404", "413", "422"} <= set(one["responses"])
            assert one["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


def test_no_more_wait_than_may_one_may_be_given_up_and_one_ends_in_time(two_runs):
    limits = Limits(waiting=1, timeout=0.5)
    with client_of([two_runs], limits=limits) as client:
        data = {"model": models(client)["plain"]["id"]}
        jobs, refused = [], 0
        for _ in range(4):
            sent = client.post("/api/v1/predictions", files={"file": ("a.png", picture())}, data=data)
            refused += sent.status_code == 429
            jobs += [sent.json()] if sent.status_code == 202 else []
        assert refused
        assert failure(sent, 429) == "Too many jobs wait"
        last = client.delete(f"/api/v1/jobs/{jobs[-1]['id']}").json()
        assert last["state"] == "cancelled"
        failure(client.get(f"/api/v1/jobs/{last['id']}"), 404)
        # A process that has just begun needs longer than half a second to open its first model.
        assert ended(client, jobs[0])["error"]["what"] == "This took more than 0.5 seconds"
        assert list(client.app.state.jobs.folder.iterdir()) == []


def test_uploads_are_removed_and_kept_only_where_that_was_asked_for(client, kept):
    before = set(kept.iterdir()) if kept.is_dir() else set()
    assert judged(client, name="../../Ann's holiday.PNG")["state"] == "done"
    assert judged(client, b"no", "b.png")["state"] == "failed"
    assert list(client.app.state.jobs.folder.iterdir()) == []
    upload, result = sorted(set(kept.iterdir()) - before)
    assert upload.read_bytes() == picture()
    assert upload.name.endswith("Ann-s-holiday.png")
    assert json.loads(result.read_text())["kind"] == "picture"


def test_the_server_itself_needs_no_torch():
    code = "import sys, evenface.app.api, evenface.app.worker; print(*{'torch', 'timm'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_endings_are_known_ones():
    assert [suffix_of(name) for name in ("a.MP4", "x.npy", "a.py", "a", "a.png\0.exe", "é.webm", "..")] == [
        ".mp4",
        ".npy",
        "",
        "",
        "",
        ".webm",
        "",
    ]


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match="no run that has ended"):
        Catalogue([tmp_path])
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="no trained model"):
        Catalogue([tmp_path / "a.txt"])


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_the_command_says_where_the_page_is_and_ends_cleanly(two_runs, tmp_path):
    import signal
    import urllib.request

    command = [sys.executable, "-c", "from evenface.cli import main; main()", "app", str(two_runs), "--no-open"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env}
    with subprocess.Popen([*command, "--port", "0"], **pipes) as process:
        address = process.stdout.readline().split()[1]
        with urllib.request.urlopen(address) as page:
            assert b"evenface" in page.read()
        port = address.rstrip("/").rpartition(":")[2]
        busy = subprocess.run([*command, "--port", port], capture_output=True, text=True, check=False)
        assert busy.returncode == 2
        assert busy.stderr.startswith(f"evenface: port {port} of 127.0.0.1 cannot be used: ")
        assert any(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "the page has ended\n", "")
    assert list(tmp_path.iterdir()) == []
