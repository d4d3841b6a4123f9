"""The admin of files, containers and calls of code: who sees what, and what can be done."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import FileResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from apps.store import blobs, containers, files
from apps.store.errors import ContainerExpired
from apps.store.models import File, Project
from apps.store.snapshots import CodeRun, Room
from tests.store.factories import make_project

pytestmark = pytest.mark.django_db

SECRET = "<b>launch codes</b>"
FILES = reverse("admin:store_file_changelist")
CONTAINERS = reverse("admin:store_container_changelist")
CALLS = reverse("admin:store_codecall_changelist")


@pytest.fixture(autouse=True)
def storage(settings: Settings, tmp_path: Path) -> Path:
    location = {"location": str(tmp_path)}
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}
    settings.STORAGES = {**settings.STORAGES, "files": backend}
    return tmp_path


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


def staff(*codenames: str) -> Client:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def blob(content: bytes) -> str:
    return blobs.write_now(io.BytesIO(content), folder="1")


def make_file(project: Project, content: bytes = b"secret") -> str:
    files.add_file(
        "file-1",
        project_id=project.pk,
        filename=f"{SECRET}.txt",
        purpose="user_data",
        size=len(content),
        blob=blob(content),
        expires_at=timezone.now() + timedelta(days=1),
    )
    return "file-1"


def make_container(project: Project, key: str = "cntr_1") -> str:
    containers.create_container(
        key, project_id=project.pk, name="analysis", memory_limit="1g", idle_minutes=20
    )
    containers.put_container_file(
        f"cfile_of_{key}",
        container_id=key,
        project_id=project.pk,
        path=f"/mnt/data/{SECRET}",
        size=3,
        sha256="",
        source="assistant",
        blob=blob(b"abc"),
        most=Room(1, 3),
    )
    record_run(f"ci_of_{key}", "resp_1", container=key)
    return key


def record_run(key: str, response: str, *, container: str = "cntr_1") -> None:
    containers.record_code_run(
        CodeRun(
            id=key,
            container_id=container,
            response_id=response,
            outcome="error",
            duration_ms=1500,
            node="node-1",
            code=f"print('{SECRET}')",
            output=SECRET,
        )
    )


def body(answer: Any) -> bytes:
    assert isinstance(answer, FileResponse)
    return b"".join(answer.streaming_content)  # type: ignore[arg-type]


def pages(project: Project) -> list[str]:
    file, container = make_file(project), make_container(project)
    return [
        FILES,
        reverse("admin:store_file_change", args=[file]),
        CONTAINERS,
        reverse("admin:store_container_change", args=[container]),
        CALLS,
        reverse("admin:store_codecall_change", args=["ci_of_cntr_1"]),
    ]


def test_those_who_may_not_see_payload_see_that_there_is_something(project: Project) -> None:
    client = staff("view_file", "view_container", "view_codecall")
    for url in pages(project):
        assert "launch codes" not in page(client, url), url
    for url in (
        reverse("admin:store_file_content", args=["file-1"]),
        reverse("admin:store_container_file", args=["cntr_1", "cfile_of_cntr_1"]),
    ):
        assert client.get(url).status_code == 403


def test_those_who_may_see_it_but_not_the_page_get_nothing(project: Project) -> None:
    client = staff("view_payload")
    for url in (
        *pages(project),
        reverse("admin:store_file_content", args=["file-1"]),
        reverse("admin:store_container_file", args=["cntr_1", "cfile_of_cntr_1"]),
    ):
        assert client.get(url).status_code == 403, url


def test_a_container_leads_to_the_responses_that_ran_code_in_it(
    admin_client: Client, project: Project
) -> None:
    make_container(project)
    for number in range(50):
        record_run(f"ci_{number}", f"resp_{number // 2}")
    shown = page(admin_client, reverse("admin:store_container_change", args=["cntr_1"]))
    links = re.findall(r'<a href="[^"]*/store/response/\w+/change/">(\w+)</a>', shown)
    assert links == [f"resp_{number}" for number in range(24, 4, -1)]
    assert "and earlier ones" in shown


def test_payload_is_text(admin_client: Client, project: Project) -> None:
    for url in pages(project):
        text = page(admin_client, url)
        assert SECRET not in text, url
        if url not in (CONTAINERS, CALLS):
            assert "&lt;b&gt;launch codes" in text, url


@pytest.mark.parametrize(
    ("name", "arguments", "content"),
    [
        ("store_file_content", ["file-1"], b"secret"),
        ("store_container_file", ["cntr_1", "cfile_of_cntr_1"], b"abc"),
    ],
)
def test_files_are_downloaded_as_attachments(
    admin_client: Client, project: Project, name: str, arguments: list[str], content: bytes
) -> None:
    pages(project)
    answer = admin_client.get(reverse(f"admin:{name}", args=arguments))
    assert body(answer) == content
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Disposition"].startswith("attachment")


def test_a_file_that_is_lost_is_a_404(
    admin_client: Client, project: Project, storage: Path
) -> None:
    make_file(project)
    blobs.erase_now(File.objects.values_list("blob", flat=True))
    answer = admin_client.get(reverse("admin:store_file_content", args=["file-1"]))
    assert answer.status_code == 404


def test_deleting_files_erases_their_bytes(
    admin_client: Client, project: Project, storage: Path
) -> None:
    make_file(project)
    chosen = {"action": "delete_selected", "_selected_action": ["file-1"], "post": "yes"}
    admin_client.post(FILES, chosen)
    assert not File.objects.exists()
    assert [path for path in storage.rglob("*") if path.is_file()] == []


def test_a_killed_container_is_never_used_again(admin_client: Client, project: Project) -> None:
    make_container(project)
    make_container(project, "cntr_2")
    admin_client.post(CONTAINERS, {"action": "kill", "_selected_action": ["cntr_1"]})
    with pytest.raises(ContainerExpired):
        containers.use_container("cntr_1", project_id=project.pk)
    containers.use_container("cntr_2", project_id=project.pk)


def test_killing_needs_its_permission(project: Project) -> None:
    make_container(project)
    client = staff("view_container")
    client.post(CONTAINERS, {"action": "kill", "_selected_action": ["cntr_1"]})
    containers.use_container("cntr_1", project_id=project.pk)


def test_lists_can_be_searched_and_filtered(admin_client: Client, project: Project) -> None:
    pages(project)
    assert "1 file" in page(admin_client, f"{FILES}?q=file-1")
    assert "0 files" in page(admin_client, f"{FILES}?q=file-2")
    assert "1 container" in page(admin_client, f"{CONTAINERS}?q=analysis&node=")
    assert "1 code call" in page(admin_client, f"{CALLS}?q=cntr_1&outcome=error")
