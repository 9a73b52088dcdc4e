"""The `taskhub` command: wiring only."""
