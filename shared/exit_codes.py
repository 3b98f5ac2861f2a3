"""The exit codes of a stage. docs/settings.md and systemd's units state them as well."""

#: The stage ended because it was asked to.
DONE = 0
#: The stage cannot go on. Starting it again does not help until somebody repairs the cause.
FAILED = 1
#: The configuration or the command line is wrong.
BAD_CONFIG = 2
#: Another process runs as this stage.
RUNNING = 3
#: The stage failed because of an error in its own code. Starting it again may help.
CRASHED = 70
#: The stage was asked to end so that its launcher starts it again: ``bargein restart``.
RESTART = 75
