"""Request bodies in tests: what validation says of them."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from apps.api.protocol.params import ParamProblem, first_problem
from apps.api.protocol.requests import CreateResponse

PYTHON = re.compile(
    r"\b(None|True|False|dict|dictionary|list|str|int|float|bool|tuple|pydantic|validation"
    r"|Input should|instance|type=)\b"
)
"""Words that only those understand who wrote the code."""


def accept(body: dict[str, Any]) -> CreateResponse:
    return CreateResponse.model_validate(body)


def problem_of(body: dict[str, Any]) -> ParamProblem | None:
    """What the client is told; None when the body is accepted."""
    try:
        accept(body)
    except ValidationError as exc:
        problem = first_problem(exc.errors(include_url=False))
        assert not PYTHON.search(problem.message), problem.message
        assert problem.param, "the message must name the parameter"
        return problem
    return None
