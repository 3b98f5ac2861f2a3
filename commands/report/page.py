"""The page itself: HTML that needs no other file, no script and no network. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from commands.report import drawing
from commands.report.facts import TOTAL, Facts, hops, summary
from shared import messages
from shared.recording import Recording

STYLE = """
:root{color-scheme:light dark;--fg:#1c1e21;--bg:#fff;--soft:#667;--line:#d5d8de;--card:#f6f7f9;
--person:#0b6bcb;--assistant:#0f8a5f;--bad:#c62828;--warn:#b26a00}
@media(prefers-color-scheme:dark){:root{--fg:#e6e8eb;--bg:#15171a;--soft:#9aa3ad;--line:#33383e;
--card:#1e2226;--person:#6db3f2;--assistant:#5fd0a5;--bad:#ff7b72;--warn:#e3a84a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;
color:var(--fg);background:var(--bg)}
h1{font-size:1.5rem}
h2{font-size:1.15rem;margin-top:2rem}
svg{display:block;width:100%;height:auto}
svg text{font-size:11px;fill:var(--soft)}
.card,table{background:var(--card);border:1px solid var(--line);border-radius:.5rem}
.card{padding:.75rem 1rem;margin:.75rem 0}
.soft{color:var(--soft)}
audio{width:100%;margin:.5rem 0}
.wide{overflow-x:auto}
.timeline{min-width:45rem}
.timeline .person{stroke:var(--person)}
.timeline .assistant{stroke:var(--assistant)}
.timeline path{fill:none}
.speech{fill:var(--person)}
.timeline line{stroke-width:1.5}
.flush line{stroke:var(--bad)}
.call line{stroke:var(--warn)}
.link line{stroke:var(--soft);stroke-dasharray:3}
.hop0{fill:#8e6bd6;background:#8e6bd6}
.hop1{fill:#d67ab1;background:#d67ab1}
.hop2{fill:#e2a03f;background:#e2a03f}
.hop3{fill:#8a94a0;background:#8a94a0}
.key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 .8em}
.bar{fill:var(--person)}
.well{fill:var(--assistant)}
.unwell{fill:var(--bad)}
.strip{height:.8rem;background:var(--line)}
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}
td,th{text-align:left;padding:.3rem .6rem;border-top:1px solid var(--line);vertical-align:top}
th{font-weight:600}
td.n{text-align:right;white-space:nowrap}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(16rem,1fr));gap:.75rem}
.grid .card{margin:0}
del{color:var(--soft)}
.who{font-weight:600}
.user .who{color:var(--person)}
.assistant-said .who{color:var(--assistant)}
p{margin:.35rem 0;overflow-wrap:anywhere}
"""
#: The meaning of the timeline's marks.
KEY = (
    '<p class="soft key"><i style="background:var(--bad)"></i>flush'
    '<i style="background:var(--warn)"></i>function call'
    '<i style="background:var(--soft)"></i>the link changes'
    '<i style="background:var(--person)"></i>a person speaks (the line at the top)</p>'
)
#: This text stands where words were left out.
REDACTED = "(words left out)"


def page(
    facts: Facts,
    about: Recording,
    levels: tuple[Sequence[float], Sequence[float]],
    sound: tuple[int, str],
    *,
    redact: bool,
) -> str:
    """Return the page. ``sound``: when it begins, ns, and its data URL, "" for none."""
    begun_s = (facts.begun_ns + about.since_1970_ns) / 1e9
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(begun_s))
    seconds = (facts.ended_ns - facts.begun_ns) / 1e9
    sections = [
        f"<h1>A conversation of {drawing.clock(seconds)} (min:s)</h1>",
        f'<p class="soft">{"" if redact else f"recorded {when}; "}{_about(facts, about)}</p>',
        drawing.timeline(facts, levels, sound[0], redact=redact),
        KEY,
    ]
    if sound[1]:
        sections.append(f'<audio controls preload="metadata" src="{sound[1]}"></audio>')
        sections.append('<p class="soft">The person is left, the assistant right.</p>')
    sections += [
        *_interruptions(facts, redact=redact),
        *_distributions(facts),
        *_transcript(facts, redact=redact),
        *_health(facts, redact=redact),
        *_slow(facts),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Bargein: a conversation</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _about(facts: Facts, about: Recording) -> str:
    parts = [
        _count(len(facts.interruptions), "interruption"),
        _count(len(facts.calls), "function call"),
    ]
    if facts.usage is not None:
        spent = facts.usage.conversation
        parts.append(_count(spent.responses, "response"))
        if spent.cost_micros:
            cost = f"{spent.cost_micros / 1e6:.4f} {escape(facts.usage.currency)}"
            parts.append(f"about {cost} by the prices of {escape(facts.usage.priced_on)}")
    if not about.complete:
        parts.append("the file has no end: the recorder was killed, or still records")
    parts += about.left_out()
    return "; ".join(parts) + "."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _at(facts: Facts, at_ns: int) -> str:
    return drawing.clock(max(0, at_ns - facts.begun_ns) / 1e9)


def _interruptions(facts: Facts, *, redact: bool) -> list[str]:
    parts = ["<h2>Interruptions</h2>"]
    if not facts.interruptions:
        return [*parts, "<p>Nobody interrupted the assistant.</p>"]
    keys = "".join(f'<i class="hop{n}"></i>{name}' for n, name in enumerate(drawing.HOPS))
    parts.append(f'<p class="soft key">Where the milliseconds went:{keys}</p>')
    found = [hops(cut) for cut in facts.interruptions]
    longest = max((each.get(TOTAL, 0.0) for each in found), default=0.0)
    for cut, times in zip(facts.interruptions, found, strict=True):
        total = f"{times[TOTAL]:.1f} ms" if TOTAL in times else "an unknown time"
        at = _at(facts, cut.event_ns or cut.silent_ns or cut.flush_ns)
        rows = "".join(f"{name} {ms:.1f} ms; " for name, ms in times.items() if name != TOTAL)
        parts.append(
            f'<div class="card"><p><b>{at}</b> silent after <b>{total}</b>'
            f' <span class="soft">({escape(cut.cause)})</span></p>'
            f'{drawing.hop_bar(times, longest)}<p class="soft">{rows.rstrip("; ")}</p>'
            f"{''.join(_report(facts, report, redact=redact) for report in cut.reports)}</div>"
        )
    return parts


def _report(facts: Facts, report: messages.ItemReport, *, redact: bool) -> str:
    heard = f"heard {report.heard_ms / 1000:.2f} of {report.received_ms / 1000:.2f} s"
    action = {"truncate": f"; the server was told {report.audio_end_ms} ms", "delete": "; deleted"}
    words = REDACTED
    if not redact:
        _, said = facts.transcripts.get(report.item_id, (0, None))
        unheard = said.unheard if said is not None else ""
        words = f"{escape(report.heard_text)} <del>{escape(unheard)}</del>"
    return f"<p>{heard}{action.get(report.action, '')}</p><p>{words}</p>"


def _distributions(facts: Facts) -> list[str]:
    if not facts.ways_ms:
        return []
    cards = []
    for name, values in facts.ways_ms.items():
        middle, high, most = summary(values)
        cards.append(
            f'<div class="card"><p><b>{name}</b></p>{drawing.histogram(values)}<p class="soft">'
            f"median {middle:.2f}, 95 % under {high:.2f}, most {most:.2f} ms;"
            f" {len(values)} values</p></div>"
        )
    return ["<h2>How long things took</h2>", f'<div class="grid">{"".join(cards)}</div>']


def _transcript(facts: Facts, *, redact: bool) -> list[str]:
    parts = ["<h2>What was said, as it was heard</h2>"]
    if redact:
        count = len(facts.transcripts)
        return [*parts, f"<p>{REDACTED}: {_count(count, 'item')} of the conversation.</p>"]
    for at_ns, said in facts.transcripts.values():
        who = "the person" if said.role == "user" else "the assistant"
        css = "user" if said.role == "user" else "assistant-said"
        words = escape(said.text)
        if said.unheard or said.heard:
            words = f"{escape(said.heard)} <del>{escape(said.unheard)}</del>"
        parts.append(
            f'<p class="{css}"><span class="soft">{_at(facts, at_ns)}</span>'
            f' <span class="who">{who}</span>: {words}</p>'
        )
    return parts if facts.transcripts else [*parts, "<p>No words were recorded.</p>"]


def _health(facts: Facts, *, redact: bool) -> list[str]:
    parts = [
        "<h2>The stages</h2>",
        "<table><tr><th>stage<th>health over time<th>what it counted</tr>",
    ]
    for name, stage in sorted(facts.stages.items()):
        grown = ", ".join(f"{escape(key)} {value}" for key, value in sorted(stage.grown.items()))
        trouble = (
            ""
            if redact
            else "".join(
                f"<p>{escape(words)} ({count} s)</p>"
                for words, count in list(stage.trouble.items())[:5]
            )
        )
        strip = drawing.strip(stage.beats, facts.begun_ns, facts.ended_ns)
        parts.append(
            f'<tr><th>{escape(name)}<td style="min-width:14rem">{strip}{trouble}'
            f'<td class="soft">{grown}</tr>'
        )
    return [*parts, "</table>"] if facts.stages else []


def _slow(facts: Facts) -> list[str]:
    parts = ["<h2>What was slow</h2>"]
    if not facts.slow:
        return [*parts, "<p>Nothing: no frame was late, and no message is missing.</p>"]
    parts.append("<table><tr><th>when<th>how long<th>what</tr>")
    for each in facts.slow:
        ms = f"{each.ms:.0f} ms" if each.ms else ""
        parts.append(
            f'<tr><td>{_at(facts, each.at_ns)}<td class="n">{ms}<td>{escape(each.what)}</tr>'
        )
    return [*parts, "</table>"]
