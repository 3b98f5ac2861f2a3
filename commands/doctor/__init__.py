"""``bargein doctor``: checks what a conversation needs of this machine and of the server."""
