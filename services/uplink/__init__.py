"""The stage that tells the server what it has to know."""
