"""The page in a real browser: by mouse, by keyboard, on a phone; and what it loads."""

import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import command_line, in_process

import evenface as ef
from evenface.app.schemas import Prediction

pytest.importorskip("fastapi")
av = pytest.importorskip("av")
playwright = pytest.importorskip("playwright.sync_api")

PEOPLE = Path(__file__).parents[1] / "pictures" / "two-made-up-people.jpg"
PATIENCE = 90_000
"""Milliseconds: the first answer waits for torch and a detector to be loaded."""


def chromium() -> str | None:
    """A browser of this machine; none is downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("EVENFACE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: install it, or name it by EVENFACE_CHROMIUM")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--use-fake-device-for-media-stream"]
        browser = driver.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(two_runs, tmp_path_factory, forked_workers):
    """Of a server that is forked, as are its workers; how a new interpreter serves is tested without a browser."""
    screen = tmp_path_factory.mktemp("screen") / "screen.txt"
    server = in_process(command_line, ["app", two_runs, "--port", "0", "--no-open"], screen)
    until = time.monotonic() + PATIENCE / 1000
    while not (screen.exists() and screen.read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.05)
    yield screen.read_text().split()[1]
    server.terminate()
    server.join()


@pytest.fixture
def page(address, browser):
    """A page whose requests and errors are recorded."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"]) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        asked, faults = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(address)
        page.wait_for_selector("#view-try:not([hidden]) #model option", state="attached")
        yield page
        assert asked
        assert [url for url in asked if not url.startswith((address, f"blob:{address}", "data:"))] == []
        assert faults == []


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two people who move to the right, 12 frames in 1.2 seconds."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    people = np.asarray(Image.open(PEOPLE))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = people.shape[0], people.shape[1], "yuv420p"
        for shift in range(12):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(people, 3 * shift, 1)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def give(page, path):
    page.set_input_files("#file", str(path))
    page.wait_for_selector("#result h2:has-text('Result')")


def test_an_image_gets_boxes_probabilities_and_saliency_maps(page):
    give(page, PEOPLE)
    assert page.locator(".stage rect.box").count() == 2
    assert page.locator(".face").count() == 2
    shares = page.locator(".face").first.locator(".share").all_inner_texts()
    shares = [float(text.removesuffix(" %")) for text in shares]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(100, abs=2)
    picture, box = page.locator(".stage img").bounding_box(), page.locator(".stage rect.box").first.bounding_box()
    assert picture["x"] < box["x"] < picture["x"] + picture["width"]
    assert "alibrated" in page.inner_text("#result")
    assert page.evaluate("document.activeElement.textContent") == "Result"
    assert page.inner_text("#status") == "2 faces detected."
    page.check("#explain")
    give(page, PEOPLE)
    assert page.locator(".heat figure").count() == 2 * (1 + 3)
    assert page.locator(".heat img").evaluate_all("all => all.every((one) => one.complete && one.naturalWidth > 0)")


def respond_with_values(page, values, kind="image"):
    """Let every prediction be of a regression, with these values of one face in frames of 40 ms."""
    blank = dict.fromkeys(("box", "score", "pose", "probabilities"))
    rows = [
        blank | {"frame": i, "end": i + 1, "time": i / 25, "until": (i + 1) / 25, "face": 1, "label": "", "values": row}
        for i, row in enumerate(values)
    ]
    prediction = Prediction(
        kind=kind,
        model="0" * 16,
        name="a",
        task="regression",
        classes=[f"target {i}" for i in range(len(values[0]))],
        auxiliary=[],
        thresholds=None,
        calibrated=False,
        temperature=None,
        width=40,
        height=40,
        seconds=None,
        frames=len(rows),
        rows=rows,
        notes=[],
        explained=[],
        unexplained="",
    ).model_dump()
    job = {"id": "1", "state": "done", "prediction": prediction}
    page.route("**/api/v1/predictions*", lambda route: route.fulfill(json=job))
    page.route("**/api/v1/jobs/*", lambda route: route.fulfill(json={}))


def test_faces_with_values_count_as_detected(page):
    respond_with_values(page, [[1.5, -0.25]])
    give(page, PEOPLE)
    assert page.locator(".face dl.values").count() == 1
    assert page.inner_text("#status") == "1 face detected."


def test_units_beside_the_classes_are_shown_from_intensity_1(page):
    bundled = page.locator("#model option", has_text="evenface-synthetic").get_attribute("value")
    page.select_option("#model", bundled)
    give(page, Path(ef.__file__).parent / "synthesis/pictures/happy.jpg")
    shown = page.locator(".face > p").last.inner_text()
    values = {part.split()[0]: float(part.split()[1]) for part in shown.split(", ")}
    assert {"AU6", "AU12"} <= set(values)
    assert min(values.values()) >= 1


def test_a_long_sequence_of_values_has_a_timeline(page):
    """More values than a function of the browser takes as arguments."""
    respond_with_values(page, [[0.5]] * 149_999 + [[2.0]], kind="features")
    give(page, PEOPLE)
    page.wait_for_selector("#result .timeline svg")
    assert "drawn from 0 to 2.0" in page.inner_text("#result .timeline")
    assert float(page.get_attribute("#result input[type=range]", "max")) == pytest.approx(150_000 / 25)
    assert page.locator("#error").is_hidden()


def test_a_setting_that_is_on_or_off_can_be_for_classes_alone(page):
    def of_classes(route):
        response = route.fetch()
        schema = response.json()
        for part in schema["components"]["schemas"].values():
            part.get("properties", {}).get("pose", {})["tasks"] = "classes"
        route.fulfill(response=response, json=schema)

    page.route("**/openapi.json", of_classes)
    page.reload()
    label = page.locator("label.check:has([name=pose])")
    label.wait_for(state="attached")
    assert label.get_attribute("data-tasks") == "classes"
    assert label.get_attribute("data-models") == "images"


def test_the_head_pose_is_shown_on_request(page):
    give(page, PEOPLE)
    assert page.locator(".face p:has-text('Head')").count() == 0
    page.click("summary:has-text('Settings')")
    page.check("[name=pose]")
    give(page, PEOPLE)
    shown = page.locator(".face p:has-text('Head')").all_inner_texts()
    assert len(shown) == 2
    for face, text in zip(ef.load()(PEOPLE, pose=True), shown, strict=True):
        angles = [float(angle.replace("−", "-")) for angle in re.findall(r"(−?\d+)°", text)]
        assert angles == pytest.approx([face.yaw, face.pitch, face.roll], abs=0.6)
    page.click("summary:has-text('Table')")
    heads = page.locator("#result details thead th").all_inner_texts()
    assert heads[:6] == ["face", "seconds", "label", "yaw", "pitch", "roll"]


def test_a_video_has_a_timeline_for_navigation(page, film):
    page.click("summary:has-text('Settings')")
    page.fill("[name=frame_stride]", "2")
    give(page, film)
    assert page.locator(".timeline svg").count() == 2
    assert "of 6 frames" in page.inner_text(".timeline >> nth=0")
    before = page.locator("rect.box").first.get_attribute("x")
    page.locator(".timeline svg").first.click(position={"x": 700, "y": 40})
    page.wait_for_function("before => document.querySelector('rect.box').getAttribute('x') !== before", arg=before)
    page.focus("input[type=range]")
    page.keyboard.press("Home")
    page.wait_for_function("before => document.querySelector('rect.box').getAttribute('x') === before", arg=before)


def test_settings_have_the_labels_defaults_and_bounds_of_the_api_schema(page, address):
    page.click("summary:has-text('Settings')")
    schema = page.request.get(f"{address}openapi.json").json()["components"]["schemas"]
    (fields,) = [schema["properties"] for name, schema in schema.items() if name.startswith("Body_predict")]
    names = [name for name in fields if name not in ("file", "model", "explain", "baseline")]
    assert page.locator("#settings [name]").evaluate_all("all => all.map((one) => one.name)") == names
    for name in names:
        described = fields[name]["description"]
        box = page.locator(f"#settings [name={name}]")
        shown = fields[name].get("page_default", fields[name].get("default", ""))
        if fields[name].get("type") == "boolean":
            assert page.get_by_role("checkbox", name=described).get_attribute("name") == name
            assert box.is_checked() == shown
            continue
        assert box.evaluate("box => box.closest('label').firstChild.textContent").lower() == described.lower()
        assert box.input_value() == str(shown).removesuffix(".0")
    stride = page.locator("[name=frame_stride]")
    assert (stride.get_attribute("min"), stride.get_attribute("step")) == ("1", "1")
    assert stride.input_value() == "3"
    assert page.locator("[name=faces]").input_value() == ""
    assert page.locator("[name=window]").is_hidden()
    assert "saliency maps" in page.inner_text("#explain-label")


def test_runs_can_be_browsed_and_compared(page, address):
    page.click("nav a:has-text('Runs')")
    page.click("#view-runs a:has-text('weighted')")
    page.wait_for_selector("h2:has-text('Confusion matrix')")
    assert page.locator("table.confusion td").count() == 9
    assert "medical device" in page.inner_text(".card")
    page.click("nav a:has-text('Compare')")
    page.click("#compare")
    assert "two or more" in page.inner_text("#compare-error")
    page.check("#choices label:has-text('plain') input")
    page.check("#choices label:has-text('weighted') input")
    page.click("#compare")
    page.wait_for_selector("#compared h2")
    assert "difference" in page.inner_text("#compared .answer")
    assert page.locator("#compared table >> nth=1").locator("tbody tr").count() == 3
    page.goto(f"{address}api/v1/models/" + page.locator("#choices input").first.get_attribute("value") + "/report.html")
    assert page.locator("h1").count() == 1


def test_an_unusable_file_is_reported_and_a_large_one_is_not_sent(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    page.set_input_files("#file", str(tmp_path / "notes.txt"))
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error") == "The file cannot be used: not an image: text. Use another file."
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(100_000_000)
    page.set_input_files("#file", str(tmp_path / "large.jpg"))
    page.wait_for_function("document.querySelector('#error').textContent.includes('100 MB')")
    assert "the limit is 64 MB" in page.inner_text("#error")
    assert "POST" not in sent
    give(page, PEOPLE)
    assert page.locator("#error").is_hidden()


def test_all_controls_are_reachable_by_keyboard_and_labelled(page):
    choosers = []
    # Early, as a dialog is lost that opens before the browser knows that it is listened for.
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(document.activeElement.id || document.activeElement.textContent).trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["Try", "Runs", "Compare", "model", "explain", "Settings", "file", "camera"]
    page.focus("#file")
    page.keyboard.press("Space")
    until = time.monotonic() + PATIENCE / 1000
    while not choosers and time.monotonic() < until:
        page.wait_for_timeout(50)  # lets events arrive
    choosers[0].set_files(str(PEOPLE))
    page.wait_for_selector("#result .face")
    page.focus("nav a:has-text('Compare')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#view-compare:not([hidden])")
    for box in page.locator("#choices input").all():
        box.focus()
        page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_selector("#compared h2")
    named = "(one) => one.labels?.length || one.ariaLabel || one.textContent.trim()"
    elements = page.locator("input, select, button, a, svg[role=img], video")
    assert elements.count() > 10
    assert elements.evaluate_all(f"all => all.every({named})")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_the_page_without_horizontal_scrolling(page, dark):
    page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
    page.set_viewport_size({"width": 390, "height": 844})
    give(page, PEOPLE)
    for part in ("try", "runs", "compare"):
        page.click(f"nav a[href='#{part}']")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert page.evaluate("getComputedStyle(document.querySelector('.fill')).transitionDuration") == "0s"
    assert re.search("not a medical device.*prohibited in the European Union", page.inner_text("footer"), re.DOTALL)


def test_a_frame_that_fails_after_the_camera_was_stopped_is_no_error(page):
    """Whatever error it is: not only that of a request which was cancelled."""
    page.click("#camera")
    page.wait_for_selector("#result .found p:has-text('No face'), #result .found .face")
    page.evaluate(
        "() => { window.fetch = () => new Promise((_, fail) => setTimeout(fail, 1500, new TypeError('lost'))) }"
    )
    page.wait_for_timeout(700)  # until a frame is sent
    page.click("#camera")
    page.wait_for_timeout(2000)
    assert page.inner_text("#status") == "The camera is off."
    assert page.locator("#error").is_hidden()


def test_camera_frames_are_predicted_until_it_is_stopped(page):
    page.click("#camera")
    page.wait_for_selector("#result video")
    page.wait_for_selector("#result .found p:has-text('No face'), #result .found .face")
    page.click("#camera")
    assert page.inner_text("#status") == "The camera is off."
    tracks = "document.querySelector('#result video').srcObject.getTracks()"
    assert page.evaluate(f"{tracks}.map((one) => one.readyState)") == ["ended"]
