"""The sidecar's roles, one to a file: heartbeat, recovery, dispatcher, reconciler, recoverer, pruner, probes."""
