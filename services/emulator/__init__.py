"""A Realtime server on loopback: it hears, answers aloud, keeps time, and fails on request.

It stands in for the service so that everything runs with no key, no network and no sound card.
``bargein emulator --help`` shows its options. From the inside out:

====================  =============================================================================
``schema``            checks of what a client sends, in the service's error texts
``events``            the client events: their fields, and reading one from a message
``settings``          the session object and its partial updates
``formats``           PCM and G.711
``sound``             what needs numpy or a native library
``tone``              the rising tone: its pitch tells the position
``clips``             recorded speech with word times, cut and joined
``ears``              turn detection on the audio that was appended
``conversation``      the items, and how much of each the server has
``tools``             when a function is called, and with which arguments
``replies``           what is said next, and what of the last reply was heard
``plans``             what a response is to hold
``pacing``            when the next piece is due, and how long it is
``responses``         one response as timed events: its ladder and its end
``planning``          from a response.create to what the response will hold
``answers``           the responses of a session, and the reply that is talked over
``transcription``     the events of an input transcription
``faults``            garbage, and the broken connection
``diary``             the log and the journal
``session``           one client's session: its events in, the server's events out
``options``           what can be set
``server``            the sockets
====================  =============================================================================

Everything but ``server`` is free of sockets and clocks: the time is an argument, in seconds.
"""
