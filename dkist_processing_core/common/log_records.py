"""
Listen to every log record of this process, whichever handlers there are.

Runs in: task environment. A handler on the root logger would be the usual means, but is not enough: it keeps
`logging.basicConfig` from doing anything, gets nothing from a logger that does not propagate, and
``basicConfig(force=True)`` and `logging.config` remove it. So `logging.Logger.callHandlers` is wrapped, here and
nowhere else: it is the one method of `logging` through which every record passes. A test fails if it moves.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["current_level", "keep_level_of_each_handler", "listen"]

Listener = Callable[[logging.LogRecord], object]


class _Current(threading.local):
    """The level of the record that this thread gives to its handlers; None outside of that."""

    level: int | None = None


_current = _Current()


class _Hook:
    """The methods that are wrapped, and the listeners."""

    changing = threading.Lock()
    listeners: tuple[Listener, ...] = ()
    call_handlers = staticmethod(logging.Logger.callHandlers)
    handle = staticmethod(logging.Handler.handle)
    is_installed = False


def current_level() -> int | None:
    """Return the level of the record that the handlers of this thread are writing; None if there is none."""
    return _current.level


def listen(listener: Listener) -> Callable[[], None]:
    """
    Call a function with each log record from now on, after the handlers of its logger.

    Parameters
    ----------
    listener
        The function. It must be quick and must not raise.

    Returns
    -------
    function
        Stops it.
    """
    with _Hook.changing:
        _Hook.listeners = (*_Hook.listeners, listener)
        if not _Hook.is_installed:
            _Hook.call_handlers = staticmethod(logging.Logger.callHandlers)
            logging.Logger.callHandlers = _call_handlers_and_listeners  # type: ignore[method-assign]
            _Hook.is_installed = True

    def stop() -> None:
        with _Hook.changing:
            _Hook.listeners = tuple(each for each in _Hook.listeners if each is not listener)
            # Unless other code has wrapped the method in turn.
            if not _Hook.listeners and logging.Logger.callHandlers is _call_handlers_and_listeners:
                logging.Logger.callHandlers = _Hook.call_handlers  # type: ignore[method-assign]
                _Hook.is_installed = False

    return stop


def keep_level_of_each_handler() -> None:
    """
    Make `current_level` work for a record, too, that a handler does not get from a logger.

    A `logging.handlers.QueueListener` passes on the records of other threads and processes. A
    `logging.handlers.MemoryHandler` passes on earlier records when a later one is logged.
    """
    if logging.Handler.handle is not _handle_at_its_level:
        _Hook.handle = staticmethod(logging.Handler.handle)
        logging.Handler.handle = _handle_at_its_level  # type: ignore[method-assign]


def _handle_at_its_level(self: logging.Handler, record: logging.LogRecord) -> bool:
    before = _current.level
    _current.level = record.levelno
    try:
        return _Hook.handle(self, record)
    finally:
        _current.level = before


def _call_handlers_and_listeners(self: logging.Logger, record: logging.LogRecord) -> None:
    before = _current.level
    _current.level = record.levelno
    try:
        _Hook.call_handlers(self, record)
        for listener in _Hook.listeners:
            listener(record)
    finally:
        _current.level = before
