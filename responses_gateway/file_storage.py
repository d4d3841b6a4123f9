"""Where uploaded files and those of containers are kept: from one URL to Django's storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def from_url(url: str, *, folder: Path) -> dict[str, Any]:
    """The entry of ``STORAGES``. Without a URL the files are in ``folder``. Raises
    ImproperlyConfigured."""
    parts = urlsplit(url)
    if not url or (parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")):
        folder = Path(parts.path) if url else folder
        options: dict[str, Any] = {
            "location": str(folder),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        }
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    if parts.scheme != "s3" or not parts.netloc:
        raise ImproperlyConfigured(
            f"GATEWAY_FILE_STORAGE: {url!r} is neither s3://BUCKET/PREFIX nor file:///FOLDER."
        )
    options = {
        "bucket_name": parts.netloc,
        "location": parts.path.strip("/"),
        "default_acl": None,
        "file_overwrite": False,
        "querystring_auth": True,
    }
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
