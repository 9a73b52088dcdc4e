"""The views, one module to a resource."""
