"""Prometheus: every metric, the files that processes of a group share, the page that is scraped."""
