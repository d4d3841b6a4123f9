"""Plain arithmetic: finds an expression in a question and computes it, without `eval`.

Numbers and + - * / // % ** with parentheses; nothing else, and nothing that grows without bound.
"""

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Final

_EXPRESSION: Final = r"[-+(\s]*\d[\d\s.+\-*/%()]*"
_QUESTION: Final = re.compile(
    r"(?:^|\b(?:what(?:['\u2019]s|\s+is)|how\s+much\s+is|compute|calculate|evaluate)\s)"
    rf"\s*(?P<expression>{_EXPRESSION})\s*=?\s*"
    r"(?:$|[?!,;:]|\b(?:please|using|with|in|by)\b)",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_MAX_LENGTH: Final = 200
_MAX_BITS: Final = 4096

Number = int | float


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int):
        if base.bit_length() * abs(exponent) > _MAX_BITS:
            raise OverflowError("the result is too large")
        return base**exponent if exponent >= 0 else float(base) ** exponent
    return math.pow(base, exponent)


_OPERATORS: Final[dict[type[ast.operator], Callable[[Number, Number], Number]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}


def expression(text: str) -> str | None:
    """The expression that a question such as "What is 2+2?" asks for; a lone number is none."""
    found = _QUESTION.search(text.strip())
    if found is None:
        return None
    source = found["expression"].strip().rstrip(".")
    tree = _parse(source)
    return source if tree is not None and isinstance(tree, ast.BinOp) else None


def compute(source: str) -> str:
    """The value as text; raises ArithmeticError or ValueError where there is none."""
    tree = _parse(source)
    if tree is None:
        raise ValueError(f"not arithmetic: {source!r}")
    return shown(_value(tree))


def shown(number: Number) -> str:
    if isinstance(number, int):
        return str(number)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else f"{number:.12g}"


def numbers(text: str) -> list[str]:
    return _NUMBER.findall(text)


def number(text: str) -> Number:
    return float(text) if "." in text else int(text)


def _parse(source: str) -> ast.expr | None:
    if len(source) > _MAX_LENGTH:
        return None
    try:
        return ast.parse(source, mode="eval").body
    except SyntaxError:
        return None


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError(f"not arithmetic: {ast.unparse(node)!r}")
