"""The life of a syncer's object: built once with every hook run exactly once, and closed in order.

Two generations of hosts have called these hooks, each in its own way, and some classes call them themselves. So the
hooks of a class are counted while its object is built, and those that nothing called are called then.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from syncell_worker import loader, options, wire

# In this order, after the object is built: a dataclass's own; pydantic 1's, in both spellings that were documented;
# today's.
_HOOKS = ("__post_init__", "__post_init_post_parse__", "__post_init__post_parse__", "__finalize__")


def build(syncer_class: type, given: dict[str, Any]) -> Any:
    """The syncer's object. Raises `OptionProblems`, `ManifestProblems`, or what its constructor raises."""
    with _counting_hooks(syncer_class) as called:
        try:
            syncer = syncer_class(**options.arguments(syncer_class, given))
        except Exception as error:
            problems = options.validation_problems(error, given)
            if problems is None:
                raise
            raise options.OptionProblems(problems) from None
        for hook in _HOOKS:
            if hook not in called and callable(getattr(syncer_class, hook, None)):
                getattr(syncer, hook)()
    if not hasattr(syncer, "name"):
        missing = f"class {syncer_class.__name__} has no name, and needs it"
        raise loader.ManifestProblems(wire.Problem("syncer_class", missing))
    return syncer


def close(syncer: Any) -> None:
    """Close what the syncer holds, each once, in order; what one raises is logged and does not stop the others."""
    connection = getattr(syncer, "cnxn", None) if getattr(syncer, "__is_database__", False) else None
    engines = {id(engine): engine for engine in _engines(syncer, connection)}.values()
    for what, function in (
        ("cnxn.close()", getattr(connection, "close", None)),
        *(("engine.dispose()", engine.dispose) for engine in engines),
        ("__teardown__()", getattr(syncer, "__teardown__", None)),
        ("close()", getattr(syncer, "close", None)),
    ):
        if callable(function):
            try:
                function()
            except BaseException:
                logging.getLogger(__name__).exception("%s raised while the syncer was closed", what)


def _engines(syncer: Any, connection: Any) -> Iterator[Any]:
    for holder in (connection, syncer):
        for name in ("engine", "_engine"):
            engine = getattr(holder, name, None)
            if callable(getattr(engine, "dispose", None)):
                yield engine
    if callable(getattr(connection, "dispose", None)):
        yield connection  # an Engine stands where a Connection may


@contextlib.contextmanager
def _counting_hooks(syncer_class: type) -> Iterator[set[str]]:
    """The names of the hooks that have been called on the class's objects so far."""
    called: set[str] = set()
    if options.is_pydantic_1_dataclass(syncer_class):
        # It took its hooks at decoration and calls those itself; a replacement would not be seen.
        called |= {"__post_init__", "__post_init_post_parse__"}
    counted = [hook for hook in _HOOKS if hook not in called and callable(getattr(syncer_class, hook, None))]
    own = {hook: vars(syncer_class)[hook] for hook in counted if hook in vars(syncer_class)}
    for hook in counted:
        setattr(syncer_class, hook, _counter(hook, getattr(syncer_class, hook), called))
    try:
        yield called
    finally:
        for hook in counted:
            if hook in own:
                setattr(syncer_class, hook, own[hook])
            else:
                delattr(syncer_class, hook)


def _counter(hook: str, function: Any, called: set[str]) -> Any:
    def count(self: Any, *arguments: Any, **keywords: Any) -> Any:
        called.add(hook)
        return function(self, *arguments, **keywords)

    return count
