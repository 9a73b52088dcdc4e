"""Each kind of thing has one place: SQL, Lua, keys, metrics, settings, clocks."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.sources import ROOT, Source, in_each_module, sources

SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE|ALTER\s+TABLE)\b", re.S
)
KEY = re.compile(r"taskhub:\{|taskhub:%|:(ready|again|bell|epoch|inflight)\b")
SQL_PLACES = {
    "taskhub/store/migrations.py",  # the migrations' own history
    "taskhub/store/session.py",  # the session's settings
}
ENVIRON_PLACES = {
    "taskhub/settings/fields.py",
    "taskhub/metrics/slot_files.py",  # where prometheus-client looks for its folder
    "taskhub/api/gunicorn_conf.py",  # what gunicorn would believe of it
    "supervisor/__main__.py",  # what one re-execution
    "supervisor/processes.py",  # hands on to the next
    "supervisor/leftovers.py",  # what programs that a job starts are known by
    "taskhub/child/process_state.py",  # what a job changes is put back
}
CLOCK_PLACES = {"taskhub/clock.py", "taskhub/failpoints.py"}
WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now"}
METRIC_CLASSES = re.compile(r"\b(Counter|Gauge|Histogram|Summary|Info|Enum)\(")

everywhere = in_each_module()


@everywhere
def test_sql_lives_in_files(source: Source) -> None:
    if source.name not in SQL_PLACES:
        assert [line for text, line in source.strings if SQL.search(text)] == []


@everywhere
def test_redis_keys_are_built_in_one_module(source: Source) -> None:
    if source.name != "taskhub/broker/key_names.py":
        assert [line for text, line in source.strings if KEY.search(text)] == []


@everywhere
def test_lua_lives_in_files(source: Source) -> None:
    assert [line for text, line in source.strings if "redis.call" in text] == []


@everywhere
def test_metrics_are_made_in_one_module(source: Source) -> None:
    if source.name != "taskhub/metrics/definitions.py":
        imported = {name for name in source.imports() if name.startswith("prometheus_client.")}
        assert not [name for name in imported if METRIC_CLASSES.match(name.rsplit(".", 1)[1] + "(")]


@everywhere
def test_the_environment_is_read_by_settings_and_the_command_line_only(source: Source) -> None:
    if source.name not in ENVIRON_PLACES and not source.name.startswith("taskhub/cli/"):
        assert [line for name, line in source.calls if name in ("os.environ", "os.getenv", "os.environb")] == []


@everywhere
def test_the_wall_clock_is_read_in_one_module(source: Source) -> None:
    if source.name not in CLOCK_PLACES:
        assert [line for name, line in source.calls if name in WALL_CLOCKS] == []


@everywhere
def test_nothing_sleeps_but_the_clock_and_a_handler(source: Source) -> None:
    allowed = CLOCK_PLACES | {"taskhub/handlers/builtin.py"}  # the sleep job
    if source.name not in allowed:
        assert [line for name, line in source.calls if name == "time.sleep"] == []


@everywhere
def test_threads_are_born_in_few_places(source: Source) -> None:
    """Each of them guards whatever it runs: an exception that ends a thread in silence ends a duty for ever."""
    places = {
        "taskhub/roles/role_thread.py",
        "taskhub/sidecar/http_requests.py",
        "taskhub/child/long_job.py",  # beside a long job
        "taskhub/child/exits.py",  # begins none: notes who does
        "taskhub/services/queries/waiting.py",  # looks for all requests that wait
        "taskhub/api/first_look.py",  # one look beside the first requests
        "taskhub/resolver.py",  # a name that is looked up for ever
    }
    if source.name not in places:
        makers = ("threading.Thread", "Thread", "ThreadPoolExecutor", "_thread.start_new_thread", "threading.Timer")
        assert [line for name, line in source.calls if name in makers] == []


@in_each_module("tests")
def test_tests_wait_for_conditions(source: Source) -> None:
    jobs = {
        f"tests/harness/{name}.py" for name in ("handlers", "misbehaving_handlers", "litter", "raw_writers", "dummy")
    }  # these are what is waited for
    if source.name not in jobs | {"tests/waiting.py"}:
        assert [line for name, line in source.calls if name == "time.sleep"] == []


def test_every_metric_bears_a_name_of_the_contract_or_ours() -> None:
    contract = {
        "jobs_processed_total", "job_failures_total", "job_processing_duration_seconds", "queue_depth",
        "worker_active_processes",
    }  # fmt: skip
    [definitions] = [source for source in sources("taskhub/metrics") if source.path.name == "definitions.py"]
    named = [text for text, _ in definitions.strings if re.fullmatch(r"[a-z]+(_[a-z]+)+", text)]
    assert contract <= set(named)


def test_no_stranger_stands_at_the_top() -> None:
    allowed = {
        "setup.cfg", "setup.py", "taskhub", "supervisor", "db", "docker", "compose", "scripts", "tests", "README.md",
        "LICENSE", "pyproject.toml", "k8s", "docs", "CHANGELOG.md", "CONTRIBUTING.md", "MANIFEST.in",
    }  # fmt: skip
    made = {"build", "dist", "taskhub.egg-info"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - allowed - made - {"__pycache__"} == set()


@everywhere
def test_outcomes_are_made_at_the_gate_only(source: Source) -> None:
    if source.name not in ("taskhub/domain/outcome.py", "taskhub/domain/journal.py"):
        calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
        assert [c.lineno for c in calls if ast.unparse(c.func) in ("Completed", "Failed", "Committed")] == []


BLOCKING = {
    "open", "subprocess.run", "subprocess.Popen", "tempfile.TemporaryFile", "clock.sleep", "os.fork", "os.execv",
    "os.posix_spawn", "os.kill", "os.killpg", "os.wait", "os.wait4", "os.waitpid", "os.waitid", "os.system",
}  # fmt: skip
LOOP = (
    "supervisor", "steps", "children", "watchdog", "reload", "trial", "shutdown", "sidecar_process", "slot", "signals",
    "boot",
)  # fmt: skip


@pytest.mark.parametrize("name", LOOP)
def test_the_supervisors_loop_leaves_what_could_block_to_one_module(name: str) -> None:
    [source] = [source for source in sources("supervisor") if source.path.stem == name]
    found = {called for called, _ in source.calls} & BLOCKING
    assert found <= ({"os.kill"} if name == "signals" else set())  # to itself, before it is executed again


def test_every_wait_of_the_supervisor_returns_at_once() -> None:
    [source] = [source for source in sources("supervisor") if source.path.stem == "processes"]
    waits = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.wait4", "os.waitpid", "os.waitid")
    ]
    assert len(waits) >= 3
    assert [node.lineno for node in waits if "os.WNOHANG" not in ast.unparse(node)] == []


@everywhere
def test_what_happens_to_jobs_is_worded_in_one_room(source: Source) -> None:
    told = {
        f"job.{word}"
        for word in ("submitted", "started", "completed", "retried", "failed", "rescued", "cancelled", "stale")
    }
    if not source.name.startswith("taskhub/events/"):
        assert [line for text, line in source.strings if text in told] == []
