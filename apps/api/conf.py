"""The API's settings: the upstream, time limits, sizes."""

from apps.conf import Setting, SettingsGroup


class ApiSettings(SettingsGroup):
    """How the gateway talks to vLLM and to its clients. Times are in seconds."""

    UPSTREAM_URL = Setting("", "URL of the vLLM server, with or without /v1.")
    UPSTREAM_API_KEY = Setting("", "Bearer token sent to the upstream.", secret=True)
    DEFAULT_MODEL = Setting(
        "", "Model of requests that name none; default: the only model that the upstream serves."
    )
    VLLM_COMMAND = Setting("vllm", "The command that `serve --vllm MODEL` starts.")
    CALL_ID_STYLE = Setting(
        "auto",
        "Form of tool call ids sent upstream: `plain` as clients see them, `alnum9` nine letters "
        "and digits (Mistral), `indexed` functions.NAME:N (Kimi); `auto` goes by the model's name.",
        choices=("auto", "plain", "alnum9", "indexed"),
    )

    CONNECT_TIMEOUT = Setting(5.0, "Limit for connecting to the upstream.", minimum=0.1)
    FIRST_BYTE_TIMEOUT = Setting(
        1800.0, "Limit from the request to the upstream's first token.", minimum=0.1
    )
    IDLE_TIMEOUT = Setting(600.0, "Limit for silence between tokens.", minimum=0.1)
    RUN_TIMEOUT = Setting(3600.0, "Limit for a whole response.", minimum=0.1)
    MAX_TURNS = Setting(
        64,
        "How often one response may ask the model; in its last turn, the tools that the gateway "
        "runs are not offered any more.",
        minimum=1,
    )
    STATUS_WINDOW = Setting(
        3.0,
        "How long the HTTP status of a stream waits for the upstream's own status; later errors "
        "become response.failed.",
        minimum=0,
    )
    VISIBLE_AFTER = Setting(
        0.7, "A run that lasts longer is stored as in_progress, to be seen in the admin.", minimum=0
    )
    EVENT_DIALECT = Setting(
        "openai",
        "Names of the events: `openai`, or `openresponses` as the Open Responses specification "
        "has them.",
        choices=("openai", "openresponses"),
    )
    KEEPALIVE_FIRST = Setting(5.0, "Silence before the first keepalive comment.", minimum=0.1)
    KEEPALIVE_EVERY = Setting(15.0, "Silence before each further one.", minimum=0.1)
    MAX_BODY_BYTES = Setting(
        100 * 1024 * 1024, "Largest request body; larger ones are refused with 413.", minimum=1024
    )
    REQUEST_TIMEOUT = Setting(
        60.0,
        "Limit for a request to arrive, and for each further 64 KiB of its body; slower ones are "
        "refused with 408.",
        minimum=0.1,
    )
    MAX_STREAMS = Setting(
        10_000,
        "Most requests that one process answers with a model at once, streamed or not; further "
        "ones get a 503. 0: any number.",
        minimum=0,
    )
    MAX_STREAMS_PER_KEY = Setting(
        5_000,
        "Most of them for one key (for one address without a key); further ones get a 429. 0: any "
        "number.",
        minimum=0,
    )
    MEDIA_URLS = Setting(
        "fetch",
        "What becomes of URLs of images and files in requests: `fetch` has the gateway get them, "
        "`refuse` takes data only, `pass` leaves images to the upstream, which then reaches "
        "whatever it can on behalf of clients.",
        choices=("fetch", "refuse", "pass"),
    )
    MEDIA_ALLOW_PRIVATE_NETWORKS = Setting(
        False,
        "Lets clients have media fetched from private networks and from this machine. Link-local "
        "addresses and the metadata of clouds stay closed.",
    )
    MEDIA_TIMEOUT = Setting(20.0, "Limit for fetching all URLs of one request.", minimum=0.1)
    MEDIA_MAX_URLS = Setting(50, "Most URLs that one request may have fetched.", minimum=1)
    MEDIA_IMAGE_BYTES = Setting(20 * 1024 * 1024, "Largest image.", minimum=1024)
    MEDIA_FILE_BYTES = Setting(50 * 1024 * 1024, "Largest file.", minimum=1024)
    MEDIA_TOTAL_BYTES = Setting(
        128 * 1024 * 1024,
        "Most bytes of images and files in one prompt, those of its history included, and in one "
        "page of items that is read back.",
        minimum=1024,
    )
    IMAGE_LINK_BYTES = Setting(
        256 * 1024,
        "Images that code has made and that are larger than this are given to clients by a signed "
        "address below GATEWAY_PUBLIC_URL instead of as data.",
        minimum=0,
    )
    PUBLIC_URL = Setting(
        "",
        "The gateway's address as clients reach it. Without it, images are always data. `serve` "
        "sets it when it listens to this machine only.",
    )
    MEDIA_PDF_PAGES = Setting(500, "Most pages of a PDF whose text is read.", minimum=1)
    MEDIA_PDF_TIMEOUT = Setting(30.0, "Limit for reading the text of one PDF.", minimum=0.1)
    LOG_RUNS = Setting(
        "off",
        "One line in the log for each response that ended: `line` with ids, times and counts, "
        "`content` with its input and output too, where they are stored.",
        choices=("off", "line", "content"),
    )
    METRICS_TOKEN = Setting(
        "",
        "Bearer token for /metrics, and for the reasons in /ready. Without it, only this machine can "
        "read them.",
        secret=True,
    )
    OTEL_EXPORTER_OTLP_ENDPOINT = Setting(
        "",
        "URL of an OpenTelemetry collector (OTLP over HTTP), which gets traces. Needs the extra "
        "`otel`; OpenTelemetry's other variables count as well.",
        prefix="",
    )
    DRAIN_TIMEOUT = Setting(
        30.0, "How long running streams may go on after SIGTERM before they are ended.", minimum=0
    )


conf = ApiSettings()
