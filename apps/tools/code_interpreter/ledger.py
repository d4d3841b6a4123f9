"""What gateways and sandbox workers keep in Redis, for each other: names, shapes, one decision.

- ``nodes``: living nodes, by the time until which they count as alive.
- ``node:ID``: what a node says of itself, and whether it takes containers; gone when it has not been
  heard of for a lease.
- ``container:ID``: which node holds it, and its epoch: the number of nodes that have held it.
- ``claim:CALL``: who decides about a dispatched call: one delivery of it to the node that runs it,
  or the gateway that gave it up. Set once, by whoever comes first: so code never runs twice.
- ``wanted:CALL``: there while somebody waits for the outcome.
- ``events:CALL``: the stream of what happens.
- ``control:NODE``: a channel for what cannot wait in the queue.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from apps.tools.code_interpreter.calls import NodeEvent, from_message, to_message

PREFIX = "gateway:sandbox:"
LEASE_MS = 15_000
BEAT_S = 5.0
WANTED_S = 15
CLAIM_S = 6 * 3600
"""Longer than any broker holds a message back, and longer than any call."""
EVENTS_S = 600
CONTAINER_S = 7 * 24 * 3600
REVOKED = "revoked"
TASK = "sandbox.run"

NODES = f"{PREFIX}nodes"


def node_key(node: str) -> str:
    return f"{PREFIX}node:{node}"


def container_key(container_id: str) -> str:
    return f"{PREFIX}container:{container_id}"


def claim_key(dispatch: str) -> str:
    return f"{PREFIX}claim:{dispatch}"


def wanted_key(dispatch: str) -> str:
    return f"{PREFIX}wanted:{dispatch}"


def events_key(dispatch: str) -> str:
    return f"{PREFIX}events:{dispatch}"


def control_channel(node: str) -> str:
    return f"{PREFIX}control:{node}"


def queue_name(node: str) -> str:
    return f"sandbox.{node}"


PLACE = """
-- Which node runs the container's next call: the one that holds it while it lives and takes
-- containers, else the one with the most room, in a new epoch. KEYS: container, nodes. ARGV: least
-- epoch, prefix of the nodes' keys, seconds to keep. Gives the node and the epoch, or nothing where
-- there is no node.
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
local holder = redis.call('HGET', KEYS[1], 'node')
local epoch = math.max(tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0), tonumber(ARGV[1]))
local function takes(node)
    return redis.call('HGET', ARGV[2] .. node, 'takes') == '1'
end
if not (holder and redis.call('ZSCORE', KEYS[2], holder) and takes(holder)) then
    local least = nil
    holder = nil
    for _, node in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
        local said = redis.call('HMGET', ARGV[2] .. node, 'load', 'capacity')
        local load = tonumber(said[1] or 0) / math.max(1, tonumber(said[2] or 1))
        if takes(node) and (least == nil or load < least) then
            least, holder = load, node
        end
    end
    if not holder then
        return {}
    end
    redis.call('HINCRBY', ARGV[2] .. holder, 'load', 1)
    epoch = epoch + 1
    redis.call('HSET', KEYS[1], 'node', holder)
end
redis.call('HSET', KEYS[1], 'epoch', epoch)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {holder, tostring(epoch)}
"""

BEAT = """
-- A node says that it lives. KEYS: node, nodes. ARGV: id, lease in ms, whether it takes containers,
-- load, capacity, status.
local time = redis.call('TIME')
redis.call('HSET', KEYS[1],
    'takes', ARGV[3], 'load', ARGV[4], 'capacity', ARGV[5], 'status', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])
"""


def entry(event: NodeEvent) -> dict[str, str]:
    """An event as an entry of the stream."""
    message, blob = to_message(event)
    fields = {"message": orjson.dumps(message).decode()}
    return fields | ({"blob": base64.b64encode(blob).decode()} if blob else {})


def read_entry(fields: Mapping[str, str]) -> NodeEvent:
    """Raises KeyError, TypeError, ValueError for what is no event."""
    blob = base64.b64decode(fields.get("blob", ""))
    return from_message(orjson.loads(fields["message"]), blob)


def status_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a node said of itself."""
    status: dict[str, Any] = orjson.loads(fields.get("status") or b"{}")
    return status
