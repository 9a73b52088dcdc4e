"""What a worker's sidecar process runs: its roles, one to a file, and the connections that they share."""
