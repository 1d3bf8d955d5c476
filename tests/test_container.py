"""The container file: what it installs, that its steps run, and that the service predicts within its memory."""

import inspect
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from benchmarks.memory import resident, tree
from evenface.cli import app

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "src/evenface/synthesis/pictures/happy.jpg"
TOKEN = "container-test-token"
ADDRESS = "http://127.0.0.1:8420"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MIRROR = "http://deb.debian.org/debian"


def instructions():
    """Keyword and argument of each line."""
    text = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line and not line.startswith("#")]


def of(keyword):
    return [argument for name, argument in instructions() if name == keyword]


def test_the_service_runs_as_a_user_without_rights_and_is_reachable():
    command = json.loads(of("CMD")[0])
    assert command[:2] == ["evenface", "app"]
    assert of("USER") == ["evenface"]
    assert instructions()[-1][0] == "CMD"
    (port,) = of("EXPOSE")
    assert f":{port}/api/v1/health" in of("HEALTHCHECK")[0]
    (serve,) = (one.callback for one in app.registered_commands if one.name == command[1])
    assert inspect.signature(serve).parameters["port"].default == int(port)


def test_only_what_is_installed_is_sent_to_the_build():
    rules = (ROOT / ".dockerignore").read_text("utf-8").split()
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {name for line in of("COPY") if not line.startswith("--from") for name in line.split()[:-1]}
    assert rules[0] == "*"
    assert sent == copied
    assert all((ROOT / name).exists() for name in copied)


class BareRoot:
    """Directory trees in which the instructions of the container file are executed, one for each stage."""

    def __init__(self, folder):
        self.folder, self.stages = folder, {}
        self.env = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"}
        self.user, self.workdir = "root", "/"

    def build(self):
        for keyword, argument in instructions():
            {"FROM": self.start, "COPY": self.copy, "RUN": self.run, "ENV": self.set}.get(keyword, str)(argument)
            self.user = argument if keyword == "USER" else self.user
            self.workdir = argument if keyword == "WORKDIR" else self.workdir

    def start(self, argument):
        image, _, name = argument.partition(" AS ")
        suite = re.fullmatch(r"docker\.io/library/debian:(\w+)-slim", image)[1]
        self.base, self.root = self.folder / suite, self.folder / (name or "final")
        if not self.base.exists():
            subprocess.run(["debootstrap", "--variant=minbase", suite, self.base, MIRROR], check=True, timeout=1500)
        subprocess.run(["cp", "--archive", self.base, self.root], check=True)
        self.stages[name], self.workdir = self.root, "/"
        certificates = os.environ.get("PIP_CERT")  # of a network that has its own
        if certificates:
            self.env["PIP_CERT"] = "/etc/host-certificates.crt"
            shutil.copy(certificates, f"{self.root}{self.env['PIP_CERT']}")

    def set(self, argument):
        name, _, value = argument.partition("=")
        self.env[name] = value

    def copy(self, argument):
        *sources, target = argument.split()
        where = ROOT
        if sources[0].startswith("--from="):
            where = self.stages[sources.pop(0).removeprefix("--from=")]
        to = Path(f"{self.root}{os.path.normpath(f'{self.workdir}/{target}' if target[0] != '/' else target)}")
        for name in sources:
            source = where / name.lstrip("/")
            if source.is_dir():
                shutil.copytree(source, to, symlinks=True, ignore=None if where != ROOT else ignored)
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, to)

    def command(self, arguments, **env):
        """The command line that runs a program in the root, with its own mounts and processes."""
        (self.root / self.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
        inside = ["chroot", f"--userspec={self.user}", self.root, "/usr/bin/env", "-i", f"--chdir={self.workdir}"]
        inside += [f"{name}={value}" for name, value in (self.env | env).items()]
        line = f"mount -t proc proc {shlex.quote(str(self.root))}/proc && exec {shlex.join(map(str, inside))} "
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]
        return [*own, line + shlex.join(arguments)]

    def run(self, argument):
        subprocess.run(self.command(["/bin/sh", "-c", argument]), check=True, timeout=1500)


def ignored(_folder, names):
    return [name for name in names if name == "__pycache__" or name.endswith(".egg-info")]


def asked(path, data=None, **headers):
    headers = {"authorization": f"Bearer {TOKEN}", **headers}
    with urllib.request.urlopen(urllib.request.Request(ADDRESS + path, data, headers), timeout=60) as answer:
        return json.load(answer)


def predicted():
    """The answer for the bundled picture by the bundled model."""
    model = next(one["id"] for one in asked("/api/v1/models")["models"] if one["name"] == "evenface-synthetic")
    head = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%s\r\n--b\r\n' % model.encode()
    head += b'content-disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    data = head + PICTURE.read_bytes() + b"\r\n--b--\r\n"
    job = asked("/api/v1/predictions?wait=20", data, **{"content-type": "multipart/form-data; boundary=b"})
    until = time.monotonic() + 120
    while job["state"] in ("waiting", "running") and time.monotonic() < until:
        job = asked(f"/api/v1/jobs/{job['id']}?wait=20")
    assert job["state"] == "done", job
    return job["prediction"]["rows"][0]["label"]


def healthy(root):
    """Whether the health check succeeds, run as the container's own."""
    check = json.loads(of("HEALTHCHECK")[0].partition(" CMD ")[2])
    return subprocess.run(root.command(check), stderr=subprocess.DEVNULL, timeout=60).returncode == 0


@pytest.mark.slow
def test_the_container_files_steps_run_and_the_service_predicts(tmp_path):
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("needs root, to enter a bare root")
    missing = [name for name in ("debootstrap", "unshare", "chroot") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    port = int(of("EXPOSE")[0])
    with socket.socket() as probe:
        if not probe.connect_ex(("127.0.0.1", port)):
            pytest.skip(f"needs port {port}, which is in use")
    root = BareRoot(tmp_path)
    root.build()
    base, size = (
        int(line.split()[0]) for line in subprocess.check_output(["du", "-sm", root.base, root.root]).splitlines()
    )
    assert not list(root.root.rglob("site-packages/torch"))
    assert not healthy(root)
    command = root.command(json.loads(of("CMD")[0]), EVENFACE_TOKEN=TOKEN)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert TOKEN not in service.stdout.readline(), "logs are read by others"
            assert healthy(root)
            assert {predicted() for _ in range(50)} == {"happy"}
            processes = tree(service.pid)
            used = sum(map(resident, processes)) / 1e6
            served = [Path(f"/proc/{one}") for one in processes]
            users = {one.stat().st_uid for one in served if (one / "exe").readlink().name.startswith("python")}
        finally:
            for process in tree(service.pid)[:0:-1]:  # a process that changed its user outlives its parent
                os.kill(process, signal.SIGTERM)
            service.communicate(timeout=60)
    print(f"{size - base} MB on Debian's {base} MB, service {used:.0f} MB")
    assert users == {10001}
    assert used < 300
    assert size - base < 450
