"""The HTTP face: Flask views over the services, and how gunicorn runs them."""
