"""What happened to jobs, told once: as a value, from which its line of the log and its counts are made."""
