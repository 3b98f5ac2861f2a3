"""Pure logic: no sockets, no processes, no clock."""
