"""The operators' pages: Django's own admin, one file per subject.

Prompts and outputs appear on a response's page alone, and only for users who hold
``store.view_payload``; no other page of the admin touches a payload.
"""

from django.contrib import admin

from apps.store.admin.api_keys import ApiKeyAdmin
from apps.store.admin.capabilities import CapabilityAdmin
from apps.store.admin.processes import LeaseAdmin
from apps.store.admin.projects import ProjectAdmin
from apps.store.admin.responses import ResponseAdmin

__all__ = ["ApiKeyAdmin", "CapabilityAdmin", "LeaseAdmin", "ProjectAdmin", "ResponseAdmin"]

admin.site.site_header = admin.site.site_title = "Responses Gateway"
admin.site.index_title = "Overview"
admin.site.site_url = None  # there is no site but the admin
