#!/bin/sh
# Runs a command until it ends or standard input closes, whichever is first, and prints the command's process
# id. The process that holds the other end of standard input takes the command with it, however it ends: the
# operating system closes that end even after SIGKILL.
#
# usage: guard.sh SIGNAL COMMAND [ARGUMENT...]
#        SIGNAL is what stops the command; its own output goes to standard error
set -u
signal=$1
shift

exec 3<&0 </dev/null
"$@" 3<&- >&2 &
command=$!
echo "$command"
exec >&2
{ while read -r _; do :; done <&3; kill -s "$signal" "$command"; } 2>/dev/null &
watcher=$!
exec 3<&-
wait "$command"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
