#!/bin/sh
# Tells Bessemer that this server is up: over HTTP, and on the serial console. When that is done, or
# after half an hour, it removes itself and the unit that has started it.
# shellcheck disable=SC2013,SC2016 # words are wanted; and some is for inner shells to expand
set -f # URLs are no patterns of file names
urls='@URLS@'
marker='@MARKER@'
url=
# Children get them by the environment: arguments could be read by every user of this system.
export url marker

# cloud-init, where it runs this, is not waited for; nor does its end end this.
if [ -z "$BESSEMER_SERVICE" ] && command -v systemd-run && [ -d /run/systemd/system ]; then
  systemd-run --no-block --unit=bessemer-report --setenv=BESSEMER_SERVICE=1 /bin/sh "$0" && exit
fi >/dev/null 2>&1

# Seconds since the kernel started: the clock may be set meanwhile.
now() { read -r seconds rest </proc/uptime && echo "${seconds%%.*}"; }
end=$(($(now) + 1800))

by_curl() {
  command -v curl && printf 'url = "%s"\n' "$url" | curl -fsS -m 10 -X POST -d '' -K -
}
by_wget() {
  command -v wget && printf '%s\n' "$url" | wget -q -T 10 -t 1 -O - --post-data= -i -
}
by_python() {
  command -v python3 && python3 -c 'import os, urllib.request as r; r.urlopen(os.environ["url"], b"", 10)'
}
# Without TLS.
by_bash() {
  case $url in http://*) ;; *) return 1 ;; esac
  command -v bash && timeout 10 bash -c '
    rest=${url#http://} host=${rest%%/*} name=$host port=80
    if [[ $host =~ ^(.*):([0-9]+)$ ]]; then name=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]}; fi
    name=${name#[} name=${name%]}
    exec 3<>"/dev/tcp/$name/$port" || exit
    printf "POST /%s HTTP/1.0\r\nHost: %s\r\nContent-Length: 0\r\n\r\n" "${rest#*/}" "$host" >&3
    read -r version status rest <&3
    [[ $status == 2* ]]'
}
# Where one server is away, another may be there.
by_http() {
  [ -n "$urls" ] || return 1
  while :; do
    for url in $urls; do
      if by_curl || by_wget || by_python || by_bash; then return; fi
    done
    [ "$(now)" -lt "$end" ] || return 1
    sleep 5
  done
}

write() { timeout 5 sh -c 'printf "\r\n%s\r\n" "$marker" >"/dev/$1"' sh "$1"; }
mark() {
  found=
  for console in $(cat /sys/class/tty/console/active); do
    case $console in tty[0-9]*) ;; *) found=1; write "$console" ;; esac
  done
  [ -n "$found" ] && return
  for port in ttyS0 ttyS1; do
    timeout 5 stty -F "/dev/$port" 115200 clocal -crtscts && write "$port"
  done
}
# Somebody may be listening only from a moment later on.
by_serial() {
  for pause in 2 3 5 10 15 25 60 60 120 300 600 600; do mark; sleep "$pause"; done
}

tell() {
  by_serial & serial=$!
  if by_http; then kill "$serial"; else wait "$serial"; fi
  rm -f @SCRIPT@ @UNIT@ @DROP_IN@
  rmdir @DROP_IN_FOLDER@
}
if [ -n "$BESSEMER_SERVICE" ]; then tell; else tell & fi </dev/null >/dev/null 2>&1
