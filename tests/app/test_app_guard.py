"""The web server under hostile use: limits, access control, redaction, deletion of uploads."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from multiprocessing.connection import Pipe

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")


import uvicorn
from pages import LOCAL, client_of, ended, failure, models, picture, png_of, predict_file

from evenface.app import access, server
from evenface.app import jobs as worker
from evenface.app.access import COOKIE
from evenface.app.catalogue import Catalogue, Entry
from evenface.app.predict_job import PredictRequest, check_unpacked_size, image_size, known_suffix, predict_upload
from evenface.app.server import create_app
from evenface.config.limits import Limits
from evenface.inference import open_model, pipeline
from evenface.preprocessing import image
from evenface.preprocessing.image import read_picture
from evenface.preprocessing.sequence_files import read_frame_table
from evenface.utils import workers
from evenface.utils.errors import InputError, SampleError


def test_an_undecodable_file_is_reported_in_a_sentence(client):
    broken = b"\x89PNG\r\n\x1a\n" + bytes(50)
    for data, name in ((b"hello", "a.png"), (broken, "a.png"), (bytes(99), "a.mp4"), (b"x,y\n1,2", "a.csv")):
        job = predict_file(client, data, name)
        assert job["state"] == "failed"
        assert job["error"]["what"].startswith("The file cannot be used: ")
        assert "/" not in job["error"]["what"]


def test_an_upload_above_the_limit_is_refused_before_it_is_read(client):
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
    assert predict_file(client)["state"] == "done"
    assert "megapixels" in predict_file(client, png_of(3000, 2000))["error"]["what"]


def test_a_decompression_bomb_is_not_decoded(client):
    began = time.monotonic()
    assert "megapixels" in predict_file(client, png_of(20000, 20000))["error"]["what"]
    assert time.monotonic() - began < 5


def test_archives_are_limited_by_their_unpacked_size(tmp_path):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, a=np.zeros((1000, 1000)))
    assert path.stat().st_size < 100_000
    check_unpacked_size(str(path), 9_000_000)
    with pytest.raises(SampleError, match="8 MB when unpacked"):
        check_unpacked_size(str(path), 7_000_000)
    path.write_bytes(b"PK no archive")
    check_unpacked_size(str(path), 1)  # reading it says why


def test_tables_are_limited_by_their_unpacked_size(tmp_path):
    path = tmp_path / "a.parquet"
    rows = 2_000_000
    table = pa.table(
        {"a": pa.array(np.zeros(rows)), "text": pa.DictionaryArray.from_arrays(np.zeros(rows, "i4"), ["x" * 9999])}
    )
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 100_000
    check_unpacked_size(str(path), 33_000_000)
    with pytest.raises(SampleError, match="32 MB when unpacked"):
        check_unpacked_size(str(path), 31_000_000)
    numbers, _ = read_frame_table(
        str(path), ".parquet", b"", "none", "a", depth=False
    )  # the 20 GB of text are left alone
    assert numbers.shape == (rows, 1, 1)


def test_an_index_stored_by_pandas_is_not_a_column(tmp_path):
    table = pd.DataFrame({" b ": [1.0, 2.0], "a": [3, 4], "success": [1, 0]}, index=[7, 9])
    table.to_parquet(tmp_path / "a.parquet")
    numbers, seen = read_frame_table(str(tmp_path / "a.parquet"), ".parquet", b"", "none", "b,a", depth=False)
    np.testing.assert_array_equal(numbers[..., 0], [[1, 3], [2, 4]])
    assert seen.tolist() == [True, False]
    with pytest.raises(SampleError, match="wrong columns: no c"):
        read_frame_table(str(tmp_path / "a.parquet"), ".parquet", b"", "none", "c", depth=False)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_an_image_is_read_without_decoding_it(tmp_path, monkeypatch, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(str(tmp_path / "a.jpg"), 10_000) == read_picture(str(tmp_path / "a.jpg")).size
    monkeypatch.setattr("evenface.app.predict_job.read_picture", None)
    assert sorted(image_size(str(tmp_path / "a.jpg"), 10_000)) == [30, 40]


def test_an_image_is_decoded_once_even_if_it_is_explained(two_runs, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(picture())
    decoded = []
    monkeypatch.setattr(pipeline, "decoded", lambda *asked: decoded.append(asked) or image.decoded(*asked))
    entry = next(iter(Catalogue([two_runs / "plain"]).entries().values()))
    asked = PredictRequest(entry, tmp_path / "a.png", explain=True)
    found = predict_upload(asked, open_model(two_runs / "plain"), Limits(), lambda share: None)
    assert len(found["explained"]) == len(decoded) == 1


def test_the_worker_process_is_replaced_after_an_internal_error(tmp_path, monkeypatch):
    def answered(error):
        monkeypatch.setattr(worker, "_model", lambda *_, **__: (_ for _ in ()).throw(error))
        entry = Entry("0", "run", tmp_path, "a")
        return worker.run_task(PredictRequest(entry, tmp_path / "a.png"), Limits(), lambda share: None)["spoiled"]

    assert answered(MemoryError())
    assert answered(RuntimeError())
    assert not answered(InputError("no"))


def test_links_out_of_a_served_folder_are_not_followed(two_runs, tmp_path):
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    runs = tmp_path / "runs"
    shutil.copytree(two_runs, runs)
    with client_of([runs]) as client:
        key = models(client)["plain"]["id"]
        (runs / "plain" / "report.html").unlink()
        (runs / "plain" / "report.html").symlink_to(secret)
        (runs / "plain" / "tables" / "a.csv").symlink_to(secret)
        for path in ("report.html", "tables/a.csv"):
            assert "secret" not in client.get(f"/api/v1/models/{key}/{path}").text
    catalogue = Catalogue([runs])
    assert [entry.name for entry in catalogue.entries().values()] == ["weighted"]
    assert catalogue.notes == [f"skipped {runs / 'plain'}: report.html is a symbolic link to another location"]


async def _slow(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(access, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(access, "BODY_SECONDS", 0.5)
    app = access.Guard(_slow, access.AccessPolicy("127.0.0.1", "", 1_000_000))
    config = uvicorn.Config(
        app, http=access.TimedProtocol, port=0, limit_concurrency=64, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def test_half_open_connections_do_not_block_others(port):
    head = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    lines = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(100)]
    for line in lines[50:]:
        line.sendall(head)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as asked:
        asked.sendall(head + b"content-length: 2\r\nconnection: close\r\n\r\nab")
        assert b"well" in b"".join(iter(lambda: asked.recv(9999), b""))
    for line in lines:
        with line, contextlib.suppress(ConnectionResetError):
            assert line.recv(99) == b""


def test_a_body_that_does_not_arrive_times_out(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nab")
        assert line.recv(9999).startswith(b"HTTP/1.1 408")


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
def test_every_error_response_has_the_same_form(client, method, path, status):
    failure(client.request(method, path), status)


def test_invalid_json_and_settings_are_reported(client):
    assert "not understood" not in failure(client.post("/api/v1/comparisons", content=b"{"), 422)
    failure(client.post("/api/v1/comparisons", json={"models": ["a", "b"]}), 422)
    key, sent = models(client)["plain"]["id"], {"file": ("a.png", picture())}
    wrong = [("frame_stride", "0"), ("window", "nan"), ("window", "inf"), ("overlap", "1"), ("prior", "x" * 3000)]
    for field, value in wrong:
        answer = client.post("/api/v1/predictions", files=sent, data={"model": key, field: value})
        assert field in failure(answer, 422)
    sent = client.post("/api/v1/predictions", files=sent, data={"model": key, "overlap": "0.5"})
    assert failure(sent, 400) == "predict: overlap needs window, in seconds"
    assert predict_file(client, window="2")["error"]["what"].startswith("window applies to clip and sequence models")
    assert "nobody" in predict_file(client, prior="nobody=1")["error"]["what"]


def test_wrong_host_name_origin_or_token_is_refused(client, two_runs):
    assert "host name" in failure(client.get("/", headers={"host": "evil.example:8420"}), 421)
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
        assert other.cookies[f"{COOKIE}-8420"] == "s3cret"
        assert other.get("/").status_code == 200


def test_health_is_told_without_a_token_until_the_server_stops(two_runs):
    with client_of([two_runs], "http://192.168.1.9:8420", host="0.0.0.0", token="s3cret") as client:
        healthy = client.get("/api/v1/health")
        assert (healthy.status_code, healthy.json()) == (200, {"state": "running"})
        failure(client.post("/api/v1/health"), 401)
        failure(client.get("/api/v1/health/"), 401)
        failure(client.get("/api/v1/health", headers={"host": "evil.example"}), 421)
        client.app.state.jobs.stop()
        assert failure(client.get("/api/v1/health"), 503) == "The server accepts no jobs"


def test_the_token_of_the_environment_is_required_and_not_printed(two_runs, monkeypatch):
    made, printed = [], []
    monkeypatch.setattr(
        server, "create_app", lambda *_, token, **__: made.append(token) or create_app(Catalogue([two_runs]))
    )
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
    for host, token in (("0.0.0.0", "a-token_of-16-ch"), ("0.0.0.0", ""), ("127.0.0.1", "a-token_of-16-ch")):
        monkeypatch.setenv("EVENFACE_TOKEN", token)
        server.serve([two_runs], host=host, port=0, ready=printed.append)
    given, drawn, local = made
    assert given == "a-token_of-16-ch"
    assert given not in printed[0]
    assert len(drawn) >= 32
    assert printed[1].endswith(f"?token={drawn}")
    assert (local, "token" in printed[2]) == ("", False)
    for weak in ("fifteen-letters", "sixteen letters ", "sixteen;letters!", "sixteen-letters\n"):
        monkeypatch.setenv("EVENFACE_TOKEN", weak)
        with pytest.raises(InputError, match="EVENFACE_TOKEN: a token has at least 16") as error:
            server.serve([two_runs], host="0.0.0.0", port=0, ready=printed.append)
        assert weak not in str(error.value)


def test_every_response_has_a_strict_content_security_policy(client):
    for path in ("/", "/page/page.js", "/api/v1/about", "/nothing", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


def test_the_queue_is_bounded_jobs_can_be_cancelled_and_time_out(two_runs, monkeypatch):
    monkeypatch.setattr(workers, "subprocess", subprocess)  # a new interpreter, as its imports take long
    monkeypatch.setattr(workers, "Pipe", Pipe)
    limits = Limits(waiting=1, timeout=0.5)
    with client_of([two_runs], limits=limits) as client:
        data = {"model": models(client)["plain"]["id"]}
        jobs, refused = [], 0
        for _ in range(4):
            sent = client.post("/api/v1/predictions", files={"file": ("a.png", picture())}, data=data)
            refused += sent.status_code == 429
            jobs += [sent.json()] if sent.status_code == 202 else []
        assert refused
        assert failure(sent, 429) == "The job queue is full"
        last = client.delete(f"/api/v1/jobs/{jobs[-1]['id']}").json()
        assert last["state"] == "cancelled"
        failure(client.get(f"/api/v1/jobs/{last['id']}"), 404)
        sent = client.post("/api/v1/predictions", files={"file": ("a.png", picture())}, data=data)
        assert sent.status_code == 202, "who gives up makes room"
        client.delete(f"/api/v1/jobs/{sent.json()['id']}")
        # A process that has just begun needs longer than half a second to open its first model.
        assert ended(client, jobs[0])["error"]["what"] == "The job took more than 0.5 seconds"
        assert list(client.app.state.jobs.folder.iterdir()) == []


def test_uploads_are_deleted_and_saved_only_on_request(client, kept):
    before = set(kept.iterdir()) if kept.is_dir() else set()
    assert predict_file(client, name="../../Ann's holiday.PNG")["state"] == "done"
    assert predict_file(client, b"no", "b.png")["state"] == "failed"
    assert list(client.app.state.jobs.folder.iterdir()) == []
    upload, result = sorted(set(kept.iterdir()) - before)
    assert upload.read_bytes() == picture()
    assert upload.name.endswith("Ann-s-holiday.png")
    assert json.loads(result.read_text())["kind"] == "image"


def test_only_known_suffixes_are_used():
    assert [known_suffix(name) for name in ("a.MP4", "x.npy", "a.py", "a", "a.png\0.exe", "é.webm", "..")] == [
        ".mp4",
        ".npy",
        "",
        "",
        "",
        ".webm",
        "",
    ]
