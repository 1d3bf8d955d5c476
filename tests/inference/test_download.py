"""Downloads of models: against a local server that is whole, wrong, slow, broken or redirects."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from layouts import refused
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config import onnx_spec
from evenface.config.onnx_spec import Download, catalogue
from evenface.inference import third_party
from evenface.inference.registry import model_file
from evenface.inference.third_party import download_model, known_file

CONTENT = bytes(range(256)) * 1000


class _Server(ThreadingHTTPServer):
    """Serves ``content`` at any path; ``requests`` are the ranges that were asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.requests, self.mode = CONTENT, [], "whole"
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""

    def do_GET(self):
        mode, wanted = self.server.mode, self.headers.get("Range")
        self.server.requests.append(wanted)
        if mode == "missing":
            self.send_error(404)
            return
        if mode.startswith("http"):
            self.send_response(302)
            self.send_header("Location", mode)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mode != "no-ranges" else 0
        content = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if mode != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if mode == "stops":
            content = content[: len(content) // 2]
        if mode == "silent":
            self.server.finish = threading.Event()
            self.server.finish.wait(10)
            return
        self.wfile.write(content)
        while mode == "endless":
            self.wfile.write(content)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server, with an entry ``ferplus`` of the catalogue that names it, and an empty cache."""
    monkeypatch.setenv("EVENFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    running = _Server()
    entry = catalogue()["ferplus"]
    source = Download(
        address=f"{running.address}/model.onnx", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
    )
    changed = {**catalogue(), "ferplus": entry.replace(download=source)}
    for module in (onnx_spec, third_party):
        monkeypatch.setattr(module, "catalogue", lambda: changed)
    yield running
    running.shutdown()
    running.server_close()


def kept():
    """Names of the files that are left, without locks."""
    return sorted(path.name for path in model_file("ferplus").parent.glob("*") if path.suffix != ".lock")


def test_a_file_is_downloaded_once_and_known_by_its_digest(server, tmp_path):
    path = ef.get_model("ferplus")
    assert path == tmp_path / "cache" / "models" / "ferplus.onnx"
    assert path.read_bytes() == CONTENT
    assert kept() == ["ferplus.onnx"]
    assert ef.get_model("ferplus") == path
    assert server.requests == [None]
    (tmp_path / "renamed.onnx").write_bytes(CONTENT)
    assert known_file(tmp_path / "renamed.onnx") == "ferplus"
    (tmp_path / "renamed.onnx").write_bytes(CONTENT[::-1])
    assert known_file(tmp_path / "renamed.onnx") is None
    path.write_bytes(CONTENT[::-1])  # damaged since
    assert download_model("ferplus").read_bytes() == CONTENT


def test_an_interrupted_download_is_continued(server):
    server.mode = "stops"
    with refused("ended after 128,000 of 256,000 bytes\n  Run the command again"):
        download_model("ferplus")
    assert kept() == ["ferplus.onnx.partial"]
    server.mode = "whole"
    assert download_model("ferplus").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=128000-"]
    assert kept() == ["ferplus.onnx"]


def test_a_server_without_ranges_is_read_from_the_start(server):
    server.mode = "stops"
    with refused("ended after"):
        download_model("ferplus")
    server.mode = "no-ranges"
    assert download_model("ferplus").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"more", CONTENT * 9])
def test_another_file_is_not_kept(server, content):
    server.content = content
    with refused("it is not the file in the catalogue, and was not kept"):
        download_model("ferplus")
    assert kept() == []


def test_a_changed_file_is_not_joined_to_the_old_beginning(server):
    server.mode = "stops"
    with refused("ended after"):
        download_model("ferplus")
    server.mode, server.content = "whole", CONTENT[::-1]
    with refused("has another SHA-256 digest"):
        download_model("ferplus")
    assert kept() == []


def test_an_endless_file_is_cut_off(server):
    server.mode = "endless"
    with refused("is larger than 256,000 bytes"):
        download_model("ferplus")
    assert kept() == []


def test_a_server_that_fails_or_is_silent_is_reported(server, monkeypatch):
    server.mode = "missing"
    with refused("cannot be downloaded (HTTP Error 404: Not Found)"):
        download_model("ferplus")
    monkeypatch.setattr(third_party, "TIMEOUT", 0.2)
    server.mode = "silent"
    with refused("cannot be downloaded (timed out)"):
        download_model("ferplus")
    server.finish.set()
    server.shutdown()
    server.server_close()
    with refused("cannot be downloaded ("):
        download_model("ferplus")
    assert kept() in ([], ["ferplus.onnx.partial"])


@pytest.mark.parametrize("address", ["http://example.org/m.onnx", "ftp://example.org/m.onnx", "file:///etc/hosts"])
def test_only_https_is_followed(server, address, monkeypatch):
    if address.startswith("http"):
        server.mode = address
        with refused(f"{address} is not an https address"):
            download_model("ferplus")
    source = catalogue()["ferplus"].download.replace(address=address)
    monkeypatch.setitem(third_party.catalogue(), "ferplus", catalogue()["ferplus"].replace(download=source))
    with refused(f"{address} is not an https address"):
        download_model("ferplus")
    assert kept() == []


def test_models_without_a_published_digest_are_not_downloaded(server):
    with refused("has no published digest of py-feat-resmasknet"):
        download_model("py-feat-resmasknet")
    with refused("there is no model 'ferpluss'\n  Did you mean ferplus?"):
        download_model("ferpluss")
    assert server.requests == []


def test_the_command_line(server):
    listed = CliRunner().invoke(app, ["models"]).stdout
    assert "0.3 MB: evenface models get ferplus" in listed
    result = CliRunner().invoke(app, ["models", "get", "ferplus"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"model  {model_file('ferplus')}\nnext    evenface predict photo.jpg --model ferplus\n"
    assert f"downloaded: {model_file('ferplus')}" in CliRunner().invoke(app, ["models"]).stdout
    server.mode = "missing"
    model_file("ferplus").unlink()
    assert CliRunner().invoke(app, ["models", "get", "ferplus"]).exit_code == 2
