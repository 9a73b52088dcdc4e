"""Imports go down only, siblings never import each other, and each library has one door."""

from __future__ import annotations

from tests.architecture.sources import Source, in_each_module, sources

# The floors from the ground up; the rooms of one floor are siblings. Some rooms are still to come.
FLOORS: list[dict[str, tuple[str, ...]]] = [
    {
        "base": (
            "taskhub.settings",
            "taskhub.addresses",
            "taskhub.masking",
            "taskhub.clock",
            "taskhub.logs",
            "taskhub.ids",
            "taskhub.failpoints",
            "taskhub.listeners",
            "taskhub.resolver",
            "taskhub.outage",
        )
    },
    {"domain": ("taskhub.domain",)},
    {  # adapters, each to one thing outside; what handlers see beside them
        "store": ("taskhub.store",),
        "broker": ("taskhub.broker",),
        "metrics": ("taskhub.metrics",),
        "embedded": ("taskhub.embedded",),
        "handlers": ("taskhub.handlers",),
        "outbound": ("taskhub.outbound",),  # calls to users' addresses
    },
    {  # the contract of what lives long; what happened, told once
        "roles": ("taskhub.roles",),
        "events": ("taskhub.events",),
    },
    {"services": ("taskhub.services",)},
    {"maintenance": ("taskhub.maintenance",)},
    {  # what a worker's processes run
        "child": ("taskhub.child", "taskhub.child"),
        "sidecar": ("taskhub.sidecar",),
    },
    {
        "api": ("taskhub.api",),
        "producer": ("taskhub.producer",),
        "client": ("taskhub.client",),
        "supervisor": ("supervisor",),
    },
    {
        "entry": (
            "taskhub.cli",
            "taskhub.wsgi",
            "taskhub.installation",
            "taskhub.job_types",  # handlers, and the way in that they are submitted by
            "taskhub.testing",  # a whole taskhub for users' tests
            "taskhub.contrib",  # the faces wired into others' frameworks
            "supervisor.__main__",
            "supervisor.programs",
            "supervisor.boot",
            "supervisor.programs",
            "taskhub",
        )
    },
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
ROOM_OF = {module: room for rooms in FLOORS for room, modules in rooms.items() for module in modules}

# A library may be imported in these rooms only.
DOORS = {
    "psycopg2": {"store"},
    "redis": {"broker"},
    "flask": {"api", "entry"},
    "gunicorn": {"api", "entry"},
    "prometheus_client": {"metrics"},
    "pythonjsonlogger": {"base"},
    "dotenv": {"base"},
    "click": {"entry"},
    "rich": {"entry"},
}


def room_of(module: str) -> str | None:
    """The room of an imported name, the most specific first; None for what is not ours."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if room := ROOM_OF.get(".".join(parts[:length])):
            return room
    return None


def own_room(source: Source) -> str:
    room = room_of(source.name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    assert room, f"{source.name} is in no room of the design"
    return room


def complaint(source: Source, imported: str) -> str | None:
    """What is wrong with one import, if anything is."""
    here, there = own_room(source), room_of(imported)
    if there is None or there == here:
        return None
    if here == "supervisor" and LEVEL[there] > 0:
        return "the supervisor knows nothing of jobs: it may import only the base"
    if LEVEL[there] > LEVEL[here]:
        return f"imports go down only: {here} is below {there}"
    if LEVEL[there] == LEVEL[here]:
        return f"siblings never import each other: {here} and {there}"
    return None


@in_each_module()
def test_imports_go_down_only(source: Source) -> None:
    assert [f"{name}: {told}" for name in source.imports() if (told := complaint(source, name))] == []


@in_each_module()
def test_each_library_has_one_door(source: Source) -> None:
    room = own_room(source)
    wrong = [name for name in source.imports() if room not in DOORS.get(name.split(".")[0], {room})]
    assert wrong == []


def test_only_services_and_above_bring_store_and_broker_together() -> None:
    for source in sources():
        used = {room_of(name) for name in source.imports()}
        if {"store", "broker"} <= used:
            assert LEVEL[own_room(source)] >= LEVEL["services"], source.name


def test_a_use_case_imports_only_use_cases_before_it() -> None:
    order = ("queries", "submission", "operations", "execution", "recovery")
    for source in sources("taskhub/services"):
        here = source.path.parent.name
        there = {name.split(".")[2] for name in source.imports() if name.startswith("taskhub.services.")}
        if here in order:
            assert {room for room in there if order.index(room) > order.index(here)} == set(), source.name


def test_embedded_servers_are_for_the_entry_only() -> None:
    for source in sources():
        if own_room(source) not in ("embedded", "entry"):
            assert "embedded" not in {room_of(name) for name in source.imports()}, source.name
