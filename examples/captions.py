"""Print the conversation as text: an observer in twenty lines, which disturbs nobody.

Run it beside a conversation: ``python examples/captions.py``. It needs pyzmq and msgpack.
"""

from __future__ import annotations

import os
import tempfile

import msgpack
import zmq

runtime = os.environ.get("XDG_RUNTIME_DIR")
usual = f"{runtime}/bargein" if runtime else f"{tempfile.gettempdir()}/bargein-{os.getuid()}"
directory = os.environ.get("BARGEIN_BUS__DIRECTORY") or usual
subscriber: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
subscriber.subscribe(b"transcript")  # the bare name observes; "!transcript" would consume
subscriber.connect(f"ipc://{directory}/downlink.ipc")
printed: set[str] = set()  # ids of items
while True:
    topic, header, _ = subscriber.recv_multipart()
    said = msgpack.unpackb(header)
    # a final text is published again once it is known which of its words were heard
    if topic == b"transcript" and said["final"] and said["item_id"] not in printed:
        printed.add(said["item_id"])
        # a terminal obeys control characters, so leave them out
        text = "".join(c for c in said["text"] if c.isprintable())
        print(f"{said['role']}: {text}", flush=True)
