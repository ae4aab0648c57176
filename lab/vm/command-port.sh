#!/bin/sh
# Runs what the lab sends over a serial port: a line "TOKEN BASE64", answered by
# "TOKEN EXIT-CODE BASE64-OF-OUTPUT BASE64-OF-ERRORS".
export HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /root || exit
# udev makes it in its own time
until [ -e /dev/virtio-ports/lab ]; do sleep 0.5; done
exec 3<>/dev/virtio-ports/lab
while read -r token script; do
    echo "$script" | base64 -d >/run/lab.sh
    sh /run/lab.sh </dev/null 3<&- >/run/lab.out 2>/run/lab.err
    echo "$token $? $(base64 -w0 /run/lab.out) $(base64 -w0 /run/lab.err)" >&3
done <&3
