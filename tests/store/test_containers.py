"""Containers and their files, as the store keeps them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from apps.store import containers
from apps.store.errors import (
    ContainerExpired,
    ContainerFull,
    ContainerMoved,
    ContainerNotFound,
    UnknownCursor,
)
from apps.store.models import CodeCall, Container, Project
from apps.store.snapshots import CodeRun, Room, StoredContainer, StoredContainerFile
from tests.store.factories import make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


def make(project: Project, key: str = "cntr_1", **fields: Any) -> StoredContainer:
    values: dict[str, Any] = {"name": key, "memory_limit": "1g", "idle_minutes": 20} | fields
    return containers.create_container(key, project_id=project.pk, **values)


def put(project: Project, path: str = "/mnt/data/a", **fields: Any) -> tuple[Any, list[str]]:
    values: dict[str, Any] = {
        "container_id": "cntr_1",
        "size": 1,
        "sha256": "0" * 64,
        "source": "assistant",
        "blob": f"blob of {path}",
        "most": Room(files=3, size=10),
    } | fields
    return containers.put_container_file(
        f"cfile_{path}", project_id=project.pk, path=path, **values
    )


def files(project: Project) -> list[StoredContainerFile]:
    return containers.container_files("cntr_1", project_id=project.pk)


def later(minutes: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(minutes=minutes), tick=False)


def test_use_keeps_a_container_alive(project: Project) -> None:
    make(project)
    with later(19):
        used = containers.use_container("cntr_1", project_id=project.pk)
        assert used.last_active_at == timezone.now()
        with later(19):
            assert not containers.get_container("cntr_1", project_id=project.pk).expired


def test_a_node_of_the_past_neither_writes_nor_deletes(project: Project) -> None:
    make(project)
    containers.note_node("cntr_1", node="second", epoch=2)
    with pytest.raises(ContainerMoved):
        containers.use_container("cntr_1", project_id=project.pk, epoch=1)
    with pytest.raises(ContainerMoved):
        containers.remove_path("cntr_1", project_id=project.pk, path="/mnt/data/a", epoch=1)
    with pytest.raises(ContainerNotFound):
        containers.use_container("cntr_none", project_id=project.pk, epoch=1)
    assert containers.use_container("cntr_1", project_id=project.pk, epoch=2).epoch == 2


def test_looking_at_a_container_for_its_owner_keeps_it_alive_too(project: Project) -> None:
    make(project)
    with later(19):
        assert not containers.touch_container("cntr_1", project_id=project.pk).expired
        with later(19):
            assert not containers.touch_container("cntr_1", project_id=project.pk).expired


def test_an_expired_container_is_seen_and_never_revived(project: Project) -> None:
    made = make(project)
    with later(20):
        for _ in range(2):
            seen = containers.touch_container("cntr_1", project_id=project.pk)
            assert seen.expired
            assert seen.last_active_at == made.last_active_at
            with pytest.raises(ContainerExpired):
                containers.use_container("cntr_1", project_id=project.pk)
        with pytest.raises(ContainerExpired):
            put(project)


def test_a_container_of_another_project_is_not_there(project: Project) -> None:
    make(project)
    put(project)
    other = make_project()
    for attempt in (
        lambda: containers.get_container("cntr_1", project_id=other.pk),
        lambda: containers.use_container("cntr_1", project_id=other.pk),
        lambda: containers.container_files("cntr_1", project_id=other.pk),
        lambda: containers.delete_container("cntr_1", project_id=other.pk),
        lambda: containers.get_container_file("cntr_1", "cfile_/mnt/data/a", project_id=other.pk),
        lambda: containers.delete_container_file(
            "cntr_1", "cfile_/mnt/data/a", project_id=other.pk
        ),
        lambda: put(other),
    ):
        with pytest.raises(ContainerNotFound):
            attempt()
    assert len(files(project)) == 1


def test_lists_are_paged_by_time_and_filtered_by_name(project: Project) -> None:
    for number in range(5):
        with later(number / 60):
            make(project, f"cntr_{number}", name="even" if number % 2 == 0 else "odd")
    make(make_project(), "cntr_foreign", name="even")

    def page(**asked: Any) -> tuple[list[str], bool]:
        defaults = {"name": None, "after": None, "limit": 10, "newest_first": True}
        found = containers.list_containers(project_id=project.pk, **defaults | asked)
        return [container.id for container in found.containers], found.has_more

    assert page(limit=2) == (["cntr_4", "cntr_3"], True)
    assert page(limit=2, after="cntr_3") == (["cntr_2", "cntr_1"], True)
    assert page(after="cntr_1") == (["cntr_0"], False)
    assert page(name="even", newest_first=False) == (["cntr_0", "cntr_2", "cntr_4"], False)
    with pytest.raises(UnknownCursor):
        page(after="cntr_foreign")


def test_a_file_at_the_same_path_keeps_its_id_and_gives_its_old_blob_back(
    project: Project,
) -> None:
    make(project)
    first, replaced = put(project, blob="old")
    assert replaced == []
    second, replaced = put(project, blob="new", size=9)
    assert (second.id, second.size, replaced) == (first.id, 9, ["old"])
    assert files(project) == [second]


def test_a_container_holds_so_many_files_and_bytes(project: Project) -> None:
    make(project)
    put(project, "/mnt/data/a", size=4)
    put(project, "/mnt/data/b", size=4)
    with pytest.raises(ContainerFull, match="10 bytes"):
        put(project, "/mnt/data/c", size=3)
    put(project, "/mnt/data/b", size=6)  # in place of the former
    put(project, "/mnt/data/c", size=0)
    with pytest.raises(ContainerFull, match="3 files"):
        put(project, "/mnt/data/d", size=0)
    assert [file.size for file in files(project)] == [4, 6, 0]


def test_deleting_gives_blobs_back(project: Project) -> None:
    make(project)
    put(project, "/mnt/data/a")
    put(project, "/mnt/data/b")
    gone = containers.delete_container_file("cntr_1", "cfile_/mnt/data/a", project_id=project.pk)
    assert gone == "blob of /mnt/data/a"
    blobs = containers.delete_container("cntr_1", project_id=project.pk)
    assert blobs == ["blob of /mnt/data/b"]
    with pytest.raises(ContainerNotFound):
        containers.get_container("cntr_1", project_id=project.pk)


def test_a_node_that_lost_the_container_cannot_write_into_it(project: Project) -> None:
    make(project)
    containers.note_node("cntr_1", node="second", epoch=2)
    containers.note_node("cntr_1", node="first", epoch=1)
    seen = containers.get_container("cntr_1", project_id=project.pk)
    assert (seen.node, seen.epoch) == ("second", 2)
    put(project, epoch=2)
    put(project, epoch=3)  # what is known of nodes may lag behind
    with pytest.raises(ContainerMoved):
        put(project, epoch=1)


def test_the_files_of_expired_containers_are_forgotten_in_batches(project: Project) -> None:
    for number in range(3):
        make(project, f"cntr_{number}")
        put(project, container_id=f"cntr_{number}", path=f"/mnt/data/{number}")
    with later(60):
        make(project, "cntr_new")
        put(project, container_id="cntr_new", path="/mnt/data/new")
        batches = [containers.empty_expired(2) for _ in range(3)]
        assert [len(blobs) for blobs in batches] == [2, 1, 0]
        assert Container.objects.exclude(emptied_at=None).count() == 3
        left = containers.container_files("cntr_new", project_id=project.pk)
        assert [file.path for file in left] == ["/mnt/data/new"]


def test_a_call_is_recorded_once(project: Project) -> None:
    make(project)
    run = CodeRun(
        id="ci_1", container_id="cntr_1", response_id="resp_1", outcome="ok", duration_ms=5
    )
    containers.record_code_run(run)
    containers.record_code_run(run)
    [call] = CodeCall.objects.all()
    assert (call.code, call.output, call.duration_ms) == ("", "", 5)
