"""The content of the response to a ``response.create``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from services.emulator import plans, settings, tools
from services.emulator.clips import RATE
from services.emulator.conversation import Conversation, Item, created
from services.emulator.mcp_servers import McpServers
from services.emulator.options import Options
from services.emulator.replies import Replies, Spoken
from services.emulator.schema import Refused

Fields = dict[str, Any]

#: Items after which no other function is called: the response answers them.
_FOLLOWED = (
    "function_call_output",
    "mcp_call",
    "mcp_approval_request",
    "mcp_approval_response",
)


class Planner:
    """Plans responses.

    In all methods ``session`` is the session object. ``asked`` is the ``response`` of a
    response.create, or empty if the server answers a turn by itself. If a field of ``asked`` is
    missing or null, the session's value applies.
    """

    def __init__(
        self,
        options: Options,
        replies: Replies,
        conversation: Conversation,
        new_id: Callable[[str], str],
        mcp: McpServers,
    ) -> None:
        self._mcp = mcp
        self._options = options
        self._replies = replies
        self._conversation = conversation
        self._new_id = new_id

    def request(self, asked: Fields, session: Fields) -> plans.Request:
        """Return the request, completed from the session's settings. Raises Refused."""
        given = (asked.get("audio") or {}).get("output") or {}
        output = session["audio"]["output"]
        voice = _asked(given, output, "voice")
        settings.check_voice(session, voice, spoken=self._conversation.spoken)
        # A token of text is about four characters.
        text = len(_asked(asked, session, "instructions")) // 4
        audio = 0
        for item in self._conversation.items:
            text += len(item.text) // 4
            audio += len(item.audio) // 2 * plans.USER_TOKENS_S // RATE
            if item.timeline is not None:
                audio += item.timeline.length_ms * plans.ASSISTANT_TOKENS_S // 1000
        return plans.Request(
            modality=_asked(asked, session, "output_modalities")[0],
            voice=voice["id"] if isinstance(voice, dict) else voice,
            format=_asked(given, output, "format"),
            max_output_tokens=_asked(asked, session, "max_output_tokens"),
            metadata=asked.get("metadata"),
            text_tokens=text,
            audio_tokens=audio,
        )

    def plan(
        self, asked: Fields, session: Fields, *, spoken: Spoken | None, turns: int
    ) -> list[plans.Part]:
        """Return the items that the response will contain.

        ``spoken`` is the last spoken reply. ``turns`` is the number of turns that the user has
        spoken. Raises Refused, and VoiceError if a recording is broken.
        """
        context = self._context(asked, session)
        last = context[-1] if context else None
        if (tool := self._tool(asked, session, last, turns)) is not None:
            arguments = json.dumps(tools.example(tool.get("parameters") or {}))
            if tool["type"] == "mcp":
                request_id = self._new_id("mcpr") if tool["asks"] else None
                call = plans.McpCall(tool["name"], arguments, tool["server_label"], request_id)
                return [call, plans.McpAsk(call)] if request_id else [call]
            return [plans.Call(tool["name"], arguments, self._new_id("call"))]
        out_of_band = is_out_of_band(asked)
        # Only the client asks for an answer to the output of an MCP server's function.
        served = None if out_of_band else self._mcp.take_output()
        if last is not None and last.head["type"] == "function_call_output":
            said = self._replies.output(last.head["output"])
        elif served is not None:
            said = self._replies.output(served)
        elif out_of_band:
            said = self._replies.out_of_band()
        else:
            said = self._replies.next(
                greeting=spoken is None and self._is_first(context), last=spoken
            )
        if _asked(asked, session, "output_modalities") == ["text"]:
            quoted = last.text if last is not None and last.role == "user" else ""
            return [
                plans.Write(
                    f"You wrote: “{quoted}” {said.transcript}" if quoted else said.transcript
                )
            ]
        if self._options.faults.commentary and not out_of_band:
            return [
                plans.Say(self._replies.commentary(), "commentary"),
                plans.Say(said, "final_answer"),
            ]
        return [plans.Say(said)]

    def item(self, given: Fields, session: Fields, context: list[Item] | None = None) -> Item:
        """Return the item that a client described. Raises Refused.

        ``context`` are items that a response answers and that are not in the conversation.
        """
        known = [*self._conversation.items, *(context or ())]
        call_ids = {i.head["call_id"] for i in known if i.head["type"] == "function_call"}
        kind = session["audio"]["input"]["format"]["type"]
        return created(given, self._new_id("item"), call_ids, kind)

    def _is_first(self, context: list[Item]) -> bool:
        """Return whether neither the user nor the assistant has said anything yet."""
        return not any(item.role == "user" for item in context) and not any(
            item.role == "assistant" for item in self._conversation.items
        )

    def _context(self, asked: Fields, session: Fields) -> list[Item]:
        """Return the items that the response answers: the conversation's, or those of ``input``."""
        if asked.get("input") is None:
            return self._conversation.items
        context: list[Item] = []
        for given in asked["input"]:
            if given["type"] != "item_reference":
                context.append(self.item(given, session, context))
            elif (found := self._conversation.find(given["id"])) is not None:
                context.append(found)
            else:
                raise Refused(
                    "invalid_value",
                    f"Item with item_id not found: {given['id']}",
                    "response.input",
                )
        return context

    def _tool(self, asked: Fields, session: Fields, last: Item | None, turns: int) -> Fields | None:
        """Return the function that the response calls, or None if it answers."""
        choice = _asked(asked, session, "tool_choice")
        said = asked.get("instructions") or ""
        due = None
        every = self._options.call_every
        if last is not None and last.head["type"] in _FOLLOWED:
            # Ignore the session's tool_choice: with "required", the emulator would call a function
            # after every output, and never answer.
            choice, said = asked.get("tool_choice") or "none", ""
        elif last is not None and last.role == "user":
            said = f"{said} {last.text}"
            if last.audio and every and turns and turns % every == 0:
                due = turns // every - 1
        offered = self._mcp.functions(_asked(asked, session, "tools"))
        if is_out_of_band(asked):
            offered = [function for function in offered if function["type"] == "function"]
        return tools.choose(offered, choice, said, due)


def _asked(asked: Fields, session: Fields, name: str) -> Any:
    """Return a field of the request, or the session's if the request's is missing or null."""
    value = asked.get(name)
    return session[name] if value is None else value


def is_out_of_band(asked: Fields) -> bool:
    """Return whether a response is to be out of band: part of no conversation."""
    return bool(asked.get("conversation") == "none")
