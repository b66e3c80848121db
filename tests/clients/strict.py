"""Checks a JSON value against the request types that the official SDKs publish.

The SDKs' `TypedDict`s are the most exact public statement of what the vendors take. They are used more strictly than a
type checker would: a key that the type does not name is refused, as both vendors refuse it ("Extra inputs are not
permitted", "Unrecognized request argument supplied").
"""

import collections.abc
import functools
import types
import typing
from typing import Any, Iterable, Literal, Union

import typing_extensions


class Refused(Exception):
    """The value does not fit; the text says where and why."""


def check(value: Any, hint: Any, where: str = "") -> None:
    """Raises `Refused` unless `value`, read from JSON, fits `hint`."""
    origin = typing.get_origin(hint)
    if hint is Any or hint is object:
        return
    if origin in (typing.Required, typing.NotRequired, typing_extensions.Required, typing_extensions.NotRequired):
        return check(value, typing.get_args(hint)[0], where)
    if origin is typing.Annotated:
        return check(value, typing.get_args(hint)[0], where)
    if origin in (Union, types.UnionType):
        return _union(value, typing.get_args(hint), where)
    if origin in (Literal, typing_extensions.Literal):
        return _expect(value in typing.get_args(hint), value, hint, where)
    if typing_extensions.is_typeddict(hint):
        return _typed_dict(value, hint, where)
    if origin is not None and issubclass(origin, collections.abc.Mapping):
        _expect(isinstance(value, dict), value, hint, where)
        for key, item in value.items():
            check(item, typing.get_args(hint)[1], f"{where}.{key}")
        return None
    if origin is not None and issubclass(origin, Iterable):
        _expect(isinstance(value, list), value, hint, where)
        for number, item in enumerate(value):
            check(item, typing.get_args(hint)[0], f"{where}[{number}]")
        return None
    if hint is type(None):
        return _expect(value is None, value, hint, where)
    if hint is float:
        return _expect(isinstance(value, (int, float)) and not isinstance(value, bool), value, hint, where)
    if hint is int:
        return _expect(isinstance(value, int) and not isinstance(value, bool), value, hint, where)
    if isinstance(hint, type) and hint in (str, bool, dict, list):
        return _expect(isinstance(value, hint), value, hint, where)
    # What is left are SDK conveniences (files, models) that never stand in JSON.
    raise Refused(f"{where}: {value!r} where the SDK wants {hint}")


def _expect(fits: bool, value: Any, hint: Any, where: str) -> None:
    if not fits:
        raise Refused(f"{where}: {str(value)[:200]!r} is no {hint}")


def _union(value: Any, options: tuple, where: str) -> None:
    problems = []
    for option in options:
        try:
            return check(value, option, where)
        except Refused as problem:
            problems.append(str(problem))
    # The deepest complaint belongs to the alternative that was meant.
    raise Refused(max(problems, key=lambda text: (len(text.split(":")[0]), "unknown key" in text)))


@functools.cache
def _hints(hint: Any) -> dict:
    return typing_extensions.get_type_hints(hint, include_extras=True)


# What the types demand and the servers do not: the official AI SDK sends images without detail, and Codex reasoning
# without its id (a wrong one would be refused).
LENIENT = {("ResponseInputImageParam", "detail"), ("ResponseReasoningItemParam", "id")}
# What the servers take and the types do not name: Codex tells who it is, and gives each message an id (openai/codex,
# `ResponsesApiRequest` in codex-rs/codex-api/src/common.rs, `ResponseItem` in codex-rs/protocol/src/models.rs).
EXTRA = {("ResponseCreateParamsStreaming", "client_metadata"), ("EasyInputMessageParam", "id")}


@functools.cache
def _required(hint: Any) -> frozenset:
    """The keys that must be there. Where annotations are strings, `__required_keys__` does not know it of each."""
    marks = {key: typing.get_origin(item) for key, item in _hints(hint).items()}
    marked = {key for key, mark in marks.items() if mark in (typing.Required, typing_extensions.Required)}
    free = {key for key, mark in marks.items() if mark in (typing.NotRequired, typing_extensions.NotRequired)}
    lenient = {key for name, key in LENIENT if name == hint.__name__}
    return frozenset((marked | (hint.__required_keys__ - free)) - lenient)


def _typed_dict(value: Any, hint: Any, where: str) -> None:
    _expect(isinstance(value, dict), value, hint.__name__, where)
    hints = _hints(hint)
    kind = hints.get("type") or hints.get("role")
    # The tag first, so that a union's complaint is about the right alternative.
    for key in [key for key in ("type", "role") if key in hints and key in value and kind]:
        check(value[key], hints[key], f"{where}.{key}" if value[key] is None else where)
    for key in _required(hint) - value.keys():
        raise Refused(f"{where}.{key}: is missing in {hint.__name__}")
    for key, item in value.items():
        if (hint.__name__, key) in EXTRA:
            continue
        if key not in hints:
            raise Refused(f"{where}.{key}: unknown key in {hint.__name__}")
        check(item, hints[key], f"{where}.{key}")
