"""Checks of the settings that a type alone cannot express. Pure."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from shared import network, proxy, registry
from shared.loopback import is_loopback
from shared.prices import Price, Prices
from shared.settings import Config


def price_of(model: str, prices: Prices) -> Price | None:
    """Return the prices of a model, also of a dated version of it; None if there are none."""
    undated = re.sub(r"-\d{4}-\d\d-\d\d$", "", model)
    return prices.models.get(model, prices.models.get(undated))


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the keys whose values are valid alone but not together, each with the reason."""
    link, turns = config.link, config.session.turn_detection
    try:
        parts = urlsplit(link.url)
        good = parts.scheme in ("ws", "wss") and bool(parts.hostname)
        # Reading the port raises ValueError if it is not a number.
        _ = parts.port
        # A name that no DNS can have raises it too: with two dots in a row, or too long a part.
        (parts.hostname or "").encode("idna")
    except ValueError:
        good = False
    if not good:
        yield "link.url", "expected ws://host[:port]/path or wss://…"
    elif re.search(r"\s", link.url):
        yield "link.url", "has a blank in it: remove the blank"
    elif "@" in parts.netloc:
        yield "link.url", "remove the user and the password: the key goes into OPENAI_API_KEY"
    elif parts.scheme == "ws" and not is_loopback(link.url) and not link.allow_insecure:
        yield (
            "link.url",
            "would send key and voice in the clear: use wss://, or link.allow_insecure = true",
        )
    if link.proxy.strip().lower() not in ("", proxy.NONE):
        try:
            proxy.parse(link.proxy)
        except proxy.ProxyProblem as error:
            yield "link.proxy", str(error)
    if link.retry_max_ms < link.retry_first_ms:
        yield "link.retry_max_ms", "less than link.retry_first_ms"
    if link.renew_before_s >= link.session_limit_s:
        yield "link.renew_before_s", "not less than link.session_limit_s"
    if turns.idle_timeout_ms and not 5000 <= turns.idle_timeout_ms <= 30000:
        yield "session.turn_detection.idle_timeout_ms", "expected 0 (off) or 5000 to 30000"
    for server in config.session.mcp:
        if bool(server.url) == bool(server.connector):
            yield "session.mcp", f"{server.label}: expected either url or connector"
        elif server.url and not server.url.startswith("https://") and not is_loopback(server.url):
            yield "session.mcp", f"{server.label}: url: expected https://"
    if link.token_command and link.key_file:
        yield "link.token_command", "set either this or link.key_file"
    try:
        shlex.split(link.token_command)
    except ValueError as error:
        yield "link.token_command", f"not a command line: {str(error).lower()}"
    if len(config.session.output_modalities) != 1:
        yield "session.output_modalities", 'expected ["audio"] or ["text"]: the API takes one'
    try:
        addresses = network.parse(config.bus.machines)
    except ValueError as error:
        yield "bus.machines", str(error)
    else:
        if network.leaves_the_machine(addresses) and not config.bus.key_file:
            yield (
                "bus.machines",
                (
                    "would let anyone on the network listen in: make a key with"
                    " 'bargein keys' and set bus.key_file on each machine"
                ),
            )
    if config.limits.max_cost and price_of(link.model, config.prices) is None:
        yield (
            "limits.max_cost",
            f"no price of link.model = {link.model!r} is known: add it to [prices.models]",
        )
    rules = config.interruption
    if rules.decide == "client" and turns.type == "none":
        yield (
            "interruption.decide",
            "needs turns: set session.turn_detection.type, or use push_to_talk",
        )
    judged_ms = rules.min_speech_ms + config.vad.silence_ms
    if rules.decide == "client" and rules.duck != "off" and rules.duck_limit_ms < judged_ms:
        yield (
            "interruption.duck_limit_ms",
            f"less than interruption.min_speech_ms + vad.silence_ms = {judged_ms}",
        )
    monitor = config.monitor
    try:
        loopback = not monitor.listen or ipaddress.ip_address(monitor.listen).is_loopback
    except ValueError:
        yield "monitor.listen", "expected an IP address of this machine, or nothing"
    else:
        if not (loopback or monitor.certificate or monitor.allow_insecure):
            yield (
                "monitor.listen",
                (
                    "would show the conversation to the network in the clear: set"
                    " monitor.certificate, or monitor.allow_insecure in a container or behind a"
                    " proxy with TLS"
                ),
            )
    if unknown := set(config.recorder.topics) - registry.BY_NAME.keys():
        known = " ".join(registry.BY_NAME)
        yield "recorder.topics", f"no topic {min(unknown)}; the topics are {known}"
    devices = {"capture.device": config.capture.device, "playback.device": config.playback.device}
    for key, device in devices.items():
        if not re.match(r"(auto|null|browser)$|(file|portaudio):.*\S", device, re.DOTALL):
            yield (
                key,
                "expected auto, portaudio:<index or part of a name>, file:<path>, browser or null",
            )
    paths = {
        "monitor.certificate": monitor.certificate,
        "bus.key_file": config.bus.key_file,
        "link.key_file": link.key_file,
        "tools.mcp_file": config.tools.mcp_file,
        "recorder.directory": config.recorder.directory,
        "bus.directory": config.bus.directory,
    }
    for key, path in paths.items():
        try:
            Path(path).expanduser()
        except RuntimeError:
            yield key, "no such user, or one without a home directory"
        if "\0" in path:
            yield key, "not a path"
