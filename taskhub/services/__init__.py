"""The use cases; the lowest room that uses both the store and the broker."""
