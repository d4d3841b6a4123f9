"""Containers of the code interpreter, and their files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router
from pydantic import AfterValidator, Field, ValidationError

from apps.api.auth import caller
from apps.api.engine import files
from apps.api.errors import InvalidRequest
from apps.api.protocol.hosted_tools import no_network, no_skills
from apps.api.protocol.params import WITHOUT_NUL, Id, Param, first_problem
from apps.api.protocol.types import JSONObject
from apps.api.replies import json_reply
from apps.api.routes.forms import file_reply, read_form
from apps.api.routes.paging import Page, list_reply
from apps.store.conf import conf
from apps.store.snapshots import StoredContainer, StoredContainerFile

router = Router(tags=["containers"])


class ExpiresAfter(Param):
    anchor: Literal["last_active_at"]
    minutes: Annotated[int, Field(ge=1, le=20)]


class CreateContainer(Param):
    """A new container. Files of the Files API may be put into it at once."""

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=WITHOUT_NUL)]
    file_ids: Annotated[list[Id], Field(max_length=50)] | None = None
    expires_after: ExpiresAfter | None = None
    memory_limit: Literal["1g", "4g", "16g", "64g"] | None = None
    network_policy: Annotated[JSONObject | None, AfterValidator(no_network)] = None
    skills: Annotated[list[Any] | None, AfterValidator(no_skills)] = None


class CopyFile(Param):
    """Puts a file of the Files API into the container."""

    file_id: Id


class ContainerPageQuery(Page):
    name: Annotated[str, Field(pattern=WITHOUT_NUL)] | None = None


@router.post("/containers", operation_id="createContainer")
async def create_container(request: HttpRequest, body: CreateContainer) -> HttpResponseBase:
    """Make a container. Its interpreter starts with the first call."""
    project_id = caller(request).project_id
    minutes = body.expires_after.minutes if body.expires_after else conf.CONTAINER_IDLE_MINUTES
    for file_id in body.file_ids or ():  # all of them are there, or nothing is made
        await files.get(file_id, project_id=project_id)
    made = await files.create_container(
        project_id=project_id,
        name=body.name,
        memory_limit=body.memory_limit or "",
        idle_minutes=minutes,
    )
    try:
        for file_id in body.file_ids or ():
            await files.copy_to_container(file_id, container_id=made.id, project_id=project_id)
    except InvalidRequest as exc:
        await files.delete_container(made.id, project_id=project_id)
        raise InvalidRequest(exc.message, code=exc.code, param="file_ids") from exc
    return json_reply(shown(made))


@router.get("/containers", operation_id="listContainers")
async def list_containers(
    request: HttpRequest, page: Query[ContainerPageQuery]
) -> HttpResponseBase:
    """The project's containers by time."""
    found = await files.list_containers(
        project_id=caller(request).project_id,
        name=page.name,
        after=page.after,
        limit=page.limit,
        newest_first=page.newest_first,
    )
    ids = [container.id for container in found.containers]
    return list_reply(
        [orjson.dumps(shown(container)) for container in found.containers],
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=found.has_more,
    )


@router.get("/containers/{container_id}", operation_id="getContainer")
async def get_container(request: HttpRequest, container_id: str) -> HttpResponseBase:
    """What is known of a container, also after it has expired."""
    found = await files.get_container(container_id, project_id=caller(request).project_id)
    return json_reply(shown(found))


@router.delete("/containers/{container_id}", operation_id="deleteContainer")
async def delete_container(request: HttpRequest, container_id: str) -> HttpResponseBase:
    """Delete a container with its files."""
    await files.delete_container(container_id, project_id=caller(request).project_id)
    return json_reply({"id": container_id, "object": "container.deleted", "deleted": True})


# --- Files ----------------------------------------------------------------------------------------


@router.post("/containers/{container_id}/files", operation_id="createContainerFile")
async def create_container_file(request: HttpRequest, container_id: str) -> HttpResponseBase:
    """Put a file into a container: a form with `file`, or JSON with the `file_id` of an uploaded
    one. A file of the same name takes the place of the former."""
    project_id = caller(request).project_id
    if request.content_type == "multipart/form-data":
        form = await read_form(request)
        if form.file is None:
            raise InvalidRequest(
                "Missing required parameter: 'file'.",
                code="missing_required_parameter",
                param="file",
            )
        stored = await files.put_container_file(
            form.file,
            container_id=container_id,
            project_id=project_id,
            filename=form.file.name or "file",
        )
    else:
        stored = await files.copy_to_container(
            _file_id(request), container_id=container_id, project_id=project_id
        )
    return json_reply(shown_file(stored))


def _file_id(request: HttpRequest) -> str:
    try:
        return CopyFile.model_validate(orjson.loads(request.body)).file_id
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The request body is not JSON: {exc}.", code="invalid_json") from exc
    except ValidationError as exc:
        problem = first_problem(exc.errors())
        raise InvalidRequest(problem.message, code=problem.code, param=problem.param) from exc


@router.get("/containers/{container_id}/files", operation_id="listContainerFiles")
async def list_container_files(
    request: HttpRequest, container_id: str, page: Query[Page]
) -> HttpResponseBase:
    """The files of a container."""
    found, has_more = await files.container_page(
        container_id,
        project_id=caller(request).project_id,
        after=page.after,
        limit=page.limit,
        newest_first=page.newest_first,
    )
    return list_reply(
        [orjson.dumps(shown_file(file)) for file in found],
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
        has_more=has_more,
    )


@router.get("/containers/{container_id}/files/{file_id}", operation_id="getContainerFile")
async def get_container_file(
    request: HttpRequest, container_id: str, file_id: str
) -> HttpResponseBase:
    """What is known of a file in a container."""
    found = await files.container_file(container_id, file_id, project_id=caller(request).project_id)
    return json_reply(shown_file(found))


@router.get(
    "/containers/{container_id}/files/{file_id}/content", operation_id="getContainerFileContent"
)
async def get_container_file_content(
    request: HttpRequest, container_id: str, file_id: str
) -> HttpResponseBase:
    """The bytes of a file in a container."""
    found = await files.container_file(container_id, file_id, project_id=caller(request).project_id)
    content = await files.content_of(found.blob)
    return file_reply(content, filename=found.path.rsplit("/", 1)[-1], size=found.size)


@router.delete("/containers/{container_id}/files/{file_id}", operation_id="deleteContainerFile")
async def delete_container_file(
    request: HttpRequest, container_id: str, file_id: str
) -> HttpResponseBase:
    """Erase a file of a container."""
    await files.delete_container_file(container_id, file_id, project_id=caller(request).project_id)
    return json_reply({"id": file_id, "object": "container.file.deleted", "deleted": True})


def shown(container: StoredContainer) -> JSONObject:
    """The Container object of the API. ``memory_limit`` is there where it was asked for."""
    memory = {"memory_limit": container.memory_limit} if container.memory_limit else {}
    return {
        "id": container.id,
        "object": "container",
        "created_at": int(container.created_at.timestamp()),
        "status": "expired" if container.expired else "running",
        "expires_after": {"anchor": "last_active_at", "minutes": container.idle_minutes},
        "last_active_at": int(container.last_active_at.timestamp()),
        **memory,
        "network_policy": {"type": "disabled"},
        "name": container.name,
    }


def shown_file(file: StoredContainerFile) -> JSONObject:
    """The ContainerFile object of the API."""
    return {
        "id": file.id,
        "object": "container.file",
        "bytes": file.size,
        "container_id": file.container_id,
        "created_at": int(file.created_at.timestamp()),
        "path": file.path,
        "source": file.source,
    }
