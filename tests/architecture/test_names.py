"""One word, one thing: a file name, a class name and a word stand for one subject in the whole tree."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict

from tests.architecture.sources import ROOT, sources

# Seen from several rooms: what HTTP asks of them, what answers it, what keeps them; the way to a server.
SAME_SUBJECT = {"health", "job", "jobs", "link", "opening", "program", "transaction", "walk"}

# Words that had a meaning of their own here, and the field's words for them.
RETIRED = {
    "acceptor": "validator",
    "anew": "again, or restart",
    "bury": "recover",
    "buries": "recovers",
    "buried": "recovered",
    "disown": "invalidate",
    "envelope": "job request",
    "farewell": "last step",
    "guilty": "still applies",
    "heir": "successor",
    "heirs": "successors",
    "lifeline": "link",
    "meaningless": "ignored",
    "nascent": "unfinished",
    "obituary": "death notice",
    "returner": "requeuer",
    "strangers": "orphans",
    "suspect": "pending kill",
    "troupe": "dummy supervisor",
    "undertaker": "child_recovery",
    "unruly": "misbehaving",
}
CONTRACT = re.compile(r"worker\.begins_anew")  # names that others' alarms rest on
READ = ("*.py", "*.md", "*.sql", "*.lua", "*.yml", "*.cfg", "*.toml")
READ_IN = ("taskhub", "supervisor", "tests", "docs", "db", "compose", "docker", "scripts")


def test_a_file_name_stands_for_one_subject() -> None:
    places = defaultdict(list)
    for source in sources():
        if not source.path.stem.startswith("__"):
            places[source.path.stem].append(source.name)
    assert {stem: found for stem, found in places.items() if len(found) > 1 and stem not in SAME_SUBJECT} == {}


def test_a_class_name_stands_for_one_thing() -> None:
    names = Counter(
        node.name for source in sources() for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_retired_words_do_not_occur() -> None:
    word = re.compile(rf"(?<![a-z])({'|'.join(RETIRED)})(?![a-z])", re.IGNORECASE)
    paths = [path for folder in READ_IN for pattern in READ for path in (ROOT / folder).rglob(pattern)]
    texts = {
        path: CONTRACT.sub("", path.read_text(encoding="utf-8"))
        for path in [*paths, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
        if path.name != "test_names.py"
    }
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}: say {RETIRED[match[0].lower()]}"
        for path, text in texts.items()
        for match in word.finditer(text)
    }
    assert found == set()


def test_messages_are_plain_english() -> None:
    """What a client or an operator reads says "is not a", as people do."""
    foreign = re.compile(r"\b(is no|are no|are none|is none|is there twice|that there (is|are))\b")
    allowed = re.compile(r"\bthere (is|are) no\b|\b(is|are) no longer\b")
    found = [
        f"{source.name}:{line}: {text}"
        for source in sources()
        for text, line in source.strings
        if foreign.search(allowed.sub("", text))
    ]
    assert found == []


def test_each_word_of_the_glossary_is_a_thing() -> None:
    rows = [line.split("|")[1:4] for line in (ROOT / "docs/glossary.md").read_text().splitlines() if line[:2] == "| "]
    things = {name for _, _, thing in rows for name in re.findall(r"`(\w+)`", thing)}
    assert len(things) > 40
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "taskhub").rglob("*.sql"))]
    texts += [path.read_text(encoding="utf-8") for path in sorted((ROOT / "db").rglob("*.sql"))]
    code = "\n".join([*(source.text for source in sources()), *texts])
    files = {path.stem for path in (ROOT / "taskhub").rglob("*.sql")}
    defined = set(re.findall(r"^ *(?:class|def) (\w+)", code, re.M)) | set(
        re.findall(r"^(\w+)(?:: \w+)? =", code, re.M)
    )
    columns = set(re.findall(r"^    (\w+) +\w+.*(?:NULL|,|KEY)$", code, re.M))
    tables = set(re.findall(r"CREATE TABLE (\w+)", code))
    assert things - defined - files - columns - tables == set()
