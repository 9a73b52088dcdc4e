"""Job types: the registry of handlers, what a handler gets, what it may raise, and how its module is imported."""
