"""Runs streams as their packets come, shows what is heard, and measures how long it took."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from espnet_local.decode.recognizer import Recognizer
from espnet_local.decode.sources import Source
from espnet_local.decode.stream import Result, Stream
from espnet_local.decode.transcript import Transcript


@dataclass(kw_only=True)
class Timing:
    """Wall-clock seconds."""

    computing: float = 0.0
    chunks: list[float] = field(default_factory=list)  # of each call that decodes, all its streams
    # From the arrival of a chunk's last packet to its result; when paced, waiting included.
    responses: list[float] = field(default_factory=list)
    finalisation: list[float] = field(default_factory=list)  # from the last packet, each stream


class Session:
    """One source on its way through a recognizer."""

    def __init__(self, source: Source, stream: Stream) -> None:
        self.source = source
        self.stream = stream
        self.seconds = 0.0  # of audio taken in
        self.arrived = 0.0  # when the newest packet came, by the wall clock
        self.partial: Result | None = None
        self.segments: list[Result] = []

    def take_in(self, packet: np.ndarray) -> None:
        """Gives a packet to the stream."""
        try:
            self.stream.accept_waveform(self.source.sample_rate, packet)
        except ValueError as error:
            raise ValueError(f"{self.source.name}, at {self.seconds:.2f} s: {error}") from None
        self.seconds += len(packet) / self.source.sample_rate

    def transcript(self) -> Transcript:
        """What was found up to now."""
        return Transcript(self.source.name, self.seconds, tuple(self.segments))


class Interrupt:
    """Ctrl-C ends live sources as if their input had ended; a second one stops the program.

    Nothing is torn: it takes effect while waiting for a packet, or after the chunk at hand.
    """

    def __init__(self, is_live: bool) -> None:
        self.is_requested = False
        self.is_waiting = False
        self._is_live = is_live

    def __enter__(self) -> Interrupt:
        if self._is_live:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, *_: object) -> None:
        if self.is_requested or self.is_waiting:
            self.is_requested = True
            raise KeyboardInterrupt
        self.is_requested = True

    def next_packet(self, packets: Iterator[np.ndarray]) -> np.ndarray | None:
        """The next packet of a live source, None at its end."""
        if self.is_requested:
            return None
        self.is_waiting = True
        try:
            return next(packets, None)
        except KeyboardInterrupt:
            return None
        finally:
            self.is_waiting = False


def transcribe(
    recognizer: Recognizer,
    sources: Sequence[Source],
    realtime: bool,
    show: Callable[[Sequence[Session]], None],
    segment_closed: Callable[[Session, Result], None],
) -> tuple[list[Transcript], Timing]:
    """Streams all sources at once to their ends.

    Args:
        realtime: hands out the packets of files at the pace at which they would be recorded.
        show: called when results have changed.
        segment_closed: called with each final result.

    Returns:
        One transcript a source, in their order.

    Raises:
        ValueError: naming the source, for samples that cannot be.
    """
    timing = Timing()
    sessions = [Session(source, recognizer.create_stream()) for source in sources]
    begin = time.perf_counter() if realtime else None
    open_sessions = list(sessions)
    with Interrupt(any(source.is_live for source in sources)) as interrupt:
        while open_sessions:
            for session in list(open_sessions):
                packet = _next_packet(session, begin, interrupt)
                started = time.perf_counter()
                if packet is None:
                    session.stream.input_finished()
                    open_sessions.remove(session)
                else:
                    session.take_in(packet)
                timing.computing += time.perf_counter() - started
            _decode(recognizer, sessions, timing, segment_closed)
            show(sessions)
    return [session.transcript() for session in sessions], timing


def _next_packet(
    session: Session, paced_from: float | None, interrupt: Interrupt
) -> np.ndarray | None:
    """The next packet, None at the end; files are paced when `paced_from` is a time."""
    if session.source.is_live:
        packet = interrupt.next_packet(session.source.packets)
    else:
        packet = next(session.source.packets, None)
    if packet is None:
        return None
    session.arrived = time.perf_counter()
    if paced_from is not None and not session.source.is_live:
        due = paced_from + session.seconds + len(packet) / session.source.sample_rate
        time.sleep(max(0.0, due - session.arrived))
        session.arrived = due
    return packet


def _decode(
    recognizer: Recognizer,
    sessions: Sequence[Session],
    timing: Timing,
    segment_closed: Callable[[Session, Result], None],
) -> None:
    while ready := [s for s in sessions if recognizer.is_ready(s.stream)]:
        started = time.perf_counter()
        recognizer.decode_streams([session.stream for session in ready])
        for session in ready:
            session.partial = recognizer.get_result(session.stream)
        ended = time.perf_counter()
        timing.computing += ended - started
        timing.chunks.append(ended - started)
        for session in ready:
            timing.responses.append(ended - session.arrived)
            if session.stream.decoded:
                timing.finalisation.append(ended - session.arrived)
            if session.partial is not None and session.partial.is_final:
                session.segments.append(session.partial)
                segment_closed(session, session.partial)
                session.partial = None
                recognizer.reset(session.stream)


class Display:
    """Live partial results on a terminal; stable text plain, the rest dim.

    Args:
        console: nothing is shown when it is not a terminal.
    """

    def __init__(self, console: Console) -> None:
        # What is printed meanwhile appears above, where stdout is the terminal too.
        shared = sys.stdout.isatty()
        self._live = Live(
            console=console, transient=True, refresh_per_second=20, redirect_stdout=shared
        )
        self._shown = console.is_terminal

    def __enter__(self) -> Display:
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._live.stop()

    def show(self, sessions: Sequence[Session]) -> None:
        """Shows the newest results."""
        if self._shown:
            self._live.update(Group(*(_line(s, named=len(sessions) > 1) for s in sessions)))


def _line(session: Session, named: bool) -> Text:
    line = Text(overflow="ellipsis")
    if named:
        line.append(f"{session.source.name}  ", style="bold")
    line.append(f"{session.seconds:6.1f} s  ", style="dim")
    done = " ".join(segment.text for segment in session.segments[-2:] if segment.text)
    if done:
        line.append(done + " ")
    if session.partial is not None:
        stable = session.partial.stable_text
        line.append(stable)
        line.append(session.partial.text.removeprefix(stable), style="dim italic")
    return line
