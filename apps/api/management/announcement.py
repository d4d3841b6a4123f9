"""What ``serve`` prints when requests can come: where to send them, and a way into the admin."""

from __future__ import annotations

import ipaddress
import json
import shlex
import socket
from collections.abc import Sequence

from apps.api import login
from apps.store.models import ApiKey

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not bound here


def local_url(host: str, port: int) -> str:
    """The address under which this machine reaches a server bound to ``host``."""
    return f"http://{_in_url(WILDCARDS.get(host, host))}:{port}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announcement(host: str, port: int, models: Sequence[str], *, demo: bool) -> str:
    """The whole text. Reads the database: is there a key, whom does the login link admit."""
    url = local_url(host, port)
    keys = ApiKey.objects.exists()
    lines = ["", "The gateway is ready.", "", f"  API     {url}/v1"]
    if not is_loopback(host):
        name = socket.gethostname() if host in WILDCARDS else host
        lines.append(f"          {f'http://{_in_url(name)}:{port}/v1'} from other machines")
    lines += [f"  Models  {', '.join(models) or 'none'}", f"  Admin   {_admin(host, url)}", ""]
    if demo:
        lines += [
            "This is the demo: its answers come from rules, not from a language model.",
            "For a real one: --upstream URL of a vLLM server, or --vllm MODEL to start one.",
            "",
        ]
    if not is_loopback(host) and not keys:
        lines += ["Other machines need an API key: manage.py createapikey NAME", ""]
    lines += ["Try it:" if not keys else "Try it, with one of your keys in GATEWAY_API_KEY:", ""]
    lines += [f"  {curl(url, models, with_key=keys)}", "", "Ctrl-C stops it.", ""]
    return "\n".join(lines)


def curl(url: str, models: Sequence[str], *, with_key: bool) -> str:
    """A command that makes a first response."""
    body = {"model": models[0]} if models else {}
    body["input"] = "Say hello."
    words = ["curl", f"{url}/v1/responses", "-H", "Content-Type: application/json"]
    command = shlex.join([*words, "-d", json.dumps(body)])
    return command + (' -H "Authorization: Bearer $GATEWAY_API_KEY"' if with_key else "")


def _admin(host: str, url: str) -> str:
    user = login.first_superuser()
    if user is None:
        return f"{url}/admin/ (manage.py createsuperuser makes the first user)"
    if not is_loopback(host) and host not in WILDCARDS:
        # The link works over the loopback address only, where nothing listens.
        return f"{url}/admin/ (manage.py changepassword {user.username} sets a password)"
    return f"{login.link(user, url)}\n          works once, within 15 minutes, on this machine"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
