"""Redis, the doorbell: every key, the scripts, and the broker that pushes and takes ids."""
