"""The WSGI application that gunicorn serves: `taskhub.wsgi:app`."""

from __future__ import annotations

from taskhub import failpoints, installation, logs
from taskhub.api.app import create_app
from taskhub.handlers import registry
from taskhub.settings.fields import Settings

settings = Settings.load()
logs.configure(settings)
failpoints.arm(settings.failpoints)
installation.read_for_api()
app = create_app(settings, registry.load(settings.handlers))
