"""The shared memory of one worker: its words, the file that holds them, and what each process sees of it."""
