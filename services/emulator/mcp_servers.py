"""The MCP servers of a session: their functions, the calls, and the approvals. No I/O.

A session cannot reach a server by itself. It leaves an errand in ``errands``, its owner runs it,
and passes the result to the errand's ``done``.

The order of the events follows the client examples of the API's vendor: a response with a call ends
without waiting for the call, and nothing is said about its output until the client asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.emulator.conversation import Conversation, Item
from services.emulator.diary import Diary
from services.emulator.outbox import Outbox, new_id
from services.emulator.output import OpenItem
from services.emulator.schema import Refused

Fields = dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """Why an errand failed, as the error of an ``mcp_call``."""

    kind: str  # "http_error", "protocol_error" or "tool_execution_error"
    message: str
    code: int = 0

    def wire(self) -> Fields:
        """Return the error as events contain it."""
        error: Fields = {"type": self.kind, "message": self.message}
        return error if self.kind == "tool_execution_error" else {**error, "code": self.code}


@dataclass(frozen=True)
class Errand:
    """Something to be done at an MCP server: list its functions, or call the one named ``name``.

    ``done`` takes the list of functions, or the output as text, or why there is none.
    """

    server: Fields  # the entry of ``session.tools``
    done: Callable[[list[Fields] | str | Failed], None]
    name: str = ""
    arguments: str = "{}"


class McpServers:
    """The MCP servers of one session."""

    def __init__(self, conversation: Conversation, outbox: Outbox, diary: Diary) -> None:
        self.errands: deque[Errand] = deque()
        self._conversation = conversation
        self._outbox = outbox
        self._diary = diary
        self._servers: dict[str, Fields] = {}  # the entries of ``session.tools``, by label
        self._functions: dict[str, list[Fields]] = {}  # as the servers list them, by label
        self._unanswered: str | None = None  # the last output to which no response has begun
        self._waiting: dict[str, OpenItem] = {}  # the calls that wait for an approval, by request

    def configure(self, tools: Sequence[Fields]) -> None:
        """Take the session's tools, and list the functions of servers that are new or changed."""
        servers = {each["server_label"]: each for each in tools if each["type"] == "mcp"}
        before, self._servers = self._servers, servers
        for label, server in servers.items():
            if before.get(label) != server:
                self._list(label, server)

    def functions(self, tools: Sequence[Fields]) -> list[Fields]:
        """Return the functions that the model may call, of clients and of MCP servers."""
        found: list[Fields] = []
        for tool in tools:
            if tool["type"] == "function":
                found.append(tool)
                continue
            label = tool["server_label"]
            found += [
                {
                    "type": "mcp",
                    "server_label": label,
                    "name": function["name"],
                    "parameters": function["input_schema"],
                    "asks": _asks(tool.get("require_approval"), function["name"]),
                }
                for function in self._functions.get(label, ())
                if _is_named(tool.get("allowed_tools"), function["name"], default=True)
            ]
        return found

    def take_output(self) -> str | None:
        """Return the last output to which no response has begun, or None. One begins now."""
        output, self._unanswered = self._unanswered, None
        return output

    def called(self, calls: Sequence[OpenItem]) -> None:
        """Run the calls of a response that has ended, or let them wait for an approval."""
        for call in calls:
            request = call.item.head["approval_request_id"]
            if request is None:
                self._run(call)
            else:
                self._waiting[request] = call

    def check(self, answer: Fields) -> None:
        """Raise Refused if an ``mcp_approval_response`` answers nothing that waits."""
        request = answer["approval_request_id"]
        if request not in self._waiting:
            raise Refused(
                "invalid_value",
                f"Approval request '{request}' not found, or already answered.",
                "item.approval_request_id",
            )

    def answered(self, answer: Fields) -> None:
        """Run the call that an ``mcp_approval_response`` approves, or forget it."""
        call = self._waiting.pop(answer["approval_request_id"])
        if answer["approve"]:
            self._run(call)

    def _list(self, label: str, server: Fields) -> None:
        self._functions.pop(label, None)
        head = {"id": new_id("mcpl"), "type": "mcp_list_tools", "server_label": label, "tools": []}
        item = Item(head)
        previous = self._conversation.add(item)
        self._announce("added", item, previous)
        self._outbox.emit({"type": "mcp_list_tools.in_progress", "item_id": item.id})

        def done(result: list[Fields] | str | Failed) -> None:
            if isinstance(result, list):
                self._functions[label] = item.head["tools"] = result
            failure = result.message if isinstance(result, Failed) else None
            self._diary.mcp_listed(self._outbox.now, label, item, failure)
            outcome = "completed" if failure is None else "failed"
            self._outbox.emit({"type": f"mcp_list_tools.{outcome}", "item_id": item.id})
            self._announce("done", item, self._conversation.previous(item))

        self.errands.append(Errand(server, done))

    def _run(self, call: OpenItem) -> None:
        item = call.item
        self._progress("in_progress", call)

        def done(result: list[Fields] | str | Failed) -> None:
            failed = isinstance(result, Failed)
            if isinstance(result, Failed):
                item.head["error"] = result.wire()
                self._unanswered = result.message
            else:
                item.head["output"] = self._unanswered = str(result)
            self._diary.mcp_called(self._outbox.now, item)
            self._progress("failed" if failed else "completed", call)
            if not item.deleted:
                self._announce("done", item, self._conversation.previous(item))

        server = self._servers.get(item.head["server_label"])
        if server is None:
            done(Failed("protocol_error", "the session no longer has this server", -32000))
            return
        name, arguments = item.head["name"], item.head["arguments"]
        self.errands.append(Errand(server, done, name, arguments))

    def _progress(self, state: str, call: OpenItem) -> None:
        where = {"item_id": call.item.id, "output_index": call.index}
        self._outbox.emit({"type": f"response.mcp_call.{state}", **where})

    def _announce(self, state: str, item: Item, previous: str | None) -> None:
        self._outbox.emit(
            {
                "type": f"conversation.item.{state}",
                "previous_item_id": previous,
                "item": item.wire(),
            }
        )


def _asks(required: Any, name: str) -> bool:
    """Return whether a function needs an approval; without a word about it, it does."""
    if not isinstance(required, dict):
        return bool(required != "never")
    if _is_named(required.get("always"), name, default=False):
        return True
    return not _is_named(required.get("never"), name, default=False)


def _is_named(wanted: Any, name: str, *, default: bool) -> bool:
    """Return whether a list of names, or a filter with such a list, has a name."""
    names = wanted.get("tool_names") if isinstance(wanted, dict) else wanted
    return default if names is None else name in names
