"""GET /v1/openapi.json and /v1/docs: the API's description, which loads nothing remote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.gateway import Gateway
from tests.spec_tables import ITEMS, fields_of

Json = dict[str, Any]

OPERATIONS = {
    "createResponse": ("post", "/v1/responses"),
    "countInputTokens": ("post", "/v1/responses/input_tokens"),
    "listResponses": ("get", "/v1/responses"),
    "getResponse": ("get", "/v1/responses/{response_id}"),
    "deleteResponse": ("delete", "/v1/responses/{response_id}"),
    "cancelResponse": ("post", "/v1/responses/{response_id}/cancel"),
    "listInputItems": ("get", "/v1/responses/{response_id}/input_items"),
    "listModels": ("get", "/v1/models"),
    "getModel": ("get", "/v1/models/{model_id}"),
    "createChatCompletion": ("post", "/v1/chat/completions"),
    "createCompletion": ("post", "/v1/completions"),
    "createEmbedding": ("post", "/v1/embeddings"),
    "createFile": ("post", "/v1/files"),
    "listFiles": ("get", "/v1/files"),
    "getFile": ("get", "/v1/files/{file_id}"),
    "getFileContent": ("get", "/v1/files/{file_id}/content"),
    "deleteFile": ("delete", "/v1/files/{file_id}"),
    "createContainer": ("post", "/v1/containers"),
    "listContainers": ("get", "/v1/containers"),
    "getContainer": ("get", "/v1/containers/{container_id}"),
    "deleteContainer": ("delete", "/v1/containers/{container_id}"),
    "createContainerFile": ("post", "/v1/containers/{container_id}/files"),
    "listContainerFiles": ("get", "/v1/containers/{container_id}/files"),
    "getContainerFile": ("get", "/v1/containers/{container_id}/files/{file_id}"),
    "getContainerFileContent": ("get", "/v1/containers/{container_id}/files/{file_id}/content"),
    "deleteContainerFile": ("delete", "/v1/containers/{container_id}/files/{file_id}"),
    "listMcpServers": ("get", "/v1/mcp/servers"),
    "listMcpServerTools": ("get", "/v1/mcp/servers/{server_label}/tools"),
}


@pytest.fixture(scope="module")
def description(gateway: Gateway) -> Json:
    answer = gateway.http.get("/v1/openapi.json")
    assert answer.status_code == 200
    found: Json = answer.json()
    return found


def nodes(value: Any) -> Iterator[Json]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from nodes(member)
    elif isinstance(value, list):
        for member in value:
            yield from nodes(member)


def test_it_is_openapi_3_1_with_a_title_and_a_version(description: Json) -> None:
    assert description["openapi"].startswith("3.1.")
    assert description["info"]["title"] == "Responses Gateway"
    assert description["info"]["version"]


def test_every_operation_is_there_once(description: Json) -> None:
    found = {
        operation["operationId"]: (method, path)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }
    assert found == OPERATIONS


def test_every_operation_is_described(description: Json) -> None:
    for methods in description["paths"].values():
        for operation in methods.values():
            assert operation["description"]
            assert operation["responses"]
            assert operation["security"]


def test_parameters_of_paths_are_declared(description: Json) -> None:
    for path, methods in description["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))


def test_every_schema_is_one_and_every_reference_leads_somewhere(description: Json) -> None:
    schemas = description["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = {node["$ref"] for node in nodes(description) if "$ref" in node}
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_the_create_request_has_the_apis_parameters(description: Json) -> None:
    body = description["paths"]["/v1/responses"]["post"]["requestBody"]["content"]
    name = body["application/json"]["schema"]["$ref"].rpartition("/")[2]
    properties = description["components"]["schemas"][name]["properties"]
    official = fields_of(ITEMS["create_params"]).keys()
    assert official - properties.keys() == set()


def test_the_description_fits_a_request(description: Json) -> None:
    schema = {
        "$ref": "#/components/schemas/CreateResponse",
        "components": description["components"],
    }
    check = jsonschema.Draft202012Validator(schema)
    asked: Json = {
        "model": "tiny",
        "input": [
            {"role": "user", "content": "Hi"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
        "tools": [{"type": "function", "name": "f"}],
        "stream": True,
        "text": {"format": {"type": "json_object"}},
    }
    assert check.is_valid(asked)
    assert not check.is_valid(asked | {"top_q": 5})
    assert not check.is_valid(asked | {"input": 5})


def test_the_docs_load_nothing_remote(gateway: Gateway) -> None:
    page = gateway.http.get("/v1/docs")
    assert page.status_code == 200
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(loaded) >= 3
    for url in loaded:
        assert url.startswith("/static/")
        asset = gateway.http.get(url)
        assert asset.status_code == 200, url
    assert '"url": "/v1/openapi.json"' in page.text
    assert "//" not in page.text.replace("<!--", "").replace("-->", "")
