"""What models are shown of a result, and what ids of approvals are made of."""

from __future__ import annotations

import base64

import mcp_types as types
import pytest

from apps.tools.base import Image, Text, Verdict
from apps.tools.mcp import approvals
from apps.tools.mcp.results import outcome_of


def images(*sizes: int) -> types.CallToolResult:
    return types.CallToolResult(
        content=[
            types.ImageContent(
                type="image", mime_type="image/png", data=base64.b64encode(bytes(size)).decode()
            )
            for size in sizes
        ]
    )


MANY = "[an image that was left out: there are too many]"
LARGE = "[an image that was left out: with the others, it is too large]"


@pytest.mark.parametrize(
    ("sizes", "shown", "told"),
    [
        ([1] * 20, [1] * 16, [MANY] * 4),
        ([4_000_000] * 3, [4_000_000] * 2, [LARGE]),
        ([5_000_000, 4_000_000, 3_000_000, 1], [5_000_000, 3_000_000], [LARGE] * 2),
    ],
)
def test_images_of_one_result_are_bounded_and_the_reason_is_told(
    sizes: list[int], shown: list[int], told: list[str]
) -> None:
    parts = outcome_of(images(*sizes), limit=10_000).parts
    assert [len(part.data) for part in parts if isinstance(part, Image)] == shown
    assert [part.text for part in parts if isinstance(part, Text)] == told


@pytest.mark.parametrize("depth", [10, 1_000, 100_000])
def test_arguments_may_be_as_deep_as_they_like(depth: int) -> None:
    about = {"project_id": 1, "identity": "server", "tool": "t"}
    arguments = '{"a":' + "[" * depth + "]" * depth + "}"
    made = approvals.request_id(**about, arguments=arguments, fingerprint="f" * 64)  # type: ignore[arg-type]
    verdict = approvals.judge(made, **about, arguments=arguments, fingerprint="f" * 64)  # type: ignore[arg-type]
    assert verdict is Verdict.VALID
