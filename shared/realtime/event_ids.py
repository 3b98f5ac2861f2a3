"""The marks that a request carries, and by which downlink recognizes the server's answer."""

from __future__ import annotations

#: Prefix of the event ids with which uplink restores the turns of an earlier session. An error
#: with such an event id concerns the restoring.
RESTORES = "restore_"

#: Prefix of the event ids of ``session.update``. The path of a field follows if the update asks for
#: this field only, and ALL otherwise.
UPDATES = "update_"
ALL = "all"

#: Prefix of the event ids of the updates with the functions. A digest of the functions follows, and
#: then AGAIN if each of these functions was sent alone before.
TOOLS = f"{UPDATES}tools."
AGAIN = "_again"

#: The event id of ``input_audio_buffer.clear``. A server that does not know the request answers
#: with an error, which loses nothing.
CLEARS = "clear_buffer"

#: Prefix of the ids of the items that uplink makes of a person's texts; ASKS: of a text that the
#: assistant is to answer.
TEXTS = "text_"
ASKS = "ask_"

#: The key in the ``metadata`` of a response.create that asks for a response outside the
#: conversation. The server returns the metadata with the response.
OUT_OF_BAND = "bargein_out_of_band"

#: Prefixes of the ids of the items with which uplink answers a function call, and passes on a
#: notice of tools. Downlink asks for an answer to both.
OUTPUTS = "output_"
NOTICES = "notice_"
