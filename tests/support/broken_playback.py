"""The example playback, with one line changed so that it breaks one rule of ``bargein check``."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "playback.py"

#: Rule → a piece of the example, and what stands in its place.
BREAKS = {
    "lock": ("fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
    "second copy": ('sys.exit("playback is already running")', "sys.exit(0)"),
    "consumes": (
        'b"!reply.audio", b"reply.state", b"!flush"',
        'b"reply.audio", b"reply.state", b"flush"',
    ),
    "late readers": ("self.out.setsockopt(zmq.XPUB_VERBOSER, 1)", "pass"),
    "plays": (
        "out += part",
        'out += array.array("h", (s // 2 for s in array.array("h", part))).tobytes()',
    ),
    "heard": (
        "items = [item.report() for",
        "items = [{**item.report(), 'heard': item.received} for",
    ),
    "silence": (
        "self.tail += self.fade(self.take(FADE, self.queue[0][0]))",
        "self.tail += self.take(FADE if spared else RATE * 7 // 4, self.queue[0][0])",
    ),
    "playhead": ("HEARD_S, REPEAT_S = 0.1, 1.0", "HEARD_S, REPEAT_S = 0.5, 1.0"),
    "report": (
        "[item.report() for item in cut]",
        '[i.report() | {"heard": i.report()["heard"] - (0 < i.heard < i.sure)} for i in cut]',
    ),
    "once": (
        "self.send_report(cut, m, now)",
        "self.send_report(cut, m, now)\n                    self.send_report(cut, m, now)",
    ),
    "generation": ('stale = m["generation"] < self.generation', "stale = False"),
    "interrupted": ("self.refused.update(interrupted)", "pass"),
    "state": ('elif m["generation"] >= self.newest or m.get("out_of_band"):', "else:"),
    "lost flush": ('if m["generation"] > self.generation:', "if False:"),
    "out of band": (
        'return item.out_of_band or (spared != "" and item.response_id == spared)',
        'return spared != "" and item.response_id == spared',
    ),
    "last": ('m.get("last", False)', '(m.get("last", False) and len(pcm) > 0)'),
    "gap": ("            item.sure = min(item.sure, item.received)\n", "            pass\n"),
    "heard first": ("        self.send_heard()\n        self.send(", "        self.send("),
    "held": (
        "while self.held and (self.consumers > 0 or now - self.held[0][0] > HOLD_S):",
        "while self.held:",
    ),
    "frames": ('"position": position,', '"position": position // 2,'),
    "malformed": ("except Exception as error:", "except ZeroDivisionError as error:"),
    "restart": (
        'if m["v"] != VERSION',
        'if m["epoch"] != vars(self).setdefault("first", m["epoch"]) or m["v"] != VERSION',
    ),
    "health": ("if now - self.last_health > REPEAT_S:", "if now - self.last_health > 60:"),
    "repeats": ("(HEARD_S if playing else REPEAT_S)", "(HEARD_S if playing else 60)"),
    "both names": ("if topic == REPORT:", "if False:"),
    "stamps": ("self.seq[topic] += 1", "pass"),
    # The kit's own ids are short.
    "conversation": (
        'if m["generation"] > LAST_GENERATION:',
        'if len(m["response_id"]) > 12:',
    ),
    "SIGUSR1": ("lambda *_: sys.exit(75)", "lambda *_: sys.exit(0)"),
    "ends": ("lambda *_: sys.exit(0)", "signal.SIG_IGN"),
}


def write(rule: str, directory: Path) -> Path:
    """Write a playback that breaks a rule. Return its file."""
    old, new = BREAKS[rule]
    text = EXAMPLE.read_text("utf-8")
    assert text.count(old) == 1, f"{EXAMPLE.name} has {text.count(old)} times {old!r}"
    path = directory / f"{rule.replace(' ', '_')}.py"
    path.write_text(text.replace(old, new), "utf-8")
    return path
