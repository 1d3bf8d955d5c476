"""The web server: it lists and compares runs, predicts on uploads, and serves no other files."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")


import fuzz
from pages import ended, failure, models, picture, predict_file
from processes import command_line, in_process

import evenface as ef
from evenface.app.catalogue import Catalogue, model_detail, model_summary
from evenface.config import onnx_spec
from evenface.config.onnx_spec import Download, OnnxSpec, catalogue
from evenface.config.predict import PredictSettings
from evenface.evaluation.comparison import compare
from evenface.inference import open_model, third_party
from evenface.inference.pipeline import predict_sources
from evenface.inference.registry import BUNDLED, available_models, model_file
from evenface.inference.sources import Source
from evenface.runs import Run
from evenface.utils.errors import InputError

PEOPLE = Path(__file__).parents[1] / "pictures" / "two-made-up-people.jpg"


def test_runs_are_listed_with_their_details(client, two_runs):
    found = models(client)
    assert set(found) == {"plain", "weighted"}
    run = Run.open(two_runs / "plain")
    known = client.get(f"/api/v1/models/{found['plain']['id']}").json()
    assert known["classes"] == ["calm", "fear", "happy"]
    assert known["takes"] == ["image", "video"]
    assert known["overall"]["accuracy"] == run.metrics["overall"]["accuracy"]
    assert known["confusion"] == run.metrics["confusion"]
    assert known["calibrated"] == (run.folder / "calibration.json").is_file()
    assert "medical device" in known["card"]


def test_page_and_model_card_state_the_same_notice_on_the_law(client, two_runs):
    statement = client.get("/api/v1/about").json()["statement"]
    page = unescape(client.get("/").text)
    card = client.get(f"/api/v1/models/{models(client)['plain']['id']}").json()["card"]
    described = client.get("/openapi.json").json()["info"]["description"]
    assert all(statement in text for text in (page, unescape(card), described))


def test_an_upload_gets_the_same_prediction_as_from_predict(client, two_runs, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    model = open_model(two_runs / "plain")
    row, _ = predict_sources(model, [Source(str(tmp_path / "a.png"), "picture")], PredictSettings())
    job = predict_file(client)
    assert job["state"] == "done"
    (got,) = job["prediction"]["rows"]
    np.testing.assert_allclose(got["probabilities"], row.outputs, atol=1e-6)
    assert got["label"] == model.classes[int(row.outputs.argmax())]
    assert (job["prediction"]["width"], job["prediction"]["height"]) == (40, 40)
    assert client.get(f"/api/v1/jobs/{job['id']}").json() == job


def test_an_explanation_has_a_saliency_map_per_class(client):
    (one,) = predict_file(client, explain=True)["prediction"]["explained"]
    assert one["kind"] == "map"
    assert [len(maps) for maps in one["maps"]] == [1, 1, 1]
    assert all(maps[0].startswith("data:image/jpeg;base64,") for maps in one["maps"])


def test_faces_are_detected_with_boxes(client):
    rows = predict_file(client, PEOPLE.read_bytes(), "two.jpg", faces="all")["prediction"]["rows"]
    centres = sorted((row["box"][0] + row["box"][2]) / 2 for row in rows)
    assert centres == [pytest.approx(136, abs=25), pytest.approx(388, abs=25)]


def test_a_class_prior_is_estimated_from_an_upload(client):
    job = predict_file(client, PEOPLE.read_bytes(), "two.jpg", faces="all", prior="estimate")
    assert job["state"] == "done", job
    rows, notes = job["prediction"]["rows"], job["prediction"]["notes"]
    (prior,) = [note.rpartition(" ")[2] for note in notes if "estimated" in note]
    shares = [float(part.partition("=")[2]) for part in prior.split(",")]
    # Under the maximum-likelihood prior the mean of the probabilities is that prior.
    np.testing.assert_allclose(np.mean([row["probabilities"] for row in rows], axis=0), shares, atol=2e-3)
    given = predict_file(client, PEOPLE.read_bytes(), "two.jpg", faces="all", prior=prior)["prediction"]
    assert given["rows"] == rows
    assert not any("estimated" in note for note in given["notes"])


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
    assert ended(client, again)["error"]["what"] == "the run plain is listed twice"


def test_reports_and_tables_are_served_and_no_other_files(client, two_runs):
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


def test_the_api_is_documented_completely(client):
    told = client.get("/openapi.json").json()
    assert len(told["paths"]) == 13
    for path, methods in told["paths"].items():
        assert path.startswith("/api/v1/")
        for one in methods.values():
            assert one["summary"]
            assert {"404", "413", "422", "503"} <= set(one["responses"])
            assert one["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")


def test_the_server_process_does_not_import_torch():
    code = "import sys, evenface.app.server, evenface.app.jobs; print(*{'torch', 'timm'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        Catalogue([tmp_path])
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="not a trained model"):
        Catalogue([tmp_path / "a.txt"])


def test_named_models_are_served_whatever_the_folders_hold(two_runs, plain_file, tmp_path):
    model = plain_file
    (tmp_path / "empty").mkdir()
    assert [entry.name for entry in Catalogue([], lambda: {"own": model}).entries().values()] == ["own"]
    empty = Catalogue([tmp_path / "empty"], lambda: {"own": model})
    assert empty.notes == [f"no finished run in {tmp_path / 'empty'}"]
    both = Catalogue([two_runs], lambda: {"own": model})
    assert [entry.name for entry in both.entries().values()] == ["plain", "weighted", "own"]
    assert both.notes == []
    (entry,) = empty.entries().values()
    summary = model_summary(entry)
    assert (summary.classes, summary.takes) == (["calm", "fear", "happy"], ["image", "video"])


def test_downloaded_models_are_served_by_name_with_their_terms(tmp_path, monkeypatch):
    helper = pytest.importorskip("onnx").helper
    monkeypatch.setenv("EVENFACE_CACHE", str(tmp_path))
    place = model_file("ferplus")
    place.parent.mkdir(parents=True)
    shape = [helper.make_tensor_value_info(name, 1, size) for name, size in (("in", [1, 3, 32, 32]), ("out", [1, 3]))]
    nodes = [helper.make_node("GlobalAveragePool", ["in"], ["mean"]), helper.make_node("Flatten", ["mean"], ["out"])]
    graph = helper.make_graph(nodes, "means", shape[:1], shape[1:])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    source = Download(address="https://a.org/a.onnx", size=len(content), sha256=hashlib.sha256(content).hexdigest())
    spec = OnnxSpec.model_validate({"labels": ["calm", "fear", "happy"], "size": 32, "colour": "rgb", "crop": "none"})
    entry = catalogue()["ferplus"].replace(download=source, spec=spec)
    for module in (onnx_spec, third_party):
        monkeypatch.setattr(module, "catalogue", lambda: {"ferplus": entry})
    shown = Catalogue([], available_models)
    assert [each.name for each in shown.entries().values()] == [BUNDLED]
    place.write_bytes(content)
    monkeypatch.setattr("evenface.app.catalogue.CACHE_SECONDS", 0)  # a model that is downloaded while the page is open
    (found,) = [each for each in shown.entries().values() if each.name == "ferplus"]
    detail = model_detail(found)
    assert (detail.classes, detail.takes, detail.usable) == (["calm", "fear", "happy"], ["image", "video"], True)
    assert detail.about == entry.about
    assert f"Licence: {entry.licence}" in detail.notes
    assert f"Terms: {entry.terms}" in detail.notes


@pytest.mark.parametrize("pose", [False, True])
def test_the_head_pose_is_estimated_on_request(client, pose):
    rows = predict_file(client, PEOPLE.read_bytes(), "two.jpg", faces="all", pose=pose)["prediction"]["rows"]
    expected = [(face.yaw, face.pitch, face.roll) for face in ef.load()(PEOPLE, pose=True)]
    found = sorted([row["pose"] for row in rows], key=str)
    assert found == [pytest.approx(angles, abs=0.06) for angles in sorted(expected, key=str)] if pose else [None, None]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_the_command_prints_the_address_and_stops_cleanly(two_runs, tmp_path):
    import signal
    import urllib.request

    command = [sys.executable, "-c", "from evenface.cli import main; main()", "app", str(two_runs), "--no-open"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env}
    with subprocess.Popen([*command, "--port", "0"], **pipes) as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)  # or a failure would wait for it for ever
        address = process.stdout.readline().split()[1]

        def asked(path="", *sent):
            with urllib.request.urlopen(urllib.request.Request(address + path, *sent)) as answer:
                return answer.read()

        assert b"evenface" in asked()
        key = json.loads(asked("api/v1/models"))["models"][0]["id"]
        form = fuzz.form({"model": key}, "a.png", picture())
        job = json.loads(asked("api/v1/predictions", form, {"content-type": "multipart/form-data; boundary=b"}))
        while job["state"] in ("waiting", "running"):  # a worker that is a new interpreter, too
            job = json.loads(asked(f"api/v1/jobs/{job['id']}?wait=5"))
        assert job["state"] == "done"
        port = address.rstrip("/").rpartition(":")[2]
        busy = in_process(command_line, ["app", two_runs, "--no-open", "--port", port], tmp_path / "screen.txt")
        busy.join()
        assert busy.exitcode == 2
        assert (tmp_path / "screen.txt").read_text().startswith(f"evenface: port {port} of 127.0.0.1 cannot be used: ")
        (tmp_path / "screen.txt").unlink()
        assert any(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "the server has stopped\n", "")
    assert {path.name for path in tmp_path.iterdir()} <= {".ses"}  # which ONNX Runtime keeps
