"""The types of the messages on the bus. The text below a field says what the field means.

Units: a field whose name ends in ``_ns`` is in nanoseconds, ``_ms`` in milliseconds, ``_db`` in
decibels. Positions and lengths of audio are in samples at 24 kHz. Audio is mono s16le at 24 kHz. No
field is a float, so no reader has to guard against NaN.

A language whose numbers are doubles can hold every field. Counts that start from the wall clock
(``epoch``, ``session``, ``stream``) are microseconds since 1970, which stay below 2^53. Each is
larger than the one before, even if the clock was set back: see shared/numbers.py. Times stay below
2^53 for 104 days after the machine has started; then a double rounds them by 1 ns.
"""

from __future__ import annotations

from shared.messages.base import (
    DURATIONS as DURATIONS,
)
from shared.messages.base import (
    LAST_GENERATION as LAST_GENERATION,
)
from shared.messages.base import (
    MAX_ARGUMENTS as MAX_ARGUMENTS,
)
from shared.messages.base import (
    MAX_AUDIO as MAX_AUDIO,
)
from shared.messages.base import (
    MAX_ITEM_SAMPLES as MAX_ITEM_SAMPLES,
)
from shared.messages.base import (
    MAX_OFFER as MAX_OFFER,
)
from shared.messages.base import (
    MAX_OUTPUT as MAX_OUTPUT,
)
from shared.messages.base import (
    MAX_TEXT as MAX_TEXT,
)
from shared.messages.base import (
    MAX_TURNS as MAX_TURNS,
)
from shared.messages.base import (
    Count as Count,
)
from shared.messages.base import (
    Line as Line,
)
from shared.messages.base import (
    Message as Message,
)
from shared.messages.base import (
    Name as Name,
)
from shared.messages.base import (
    Stamp as Stamp,
)
from shared.messages.base import (
    Text as Text,
)
from shared.messages.base import (
    kinds as kinds,
)
from shared.messages.base import (
    moments as moments,
)
from shared.messages.functions import (
    ToolCall as ToolCall,
)
from shared.messages.functions import (
    ToolOffer as ToolOffer,
)
from shared.messages.functions import (
    ToolOutput as ToolOutput,
)
from shared.messages.functions import (
    ToolResult as ToolResult,
)
from shared.messages.functions import (
    ToolRun as ToolRun,
)
from shared.messages.functions import (
    ToolState as ToolState,
)
from shared.messages.health import (
    Health as Health,
)
from shared.messages.interruption import (
    Flush as Flush,
)
from shared.messages.interruption import (
    FlushReport as FlushReport,
)
from shared.messages.interruption import (
    FlushTimes as FlushTimes,
)
from shared.messages.interruption import (
    Heard as Heard,
)
from shared.messages.interruption import (
    HeardItem as HeardItem,
)
from shared.messages.interruption import (
    Interruption as Interruption,
)
from shared.messages.interruption import (
    ItemReport as ItemReport,
)
from shared.messages.interruption import (
    TurnDecision as TurnDecision,
)
from shared.messages.people import (
    MAX_CHANGE as MAX_CHANGE,
)
from shared.messages.people import (
    WAKERS as WAKERS,
)
from shared.messages.people import (
    Control as Control,
)
from shared.messages.people import (
    Panel as Panel,
)
from shared.messages.replies import (
    History as History,
)
from shared.messages.replies import (
    HistoryTurn as HistoryTurn,
)
from shared.messages.replies import (
    ItemState as ItemState,
)
from shared.messages.replies import (
    Mark as Mark,
)
from shared.messages.replies import (
    Received as Received,
)
from shared.messages.replies import (
    ReplyState as ReplyState,
)
from shared.messages.replies import (
    Transcript as Transcript,
)
from shared.messages.server import (
    MAX_REFUSED_TOOLS as MAX_REFUSED_TOOLS,
)
from shared.messages.server import (
    Cause as Cause,
)
from shared.messages.server import (
    ClientEvent as ClientEvent,
)
from shared.messages.server import (
    LinkState as LinkState,
)
from shared.messages.server import (
    RefusedTools as RefusedTools,
)
from shared.messages.server import (
    Renew as Renew,
)
from shared.messages.server import (
    ServerEvent as ServerEvent,
)
from shared.messages.server import (
    SessionRequest as SessionRequest,
)
from shared.messages.server import (
    Sleep as Sleep,
)
from shared.messages.sound import (
    MicClean as MicClean,
)
from shared.messages.sound import (
    MicFrame as MicFrame,
)
from shared.messages.sound import (
    ReplyAudio as ReplyAudio,
)
from shared.messages.sound import (
    SpeakerCall as SpeakerCall,
)
from shared.messages.sound import (
    SpeakerCalls as SpeakerCalls,
)
from shared.messages.sound import (
    SpeakerFrame as SpeakerFrame,
)
from shared.messages.sound import (
    Speech as Speech,
)
from shared.messages.usage import (
    Spent as Spent,
)
from shared.messages.usage import (
    Usage as Usage,
)
