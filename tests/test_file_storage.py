"""Where files are kept, from one URL."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from responses_gateway.file_storage import from_url

HOME = Path("/data/files")


@pytest.mark.parametrize(
    ("url", "location"), [("", "/data/files"), ("file:///shared/files", "/shared/files")]
)
def test_files_are_in_a_folder_that_only_the_gateway_reads(url: str, location: str) -> None:
    options = from_url(url, folder=HOME)["OPTIONS"]
    assert options["location"] == location
    assert (options["file_permissions_mode"], options["directory_permissions_mode"]) == (
        0o600,
        0o700,
    )


def test_files_are_in_a_bucket() -> None:
    storage = from_url("s3://bucket/a/b", folder=HOME)
    assert storage["BACKEND"] == "storages.backends.s3.S3Storage"
    assert storage["OPTIONS"]["bucket_name"] == "bucket"
    assert storage["OPTIONS"]["location"] == "a/b"


@pytest.mark.parametrize("url", ["s3://", "file://host/x", "file:x", "/shared", "gs://bucket"])
def test_what_is_no_storage_is_refused_by_name(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GATEWAY_FILE_STORAGE"):
        from_url(url, folder=HOME)
