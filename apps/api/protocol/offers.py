"""What the model is offered: every declared tool as a function of its own.

Chat completions know functions alone. Custom tools become functions of one text, tools in
namespaces get flat names, and a table maps each call back to what the client declared.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from apps.api.protocol.hosted_tools import CodeInterpreterTool, McpTool, ToolChoiceMcp
from apps.api.protocol.tools import (
    HOSTED,
    AllowedTool,
    ApplyPatchTool,
    CustomTool,
    FunctionTool,
    GrammarFormat,
    HostedTool,
    KnownTool,
    LocalShellTool,
    NamespaceTool,
    ShellTool,
    ToolChoice,
    ToolChoiceAllowed,
    ToolChoiceNamed,
    ToolChoiceType,
    ToolSearchTool,
)
from apps.api.protocol.types import JSONObject

LONGEST_NAME = 64

GatewayKind: TypeAlias = Literal["code_interpreter", "mcp"]
OfferKind: TypeAlias = (
    Literal["function", "custom", "tool_search", "local_shell", "shell", "apply_patch"]
    | GatewayKind
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One function for the model. ``name`` is what the model calls, ``tool`` and ``namespace``
    are what the client knows. ``label`` names the container or server of a tool that the gateway
    runs; ``approval`` makes the id of a request to approve a call with these arguments."""

    name: str
    kind: OfferKind
    tool: str
    namespace: str | None = None
    description: str | None = None
    parameters: JSONObject
    strict: bool | None = None
    grammar: GrammarFormat | None = None
    label: str | None = None
    approval: Callable[[str], str] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the gateway runs it."""
        return self.label is not None

    @property
    def key(self) -> tuple[bool, str | None, str]:
        """What no two tools of a request have in common. Containers come and go; the code
        interpreter stays the same tool."""
        if self.kind == "code_interpreter":
            return True, None, CODE
        return self.is_ours, self.label if self.is_ours else self.namespace, self.tool


class GatewayFunction(NamedTuple):
    """A function of a tool that the gateway runs."""

    name: str
    description: str
    parameters: JSONObject
    approval: Callable[[str], str] | None = None


class GatewayFunctions(NamedTuple):
    """All functions of one such tool."""

    kind: GatewayKind
    label: str
    functions: Sequence[GatewayFunction]


NOTHING: JSONObject = {"type": "object", "properties": {}}


def flat_name(tool: str, namespace: str | None) -> str:
    """The model's name for a tool, as long as nothing else has it."""
    name = tool if namespace is None else f"{namespace}__{tool}"
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}_{digest}"


CODE = "code_interpreter"
"""The model's name for the code interpreter."""

PYTHON = ("python", "code_interpreter")
"""What models call it that were taught with one, whatever they are told here."""

NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


def gateway_name(kind: str, label: str, tool: str) -> str:
    """The model's name for a function that the gateway runs. Servers name their tools freely."""
    if kind == "code_interpreter":
        return CODE
    return flat_name(NOT_IN_NAMES.sub("_", tool), label)


class Offers:
    """The functions of one request, in the order in which the tools were declared.

    ``sent`` are those that the model is told of, ``forced`` the one that it has to call.
    """

    def __init__(
        self,
        tools: Iterable[KnownTool],
        choice: ToolChoice | None = None,
        *,
        ours: Sequence[GatewayFunctions] = (),
    ) -> None:
        tools = list(tools)
        self._by_name: dict[str, Offer] = {}
        self._names: dict[tuple[bool, str | None, str], str] = {}
        self.ignored = [tool.type for tool in tools if isinstance(tool, HostedTool)]
        for offer in (*_offers(tools), *_gateway_offers(ours)):  # clients' names come first
            self._add(offer)
        self.sent, self.mode, self.forced = self._apply(choice)

    def _apply(self, choice: ToolChoice | None) -> tuple[list[Offer], str, Offer | None]:
        if isinstance(choice, ToolChoiceAllowed):
            return self.allowed(choice), choice.mode, None
        if isinstance(choice, ToolChoiceMcp) and choice.name is None:
            return [offer for offer in self if _is_of(offer, choice)], "required", None
        if isinstance(choice, ToolChoiceNamed | ToolChoiceType | ToolChoiceMcp):
            return list(self), "forced", self.chosen(choice)
        if choice == "none":
            # In the prompt, they would be called all the same, as text.
            return [], "none", None
        return list(self), str(choice or "auto"), None

    def for_later_turn(self, *, ours: bool) -> Offers:
        """What is offered once tools have run: nothing is forced any more, or the model would
        call for ever. Without ``ours``, the gateway runs no more calls."""
        later = copy.copy(self)
        later.sent = [offer for offer in self.sent if ours or not offer.is_ours]
        later.mode, later.forced = ("none" if self.mode == "none" else "auto"), None
        return later

    def forcing(self, offer: Offer) -> Offers:
        """The same, but this one has to be called."""
        forced = copy.copy(self)
        forced.mode, forced.forced = "forced", offer
        return forced

    def meant(self, name: str) -> Offer | None:
        """The offer that a call names. Some parsers leave markup behind a name, or the namespace
        that the model knows all functions by in front of it; some models leave theirs out."""
        if (offer := self._by_name.get(name)) is not None:
            return offer
        bare = name.partition("<|")[0].strip()
        plain = bare.removeprefix("functions.")
        meant = self._by_name.get(bare) or self._by_name.get(plain) or self._only(bare)
        return meant or (self._of_kind("code_interpreter") if plain in PYTHON else None)

    def _of_kind(self, kind: OfferKind) -> Offer | None:
        return next((offer for offer in self if offer.kind == kind), None)

    def _only(self, tool: str) -> Offer | None:
        """The one offer whose tool has this name, in whichever namespace."""
        found = [offer for offer in self if offer.tool == tool]
        return found[0] if len(found) == 1 else None

    def permits(self, offer: Offer | None) -> bool:
        """Whether the client's choice of tools admits a call."""
        if self.mode == "none":
            return False
        return offer is None or any(offer is sent for sent in self.sent)

    def _add(self, offer: Offer) -> None:
        """A tool declared again, as tool searches do, takes the place of the former."""
        key = offer.key
        name = self._names.get(key, offer.name)
        serial = 2
        while key not in self._names and name in self._by_name:
            name, serial = f"{offer.name[: LONGEST_NAME - 3]}_{serial}", serial + 1
        self._names[key] = name
        self._by_name[name] = replace(offer, name=name)

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Offer | None:
        """What the model means by a name."""
        return self._by_name.get(name)

    def name_of(self, tool: str, namespace: str | None) -> str:
        """What the model knows a tool as, also one of the past that is declared no more."""
        return self._names.get((False, namespace, tool)) or flat_name(tool, namespace)

    def gateway_name_of(self, kind: str, label: str, tool: str) -> str:
        """The same for a tool that the gateway ran."""
        key = (True, None, CODE) if kind == "code_interpreter" else (True, label, tool)
        named = self._names.get(key)
        return named or gateway_name(kind, label, tool)

    def impossible(self, choice: ToolChoice | None) -> str | None:
        """Why the declared tools cannot meet the choice, or None."""
        if choice == "required" and not self.sent:
            return "Tool choice 'required' needs 'tools'."
        if (
            isinstance(choice, ToolChoiceMcp)
            and self.forced is None
            and not (choice.name is None and self.sent)
        ):
            name = choice.server_label if choice.name is None else choice.name
            return f"Tool choice {name!r} is not in 'tools'."
        if isinstance(choice, ToolChoiceNamed | ToolChoiceType) and self.forced is None:
            name = choice.name if isinstance(choice, ToolChoiceNamed) else choice.type
            return f"Tool choice {name!r} is not in 'tools'."
        if isinstance(choice, ToolChoiceAllowed):
            for tool in choice.tools:
                if not any(_matches(offer, tool) for offer in self) and tool.type not in HOSTED:
                    name = tool.name or tool.server_label or tool.type
                    return f"The allowed tool {name!r} is not in 'tools'."
        return None

    def chosen(self, choice: ToolChoiceNamed | ToolChoiceType | ToolChoiceMcp) -> Offer | None:
        """The offer that a choice forces; None when the tool is not declared."""
        if isinstance(choice, ToolChoiceMcp) or choice.type == "code_interpreter":
            return next((offer for offer in self if _is_of(offer, choice)), None)
        tool = choice.name if isinstance(choice, ToolChoiceNamed) else choice.type
        namespace = choice.namespace if isinstance(choice, ToolChoiceNamed) else None
        offer = self.get(self._names.get((False, namespace, tool), ""))
        return offer if offer is not None and offer.kind == choice.type else None

    def allowed(self, choice: ToolChoiceAllowed) -> list[Offer]:
        """The offers that the choice leaves, in their own order."""
        return [offer for offer in self if any(_matches(offer, tool) for tool in choice.tools)]


def _is_of(offer: Offer, choice: ToolChoiceMcp | ToolChoiceType | ToolChoiceNamed) -> bool:
    """Whether a tool that the gateway runs is what was chosen."""
    if not isinstance(choice, ToolChoiceMcp):
        return offer.kind == choice.type
    named = choice.name is None or offer.tool == choice.name
    return offer.kind == "mcp" and offer.label == choice.server_label and named


def _matches(offer: Offer, allowed: AllowedTool) -> bool:
    if allowed.type == "mcp":
        named = allowed.name is None or offer.tool == allowed.name
        return offer.kind == "mcp" and offer.label == allowed.server_label and named
    if allowed.type == "namespace":
        return offer.namespace is not None and offer.namespace == allowed.name
    if allowed.name is None:
        return offer.kind == allowed.type
    return (offer.kind, offer.tool, offer.namespace) == (
        allowed.type,
        allowed.name,
        allowed.namespace,
    )


def _offers(tools: Sequence[KnownTool]) -> Iterator[Offer]:
    for tool in tools:
        match tool:
            case FunctionTool() | CustomTool():
                yield _named(tool, None)
            case NamespaceTool():
                for inner in tool.tools:
                    yield _named(inner, tool)
            case ToolSearchTool():
                yield _builtin(
                    "tool_search",
                    tool.description or "Searches for more tools.",
                    tool.parameters or _object(query={"type": "string"}),
                )
            case LocalShellTool():
                yield _builtin("local_shell", "Runs a command on the user's machine.", LOCAL_SHELL)
            case ShellTool():
                yield _builtin("shell", "Runs shell commands on the user's machine.", SHELL)
            case ApplyPatchTool():
                yield _builtin(
                    "apply_patch",
                    "Creates, changes or deletes one file. A diff has lines that begin with a "
                    "blank (context), - (removed) or + (added), without file headers.",
                    APPLY_PATCH,
                )
            case CodeInterpreterTool() | McpTool() | HostedTool():
                pass  # what the gateway runs tells its functions itself; the rest is not offered


def _gateway_offers(tools: Sequence[GatewayFunctions]) -> Iterator[Offer]:
    for tool in tools:
        for function in tool.functions:
            yield Offer(
                name=gateway_name(tool.kind, tool.label, function.name),
                kind=tool.kind,
                tool=function.name,
                description=function.description,
                parameters=function.parameters,
                label=tool.label,
                approval=function.approval,
            )


def _named(tool: FunctionTool | CustomTool, group: NamespaceTool | None) -> Offer:
    namespace = group.name if group else None
    name = flat_name(tool.name, namespace)
    if isinstance(tool, FunctionTool):
        return Offer(
            name=name,
            kind="function",
            tool=tool.name,
            namespace=namespace,
            description=tool.description,
            # Templates and grammars want a schema; none declared means no arguments.
            parameters=tool.parameters or NOTHING,
            strict=tool.strict,
        )
    grammar = tool.format if isinstance(tool.format, GrammarFormat) else None
    value: JSONObject = {"type": "string"}
    description = tool.description or ""
    if grammar is not None:
        # A pattern is kept by vLLM's own grammar where it decodes under the schema; the model
        # is told in either case.
        if grammar.syntax == "regex":
            value["pattern"] = grammar.definition
        kind = "regular expression" if grammar.syntax == "regex" else "Lark grammar"
        description += f"\n\nThe input must match this {kind}:\n{grammar.definition}"
    return Offer(
        name=name,
        kind="custom",
        tool=tool.name,
        namespace=namespace,
        description=description.strip() or None,
        parameters=_object(input=value),
        grammar=grammar,
    )


def _builtin(kind: OfferKind, description: str, parameters: JSONObject) -> Offer:
    return Offer(name=kind, kind=kind, tool=kind, description=description, parameters=parameters)


def _object(*, optional: JSONObject | None = None, **required: JSONObject) -> JSONObject:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


LOCAL_SHELL = _object(
    command={
        "type": "array",
        "items": {"type": "string"},
        "description": "The program and its arguments.",
    },
    optional={
        "working_directory": {"type": "string"},
        "timeout_ms": {"type": "integer"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    },
)
SHELL = _object(
    commands={
        "type": "array",
        "items": {"type": "string"},
        "description": "Command lines, run one after another.",
    },
    optional={"timeout_ms": {"type": "integer"}, "max_output_length": {"type": "integer"}},
)
APPLY_PATCH = _object(
    type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
    path={"type": "string"},
    optional={"diff": {"type": "string", "description": "Not for delete_file."}},
)


NO_OFFERS = Offers(())
"""Of a request without tools. Offers never change."""
