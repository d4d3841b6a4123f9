"""Routes: the API under /v1, health beside it, the admin."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from apps.api.api import api
from apps.api.login import login_once
from apps.api.routes import ops

urlpatterns = [
    path("v1/", api.urls),
    path("health", ops.health),
    path("ready", ops.ready),
    path("metrics", ops.metrics),
    path("admin/login/once/<str:token>/", login_once, name="login-once"),
    path("admin/", admin.site.urls),
    # What browsers ask for on pages that name no icon.
    path("favicon.ico", RedirectView.as_view(url=static("store/icon.svg"))),
    path("", RedirectView.as_view(url="/admin/")),
]
