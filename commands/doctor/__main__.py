"""``bargein doctor``: check what a conversation needs of this machine and of the server.

The doctor prints one line for each check: ok, or what to do. One check opens a session and closes
it, which costs nothing. Another check plays three short tones and listens for them; ``--no-tone``
leaves these tones out.
"""

from __future__ import annotations

import getpass
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from commands import description, envfile
from commands.doctor import machine, report, server, sound
from commands.doctor.findings import Finding, line, summary
from shared import config, proxy, registry
from shared.audio import devices
from shared.audio.device import DeviceError
from shared.command_line import Parser
from shared.private import open_own
from shared.running import holders
from shared.signals import arm_signals

#: The variables that can name a proxy.
PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY",
           "wss_proxy", "WSS_PROXY", "ws_proxy", "WS_PROXY")  # fmt: skip


def examine(
    loaded: config.Loaded,
    oddities: list[str],
    environment_file: Path,
    key: str | None,
    about_key: list[Finding],
    *,
    tone: bool,
) -> Iterator[Finding]:
    """Yield the findings one by one, as they are made. ``about_key``: those about the key."""
    settings = loaded.config
    changed = len(report.settings(settings, loaded.sources))
    yield from machine.check(settings, changed, oddities, [environment_file])
    yield from about_key
    try:
        yield from server.check(settings.link, key)
    except proxy.ProxyProblem as error:
        yield Finding("proxy", False, str(error))
    yield from sound.check(settings, holders(config.bus_directory(settings)), tone=tone)


def secrets(settings: config.Config, key: str | None) -> list[str]:
    """Return the texts that must not appear in a report."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    proxies = [os.environ[name] for name in PROXIES if os.environ.get(name)]
    names = report.private_hosts([settings.link.url, settings.link.proxy, *proxies])
    # Without a home directory this is "~", which hides nothing.
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises then
    return [key or "", user, platform.node(), home if home != "~" else "", *names]


def write(path: Path, findings: list[Finding], loaded: config.Loaded, key: str | None) -> None:
    """Write the text for a bug report. Raises OSError."""
    pids = holders(config.bus_directory(loaded.config))
    sections = {
        "system": [platform.platform(), f"Python {sys.version.split()[0]}"],
        "settings that differ from the defaults": report.settings(loaded.config, loaded.sources),
        "stages that run": [name for name in registry.STAGES if name in pids],
        "microphones": _devices("input"),
        "speakers": _devices("output"),
    }
    text = report.report(findings, sections, report.Redactor(secrets(loaded.config, key)))
    with os.fdopen(open_own(path), "w", encoding="utf-8") as file:
        file.write(text)


def _devices(kind: str) -> list[str]:
    try:
        return devices.list_devices("input" if kind == "input" else "output").splitlines()
    except DeviceError as error:
        return [str(error)]


def main() -> int:
    """Run the checks, or show the meter; return the exit code: 0 if no fault was found."""
    parser = Parser(prog="bargein doctor", description=description(__doc__))
    parser.add_argument("--report", metavar="FILE", type=Path, help="also write a text for a bug"
                        " report, without keys, names, addresses and words")  # fmt: skip
    parser.add_argument("--no-tone", action="store_true", help="play no test tones")
    parser.add_argument("--meter", action="store_true", help="show the microphone's level instead")
    config.add_arguments(parser)
    arguments = parser.parse_args()
    environment_file = config.ROOT / envfile.DEFAULT
    try:
        # As bin/start does: the file's variables are part of the stages' environment.
        values, oddities = envfile.read(environment_file)
        os.environ.update(values)
        loaded = config.load(arguments)
        config.bus_network(loaded.config)
    except (config.ConfigError, envfile.EnvFileError) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.meter:
        ended = threading.Event()
        arm_signals(lambda _reason, _code: ended.set())
        return sound.meter(loaded.config, ended)
    findings = []
    key, about_key = server.find_key(loaded.config.link)
    for finding in examine(
        loaded, oddities, environment_file, key, about_key, tone=not arguments.no_tone
    ):
        print(line(finding), flush=True)
        findings.append(finding)
    print(f"\n{summary(findings)}")
    if arguments.report:
        try:
            write(arguments.report, findings, loaded, key)
        except OSError as error:
            print(f"doctor: {arguments.report}: {error.strerror}", file=sys.stderr)
            return 1
        print(f"The text for a bug report is in {arguments.report}. Read it before you send it.")
    return int(any(finding.ok is False for finding in findings))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
