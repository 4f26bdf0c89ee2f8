#!/bin/sh
# Starts or stops a server in the background, once, by its process id.
#   server.sh start NAME PORT/HEALTH COMMAND...       server.sh stop NAME
set -eu
what=$1 name=$2
folder=runs/servers
pid=$folder/$name.pid
# after a reboot the number may be another program's
command_of() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" || ps -o command= -p "$1" 2>/dev/null; }
running() { [ -f "$pid" ] && command_of "$(cat "$pid")" | grep -q "$name.* server"; }

if [ "$what" = stop ]; then
  if running; then kill "$(cat "$pid")" && echo "$name: stopped"; else echo "$name: not running"; fi
  rm -f "$pid"
  exit 0
fi

health=$3
shift 3
if running; then echo "$name: runs already (process $(cat "$pid"))"; exit 0; fi
port=${health%%/*}
if python -c "import socket,sys; s=socket.socket(); sys.exit(s.connect_ex(('127.0.0.1', $port)))"; then
  echo "$name: port $port is in use by another program; stop that first" >&2
  exit 1
fi
nohup "$@" >"$folder/$name.log" 2>&1 </dev/null &
echo $! >"$pid"
for _ in $(seq 120); do
  if python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$health', timeout=2)" 2>/dev/null; then
    echo "$name: http://127.0.0.1:$port (log: $folder/$name.log)"
    exit 0
  fi
  running || break
  sleep 0.5
done
echo "$name: did not start; its last words are in $folder/$name.log" >&2
exit 1
