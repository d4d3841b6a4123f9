"""The token of a new API key, on its way from the form that made it to the page that shows it.

That page is another one, so that loading it again makes no second key. In between the token is in
the session, encrypted with a key that only the browser's cookie has: who reads the database or its
backups, even with all secrets of the server, has half of it, and so has who reads cookies. Taking
it out ends both, and after five minutes it cannot be taken out any more.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.http import HttpRequest, HttpResponse

COOKIE = "new_api_key"
LIFETIME = 5 * 60


def put(request: HttpRequest, answer: HttpResponse, token: str, *, page: str) -> None:
    """Keep the token for the path ``page``, to which the answer leads."""
    key = Fernet.generate_key()
    request.session[_entry(page)] = Fernet(key).encrypt(token.encode()).decode()
    answer.set_cookie(
        COOKIE,
        key.decode(),
        max_age=LIFETIME,
        path=page,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Strict",
    )


def take(request: HttpRequest) -> str | None:
    """The token that was kept for the request's path, which is forgotten by that; None afterwards."""
    sealed = request.session.pop(_entry(request.path), "")
    try:
        return Fernet(request.COOKIES.get(COOKIE, "")).decrypt(sealed, ttl=LIFETIME).decode()
    except (InvalidToken, ValueError):  # ValueError: a cookie that is missing, or no key
        return None


def forget(request: HttpRequest, answer: HttpResponse) -> None:
    """End the cookie too."""
    answer.delete_cookie(COOKIE, path=request.path, samesite="Strict")


def _entry(page: str) -> str:
    return f"new_api_key:{page}"
