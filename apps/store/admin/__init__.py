"""The operators' pages: Django's own admin, one file per subject.

Prompts and outputs, names and content of files, code and what it printed appear only for users who
hold ``store.view_payload``.
"""

from django.contrib import admin

from apps.store.admin.api_keys import ApiKeyAdmin
from apps.store.admin.capabilities import CapabilityAdmin
from apps.store.admin.code_calls import CodeCallAdmin
from apps.store.admin.files import FileAdmin
from apps.store.admin.processes import LeaseAdmin
from apps.store.admin.projects import ProjectAdmin
from apps.store.admin.responses import ResponseAdmin

__all__ = [
    "ApiKeyAdmin",
    "CapabilityAdmin",
    "CodeCallAdmin",
    "FileAdmin",
    "LeaseAdmin",
    "ProjectAdmin",
    "ResponseAdmin",
]

admin.site.site_header = admin.site.site_title = "Responses Gateway"
admin.site.index_title = "Overview"
admin.site.site_url = None  # there is no site but the admin
