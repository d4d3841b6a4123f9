"""The one-time login link: from the terminal where the gateway runs into its admin.

The token names a superuser and is signed over what logging in changes, so that it works once.
Whoever can read the terminal and reach the loopback address owns the machine's gateway anyway.
"""

from __future__ import annotations

from django.contrib.auth import get_user_model, login
from django.contrib.auth.models import User
from django.core import signing
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.api.locality import headers_of, is_local

LIFETIME = 15 * 60
SALT = "apps.api.login"
ANOTHER = "`manage.py loginlink` prints a new link."


def first_superuser() -> User | None:
    """The one for whom a link is made when nobody is named."""
    return _superusers().order_by("pk").first()


def superuser(name: str) -> User | None:
    return _superusers().filter(username=name).first()


def link(user: User, base_url: str) -> str:
    """An address that logs the user in once within 15 minutes."""
    token = signing.TimestampSigner(salt=SALT).sign(f"{user.pk}.{_state(user)}")
    return base_url.rstrip("/") + reverse("login-once", args=[token])


@require_GET
@never_cache
def login_once(request: HttpRequest, token: str) -> HttpResponseBase:
    """Log in whom the token names and show the admin."""
    if not is_local(request.META.get("REMOTE_ADDR"), headers_of(request)):
        return _refusal(
            403,
            "This link works on the machine where the gateway runs only, as http://127.0.0.1 or "
            "http://localhost, without a proxy in between.\n\nFrom elsewhere, log in with a "
            "password: `manage.py changepassword NAME` sets one.",
        )
    if (user := _holder(token)) is None:
        return _refusal(410, f"This link has been used or is older than 15 minutes. {ANOTHER}")
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    response = HttpResponseRedirect(reverse("admin:index"))
    response["Referrer-Policy"] = "no-referrer"
    return response


def _holder(token: str) -> User | None:
    """The user for whom the token is still good; it is not afterwards."""
    try:
        claim = signing.TimestampSigner(salt=SALT).unsign(token, max_age=LIFETIME)
    except signing.BadSignature:
        return None
    pk, _, state = claim.partition(".")
    users = _superusers().filter(pk=pk)
    user = users.first()
    if user is None or not constant_time_compare(state, _state(user)):
        return None
    # Of two requests with the same token, one changes the row.
    first = users.filter(last_login=user.last_login).update(last_login=timezone.now()) == 1
    return user if first else None


def _superusers() -> QuerySet[User]:
    return get_user_model().objects.filter(is_superuser=True, is_active=True)


def _state(user: User) -> str:
    """Changes with each login and with each change of the password."""
    return salted_hmac(SALT, f"{user.pk}:{user.password}:{user.last_login}").hexdigest()[:20]


def _refusal(status: int, text: str) -> HttpResponse:
    return HttpResponse(text + "\n", status=status, content_type="text/plain; charset=utf-8")
