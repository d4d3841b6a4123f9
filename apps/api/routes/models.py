"""Which models there are: the upstream's list, in the API's form."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from apps.api.engine.failures import from_upstream
from apps.api.errors import NotFound
from apps.api.protocol.types import JSONObject
from apps.api.replies import json_reply
from apps.api.upstream import models as upstream
from apps.api.upstream.errors import UpstreamError

router = Router(tags=["models"])


@router.get("/models", operation_id="listModels")
async def list_models(request: HttpRequest) -> HttpResponseBase:
    """The models that the upstream serves."""
    return json_reply({"object": "list", "data": await _models()})


@router.get("/models/{path:model_id}", operation_id="getModel")
async def get_model(request: HttpRequest, model_id: str) -> HttpResponseBase:
    """One model. Ids may contain slashes."""
    for model in await _models():
        if model["id"] == model_id:
            return json_reply(model)
    raise NotFound(f"The model '{model_id}' does not exist.", code="model_not_found", param="model")


async def _models() -> list[JSONObject]:
    """Only the members that the API defines, and how long a prompt may be: vLLM's list also tells
    where on its disk the weights are."""
    try:
        found = await upstream.list_models()
    except UpstreamError as exc:
        raise from_upstream(exc) from exc
    return [
        {
            "id": model["id"],
            "object": "model",
            "created": model.get("created") or 0,
            "owned_by": model.get("owned_by") or "vllm",
        }
        | ({"max_model_len": length} if (length := model.get("max_model_len")) else {})
        for model in found
    ]
