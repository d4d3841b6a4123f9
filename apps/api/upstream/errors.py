"""What can go wrong with the upstream.

UpstreamError
├── UpstreamRefused       it answered with an error
├── UpstreamUnreachable   no connection, or none of the answer came
├── UpstreamTimeout       it was silent for too long
└── UpstreamBroke         its answer was cut, or is not what it should be

Texts are written for clients: nothing of the upstream's own wording goes in that quotes its
insides.
"""

from __future__ import annotations

NO_TOOL_PARSER = (
    "The model server was started without a tool parser, so it takes no tools. Start vLLM with "
    "--enable-auto-tool-choice --tool-call-parser NAME, where NAME is the parser of the model's "
    "family."
)


class UpstreamError(Exception):
    """Base. ``status`` is the upstream's HTTP status, ``retry_after`` the seconds that it asked to
    wait, if it gave them; ``kind`` says it in one word."""

    kind = "failed"
    status: int | None = None
    retry_after: float | None = None


class UpstreamRefused(UpstreamError):
    """The upstream answered with an error, before the stream or in it."""

    kind = "refused"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.retry_after = status, param, retry_after

    @property
    def is_context_overflow(self) -> bool:
        """vLLM names the parameter since 0.12; before, only the sentence tells."""
        return self.status == 400 and (
            self.param == "input_tokens" or "maximum context length" in str(self)
        )

    @property
    def lacks_tool_parser(self) -> bool:
        """vLLM names the flag that it was started without, whichever choice of tools it refuses."""
        return self.status == 400 and "--tool-call-parser" in str(self)


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or it was closed before any of the answer came."""

    kind = "unreachable"


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for longer than the limit."""

    kind = "timeout"


class UpstreamBroke(UpstreamError):
    """The answer ended before its end, or is not a chat completion."""

    kind = "broken"
