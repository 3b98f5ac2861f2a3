"""The settings: one class for each section of config.toml, with types, ranges and defaults.

shared/config.py reads them from the file, the environment and the command line. A check that
concerns two settings at once belongs into shared/settings_check.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.audio import pcm
from shared.prices import Prices

Ms = Annotated[int, Meta(ge=0, le=3_600_000)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Rate = Annotated[int, Meta(ge=pcm.LOWEST_RATE, le=pcm.HIGHEST_RATE)]


#: A value that can stand in a header.
Header = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]*$",
        max_length=512,
        description="at most 512 letters, digits and signs of ASCII, without blanks",
    ),
]
#: A function or a server that the model may call. The session gets the name as it is.
ToolChoice = Annotated[
    str,
    Meta(
        pattern=r"^([a-zA-Z0-9_-]{1,64}|mcp:[^/]{1,64}(/.{1,64})?)$",
        description="auto, none, required, the name of a function, or mcp:<server>[/<function>]",
    ),
]
Label = Annotated[
    str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$", description="1 to 64 letters, digits, _ or -")
]

#: Which functions of an MCP server need an approval, as the API has it.
ApprovalTable = Annotated[
    dict[Literal["always", "never"], dict[Literal["tool_names", "read_only"], list[str] | bool]],
    Meta(description='a table such as { always = { tool_names = ["delete"] } }'),
]


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[link]: the connection to the server."""

    url: str = "wss://api.openai.com/v1/realtime"
    model: str = "gpt-realtime-2.1"
    key_file: str = ""
    token_command: str = ""
    auth: Literal["auto", "bearer", "api-key", "none"] = "auto"
    organization: Header = ""
    project: Header = ""
    safety_identifier: Header = ""
    proxy: str = ""
    allow_insecure: bool = False
    connect_timeout_s: Seconds = 10.0
    ping_interval_s: Seconds = 15.0
    pong_timeout_s: Seconds = 10.0
    retry_first_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    retry_max_ms: Annotated[int, Meta(ge=10, le=600_000)] = 30_000
    session_limit_s: Annotated[float, Meta(gt=0, le=86_400)] = 3600.0
    renew_before_s: Annotated[float, Meta(gt=0, le=86_400)] = 300.0


class TurnDetection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[session.turn_detection]: how the server decides that a turn begins and ends."""

    type: Literal["server_vad", "semantic_vad", "none"] = "server_vad"
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Ms = 300
    silence_duration_ms: Ms = 500
    idle_timeout_ms: Ms = 0
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class McpServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of session.mcp: an MCP server that the model's server connects to."""

    label: Label
    url: str = ""
    connector: str = ""
    headers: dict[str, str] = {}
    allowed_tools: list[str] = []
    require_approval: Literal["always", "never"] | ApprovalTable = "always"


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[session]: the settings that the server gets."""

    instructions: str = (
        "You are a helpful voice assistant. Speak naturally and keep answers short."
        " When you were interrupted, do not repeat what was already heard."
    )
    voice: str = "marin"
    greeting: str = ""
    transcription_model: str = ""
    language: Annotated[str, Meta(max_length=64)] = ""
    transcription_prompt: str = ""
    transcription_keywords: list[str] = []
    transcription_languages: list[str] = []
    transcription_delay: Literal["auto", "minimal", "low", "medium", "high", "xhigh"] = "auto"
    transcription_logprobs: bool = False
    output_modalities: list[Literal["audio", "text"]] = msgspec.field(
        default_factory=lambda: ["audio"]
    )
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0
    max_output_tokens: Annotated[int, Meta(ge=0, le=4096)] = 0
    reasoning_effort: Literal["auto", "minimal", "low", "medium", "high", "xhigh"] = "auto"
    truncation: Literal["auto", "disabled", "retention_ratio"] = "auto"
    retention_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.8
    retention_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: Literal["auto", "on", "off"] = "auto"
    tracing: Literal["off", "auto"] = "off"
    tracing_workflow: str = ""
    tracing_group: str = ""
    tracing_metadata: dict[str, str] = {}
    answer_after: Literal["auto", "commit", "transcript"] = "auto"
    transcript_limit_ms: Annotated[int, Meta(ge=0, le=60_000)] = 3000
    noise_reduction: Literal["none", "near_field", "far_field"] = "none"
    noise_strength: Annotated[float, Meta(ge=0, le=1)] = 1.0
    input_rate: Rate = 24_000
    output_rate: Rate = 24_000
    resume_within_s: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    mcp: list[McpServer] = []
    turn_detection: TurnDetection = TurnDetection()


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[capture]: the microphone."""

    device: str = "auto"
    channel: Annotated[int, Meta(ge=0, le=64)] = 0


class Echo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[echo]: how the assistant's own voice is removed from the microphone."""

    enabled: bool = True
    high_pass: bool = True
    noise_suppression: bool = False
    half_duplex: bool = False
    hangover_ms: Annotated[int, Meta(ge=0, le=2000)] = 300


class Vad(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[vad]: how speech is detected on this machine."""

    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    silence_ms: Annotated[int, Meta(ge=32, le=5000)] = 300


#: Words that only show that the person is listening, or that mean nothing.
BACKCHANNELS = (
    "mm-hm", "mhm", "mm", "hmm", "hm", "uh-huh", "uh", "um", "ah", "oh", "huh", "yeah", "yep",
    "yup", "yes", "ok", "okay", "right", "sure", "really", "wow", "cool", "great", "good", "nice",
    "true", "exactly", "alright",
)  # fmt: skip


class Interruption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[interruption]: what happens to a reply when the person speaks."""

    decide: Literal["server", "client", "push_to_talk", "never"] = "server"
    duck: Literal["lower", "pause", "off"] = "lower"
    duck_db: Annotated[int, Meta(ge=1, le=60)] = 15
    duck_limit_ms: Annotated[int, Meta(ge=50, le=10_000)] = 1200
    min_speech_ms: Annotated[int, Meta(ge=0, le=5000)] = 500
    min_words: Annotated[int, Meta(ge=1, le=20)] = 1
    words_limit_ms: Annotated[int, Meta(ge=0, le=10_000)] = 2000
    backchannels: list[str] = msgspec.field(default_factory=lambda: list(BACKCHANNELS))


class Uplink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[uplink]: what is sent to the server."""

    max_age_ms: Annotated[int, Meta(ge=40, le=60_000)] = 1000


class Downlink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[downlink]: what comes from the server."""

    keep_history: bool = True


class Playback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[playback]: the speaker."""

    device: str = "auto"
    jitter_ms: Annotated[int, Meta(ge=0, le=2000)] = 40
    fade_ms: Annotated[int, Meta(ge=0, le=50)] = 2
    volume: Annotated[int, Meta(ge=0, le=100)] = 100
    cues: bool = False
    browser_ms: Annotated[int, Meta(ge=10, le=500)] = 40


class Tools(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[tools]: the functions that the model may call."""

    modules: list[str] = []
    mcp_file: str = "mcp.json"
    parallel: Annotated[int, Meta(ge=1, le=64)] = 4
    timeout_s: Seconds = 30.0
    on_interrupt: Literal["finish", "cancel"] = "finish"
    ask: list[str] = []
    approve_by_voice: bool = True
    filler: str = ""
    filler_after_s: Seconds = 4.0
    output_limit: Annotated[int, Meta(ge=100, le=8000)] = 8000
    memory_mb: Annotated[int, Meta(ge=128, le=1_048_576)] = 2048


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: how long a conversation may last, and what it may cost."""

    max_minutes: Annotated[float, Meta(ge=0, le=100_000)] = 0.0
    max_cost: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    idle_minutes: Annotated[float, Meta(ge=0, le=100_000)] = 0.0
    then: Literal["sleep", "end"] = "sleep"
    wake_on_speech: Literal["idle", "always", "never"] = "idle"
    farewell: Annotated[str, Meta(max_length=1000)] = (
        "Say in one short sentence that this conversation has reached its limit, and goodbye."
    )
    finish_s: Annotated[float, Meta(ge=0, le=600)] = 20.0


class Monitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[monitor]: the door for viewers and buttons, and the page."""

    listen: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8791
    hosts: list[str] = []
    certificate: str = ""
    allow_insecure: bool = False


class Recorder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[recorder]: the conversation as a file. Only a recorder that somebody starts records."""

    directory: str = "."
    seconds: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    bus: bool = False
    topics: list[str] = []
    voices: bool = True
    max_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    max_minutes: Annotated[int, Meta(ge=1, le=10_080)] = 60


class Bus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[bus]: the directory and the addresses of the stages' sockets."""

    directory: str = ""
    machines: list[str] = []
    key_file: str = ""


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[log]: which log lines are shown."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings, by section."""

    link: Link = Link()
    session: Session = Session()
    capture: Capture = Capture()
    echo: Echo = Echo()
    vad: Vad = Vad()
    interruption: Interruption = Interruption()
    uplink: Uplink = Uplink()
    downlink: Downlink = Downlink()
    playback: Playback = Playback()
    tools: Tools = Tools()
    limits: Limits = Limits()
    prices: Prices = Prices()
    monitor: Monitor = Monitor()
    recorder: Recorder = Recorder()
    bus: Bus = Bus()
    log: Log = Log()
