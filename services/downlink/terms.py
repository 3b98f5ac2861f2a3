"""The comparison of the server's session with the settings, and its consequences. Pure.

A server can refuse an update, take it in part, or ignore it. A refused field is left out of the
next update. Audio at another rate is converted. A server that answers or interrupts by itself,
though it was told not to, is followed, because two sides that decide would answer each turn twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.downlink import comparison, objects
from shared.audio import pcm
from shared.config import Config
from shared.messages import MAX_REFUSED_TOOLS, RefusedTools
from shared.realtime import session
from shared.realtime.event_ids import ALL, TOOLS, UPDATES

#: The server's error when the voice is changed after it was heard. It names no field, and concerns
#: this session only.
VOICE_IN_USE = "cannot_update_voice"
VOICE = "audio.output.voice"
#: Fields without which the object that has them means nothing: they are left out together.
DISCRIMINATORS = ("type", "model")
TURNS = "audio.input.turn_detection"
#: The fields that say who decides. The complaints about them state the consequences.
DECIDING = (f"{TURNS}.create_response", f"{TURNS}.interrupt_response")
FORMATS = ("audio.input.format", "audio.output.format")


class Unusable(Exception):
    """Raised when no conversation is possible with the server's session. The text says why."""


class Terms:
    """Compares the server's session object with the one that was asked for."""

    def __init__(self, config: Config) -> None:
        self._decide = config.interruption.decide
        self._session = session.in_force(config)
        self._wanted = session.wanted(self._session)
        # The paths of the fields that the server refused.
        self._refused: dict[str, None] = {}
        # Those of them that the server may accept in another session.
        self._refused_for_now: set[str] = set()
        #: The updates with functions that the server refused.
        self.refused_tools: list[RefusedTools] = []
        #: Whether the server refused a whole update without naming a field.
        self.apart = False
        #: The rates of the audio that the server takes and sends, Hz.
        self.input_rate: int = config.session.input_rate
        self.output_rate: int = config.session.output_rate
        #: Whether the server answers turns, and cancels replies, although it was asked not to.
        self.server_answers = self.server_interrupts = False
        #: Whether the server transcribes the person although nobody asked for it.
        self.transcribes = False
        self._told: dict[str, Any] = {}
        self._said: set[str] = set()  # what was reported

    def reload(self, config: Config) -> None:
        """Expect other settings. The server may now accept a field that it refused before."""
        self._session, _ = session.reloaded(self._session, session.in_force(config))
        before, self._wanted = self._wanted, session.wanted(self._session)
        for path, _ in session.changes(before, self._wanted):
            self._refused.pop(path, None)
            self._refused_for_now.discard(path)
        self._said.clear()

    @property
    def refused(self) -> list[str]:
        """The paths of the fields that the server refused."""
        return list(self._refused)

    def begin_session(self) -> None:
        """Begin with a new session, which may accept fields that only the last one refused."""
        for path in self._refused_for_now:
            self._refused.pop(path, None)
        self._refused_for_now.clear()
        self._told = {}

    # what the server says

    def created(self, told: Mapping[str, Any]) -> None:
        """Take the session object from before the first update."""
        self._take_facts(comparison.nested(told))

    def updated(self, told: Mapping[str, Any]) -> None:
        """Take the session object that follows an update."""
        self._told = comparison.nested(told)
        self._take_facts(self._told)
        turns, asked = self._at(TURNS), self._wanted["audio"]["input"]["turn_detection"]
        if self._has_turns() and asked:
            # A server that shows the turn detection without these fields says nothing about them.
            self.server_answers = _on(turns, asked, "create_response")
            self.server_interrupts = _on(turns, asked, "interrupt_response")

    def refuses(self, error: objects.ServerError) -> str | None:
        """Return a line about an error that refuses an update, or None if it refuses none."""
        event_id = error.event_id or ""
        param = error.param or ""
        if event_id.startswith(TOOLS) and len(self.refused_tools) < MAX_REFUSED_TOOLS:
            self._refuse_tools(event_id.removeprefix(TOOLS), error)
            return ""  # Uplink knows the name of the function, and reports it.
        ours = event_id.startswith(UPDATES)
        if not (ours or param.startswith("session.") or error.name == VOICE_IN_USE):
            return None
        path = self._asked_path(param.removeprefix("session."))
        if not path and ours:
            path = self._asked_path(event_id.removeprefix(UPDATES))
        if not path and error.name == VOICE_IN_USE:
            path = VOICE
        why = f"{error.name}: {error.text[:300]}"
        if path:
            if error.name == VOICE_IN_USE:
                self._refused_for_now.add(path)
            known = path in self._refused
            self._refused[path] = None
            self._said.add(_refused(path))
            return "" if known else f"{_refused(path)}, and goes on without: {why}"
        if ours and event_id == f"{UPDATES}{ALL}" and not self.apart:
            self.apart = True
            return f"the server refuses the session's settings ({why}): each is sent on its own"
        return None

    def _refuse_tools(self, update: str, error: objects.ServerError) -> None:
        index = re.search(r"tools\[(\d{1,3})\]", error.param or "")
        number = min(int(index[1]), MAX_REFUSED_TOOLS) if index else -1
        reason = " ".join(f"{error.name}: {error.text[:300]}".split())
        refused = RefusedTools(update[:64], number, reason)
        if all(each.update != refused.update for each in self.refused_tools):
            self.refused_tools = [*self.refused_tools, refused]

    # what follows

    def complaints(self) -> list[str]:
        """Return a line for each request that the server does not follow.

        Raises Unusable if a conversation is not possible.
        """
        if self._decide == "push_to_talk" and self._has_turns():
            raise Unusable(
                "the server keeps its own turn detection, so push to talk cannot work: set"
                ' interruption.decide = "server"'
            )
        found = [_refused(path) for path in self._refused]
        asked = session.without(self._wanted, self._refused)
        for difference in comparison.differences(asked, self._told):
            if difference.path.startswith(FORMATS):
                if difference.path.endswith(".type"):
                    raise Unusable(
                        f"the server's {difference}: Bargein speaks audio/pcm only."
                        " Configure the server, or use another one"
                    )
            elif difference.path not in DECIDING:
                found.append(f"the server's {difference}")
        if self.follows_server:
            found.append(
                f"the server interrupts by itself: interruption.decide = {self._decide!r} has no"
                " effect, and Bargein follows the server"
            )
        elif self.server_interrupts:
            found.append("the server cancels a reply by itself when it hears somebody speak")
        if self.server_answers and not self.follows_server:
            found.append("the server answers each turn by itself, so Bargein asks for no answer")
        return found

    def remedies(self) -> list[str]:
        """Return a line for each rate that Bargein converts."""
        found = []
        if self.output_rate != self._wanted["audio"]["output"]["format"]["rate"]:
            found.append(f"the server sends audio at {self.output_rate} Hz: it is converted")
        if self.input_rate != self._wanted["audio"]["input"]["format"]["rate"]:
            found.append(f"the server takes audio at {self.input_rate} Hz: it is converted")
        return found

    def news(self, lines: list[str]) -> list[str]:
        """Return the lines that were not reported before, and count them as reported."""
        new = [line for line in lines if line not in self._said]
        self._said.update(new)
        return new

    @property
    def follows_server(self) -> bool:
        """Whether the server decides although ``interruption.decide`` is "client"."""
        return self._decide == "client" and self.server_interrupts

    # helpers

    def _take_facts(self, told: Mapping[str, Any]) -> None:
        """Take what the server says about its audio and its transcripts."""
        rate = _rate(told, "audio.input.format")
        self.input_rate = rate or self.input_rate
        rate = _rate(told, "audio.output.format")
        self.output_rate = rate or self.output_rate
        if "transcription" not in self._wanted["audio"]["input"]:
            try:
                self.transcribes = bool(session.at(told, "audio.input.transcription"))
            except KeyError:
                pass

    def _has_turns(self) -> bool:
        """Return whether the server says that it detects turns."""
        turns = self._at(TURNS)
        return isinstance(turns, Mapping) and turns.get("type") not in (None, "none")

    def _at(self, path: str) -> Any:
        try:
            return session.at(self._told, path)
        except KeyError:
            return None

    def _asked_path(self, path: str) -> str:
        """Return the path of the field that was asked for and that ``path`` is about, or ""."""
        path = path.split("[", maxsplit=1)[0]
        parts = path.split(".")
        if parts[-1] in DISCRIMINATORS and len(parts) > 1:
            parts.pop()
        while parts:
            path = ".".join(parts)
            if path in session.CONTAINERS:
                return ""
            try:
                session.at(self._wanted, path)
            except KeyError:
                parts.pop()
            else:
                return path
        return ""


def _refused(path: str) -> str:
    return f"the server refuses session.{path}"


def _on(turns: Mapping[str, Any], asked: Mapping[str, Any], name: str) -> bool:
    """Return whether the server does by itself what it was asked not to do."""
    return not asked[name] and turns.get(name) is True


def _rate(told: Mapping[str, Any], path: str) -> int:
    """Return the rate of a format, Hz; 0 if the server names no possible rate."""
    try:
        rate = session.at(told, f"{path}.rate")
    except KeyError:
        return 0
    if not isinstance(rate, int) or isinstance(rate, bool):
        return 0
    return rate if pcm.LOWEST_RATE <= rate <= pcm.HIGHEST_RATE else 0
