#!/bin/sh
# Run a command as a stage, with the stage's lock and the command's process id in it:
#   sh examples/locked.sh playback node examples/playback.mjs
# Exit code 3: the stage runs already. Needs flock (util-linux).
set -eu
stage=$1
shift
directory=${BARGEIN_BUS__DIRECTORY:-}
if [ -z "$directory" ]; then
    directory=${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/bargein}
    directory=${directory:-${TMPDIR:-/tmp}/bargein-$(id -u)}
fi
mkdir -p -m 700 "$directory"
umask 077
# Appending opens the file without emptying it: it may hold the process id of another copy.
exec 9>>"$directory/$stage.lock"
if ! flock -n 9; then
    echo "$stage is already running (pid $(cat "$directory/$stage.lock"))" >&2
    exit 3
fi
: >"$directory/$stage.lock"
echo $$ >&9
# The lock lasts as long as the command keeps file 9 open, and exec keeps the process id.
exec "$@"
