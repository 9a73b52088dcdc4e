"""The Flask application of one API process."""

from __future__ import annotations

from flask import Flask

from taskhub.api import problems
from taskhub.api.context import ApiContext, make_context
from taskhub.api.gates import Gated
from taskhub.api.request_log import RequestLog, note_route
from taskhub.api.resources import health, jobs, submit
from taskhub.handlers.registry import Registry
from taskhub.settings.fields import Settings

EXTENSION = "taskhub"


def create_app(settings: Settings, registry: Registry) -> Flask:
    """The application; it connects to nothing before its first request."""
    app = Flask("taskhub", static_folder=None)
    app.url_map.merge_slashes = False
    context = make_context(settings, registry)
    app.extensions[EXTENSION] = context
    problems.register(app)
    for face in (submit, jobs, health):
        app.register_blueprint(face.blueprint(context))
    app.before_request(note_route)
    gated = Gated(app.wsgi_app, context.gate)
    app.wsgi_app = RequestLog(gated, context)  # type: ignore[method-assign]
    return app


def context_of(app: Flask) -> ApiContext:
    """The services that an application was made with."""
    context: ApiContext = app.extensions[EXTENSION]
    return context
