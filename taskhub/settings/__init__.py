"""Settings: their fields, the kinds of their values, and the places that they come from."""
