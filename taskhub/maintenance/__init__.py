"""The sidecar's roles, one to a file: heartbeat, undertaker, dispatcher, reconciler, recoverer, pruner, probes."""
