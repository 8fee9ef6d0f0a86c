"""An ACME server in a target: pebble, with a DNS of its own that knows every name, or none of those it is told of."""

from __future__ import annotations

import json

from tests.integration.support import sh, wait_for
from tests.target import Target

DIRECTORY = "https://localhost:14000/dir"
HOOK = "/usr/local/sbin/dns-record"
INSTALL = """\
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends pebble curl openssl >/dev/null
mkdir -p /etc/pebble
cd /etc/pebble
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=localhost \\
    -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem 2>/dev/null
cp cert.pem /usr/local/share/ca-certificates/pebble.crt
update-ca-certificates >/dev/null
cat >config.json
systemd-run --quiet --unit names pebble-challtestsrv -management :8055 -dns01 :8053 -http01 '' -https01 '' -tlsalpn01 '' \\
    -defaultIPv4 127.0.0.1 -defaultIPv6 ''
systemd-run --quiet --unit authority --setenv PEBBLE_VA_NOSLEEP=1 --setenv PEBBLE_WFE_NONCEREJECT=0 \\
    --setenv PEBBLE_AUTHZREUSE=0 pebble -config /etc/pebble/config.json -dnsserver 127.0.0.1:8053
"""
CONFIG = {
    "listenAddress": "0.0.0.0:14000",
    "managementListenAddress": "0.0.0.0:15000",
    "certificate": "/etc/pebble/cert.pem",
    "privateKey": "/etc/pebble/key.pem",
    "httpPort": 80,
    "tlsPort": 443,
    "certificateValidityPeriod": 90 * 86400,
}
MAKE_RECORD = """\
#!/bin/sh
set -eu
name=_acme-challenge.$CERTBOT_DOMAIN.
case $1 in
auth) curl -fsS -d "{\\"host\\":\\"$name\\",\\"value\\":\\"$CERTBOT_VALIDATION\\"}" http://localhost:8055/set-txt ;;
cleanup) curl -fsS -d "{\\"host\\":\\"$name\\"}" http://localhost:8055/clear-txt ;;
esac
echo "$1 $CERTBOT_DOMAIN" >>/root/records
"""


def start(server: Target) -> None:
    """Start both, and wait until the authority answers; the server trusts it from then on."""
    server.exec(["sh", "-eu", "-c", INSTALL], input=json.dumps({"pebble": CONFIG}).encode())
    wait_for(lambda: server.exec(["curl", "-fsS", DIRECTORY], check=False).returncode == 0)


def tell_names(server: Target, verb: str, **facts: str) -> None:
    """Tell the DNS something: ``set-servfail`` and ``clear-servfail`` of a host."""
    sh(server, 'curl -fsS -d "$2" "http://localhost:8055/$1"', verb, json.dumps(facts))


def put_hook(server: Target, mode: str = "755") -> None:
    """A program that makes records."""
    server.exec(["sh", "-c", f"cat >{HOOK} && chmod {mode} {HOOK}"], input=MAKE_RECORD.encode())
