"""A chat request as the rules see it: what the user said last, and what tools answered since."""

import re
from dataclasses import dataclass
from typing import Final

from .request import ChatRequest, Message, Tool

_QUOTE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    text: str
    results: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    history: tuple[Message, ...] = ()  # before the last user message

    def said_by(self, *roles: str) -> list[str]:
        """Texts of the history, the newest first."""
        return [m.text for m in reversed(self.history) if m.role in roles and m.text]

    def quoted(self) -> str:
        words = " ".join(self.text.split())
        return f'"{words[:_QUOTE]}…"' if len(words) > _QUOTE else f'"{words}"'


def read_prompt(request: ChatRequest) -> Prompt:
    messages = request.messages
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=-1)
    return Prompt(
        text=messages[last].text.strip() if last >= 0 else "",
        results=tuple(m.text.strip() for m in messages[last + 1 :] if m.role == "tool"),
        tools=() if request.tool_choice == "none" else request.tools,
        history=messages[: max(last, 0)],
    )


def pattern(source: str) -> re.Pattern[str]:
    """A rule's pattern: any case, and `.` also matches line ends."""
    return re.compile(source, re.IGNORECASE | re.DOTALL)
