"""SIGINT, SIGTERM and SIGHUP (the terminal was closed) during training: save, then stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from seq2seq.training.trainer import Trainer

REPEAT_SEC = 2.0


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Make the trainer save and stop at the first SIGINT, SIGTERM or SIGHUP; a second signal acts at once.

    An ignored SIGHUP stays ignored: `nohup` lets a run outlive its terminal.

    A second signal within `REPEAT_SEC` is ignored: a signal to the process group of torchrun reaches each rank twice,
    because torchrun forwards it. Outside the main thread, where Python cannot set handlers, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first_sec: float | None = None

    def handle(number: int, frame: object) -> None:
        nonlocal first_sec
        if first_sec is None:
            trainer.stop_signal, first_sec = number, time.monotonic()
        elif time.monotonic() - first_sec > REPEAT_SEC:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
