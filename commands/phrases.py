"""Messages in words for a person. Pure."""

from __future__ import annotations

from shared import codec, messages

#: The words for the causes of an interruption whose silence has no time.
_WITHOUT_TIME = {"abandoned": "nothing played", "lost flush": "the flush was lost"}
#: How much of a function's output is shown, characters.
SHOWN = 120


def interruption(record: messages.Interruption) -> str:
    """Return an interruption in words: "stopped in 12 ms, heard 5.2 of 20.9 s"."""
    silent_ms = record.silence_ms
    if silent_ms is not None:
        stopped = f"stopped in {silent_ms:.0f} ms"
    else:
        stopped = f"stopped ({_WITHOUT_TIME.get(record.cause, 'in a time that is not known')})"
    received_ms = sum(report.received_ms for report in record.reports)
    heard_ms = sum(report.heard_ms for report in record.reports)
    if not received_ms:
        # No sound had come yet, or the reply was text alone.
        return f"{stopped}, it had no sound"
    if not heard_ms:
        return f"{stopped}, nothing was heard"
    return f"{stopped}, heard {heard_ms / 1000:.1f} of {received_ms / 1000:.1f} s"


def hops(record: messages.Interruption) -> str:
    """Return when each hop of an interruption happened, ms after the event, in their order."""
    known = record.hops_ms().items()
    return ", ".join(f"{name.replace('_', ' ')} {at_ms:.1f}" for name, at_ms in known)


def report(told: messages.ItemReport) -> str:
    """Return what the server was told about an item of an interrupted reply."""
    what = f"{told.item_id}: heard {told.heard_ms} of {told.received_ms} ms, {told.action}"
    if told.action == "truncate":
        what += f" at {told.audio_end_ms} ms"
    return f"{what}: “{told.heard_text}”" if told.heard_text else what


def transcript(said: messages.Transcript) -> str:
    """Return the words of an item as far as they have come, the heard ones apart if it was cut."""
    name = "you" if said.role == "user" else said.role
    if said.unheard:
        return f"{name}: heard “{said.heard}” not heard “{said.unheard.strip()}”"
    return f"{name}: {said.text}" + ("" if said.final else " …")


def lines(message: messages.Message) -> list[str] | None:
    """Return a message in words, line by line; None: there are none for its type."""
    if isinstance(message, messages.Transcript):
        return [transcript(message)]
    if isinstance(message, messages.Interruption):
        rows = [f"{message.cause}: {interruption(message)}"]
        if times := hops(message):
            rows.append(f"  ms: {times}")
        return [*rows, *(f"  {report(told)}" for told in message.reports)]
    if isinstance(message, messages.Usage):
        last, day = spent(message.last, message), spent(message.day, message)
        return [
            f"last response: {last}",
            f"  conversation: {usage(message)}",
            f"  {message.date or 'day'}: {day}",
        ]
    return None


def link(state: messages.LinkState) -> str:
    """Return the state of the connection in words."""
    if state.state == "open":
        trip_us = state.round_trip_us
        return f"connected, round trip {trip_us / 1000:.3g} ms" if trip_us else "connected"
    if state.state == "asleep":
        return state.reason or "asleep"
    if state.state == "refused":
        return f"refused: {state.reason}"
    if state.state == "waiting":
        return f"no connection: {state.reason}; trying again in {state.retry_ms / 1000:.0f} s"
    return "connecting"


def usage(used: messages.Usage, *, brief: bool = False) -> str:
    """Return what the conversation has used: its length, its tokens and an estimate of the cost.

    ``brief``: without the date of the prices.
    """
    seconds = used.awake_ms // 1000
    tokens = spent(used.conversation, used, brief=brief)
    return f"{seconds // 60}:{seconds % 60:02d} min, {tokens}"


def spent(of: messages.Spent, used: messages.Usage, *, brief: bool = False) -> str:
    """Return the tokens of a part of ``used``, and an estimate of their cost.

    ``brief``: without the date of the prices.
    """
    read = of.input_text + of.input_audio + of.input_image
    cached = of.cached_text + of.cached_audio + of.cached_image
    wrote = of.output_text + of.output_audio
    said = f"{read:,} tokens in" + (f" ({cached:,} cached)" if cached else "") + f", {wrote:,} out"
    if used.unpriced:
        return f"{said}, no price for {', '.join(used.unpriced)}"
    if not of.cost_micros:
        return said
    date = "" if brief else f", prices of {used.priced_on or 'an unknown date'}"
    return f"{said}, about {of.cost_micros / 1e6:.4f} {used.currency} (estimate{date})"


def asks(run: messages.ToolRun) -> str:
    """Return that a call waits for a person's approval, and how to give it."""
    what = run.number or run.call_id
    return (
        f"{run.summary or run.name} waits for your approval:"
        f" bargein control approve {what} (or deny {what})"
    )


def output(done: messages.ToolResult) -> str:
    """Return what a function returned, or the person's answer, in one line; "": nothing to show."""
    if done.what == "approval":
        return "approved" if done.ok else "denied"
    if done.what not in ("output", "outcome"):
        return ""
    try:
        text = " ".join(codec.read_output(done.payload).text.split())
    except codec.BadMessage:
        return ""
    text = text or ("done" if done.ok else "failed")
    return f"{text[:SHOWN]}…" if len(text) > SHOWN else text


def result(done: messages.ToolResult) -> str:
    """Return what came of a function call; "": nothing to show."""
    said = output(done)
    if done.what != "approval" and said:
        outcome = "done" if done.ok else "failed"
        ended = f"{outcome} after {done.took_ms / 1000:.1f} s"
        said = ended if said == outcome else f"{ended}: {said}"
    return said and f"{done.summary or done.name}: {said}"
