"""Read a /metrics page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Samples:
    """The samples of one scrape; one that is not there is None."""

    def __init__(self, page: str) -> None:
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float | None:
        """The sample with exactly these labels."""
        return self._values.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples that have these labels among theirs."""
        wanted = labels.items()
        return sum(value for (found, its), value in self._values.items() if found == name and wanted <= set(its))

    def names(self) -> set[str]:
        return {name for name, _ in self._values}
