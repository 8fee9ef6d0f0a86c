#!/bin/sh
# Runs in a container of the bare server and makes a machine of Red Hat's family of it: dnf installs from a
# repository of packages that are made here of Debian's, with their files where Red Hat has them. What cannot be
# without a distribution's own kernel, SELinux, is not there.
set -eu

export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update -qq
# python3-venv: Red Hat's python3 has the module in itself. The others are taken apart again below; their libraries stay.
apt-get install -qq -y --no-install-recommends \
    dnf rpm createrepo-c python3-venv git logrotate nginx openssl supervisor
work=/build/rpm
mkdir -p "$work/debs" /srv/repository
cd "$work/debs"
chmod 777 .
apt-get download -qq git logrotate nginx nginx-common openssl supervisor

# usage: make_rpm NAME VERSION [SCRIPTLETS]; the files are those of $work/root
make_rpm() {
    (cd "$work/root" && find . -mindepth 1 ! -type d | sed 's/^\.\(.*\)$/"\1"/') >"$work/files"
    {
        printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: of Debian\nLicense: theirs\nAutoReqProv: no\n' "$1" "$2"
        if [ "$1" = host-base ]; then
            printf 'Provides: /bin/sh, system-release = 9, system-release(releasever) = 9\n'
        else
            printf 'Requires: /bin/sh\n'
        fi
        printf '%%define __os_install_post %%{nil}\n%%description\n%%prep\n%%build\n%%install\n'
        printf 'cp -a %s/root/. %%{buildroot}/\n' "$work"
        printf '%%files -f %s/files\n%s\n' "$work" "${3:-}"
    } >"$work/$1.spec"
    rpmbuild -bb --quiet --define "_topdir $work/top" "$work/$1.spec"
    rm -rf "$work/root"
}

# usage: unpack DEB...; into $work/root
unpack() {
    mkdir -p "$work/root"
    for name in "$@"; do
        dpkg -x "$work/debs/$name"_*.deb "$work/root"
    done
    rm -rf "$work/root/usr/share/doc" "$work/root/usr/share/man" "$work/root/usr/share/lintian"
}

unpack git
make_rpm git 2.39
unpack openssl
make_rpm openssl 3.0
unpack logrotate
touch "$work/root/var/lib/logrotate/.keep"
make_rpm logrotate 3.20

unpack nginx nginx-common
rm -rf "$work/root/etc/nginx/sites-available" "$work/root/etc/nginx/sites-enabled" "$work/root/etc/init.d" \
    "$work/root/etc/default" "$work/root/etc/ufw" "$work/root/etc/nginx/modules-enabled" "$work/root/etc/logrotate.d"
mkdir -p "$work/root/etc/nginx/conf.d" "$work/root/var/log/nginx" "$work/root/usr/share/nginx/html" \
    "$work/root/usr/lib/systemd/system"
touch "$work/root/etc/nginx/conf.d/.keep" "$work/root/var/log/nginx/.keep"
cat >"$work/root/etc/nginx/nginx.conf" <<'CONF'
# As Red Hat's package has it.
user nginx;
worker_processes auto;
error_log /var/log/nginx/error.log;
pid /run/nginx.pid;

events {
    worker_connections 1024;
}

http {
    access_log /var/log/nginx/access.log;
    sendfile on;
    types_hash_max_size 4096;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    include /etc/nginx/conf.d/*.conf;

    server {
        listen 80;
        listen [::]:80;
        server_name _;
        root /usr/share/nginx/html;
    }
}
CONF
rm -rf "$work/root/lib/systemd"
cat >"$work/root/usr/lib/systemd/system/nginx.service" <<'UNIT'
[Unit]
Description=The nginx HTTP and reverse proxy server
After=network-online.target

[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStartPre=/usr/bin/rm -f /run/nginx.pid
ExecStartPre=/usr/sbin/nginx -t
ExecStart=/usr/sbin/nginx
ExecReload=/usr/sbin/nginx -s reload
KillSignal=SIGQUIT
TimeoutStopSec=5
KillMode=mixed
PrivateTmp=true

[Install]
WantedBy=multi-user.target
UNIT
make_rpm nginx 1.22 '%pre
getent passwd nginx >/dev/null || useradd --system --user-group --home-dir /var/lib/nginx --shell /sbin/nologin nginx
mkdir -p /var/lib/nginx
%post
systemctl daemon-reload || :'

unpack supervisor
rm -rf "$work/root/etc" "$work/root/lib"
mkdir -p "$work/root/etc/supervisord.d" "$work/root/var/log/supervisor" "$work/root/usr/lib/systemd/system"
touch "$work/root/etc/supervisord.d/.keep" "$work/root/var/log/supervisor/.keep"
cat >"$work/root/etc/supervisord.conf" <<'CONF'
; As EPEL's package has it.
[unix_http_server]
file=/run/supervisor/supervisor.sock

[supervisord]
logfile=/var/log/supervisor/supervisord.log
pidfile=/run/supervisord.pid
nodaemon=false

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix:///run/supervisor/supervisor.sock

[include]
files = supervisord.d/*.ini
CONF
cat >"$work/root/usr/lib/systemd/system/supervisord.service" <<'UNIT'
[Unit]
Description=Process Monitoring and Control Daemon

[Service]
Type=forking
ExecStart=/usr/bin/supervisord -c /etc/supervisord.conf
RuntimeDirectory=supervisor
RuntimeDirectoryMode=755

[Install]
WantedBy=multi-user.target
UNIT
make_rpm supervisor 4.2.5 '%post
systemctl daemon-reload || :'

# What the machine has already, for rpm to know of it; and a name that SELinux's tools have.
for name in host-base python3 iproute ca-certificates policycoreutils-python-utils; do
    mkdir -p "$work/root/usr/share/dnf-machine"
    touch "$work/root/usr/share/dnf-machine/$name"
    make_rpm "$name" 9
done
rpm --install --nodeps "$work"/top/RPMS/*/host-base-*.rpm "$work"/top/RPMS/*/python3-*.rpm \
    "$work"/top/RPMS/*/iproute-*.rpm "$work"/top/RPMS/*/ca-certificates-*.rpm

cp "$work"/top/RPMS/*/*.rpm /srv/repository
createrepo_c --quiet /srv/repository
rm -rf /etc/yum.repos.d
mkdir -p /etc/yum.repos.d
printf '[machine]\nname=of this machine\nbaseurl=file:///srv/repository\ngpgcheck=0\n' >/etc/yum.repos.d/machine.repo

# dpkg itself stays: dnf and the rest of the machine are still of its making.
dpkg --purge --force-depends git logrotate nginx nginx-common openssl supervisor >/dev/null 2>&1 || true
rm -rf /etc/nginx /etc/supervisor /etc/debian_version /var/log/nginx /var/log/supervisor
# shellcheck disable=SC2016  # os-release is read by programs
printf 'ID="machine"\nID_LIKE="rhel fedora"\nVERSION_ID="9"\nPRETTY_NAME="A machine of dnf"\n' >/etc/os-release.new
rm -f /etc/os-release
mv /etc/os-release.new /etc/os-release

for name in git logrotate nginx openssl supervisord; do
    if command -v "$name" >/dev/null; then
        echo "$name is still there" >&2
        exit 1
    fi
done
rm -rf /build/rpm /usr/sbin/policy-rc.d
apt-get clean
