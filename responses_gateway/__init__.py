"""The project package: wiring only, no behaviour."""

from responses_gateway.celery import app as celery_app

__all__ = ["__version__", "celery_app"]

__version__ = "0.1.0"
