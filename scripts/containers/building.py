"""Checks of the images: how they are built and what they may do."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from containers.stack import ROOT, docker, inspect
from containers.waiting import Failed, require
from containers.world import World

IMAGES = ("taskhub-api", "taskhub-worker", "taskhub-gateway")
OURS = ("api", "worker", "gateway")
SOURCES = ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE", ".dockerignore")


def build(world: World) -> str:
    """Everything from nothing but the base image; one after the other, for what they share is built once."""
    began = time.monotonic()
    for options in (["--no-cache", "api"], ["--no-cache", "gateway"], []):
        world.stack.compose("build", *options, timeout_s=900)
    seconds = time.monotonic() - began
    base = _megabytes(str(world.stack.config()["services"]["api"]["build"]["args"]["PYTHON_IMAGE"]))
    sizes = ", ".join(f"{name.removeprefix('taskhub-')} +{_megabytes(name) - base} MB" for name in IMAGES)
    return f"{seconds:.0f} s without any cache; {sizes} on a base of {base} MB"


def build_quickly(world: World) -> str:
    """With whatever the cache has."""
    world.stack.compose("build", timeout_s=900)
    return "with layers from the cache"


def build_again(world: World) -> str:
    """Nothing has changed: nothing is done."""
    before = [_image_id(name) for name in IMAGES]
    began = time.monotonic()
    world.stack.compose("build")
    seconds = time.monotonic() - began
    require([_image_id(name) for name in IMAGES] == before, "another build of the same files made other images")
    require(seconds < 20, f"a cached build took {seconds:.0f} s")
    return f"same images in {seconds:.1f} s"


def build_changed(world: World) -> str:
    """Code has changed: the dependencies' layer is taken from the cache."""
    copy = world.folder / "changed"
    for name in ("taskhub", "supervisor", "db", "docker"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy2(ROOT / name, copy / name)
    with (copy / "taskhub" / "ids.py").open("a") as module:
        module.write(f"\n# {time.time()}\n")
    began = time.monotonic()
    told = _build(copy, "--target", "worker", "--tag", "taskhub-changed", "--file", str(copy / "docker/Dockerfile"))
    docker("image", "rm", "taskhub-changed")
    steps = [line.split(" ", 1)[0] for line in told.splitlines() if "pip" in line and "docker/requirements.txt" in line]
    require(steps and f"{steps[-1]} CACHED" in told, "the dependencies were installed again")
    return f"dependencies cached, rest in {time.monotonic() - began:.1f} s"


def _build(context: Path, *options: str) -> str:
    """Returns the builder's own account of its steps, which it writes to standard error."""
    done = subprocess.run(
        ["docker", "build", "--progress=plain", *options, str(context)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise Failed(done.stderr[-800:])
    return done.stderr


def confinement(world: World) -> str:
    """Read-only, not root, no capability, no way to more; and no compiler in the image."""
    for service in OURS:
        for container in world.stack.containers(service):
            host = inspect(container)["HostConfig"]
            require(host["ReadonlyRootfs"], f"{service} can write to its root")
            require(host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{service} has capabilities")
            require("no-new-privileges:true" in host["SecurityOpt"], f"{service} may gain privileges")
            require(host["Memory"] and host["PidsLimit"], f"{service} has no limits")
            seen = world.stack.execute(container, "sh", "-c", "id -u; grep CapEff /proc/1/status; touch /x 2>&1; true")
            uid, capabilities, refusal = seen.splitlines()
            require(int(uid) >= 10000, f"{service} runs as {uid}")
            require(int(capabilities.split()[1], 16) == 0, f"{service}: {capabilities}")
            require("Read-only" in refusal, f"{service}: {refusal}")
            tools = world.stack.execute(container, "sh", "-c", "command -v gcc cc make; ls /opt/taskhub/bin/pip*; true")
            require(not tools.strip(), f"{service} holds {tools.strip()}")
    return "uid 10001, read-only root, CapEff 0, no-new-privileges, memory and pids limited, no compiler, no pip"


def published_ports(world: World) -> str:
    """Only on the loopback address, and none of the databases'."""
    told = []
    for container in world.stack.all_containers():
        found = inspect(container)
        service = found["Config"]["Labels"]["com.docker.compose.service"]
        for port, bindings in (found["HostConfig"]["PortBindings"] or {}).items():
            require(service in ("gateway", "prometheus"), f"{service} publishes {port}")
            require(all(binding["HostIp"] == "127.0.0.1" for binding in bindings), f"{service}: {bindings}")
            told.append(f"{service} {port.removesuffix('/tcp')}")
    return "127.0.0.1 only: " + ", ".join(sorted(told))


def _image_id(name: str) -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", name).strip()


def _megabytes(name: str) -> int:
    return round(int(docker("image", "inspect", "--format", "{{.Size}}", name)) / 1e6)
