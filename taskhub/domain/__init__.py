"""The rules of a job's life as pure values and functions: no I/O, no clock."""
