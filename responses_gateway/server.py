"""The HTTP server: Daphne with our requests and connections, and an orderly start and end.

Run as ``python -m responses_gateway.server``; ``manage.py serve`` starts one such process or
several on one socket. What requests mean is the business of the ASGI application alone.
"""

# ruff: noqa: N802 - the camel case is Twisted's

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol

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

from daphne.http_protocol import HTTPFactory  # noqa: E402
from daphne.server import Server  # noqa: E402
from twisted.internet import defer, endpoints, reactor  # noqa: E402
from twisted.internet.task import LoopingCall  # noqa: E402
from twisted.logger import (  # noqa: E402
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    STDLibLogObserver,
    globalLogPublisher,
)

from apps.api.bodies import ON_DISK, largest_upload  # noqa: E402
from apps.api.management.listening import CannotListenError, listen  # noqa: E402
from responses_gateway import hosting  # noqa: E402
from responses_gateway.arrival import IDLE, LOOK_EVERY, Channel  # noqa: E402
from responses_gateway.request import Inbox, Request  # noqa: E402
from responses_gateway.sockets import DirectSocket  # noqa: E402

Application = Callable[..., Coroutine[Any, Any, None]]

READ_SIZE = 1 << 20  # a body goes to the application in pieces of this size
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


class Factory(HTTPFactory):  # type: ignore[misc]  # Daphne has no types
    """Makes connections whose requests are ours, and ends those that take too long."""

    protocol = Channel

    def __init__(self, server: GatewayServer) -> None:
        super().__init__(server)
        self.channels: set[Channel] = set()
        self.looking = LoopingCall(self.look)

    def startFactory(self) -> None:
        self.looking.start(LOOK_EVERY, now=False)

    def stopFactory(self) -> None:
        self.looking.stop()

    def look(self) -> None:
        for channel in list(self.channels):
            try:
                channel.look()
            except Exception:  # else none would be looked at again
                log.exception("a connection could not be ended")

    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory, protocol.timeOut = Request, IDLE
        return protocol

    def log(self, request: Any) -> None:
        """The application has its own log: Twisted would compose a line that nobody reads."""


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
        request_timeout: float,
        max_upload_bytes: int = 0,
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
        self.max_body_bytes, self.request_timeout = max_body_bytes, request_timeout
        self.max_upload_bytes = max(max_upload_bytes, max_body_bytes)
        self.drain_timeout = drain_timeout
        self.exit_code = 0
        self.in_flight: set[asyncio.Future[None]] = set()
        self.starting: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None
        self.stopped = False

    # -- requests ----------------------------------------------------------------------------------

    def create_application(self, protocol: Request, scope: dict[str, Any]) -> Inbox:
        """Begin to answer a request; what the application is to receive goes into the inbox."""
        if protocol.is_upload:
            # Daphne would read the whole body into messages; it is in a file already.
            scope[ON_DISK], protocol.content = protocol.content, io.BytesIO()
        inbox = Inbox()
        answering = asyncio.get_running_loop().create_task(
            self.application(scope, inbox.get, partial(self.handle_reply, protocol))
        )
        self.connections[protocol]["application_instance"] = answering
        self.in_flight.add(answering)
        answering.add_done_callback(partial(self.forget, protocol))
        return inbox

    def forget(self, protocol: Request, application: asyncio.Future[None]) -> None:
        """Let go of a request that was answered, for which Daphne takes up to a second. It looks
        after those that failed or whose client is still there."""
        self.in_flight.discard(application)
        details = self.connections.get(protocol, {})
        if "disconnected" in details and not (application.cancelled() or application.exception()):
            del self.connections[protocol]

    async def handle_reply(self, protocol: Request, message: dict[str, Any]) -> None:
        """Send one message; returns when the client has taken most of what was sent before."""
        protocol.handle_reply(message)
        if protocol.flow.paused is not None:
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
                port.transport = DirectSocket
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
        request_timeout=conf.REQUEST_TIMEOUT,
        max_upload_bytes=largest_upload(),
        drain_timeout=conf.DRAIN_TIMEOUT,
    )
    # What was imported lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    # Requests leave few cycles; Python's threshold has it look at those under way all the time.
    gc.set_threshold(10_000)
    server.run()
    return server.exit_code


if __name__ == "__main__":
    sys.exit(main())
