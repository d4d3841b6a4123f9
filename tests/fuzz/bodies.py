"""Create requests as clients might send them, and as they should not: whole ones from a grammar of
items and parameters, then a few members replaced, removed, added or moved."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9aw"
    "AAAABJRU5ErkJggg=="
)
NOWHERE = "http://127.0.0.1:1/x"

# --- Whole requests -------------------------------------------------------------------------------


def record(required: Json, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An object; what is no strategy is a constant, and what is optional may be missing."""
    fixed = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in required.items()
    }
    return st.fixed_dictionaries(fixed, optional=optional)


TEXT = st.sampled_from(["Hi", "", " ", "Grüße \u2028 💥", "a\u0000b", "{", '{"a": 1}', "x" * 3000])
NAMES = st.sampled_from(["roll", "stop", "apply_patch", "a-b_c", "x" * 64])
CALL_IDS = st.sampled_from(["call_1", "call_2", "call_3"])
IDS = st.sampled_from(["msg_1", "rs_1", "fc_1", "item_1", "mcpr_1"])
STATUSES = st.sampled_from(["in_progress", "completed", "incomplete"])
SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {"dice": {"type": "string"}}, "required": ["dice"]},
        {"type": "object", "additionalProperties": False, "properties": {}},
        {"$ref": "#/nowhere"},
        {"type": "objekt", "properties": 5},
        {},
    ]
)

INPUT_PARTS = st.one_of(
    record({"type": "input_text", "text": TEXT}),
    record({"type": "input_image", "image_url": PIXEL}, detail=st.sampled_from(["low", "auto"])),
    record({"type": "input_image", "file_id": st.sampled_from(["file-1", "file-none"])}),
    record({"type": "input_file", "file_data": "SGVsbG8=", "filename": "a.txt"}),
    record({"type": "input_file", "file_url": NOWHERE}),
)
OUTPUT_PARTS = st.one_of(
    record({"type": "output_text", "text": TEXT}, annotations=st.just([])),
    record({"type": "refusal", "refusal": TEXT}),
)
CONTENT = TEXT | st.lists(INPUT_PARTS, max_size=3)

FUNCTIONS = record(
    {"type": "function", "name": NAMES},
    parameters=SCHEMAS,
    description=TEXT,
    strict=st.booleans(),
)
CUSTOM = record(
    {"type": "custom", "name": NAMES},
    format=st.sampled_from(
        [
            {"type": "text"},
            {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'},
            {"type": "grammar", "syntax": "regex", "definition": "[a-z]+("},
        ]
    ),
)
FILTERS = st.lists(NAMES, max_size=2) | record(
    {}, tool_names=st.lists(NAMES, max_size=2), read_only=st.booleans()
)
APPROVALS = st.sampled_from(["always", "never"]) | record({}, always=FILTERS, never=FILTERS)
CONTAINERS = st.sampled_from(["cntr_1", "cntr_none"]) | record(
    {"type": "auto"},
    file_ids=st.lists(st.sampled_from(["file-1", "file-none"]), max_size=2),
    memory_limit=st.sampled_from(["1g", "4g", "64g"]),
)
MCP_SERVERS = record(
    {"type": "mcp", "server_label": NAMES},
    server_url=st.sampled_from([NOWHERE, "https://[::1", "https://mcp.invalid/mcp", "ftp://a/b"]),
    connector_id=st.just("connector_gmail"),
    authorization=TEXT,
    headers=st.dictionaries(TEXT, TEXT, max_size=2),
    allowed_tools=FILTERS,
    require_approval=APPROVALS,
    server_description=TEXT,
)
TOOLS = st.one_of(
    FUNCTIONS,
    CUSTOM,
    record({"type": "namespace", "name": NAMES, "tools": st.lists(FUNCTIONS, max_size=2)}),
    record({"type": st.sampled_from(["local_shell", "shell", "apply_patch", "web_search"])}),
    record({"type": "tool_search", "execution": "client"}),
    record({"type": "code_interpreter", "container": CONTAINERS}),
    MCP_SERVERS,
)


def call(kind: str, **more: Any) -> st.SearchStrategy[Json]:
    return record({"type": kind, "call_id": CALL_IDS, **more}, id=IDS, status=STATUSES)


LABELLED: Json = {"server_label": NAMES, "name": NAMES, "arguments": TEXT}
HOSTED_ITEMS = {
    "code_interpreter_call": record(
        {"type": "code_interpreter_call", "id": IDS, "code": TEXT, "container_id": "cntr_1"},
        outputs=st.lists(
            record({"type": "logs", "logs": TEXT})
            | record({"type": "image", "url": st.sampled_from([PIXEL, NOWHERE])}),
            max_size=2,
        ),
        status=STATUSES | st.sampled_from(["interpreting", "failed"]),
    ),
    "mcp_list_tools": record(
        {
            "type": "mcp_list_tools",
            "server_label": NAMES,
            "tools": st.lists(
                record(
                    {"name": NAMES, "input_schema": SCHEMAS},
                    description=TEXT,
                    annotations=st.just({"readOnlyHint": True}),
                ),
                max_size=2,
            ),
        },
        id=IDS,
        error=TEXT,
    ),
    "mcp_call": record(
        {"type": "mcp_call", "id": IDS, **LABELLED},
        output=TEXT,
        error=TEXT | st.just({"type": "http_error", "code": 500, "message": "no"}),
        approval_request_id=IDS,
        status=STATUSES | st.sampled_from(["calling", "failed"]),
    ),
    "mcp_approval_request": record({"type": "mcp_approval_request", "id": IDS, **LABELLED}),
    "mcp_approval_response": record(
        {"type": "mcp_approval_response", "approval_request_id": IDS, "approve": st.booleans()},
        id=IDS,
        reason=TEXT,
    ),
}
"""Items about what the gateway runs, by their type."""

ITEMS = st.one_of(
    record({"role": "user", "content": CONTENT}, type=st.just("message"), id=IDS),
    record({"role": st.sampled_from(["system", "developer"]), "content": CONTENT}),
    record({"role": "assistant", "content": TEXT | st.lists(OUTPUT_PARTS, max_size=2)}),
    record(
        {"type": "reasoning", "summary": []},
        id=IDS,
        content=st.lists(record({"type": "reasoning_text", "text": TEXT}), max_size=2),
        encrypted_content=TEXT,
    ),
    call("function_call", name=NAMES, arguments=TEXT),
    call("function_call_output", output=CONTENT),
    call("custom_tool_call", name=NAMES, input=TEXT),
    call("custom_tool_call_output", output=CONTENT),
    call("local_shell_call", action={"type": "exec", "command": ["ls"], "env": {}}),
    call("shell_call", action={"commands": ["ls"]}),
    call(
        "shell_call_output",
        output=[{"stdout": "", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
    ),
    call("apply_patch_call", operation={"type": "delete_file", "path": "a"}),
    call("apply_patch_call_output", output=TEXT),
    call("tool_search_call", arguments={"query": "x"}),
    call("tool_search_output", tools=st.lists(TOOLS, max_size=2)),
    record({"type": "additional_tools", "tools": st.lists(TOOLS, max_size=2)}),
    record({"type": "item_reference", "id": IDS}),
    *HOSTED_ITEMS.values(),
    record({"type": st.sampled_from(["web_search_call", "compaction", "program", "unheard_of"])}),
)

BODIES = record(
    {"model": "tiny", "input": TEXT | st.lists(ITEMS, max_size=6)},
    stream=st.booleans(),
    store=st.booleans(),
    instructions=TEXT,
    tools=st.lists(TOOLS, max_size=4),
    tool_choice=st.one_of(
        st.sampled_from(["auto", "none", "required"]),
        record({"type": st.sampled_from(["function", "custom"]), "name": NAMES}),
        record({"type": "mcp", "server_label": NAMES}, name=NAMES),
        record({"type": st.sampled_from(["code_interpreter", "file_search", "shell"])}),
        record(
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": st.lists(record({"type": "function", "name": NAMES}), max_size=2),
            }
        ),
    ),
    parallel_tool_calls=st.booleans(),
    temperature=st.sampled_from([0, 0.5, 2]),
    max_output_tokens=st.sampled_from([1, 16, 100]),
    max_tool_calls=st.integers(0, 3),
    metadata=st.dictionaries(TEXT, TEXT, max_size=2),
    reasoning=record({"effort": st.sampled_from(["none", "low", "high"])}),
    text=record(
        {"format": record({"type": "json_schema", "name": NAMES, "schema": SCHEMAS})},
        verbosity=st.just("low"),
    ),
    truncation=st.sampled_from(["auto", "disabled"]),
    include=st.lists(
        st.sampled_from(
            [
                "reasoning.encrypted_content",
                "message.output_text.logprobs",
                "code_interpreter_call.outputs",
            ]
        ),
        max_size=2,
    ),
    previous_response_id=st.sampled_from(["resp_none", "resp_1"]),
    top_k=st.integers(-1, 9),
    stop=st.sampled_from(["END", ["a", "b"]]),
)

HOSTED = record(
    {
        "model": "tiny",
        "input": st.lists(st.one_of(*HOSTED_ITEMS.values()), min_size=1, max_size=4),
    },
    tools=st.lists(MCP_SERVERS | record({"type": "code_interpreter", "container": CONTAINERS}),
                   max_size=2),
    stream=st.booleans(),
)  # fmt: skip
"""Nothing but hosted tools and their items."""

# --- What becomes of them -------------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 1.5, 10**30, -(10**30), 2**63, -(2**63) - 1, 1e308, 5e-324,
        "", " ", "\0", "\ud800", "💥" * 100, "a" * 70_000, "null", "data:,", "data:image/png;base64,!",
        NOWHERE, "file:///etc/passwd", "../../x", "%s%n{0}", "'; DROP TABLE store_response; --",
        "<script>", "NaN", [], {}, [[]], [None], [{}], {"": ""}, {"type": None}, {"type": "message"},
        {"type": "input_text", "text": {}}, {"type": []}, nested(60), nested(300),
    ]
)  # fmt: skip
NEW_KEYS = st.sampled_from(
    ["type", "id", "role", "content", "call_id", "output", "name", "tools", "x", "", "__class__",
     "background", "conversation", "prompt", "priority", "chat_template", "kv_transfer_params"]
)  # fmt: skip


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    else:
        return found
    for key, member in members:
        found += [(value, key), *_places(member)]
    return found


@st.composite
def spoiled(draw: st.DrawFn, bodies: st.SearchStrategy[Json], *, least: int = 0) -> Json:
    """A request of which a few members are not what they should be; with ``least`` at 0,
    sometimes none."""
    body: Json = copy.deepcopy(draw(bodies))
    for _ in range(draw(st.integers(least, 3))):
        places = _places(body)
        if not places:
            break
        container, key = draw(st.sampled_from(range(len(places))).map(places.__getitem__))
        match draw(st.sampled_from(["replace", "replace", "remove", "add", "repeat", "wrap"])):
            case "replace":
                container[key] = copy.deepcopy(draw(ODD))
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(NEW_KEYS)] = copy.deepcopy(draw(ODD))
            case "wrap":
                container[key] = [container[key]]
            case _ if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
    return body


def encoded(body: Json) -> bytes:
    """With escapes, so that everything Python has can be sent."""
    return json.dumps(body).encode()


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """The bytes of a request, cut or with other bytes in them."""
    data = encoded(draw(BODIES))
    position = draw(st.integers(0, len(data) - 1))
    return (
        data[:position] + draw(st.binary(max_size=4)) + data[position + draw(st.integers(0, 9)) :]
    )
