"""The HTTP server: Daphne with back-pressure, a body limit, and an orderly start and end.

Run as ``python -m responses_gateway.server``; ``manage.py serve`` starts one such process or
several on one socket. What requests mean is the business of the ASGI application alone.
"""

# ruff: noqa: N802, N815 - the camel case is Twisted's

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import orjson
import structlog


def install_event_loop() -> None:
    """Put uvloop under Twisted: must run before anything imports Twisted's reactor."""
    if "twisted.internet.reactor" in sys.modules:
        return
    try:
        import uvloop
    except ImportError:
        return
    from twisted.internet import asyncioreactor

    asyncioreactor.install(uvloop.new_event_loop())


install_event_loop()

from daphne.http_protocol import HTTPFactory, WebRequest  # noqa: E402
from daphne.server import Server  # noqa: E402
from twisted.internet import defer, endpoints, reactor  # noqa: E402
from twisted.internet.interfaces import IPushProducer  # noqa: E402
from twisted.logger import (  # noqa: E402
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    STDLibLogObserver,
    globalLogPublisher,
)
from twisted.web.http import RESPONSES  # noqa: E402
from zope.interface import implementer  # noqa: E402

from apps.api.management.listening import CannotListenError, listen  # noqa: E402
from responses_gateway import hosting  # noqa: E402

RESPONSES.setdefault(426, b"Upgrade Required")  # Twisted does not know it

Application = Callable[..., Awaitable[None]]

READ_SIZE = 1 << 20  # a body goes to the application in pieces of this size
LINGER = 10.0  # how long a client may go on sending a body that was refused
CLOSE_TIMEOUT = 10  # how long an application may go on after its client has left
TERMINAL_TIMEOUT = 8.0  # for runs that were ended to write their terminal event
REFUSAL_TIMEOUT = 1.0  # for requests that came while draining to be refused
FLUSH_TIMEOUT = 5.0  # for what is written to reach clients
STOP_TIMEOUT = 10.0  # for the process to give up its lease and close its connections
CANCEL_TIMEOUT = 2.0  # for applications that are cancelled by a second signal
POLL = 0.05

log = structlog.stdlib.get_logger("responses_gateway.server")  # also when run as __main__


class Process(Protocol):
    """The runs of this process, as far as the server has to know them."""

    draining: bool

    @property
    def active(self) -> int: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def end_all(self) -> None: ...


@implementer(IPushProducer)
class Flow:
    """Whether a client keeps up. Twisted pauses it while more than 64 KiB wait for the socket."""

    def __init__(self) -> None:
        self.paused: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        if self.paused is not None:
            # Shielded: an application that is cancelled here may still send its last words.
            await asyncio.shield(self.paused)

    def pauseProducing(self) -> None:
        if self.paused is None:
            self.paused = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:
        paused, self.paused = self.paused, None
        if paused is not None and not paused.done():
            paused.set_result(None)

    stopProducing = resumeProducing


class Request(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """One request: bounds the body while it arrives, and the response by what the client reads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Forms are the application's: Twisted would read them a second time, into memory.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)
        self.flow = Flow()
        self.received = 0
        self.refused = False

    # -- body limit --------------------------------------------------------------------------------

    def gotLength(self, length: int | None) -> None:
        too_large = length is not None and length > self.server.max_body_bytes
        super().gotLength(0 if too_large else length)
        if too_large:
            self.refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if not self.refused and self.received > self.server.max_body_bytes:
            self.content.truncate(0)
            self.refuse()
        if not self.refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    def refuse(self) -> None:
        """Answer 413 at once, and read on for a moment without keeping anything.

        Closing while the client sends would reset the connection, and with it the answer.
        """
        self.refused = True
        self.requestHeaders.removeHeader(b"expect")  # no "100 Continue" after the answer
        limit = self.server.max_body_bytes
        message = f"The request body is larger than {limit} bytes (GATEWAY_MAX_BODY_BYTES)."
        body, headers = envelope("request_too_large", message, kind="invalid_request_error")
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        self.channel.writeHeaders(b"HTTP/1.1", b"413", b"Content Too Large", headers)
        self.channel.write(body)
        transport = self.channel.transport
        transport.loseWriteConnection()
        reactor.callLater(LINGER, transport.abortConnection)

    # -- WebSockets --------------------------------------------------------------------------------

    def process(self) -> Any:
        upgrade = self.requestHeaders.getRawHeaders(b"upgrade", [b""])[0]
        if upgrade.lower() == b"websocket":
            # Clients that prefer WebSockets take this one answer as final and go on over HTTP.
            self.answer_error(
                426, "websocket_not_supported", "WebSockets are not supported: use HTTP."
            )
            return None
        return super().process()

    # -- back-pressure -----------------------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and not self.finished and self.channel:
            more = message.get("more_body")
            if more and self.producer is None:
                self.registerProducer(self.flow, True)
            elif not more and self.producer is not None:
                self.unregisterProducer()
        super().handle_reply(message)

    def unregisterProducer(self) -> None:
        self.flow.resumeProducing()
        super().unregisterProducer()

    def connectionLost(self, reason: Any) -> None:
        self.flow.resumeProducing()
        super().connectionLost(reason)

    # -- errors ------------------------------------------------------------------------------------

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """What Daphne itself refuses, in the API's form instead of a page."""
        self.answer_error(status, "bad_request" if status < 500 else "server_error", body)

    def answer_error(self, status: int, code: str, message: str) -> None:
        kind = "invalid_request_error" if status < 500 else "server_error"
        content, headers = envelope(code, message, kind=kind)
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": content})

    def handle_exception(self, exception: BaseException) -> None:
        if self._response_started:
            # Only a cut tells the client that the response is not whole.
            self.channel.loseConnection()
        else:
            super().handle_exception(exception)


def envelope(code: str, message: str, *, kind: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """An error in the API's form, for requests that never reach the API."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", b"req_" + uuid.uuid4().hex.encode()),
    ]
    return orjson.dumps({"error": error}), headers


class Factory(HTTPFactory):  # type: ignore[misc]  # Daphne has no types
    """Makes connections whose requests are ours."""

    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = Request
        return protocol


class GatewayServer(Server):  # type: ignore[misc]  # Daphne has no types
    """Daphne's server with a life cycle.

    It listens once ``process.start()`` is done. A first SIGTERM or SIGINT drains: the application
    refuses new requests (it looks at ``process.draining``), requests and runs under way may end,
    then they are ended, then the server stops. A second signal stops at once.
    """

    def __init__(
        self,
        application: Application,
        *,
        sockets: Iterable[socket.socket],
        process: Process,
        max_body_bytes: int,
        drain_timeout: float,
    ) -> None:
        super().__init__(
            application,
            endpoints=["listening begins in start()"],
            signal_handlers=False,
            http_timeout=None,
            request_buffer_size=READ_SIZE,
            verbosity=0,
            application_close_timeout=CLOSE_TIMEOUT,
            ready_callable=self.begin,
            server_name="responses-gateway",
        )
        self.endpoints: list[str] = []
        self.sockets = list(sockets)
        self.process = process
        self.max_body_bytes = max_body_bytes
        self.drain_timeout = drain_timeout
        self.exit_code = 0
        self.in_flight: set[asyncio.Future[None]] = set()
        self.starting: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None
        self.stopped = False

    # -- requests ----------------------------------------------------------------------------------

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        queue = super().create_application(protocol, scope)
        task = self.connections.get(protocol, {}).get("application_instance")
        # A WebSocket may idle for hours; what runs on it is counted by the process.
        if task is not None and scope["type"] == "http":
            self.in_flight.add(task)
            task.add_done_callback(self.in_flight.discard)
        return queue

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Send one message; returns when the client has taken most of what was sent before."""
        await super().handle_reply(protocol, message)
        if isinstance(protocol, Request):
            await protocol.flow.wait()

    # -- start -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Called by Daphne when the event loop is about to run."""
        # Daphne drops Twisted's log, and with it every exception raised in a callback.
        errors = LogLevelFilterPredicate(LogLevel.error)
        globalLogPublisher.addObserver(FilteringLogObserver(STDLibLogObserver("twisted"), [errors]))
        self.http_factory = Factory(self)
        loop = asyncio.get_event_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.interrupt)
        self.starting = loop.create_task(self.start())

    async def start(self) -> None:
        try:
            await self.process.start()
            for listening in self.sockets:
                endpoint = endpoints.AdoptedStreamServerEndpoint(
                    reactor, listening.detach(), listening.family
                )
                port = await endpoint.listen(self.http_factory).asFuture(asyncio.get_running_loop())
                self.listen_success(port)
                self.listeners.append(port)
        except Exception:
            log.exception("the server could not start")
            self.halt(1)

    # -- end ---------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """On SIGTERM or SIGINT."""
        if self.ending is None:
            self.process.draining = True
            self.ending = asyncio.get_running_loop().create_task(self.end())
        else:
            log.warning("stopping at once", requests=len(self.in_flight))
            self.halt(1)

    async def end(self) -> None:
        try:
            if self.starting is not None and not self.starting.done():
                self.starting.cancel()
            await self.drain()
            for port in self.listeners:
                port.stopListening()
            await self.quiet(REFUSAL_TIMEOUT)
            await self.flush()
            await asyncio.wait_for(self.process.stop(), STOP_TIMEOUT)
        except Exception:
            log.exception("the server did not end in order")
            self.exit_code = 1
        self.halt(self.exit_code)

    async def drain(self) -> None:
        """Wait for what is under way; after ``drain_timeout``, end it."""
        log.info("draining", requests=len(self.in_flight), runs=self.process.active)
        if not await self.quiet(self.drain_timeout):
            log.warning("ending what still runs", runs=self.process.active)
            self.process.end_all()
            if not await self.quiet(TERMINAL_TIMEOUT):
                log.warning("cutting requests", requests=len(self.in_flight))

    async def quiet(self, timeout: float) -> bool:  # noqa: ASYNC109 - a timeout is an answer here
        """Whether the requests of this moment, and all runs, end within the time.

        Requests that come later are refused by the application and need no waiting for.
        """
        waiting = set(self.in_flight)
        deadline = time.monotonic() + timeout
        while self.process.active or not all(task.done() for task in waiting):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL)  # background runs have no task of ours to wait for
        return True

    async def flush(self) -> None:
        """Let responses that are written, but not sent, reach their clients."""
        deadline = time.monotonic() + FLUSH_TIMEOUT
        for connection in reactor.getWriters():
            connection.loseConnection()
        while reactor.getWriters() and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(POLL)

    def halt(self, exit_code: int) -> None:
        if not self.stopped:
            self.stopped = True
            self.exit_code = exit_code
            self.stop()

    def kill_all_applications(self) -> Any:
        """Called by Twisted before it stops: cancel what is left, and wait a little for it.

        Daphne's own fails on a connection whose request has not arrived yet, and waits for ever.
        """
        tasks = {details.get("application_instance") for details in self.connections.values()}
        left = {task for task in tasks if task is not None and not task.done()}
        for task in left:
            task.cancel()
        if not left:
            return None
        return defer.Deferred.fromFuture(
            asyncio.ensure_future(asyncio.wait(left, timeout=CANCEL_TIMEOUT))
        )


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="responses_gateway.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5969)
    parser.add_argument("--fd", type=int, help="number of an inherited listening socket")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve the gateway until a signal; returns the exit status."""
    args = parse(sys.argv[1:] if argv is None else argv)
    hosting.own_server = True
    from responses_gateway.asgi import application  # sets Django up, imports all that is needed

    from apps.api.conf import conf  # isort: skip
    from apps.api.engine.process import process  # isort: skip

    try:
        listening = (
            listen(args.host, args.port) if args.fd is None else socket.socket(fileno=args.fd)
        )
    except CannotListenError as exc:
        log.error(str(exc))
        return 1
    server = GatewayServer(
        application,
        sockets=[listening],
        process=process,
        max_body_bytes=conf.MAX_BODY_BYTES,
        drain_timeout=conf.DRAIN_TIMEOUT,
    )
    # What was imported lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    server.run()
    return server.exit_code


if __name__ == "__main__":
    sys.exit(main())
