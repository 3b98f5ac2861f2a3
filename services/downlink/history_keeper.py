"""The conversation as heard: published for the next session, and kept for the next downlink."""

from __future__ import annotations

from services.downlink.history import History
from services.downlink.history_file import HistoryFile
from services.downlink.publishing import Publishing
from shared.owner import Owner


class HistoryKeeper:
    """Publishes the history and writes it to its file."""

    def __init__(
        self, stage: Owner, file: HistoryFile, history: History, publishing: Publishing
    ) -> None:
        self._stage = stage
        self._file = file
        self._history = history
        self._publishing = publishing
        # The file of an earlier downlink, until link says whether its conversation still goes on.
        self._saved = file.read()

    def go_on(self, link_epoch: int, *, slept: bool) -> None:
        """Go on with an earlier downlink's history, if link still holds that conversation.

        ``link_epoch``: when link was started. ``slept``: link was started during the conversation's
        sleep, and has opened no session since. Does nothing after the first call.
        """
        saved, self._saved = self._saved, None
        if saved is not None:
            if slept or saved.session >= link_epoch:
                self._history.relearn(saved.turns)
            self.publish(0)

    def publish(self, session: int) -> None:
        """Publish the history if it changed, and write it. ``session``: the newest one."""
        if self._saved is not None:
            return  # Only link's state tells whether the saved turns come before the new ones.
        turns = self._publishing.publish_history()
        if turns is not None:
            try:
                self._file.write(session, turns)
            except OSError as error:
                self._stage.count("history_unsaved", warning=f"history.json: {error.strerror}")
