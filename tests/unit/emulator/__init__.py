"""The emulator's parts, without sockets and with a clock of the test's own."""
