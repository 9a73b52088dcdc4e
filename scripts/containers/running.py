"""Checks of the running platform: start, jobs, scaling, faults, reload, stop."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

from containers.client import Load, Probe, get
from containers.stack import docker, inspect, log_events
from containers.waiting import Failed, require, wait_until
from containers.world import World

OURS = ("api", "worker", "gateway")
HOST_LOST_S, CHILD_LOST_S, DOWN_S = 20, 2, 40


def up(world: World) -> str:
    """One line; when it returns, every port answers."""
    world.stack.compose("up", "-d")
    answers = [get(f"{world.stack.api_url}/readyz"), get(f"{world.stack.metrics_url}/metrics")]
    require([status for status, _ in answers] == [200, 200], f"right after `up`: {answers}")
    told = [json.loads(line) for line in world.stack.compose("ps", "-a", "--format", "json").splitlines()]
    wrong = [f"{c['Service']} {c['State']} {c['Health']}" for c in told if not _is_well(c)]
    require(not wrong, f"{wrong}")
    return f"{len(told)} containers, API and metrics answer at once"


def _is_well(told: dict[str, object]) -> bool:
    if told["Service"] == "migrate":
        return told["State"] == "exited" and told["ExitCode"] == 0
    return told["State"] == "running" and told["Health"] != "unhealthy"


def migrate_again(world: World) -> str:
    """`run --rm migrate` on a current schema says so and exits with 0."""
    told = world.stack.compose("run", "--rm", "migrate").strip()
    require("current" in told, told)
    return told


def jobs_through_api(world: World) -> str:
    """200 jobs, each run once."""
    began = time.monotonic()
    ids = world.client.submit_many(200, "demo", value=123)
    submitted_s = time.monotonic() - began
    world.client.wait(ids, 30)
    world.require_undisturbed(ids)
    require(world.client.job(ids[0])["result"] == {"value": 123}, "another result")
    return f"submitted in {submitted_s:.1f} s, all completed after {time.monotonic() - began:.1f} s, each run once"


def scale(world: World) -> str:
    """To three workers and two APIs, and back, while every port is asked all the time."""
    with ExitStack() as both:
        probes = [Probe(f"{world.stack.api_url}/readyz"), Probe(f"{world.stack.metrics_url}/metrics")]
        for probe in probes:
            both.enter_context(probe)
        with Load(world.client, "demo", value=1) as load:
            _scale_to(world, workers=3, apis=2)
            seen_s = wait_until(lambda: _prometheus_sees(world) == (2, 3), 40, "Prometheus sees all replicas", 0.5)
            _scale_to(world, workers=1, apis=1)
            _scale_to(world, workers=3, apis=2)
    world.client.wait(load.ids, 30)
    failures = [failure for probe in probes for failure in probe.failures]
    answers = sum(probe.answers for probe in probes)
    require(not failures, f"{len(failures)} of {answers + len(failures)} requests failed: {failures[:3]}")
    require(not world.client.refusals, f"submissions had to be repeated: {world.client.refusals}")
    return f"{answers} probes and {len(load.ids)} submissions, 0 failed; Prometheus saw 2 + 3 after {seen_s:.0f} s"


def _scale_to(world: World, *, workers: int, apis: int) -> None:
    world.stack.compose("up", "-d", "--no-recreate", "--scale", f"worker={workers}", "--scale", f"api={apis}")
    world.wait_healthy("worker", workers)
    world.wait_healthy("api", apis)


def _prometheus_sees(world: World) -> tuple[int, int]:
    """How many APIs and workers were up at their last scrape."""
    status, body = get(f"{world.stack.prometheus_url}/api/v1/query?query=up")
    found = json.loads(body)["data"]["result"] if status == 200 else []
    alive = [sample["metric"]["job"] for sample in found if sample["value"][1] == "1"]
    return alive.count("taskhub-api"), alive.count("taskhub-worker")


def stop_worker(world: World) -> str:
    """SIGTERM in mid-job: it drains, and nothing is interrupted."""
    ids = world.start_sleepers(6, 6)
    container = world.container_of(ids[0])
    held = world.held_by(container, ids)
    began = time.monotonic()
    docker("stop", "-t", "35", container)
    seconds = time.monotonic() - began
    world.client.wait(ids, 30)
    world.require_undisturbed(ids)
    state = inspect(container)["State"]
    require(state["ExitCode"] == 0, f"it exited with {state['ExitCode']}")
    return f"{len(held)} jobs ended while it drained, exit 0 after {seconds:.1f} s, 0 interrupted"


def kill_worker(world: World) -> str:
    """SIGKILL to the whole container: its neighbours find its state folder."""
    _scale_to(world, workers=3, apis=2)
    ids = world.start_sleepers(6, 6)
    container = world.container_of(ids[0])
    held = world.held_by(container, ids)
    docker("kill", container)
    seconds = _until_second_attempt(world, held, HOST_LOST_S)
    world.client.wait(ids, 40)
    _require_only_these_crashed(world, held, ids)
    return f"{len(held)} jobs run again {seconds:.1f} s after the kill, the others once"


def lose_host(world: World) -> str:
    """A worker with a state folder of its own, which dies with it: as if its host were lost."""
    _scale_to(world, workers=3, apis=2)
    lonely = f"{world.stack.project}-lonely"
    world.stack.compose(*("run", "-d", "--no-deps", "--name", lonely, "-e", "TASKHUB_STATE_DIR=/tmp/state", "worker"))
    try:
        wait_until(
            lambda: inspect(lonely)["State"]["Health"]["Status"] == "healthy", 30, "the lonely worker is healthy"
        )
        ids = world.start_sleepers(8, 8)
        [[host]] = world.stack.sql(f"SELECT id FROM workers WHERE host = '{inspect(lonely)['Config']['Hostname']}'")
        held = [job["id"] for job in world.jobs(ids) if job["worker"]["id"] == host]
        require(held, "it took no job")
        docker("kill", lonely)
        seconds = _until_second_attempt(world, held, HOST_LOST_S)
    finally:
        docker("rm", "-f", lonely)
    world.client.wait(ids, 40)
    _require_only_these_crashed(world, held, ids)
    return f"{len(held)} jobs run again after {seconds:.1f} s"


def kill_child(world: World) -> str:
    """kill -9 of one process inside a container: its job again within two seconds, its neighbours unaware."""
    ids = world.start_sleepers(6, 5)
    victim = world.client.job(ids[0])
    container = world.container_of(ids[0])
    slot = victim["worker"]["slot"]
    pid = next(r["pid"] for r in reversed(log_events(container, "child.started")) if r.get("slot") == slot)
    world.stack.execute(container, "sh", "-c", f"kill -9 {pid}")
    seconds = _until_second_attempt(world, ids[:1], CHILD_LOST_S)
    world.client.wait(ids, 30)
    _require_only_these_crashed(world, ids[:1], ids)
    return f"run again after {seconds:.2f} s; the other {len(ids) - 1} once"


def _until_second_attempt(world: World, ids: list[str], within_s: float) -> float:
    waiting = set(ids)

    def all_again() -> bool:
        waiting.difference_update(job["id"] for job in world.jobs(list(waiting)) if job["attempts"] == 2)
        return not waiting

    return wait_until(all_again, within_s, f"{len(ids)} jobs run again")


def _require_only_these_crashed(world: World, crashed: list[str], ids: list[str]) -> None:
    world.require_undisturbed([job_id for job_id in ids if job_id not in crashed])
    for job in world.jobs(crashed):
        require((job["attempts"], job["crashes"]) == (2, 1), f"{job['id']}: {job['attempts']} {job['crashes']}")


def empty_redis(world: World) -> str:
    """Redis goes, its volume too, and comes back: submissions are accepted throughout."""
    world.start_sleepers(2, 3)
    world.client.refusals.clear()
    with Load(world.client, "demo", value=2) as load:
        world.stack.compose("rm", "--stop", "--force", "redis")
        docker("volume", "rm", f"{world.stack.project}_redis")
        away = len(load.ids)
        wait_until(lambda: len(load.ids) > away + 20, 20, "submissions without Redis")
        world.stack.compose("up", "-d", "--no-recreate", "--no-deps", "redis")
        world.wait_healthy("redis", 1)
    world.client.wait(load.ids, 30)
    world.require_undisturbed(load.ids)
    require(not world.client.refusals, f"submissions were refused: {world.client.refusals[:3]}")
    return f"{len(load.ids)} accepted meanwhile, none refused, each run once"


def restart_postgres(world: World) -> str:
    """What runs goes on; what was not accepted is repeated by the client; no container starts again."""
    before = _starts(world)
    ids = world.start_sleepers(4, 8)
    with Load(world.client, "demo", value=3) as load:
        world.stack.compose("restart", "postgres")
        world.wait_healthy("postgres", 1)
        back = len(load.ids)
        wait_until(lambda: len(load.ids) > back + 10, 30, "submissions after the restart")
    world.client.wait([*ids, *load.ids], 40)
    world.require_undisturbed([*ids, *load.ids])
    require(_starts(world) == before, "a container was started again")
    return f"4 running jobs and {len(load.ids)} submissions, each run once; no container restarted"


def _starts(world: World) -> dict[str, str]:
    found = [container for service in OURS for container in world.stack.containers(service)]
    return {container: inspect(container)["State"]["StartedAt"] for container in found}


def reload_handlers(world: World) -> str:
    """Handlers in the mounted folder change; SIGHUP takes them up, and a running job runs on."""
    require(world.run_version() == 1, "the first edition does not run")
    before = _starts(world)
    ids = world.start_sleepers(2, 5)
    world.write_handlers(2)
    began = time.monotonic()
    world.stack.compose("kill", "-s", "HUP", "worker", "api")
    wait_until(lambda: {world.run_version() for _ in range(6)} == {2}, 30, "the second edition runs")
    seconds = time.monotonic() - began
    world.client.wait(ids, 30)
    world.require_undisturbed(ids)
    require(_starts(world) == before, "a container was started again")
    return f"only the new edition after {seconds:.1f} s; 2 running jobs undisturbed, same containers"


def derived_images(world: World) -> str:
    """FROM taskhub-worker and COPY, as docs/containers.md shows it."""
    folder = world.write_handlers(3, "derived")
    (folder / "Dockerfile").write_text(
        "ARG BASE=taskhub-worker\nFROM ${BASE}\nCOPY shop.py /app/\nENV TASKHUB_HANDLERS=shop\n"
    )
    services = ""
    for service, volumes in (("api", "[]"), ("worker", '["state:/var/lib/taskhub/state"]')):
        docker("build", "-q", "-t", f"shop-{service}", "--build-arg", f"BASE=taskhub-{service}", str(folder))
        services += f"  {service}: {{image: shop-{service}, build: !reset null, volumes: !override {volumes}}}\n"
    override = world.folder / "derived.yml"
    override.write_text(f"services:\n{services}")
    stack = world.stack.with_files(override)
    try:
        stack.compose("up", "-d", "--no-deps", "--scale", "worker=1", "--scale", "api=1", "api", "worker")
        world.wait_healthy("worker", 1)
        world.wait_healthy("api", 1)
        require(world.run_version() == 3, "the image's handlers do not run")
    finally:
        world.stack.compose("up", "-d", "--scale", "worker=1", "--scale", "api=1")
        docker("image", "rm", "-f", "shop-api", "shop-worker")
    return "COPY shop.py into both images: its type is accepted and run"


def nothing_lost(world: World) -> str:
    """Every job that was ever accepted is completed."""
    ids = world.client.accepted
    rows = world.stack.sql("SELECT status, count(*), count(DISTINCT id) FROM jobs GROUP BY status ORDER BY status")
    found = {row[0] for row in world.stack.sql("SELECT id FROM jobs WHERE status = 'completed'")}
    lost = set(ids) - found
    require(not lost, f"{len(lost)} of {len(ids)} not completed, like {next(iter(lost), '')}: {rows}")
    require(len(found) == len(set(ids)), f"{len(found)} jobs completed, {len(set(ids))} were accepted")
    return f"{len(ids)} accepted, {len(found)} completed, 0 lost, 0 doubled"


def down(world: World) -> str:
    """With a job running: it drains, and everybody leaves in order."""
    world.start_sleepers(2, 4)
    containers = {c: inspect(c)["Config"]["Labels"]["com.docker.compose.service"] for c in world.stack.all_containers()}
    began = time.monotonic()
    world.stack.compose("stop")
    stopped_s = time.monotonic() - began
    codes = {name: inspect(container)["State"]["ExitCode"] for container, name in containers.items()}
    world.stack.compose("down")
    seconds = time.monotonic() - began
    require(seconds < DOWN_S, f"it took {seconds:.0f} s")
    unclean = {name: code for name, code in codes.items() if code != 0}
    if unclean:
        raise Failed(f"exit codes {unclean}")
    return f"stopped in {stopped_s:.1f} s, gone after {seconds:.1f} s, every exit code 0"
