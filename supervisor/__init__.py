"""Forks, watches, restarts and stops one worker's processes. Knows nothing of jobs: it runs a `target(link)`."""
