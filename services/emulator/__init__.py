"""An emulator of the OpenAI Realtime API on loopback, for running and testing without a key.

The emulator detects speech in the audio that a client sends, answers aloud with recorded speech,
keeps the service's timing, and fails on request. No key, network or sound card is needed.
``bargein emulator --help`` shows the options. The modules, each importing only modules
above it:

====================  =============================================================================
``schema``            checks of a client's events, with the service's error texts
``settings``          the session object, its defaults and its partial updates
``events``            the client events: their fields, and how one is read from a message
``options``           the emulator's settings
``arguments``         the command line that sets them
``sound``             everything that needs numpy or a native library
``clips``             recorded speech with word times, which can be cut and joined
``tone``              the rising tone, whose pitch tells the position
``formats``           audio on the wire: PCM and G.711
``ears``              the input audio buffer, and turn detection on it
``conversation``      the items of a conversation, and how much of each the server has
``plans``             what a response will contain
``tools``             which function a response calls, and with which arguments
``replies``           what the assistant says next, and which words of the last reply were heard
``pacing``            when the next part of a response is due, and how long it is
``output``            the items of one response, and the events that open and close them
``responses``         one response over time: its events in order, and its end
``planning``          what the response to a ``response.create`` contains
``diary``             the log lines and the journal of a session
``outbox``            what a session will send, and what it will do later
``faults``            garbage, the broken connection, and failing responses
``answers``           the responses of a session, and their interruption
``transcription``     the events of an input transcription
``turns``             the turns of the person who speaks: heard, committed, and answered
``session``           one client's session: client events in, server events out
``driver``            one WebSocket connection and its session
``server``            the server, which accepts or refuses connections
====================  =============================================================================

Only ``driver`` and ``server`` use sockets and clocks. All other modules get the time as an
argument, in seconds.
"""
