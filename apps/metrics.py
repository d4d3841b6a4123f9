"""What the gateway counts. Labels take few values, all of them known here or in the code: never
what a client or a model wrote.

Times are in seconds. docs/observability.md has the same list; a test compares them.
"""

from __future__ import annotations

from apps.metering import Counter, Gauge, Histogram

SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
WAIT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
GAP = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5)

# --- HTTP -----------------------------------------------------------------------------------------

http_requests = Counter(
    "gateway_http_requests_total",
    "Requests to the API that ended; status 499: the client left before the answer began.",
    "method",
    "route",
    "status",
)
http_seconds = Histogram(
    "gateway_http_request_duration_seconds",
    "From a request's arrival to the last byte of its answer.",
    "route",
    bounds=LONG,
)
http_open = Gauge("gateway_http_requests_open", "Requests under way.")
streams_open = Gauge("gateway_streams_open", "Event streams under way.")
first_event_seconds = Histogram(
    "gateway_stream_first_event_seconds",
    "From a request's arrival to the first event of its stream.",
    bounds=WAIT,
)

# --- Runs -----------------------------------------------------------------------------------------

runs = Counter(
    "gateway_runs_total",
    "Responses that came to an end, by status.",
    "status",
)
run_failures = Counter(
    "gateway_run_failures_total", "Failed responses, by where and why.", "stage", "code"
)
runs_lost = Counter(
    "gateway_runs_lost_total", "Responses of processes that died, found and marked failed."
)
run_seconds = Histogram(
    "gateway_run_duration_seconds", "How long a response takes.", "status", bounds=LONG
)
runs_open = Gauge("gateway_runs_open", "Responses under way.")
first_token_seconds = Histogram(
    "gateway_run_first_token_seconds",
    "From the start of a response to its first token.",
    bounds=WAIT,
)
tokens = Counter(
    "gateway_tokens_total",
    "Tokens as the upstream counts them: input, cached (part of it), output, reasoning (part of "
    "it).",
    "kind",
)
tool_calls = Counter(
    "gateway_tool_calls_total", "Calls that the gateway carried out.", "kind", "outcome"
)
tool_seconds = Histogram(
    "gateway_tool_call_duration_seconds", "How long such a call takes.", "kind", bounds=LONG
)

# --- Upstream -------------------------------------------------------------------------------------

upstream_requests = Counter(
    "gateway_upstream_requests_total",
    "Requests to the upstream, by its status, or by what happened instead.",
    "path",
    "status",
)
upstream_seconds = Histogram(
    "gateway_upstream_response_seconds",
    "From a request to the upstream to the headers of its answer.",
    "path",
    bounds=WAIT,
)
turns = Counter("gateway_turns_total", "Generations of the upstream, by how they ended.", "outcome")
turn_seconds = Histogram(
    "gateway_turn_duration_seconds",
    "From the headers of a generation to its end.",
    bounds=LONG,
)
token_gap_seconds = Histogram(
    "gateway_token_gap_seconds",
    "Time between two tokens of a stream; what arrives together shares the time before it.",
    bounds=GAP,
)

# --- Store ----------------------------------------------------------------------------------------

store_seconds = Histogram(
    "gateway_store_duration_seconds",
    "How long a unit of database work takes, with its wait for a thread and a connection.",
    "unit",
    bounds=SHORT,
)
store_failures = Counter(
    "gateway_store_failures_total", "Units of database work that failed.", "unit"
)

# --- Code -----------------------------------------------------------------------------------------

sandbox_nodes = Gauge("gateway_sandbox_nodes", "Nodes that can run code and answered.", of="any")
sandboxes_busy = Gauge(
    "gateway_sandboxes_busy", "Interpreters that run code, on all nodes.", of="any"
)
sandboxes_idle = Gauge("gateway_sandboxes_idle", "Interpreters of containers that wait.", of="any")
sandboxes_most = Gauge("gateway_sandboxes_most", "Interpreters that there may be.", of="any")
sandbox_bytes = Gauge("gateway_sandbox_resident_bytes", "Memory of these interpreters.", of="any")
sandbox_queue = Gauge("gateway_sandbox_queue", "Calls that wait for an interpreter.", of="any")

# --- Process --------------------------------------------------------------------------------------

loop_lag_seconds = Histogram(
    "gateway_loop_lag_seconds",
    "How late the event loop is for something that it does once a second.",
    bounds=SHORT,
)
resident_bytes = Gauge("gateway_process_resident_bytes", "Memory of a server process.", of="each")
open_files = Gauge(
    "gateway_process_open_files", "Descriptors that a server process holds.", of="each"
)
