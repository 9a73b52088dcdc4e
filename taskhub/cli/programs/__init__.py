"""The programs: `taskhub dev`, `api`, `worker`, `migrate` and `check`."""
