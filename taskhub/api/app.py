"""The Flask application of one API process."""

from __future__ import annotations

from flask import Flask, request

from taskhub.api import errors, health, jobs, submit
from taskhub.api.gates import Gated
from taskhub.api.observe import NO_ROUTE, ROUTE, Observed
from taskhub.api.services import Services, make_services
from taskhub.handlers.registry import Registry
from taskhub.settings.fields import Settings

EXTENSION = "taskhub"


def create_app(settings: Settings, registry: Registry) -> Flask:
    """The application; it connects to nothing before its first request."""
    app = Flask("taskhub", static_folder=None)
    app.url_map.merge_slashes = False
    services = make_services(settings, registry)
    app.extensions[EXTENSION] = services
    errors.register(app)
    for face in (submit, jobs, health):
        app.register_blueprint(face.blueprint(services))
    app.before_request(_name_route)
    gated = Gated(app.wsgi_app, services.gate)
    app.wsgi_app = Observed(gated, services.drains)  # type: ignore[method-assign]
    return app


def services_of(app: Flask) -> Services:
    """The services that an application was made with."""
    services: Services = app.extensions[EXTENSION]
    return services


def _name_route() -> None:
    """For logs and metrics, which must not have a label per job."""
    request.environ[ROUTE] = request.url_rule.rule if request.url_rule is not None else NO_ROUTE
