"""Runs streams as their packets come, shows what is heard, and measures how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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

    def transcript(self) -> Transcript:
        """What was found up to now."""
        return Transcript(self.source.name, self.seconds, tuple(self.segments))


def transcribe(
    recognizer: Recognizer,
    sources: Sequence[Source],
    realtime: bool,
    show: Callable[[Sequence[Session]], None],
) -> tuple[list[Transcript], Timing]:
    """Streams all sources at once to their ends.

    Args:
        realtime: hands out the packets of files at the pace at which they would be recorded.
        show: called when results have changed.

    Returns:
        One transcript a source, in their order. Ctrl-C ends live sources as if they had ended.
    """
    timing = Timing()
    sessions = [Session(source, recognizer.create_stream()) for source in sources]
    begin = time.perf_counter()
    open_sessions = list(sessions)
    while open_sessions:
        for session in list(open_sessions):
            packet = _next_packet(session, begin if realtime else None)
            started = time.perf_counter()
            if packet is None:
                session.stream.input_finished()
                open_sessions.remove(session)
            else:
                session.stream.accept_waveform(session.source.sample_rate, packet)
                session.seconds += len(packet) / session.source.sample_rate
            timing.computing += time.perf_counter() - started
        _decode(recognizer, sessions, timing)
        show(sessions)
    return [session.transcript() for session in sessions], timing


def _next_packet(session: Session, paced_from: float | None) -> np.ndarray | None:
    """The next packet, None at the end; files are paced when `paced_from` is a time."""
    try:
        packet = next(session.source.packets, None)
    except KeyboardInterrupt:
        if not session.source.is_live:
            raise
        return None
    now = time.perf_counter()
    if packet is None:
        return None
    if paced_from is not None and not session.source.is_live:
        due = paced_from + session.seconds + len(packet) / session.source.sample_rate
        time.sleep(max(0.0, due - now))
        session.arrived = due
    else:
        session.arrived = now
    return packet


def _decode(recognizer: Recognizer, sessions: Sequence[Session], timing: Timing) -> None:
    while ready := [s for s in sessions if recognizer.is_ready(s.stream)]:
        started = time.perf_counter()
        recognizer.decode_streams([session.stream for session in ready])
        for session in ready:
            result = recognizer.get_result(session.stream)
            session.partial = result
            if result.is_final:
                session.segments.append(result)
                session.partial = None
                recognizer.reset(session.stream)
        ended = time.perf_counter()
        timing.computing += ended - started
        timing.chunks.append(ended - started)
        for session in ready:
            timing.responses.append(ended - session.arrived)
            if session.stream.decoded:
                timing.finalisation.append(ended - session.arrived)


class Display:
    """Live partial results on a terminal; stable text plain, the rest dim.

    Args:
        console: nothing is shown when it is not a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, transient=True, refresh_per_second=20)
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
