"""Says which server runs the application: the gateway's own, or one that lacks what it adds.

``server.py`` sets the flag before it imports ``asgi.py``, which asks for the warning.
"""

import structlog

own_server = False

log = structlog.stdlib.get_logger(__name__)


def warn_unless_own_server() -> None:
    """One line under plain ``daphne`` or ``runserver``, whose shortcomings are easily missed."""
    if not own_server:
        log.warning(
            "back-pressure and drain are missing under this server: a client that stops reading "
            "is buffered without limit, and stopping cuts running streams; `manage.py serve` has "
            "both"
        )
