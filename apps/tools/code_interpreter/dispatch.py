"""How the gateway has code run: which way to the nodes is taken."""

from __future__ import annotations

from functools import cache

from apps.tools.code_interpreter.contract import Nodes
from apps.tools.code_interpreter.embedded import HostNode
from apps.tools.code_interpreter.scaled import WorkerNodes
from apps.tools.code_interpreter.setup import runs_on_workers


@cache
def nodes() -> Nodes:
    """The way of this process."""
    return make_nodes()


def make_nodes() -> Nodes:
    """The way that the settings say: through the broker where there is one, else the tool host."""
    return WorkerNodes() if runs_on_workers() else HostNode()
