"""What is set under our prefix and is no setting: service links of Kubernetes, and slips of the pen."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from taskhub.settings import sources

MARK = "TASKHUB_CHILD"  # no setting: processes that a job starts inherit it, perhaps to another program of ours


def of_links(names: list[str]) -> list[str]:
    """One warning for all service links together."""
    if not names:
        return []
    told = "comes from a service link" if len(names) == 1 else "come from service links"
    ignored = "is" if len(names) == 1 else "are"
    shown = ", ".join(map(sources.shown, names))
    return [f"{shown} {told} of Kubernetes and {ignored} ignored; enableServiceLinks: false in the pod ends them"]


def unknown(given: Collection[str], known: Collection[str]) -> Iterator[str]:
    """A warning for each name that is not known, with the nearest one that is."""
    strays = sorted(set(given) - set(known) - {MARK})
    if not strays:
        return
    import difflib  # with its regular expressions, as slow to import as all settings together

    for name in strays:
        near = difflib.get_close_matches(name, sorted(known), 1)
        yield f"{sources.shown(name)} is not a setting" + (f"; did you mean {near[0]}?" if near else "")
