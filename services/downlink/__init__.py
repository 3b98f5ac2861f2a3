"""The stage that reads what the server says, and decides what interrupts."""
