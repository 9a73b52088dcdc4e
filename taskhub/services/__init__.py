"""The use cases; the only room that uses both the store and the broker."""
