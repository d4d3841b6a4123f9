"""The hosted tools' settings."""

from apps.conf import Setting, SettingsGroup


class ToolsSettings(SettingsGroup):
    """What the gateway runs for a model. Sizes are of one container."""

    SANDBOX = Setting(
        "pyodide",
        "Where code_interpreter runs code: `pyodide`, Python as WebAssembly in a process without "
        "permissions; `native`, CPython confined by the kernel; `off`.",
        choices=("pyodide", "native", "off"),
    )
    SANDBOX_DIR = Setting(
        "", "Folder of what `manage.py sandbox` installs; default: sandbox/ in the data folder."
    )
    SANDBOX_UNCONFINED = Setting(
        False,
        "Lets `native` run where the kernel offers nothing to confine code with: code can then do "
        "whatever the gateway can.",
    )
    SANDBOX_SPARES = Setting(
        1, "Interpreters that wait, started, for the next container.", minimum=0
    )
    SANDBOX_TIMEOUT = Setting(
        60.0, "Seconds that one call may run before it is interrupted.", minimum=0.1
    )
    SANDBOX_GRACE = Setting(
        2.0, "Seconds from the interrupt to the end of an interpreter that ignores it.", minimum=0
    )
    SANDBOX_MEMORY_MB = Setting(
        512,
        "Memory of Python's objects, in MiB, in a container that asks for no `memory_limit`.",
        minimum=64,
    )
    SANDBOX_RSS_MB = Setting(
        900,
        "Memory of the whole process then, in MiB: more ends the interpreter. A container with a "
        "`memory_limit` has as much on top of it.",
        minimum=256,
    )
    SANDBOX_MEMORY_MOST_MB = Setting(
        1024,
        "Most memory, in MiB, that a `memory_limit` may ask for: 1024 admits `1g`, 4096 also `4g`, "
        "which is the most that `pyodide` can give.",
        minimum=0,
    )
    SANDBOX_OUTPUT_BYTES = Setting(
        64 * 1024,
        "Text that one call may put out; the rest is dropped, and said so. The model reads all of "
        "it, in this turn and in later ones.",
        minimum=1024,
    )
    SANDBOX_DISPLAY_BYTES = Setting(
        8 * 1024 * 1024, "Images that one call may display.", minimum=1024
    )
    SANDBOX_FILES_BYTES = Setting(
        100 * 1024 * 1024,
        "All files of a container together, in bytes: those that code makes, and those that are "
        "put there.",
        minimum=1024,
    )
    SANDBOX_FILES_COUNT = Setting(200, "Most files of a container.", minimum=1)
    SANDBOX_NPM_REGISTRY = Setting(
        "https://registry.npmjs.org", "Where Pyodide is fetched from, once."
    )
    SANDBOX_PACKAGES_URL = Setting(
        "",
        "Where Pyodide's packages are fetched from: a URL, or a folder with the wheels; default: "
        "the distribution of the installed version.",
    )

    SANDBOX_MAX_SESSIONS = Setting(
        8, "Most interpreters that one node keeps: the tool host, or a sandbox worker.", minimum=1
    )
    SANDBOX_NODE_MEMORY_MB = Setting(
        0, "Memory for all interpreters of a node; 0 is half of what the machine has.", minimum=0
    )
    SANDBOX_IDLE_SECONDS = Setting(
        120.0,
        "An interpreter that nobody used for this long leaves. Its container stays: the next call "
        "gets its files, and its variables where they could be written down.",
        minimum=1,
    )
    SANDBOX_QUEUE = Setting(
        32,
        "Most calls that wait on a node for an interpreter; half of them may be one container's.",
        minimum=0,
    )
    SANDBOX_QUEUE_SECONDS = Setting(
        30.0, "How long a call waits for an interpreter before the model is told.", minimum=0.1
    )
    SANDBOX_REDIS_URL = Setting(
        "",
        "The Redis through which gateways and sandbox workers meet, if workers are to have one of "
        "their own; default: REDIS_URL.",
        secret=True,
    )
    INTERNAL_URL = Setting(
        "http://127.0.0.1:5969",
        "The gateway's address as sandbox workers reach it, to fetch and store files. `serve` "
        "sets it to where it listens unless it is given.",
    )

    MCP_STDIO_ADMIN = Setting(
        False,
        "Lets superusers enter the commands of stdio MCP servers in the admin, which then run on "
        "this machine. Otherwise they come from `manage.py mcp import` and `--mcp-config` alone.",
    )

    MCP = Setting(True, "Lets requests use MCP servers: those of the admin, and their own.")
    MCP_ALLOW_PRIVATE_NETWORKS = Setting(
        False,
        "Lets requests bring MCP servers in private networks and on this machine, over plain http "
        "too. Link-local addresses and the metadata of clouds stay closed.",
    )
    MCP_ALLOWED_HOSTS = Setting(
        list[str](),
        "Hosts of MCP servers that requests may bring; empty for all public ones.",
    )
    MCP_TOOLS_SECONDS = Setting(
        300.0, "After this time, the tools of an MCP server are listed anew.", minimum=1
    )
    MCP_PROGRAMS = Setting(
        16,
        "Most programs of one stdio server that run on a machine at a time. Each project, each "
        "conversation or all share one, as the server's session scope says; the one that nobody has "
        "used for longest makes room.",
        minimum=1,
    )
    MCP_IDLE_SECONDS = Setting(
        900.0,
        "A connection to an MCP server that was not used for this long is closed, and the program of "
        "a stdio server ended.",
        minimum=1,
    )


conf = ToolsSettings()
