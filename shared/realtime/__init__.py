"""The Realtime protocol and the logic of a conversation, pure: no sockets, no clocks, no bus."""
