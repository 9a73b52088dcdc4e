"""Running jobs: the registry of handlers, the consumer that claims batches, the executor that runs one job."""
