"""What a child process runs: claim a batch, run its jobs, settle them with the next claim."""
