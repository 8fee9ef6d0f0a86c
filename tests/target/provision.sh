#!/bin/sh
# Runs in a container of the base image and turns it into a bare server: systemd,
# sshd, sudo, Python, two users and nothing else. `setup` brings the rest.
# What it needs from the machine that builds the image lies beside this script.
set -eu
here=$(dirname "$0")

export DEBIAN_FRONTEND=noninteractive
# Nothing may be started while packages are installed: there is no systemd yet.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

cp "$here/apt.conf" /etc/apt/apt.conf.d/90build-machine
if [ -s "$here/sources.list" ]; then
    rm -f /etc/apt/sources.list.d/*
    cp "$here/sources.list" /etc/apt/sources.list
fi
apt-get update -qq
apt-get install -qq -y --no-install-recommends \
    systemd systemd-sysv libpam-systemd dbus openssh-server sudo python3 iproute2 ca-certificates

# Where the building machine trusts certificates of its own, the server must too.
mkdir -p /usr/local/share/ca-certificates
cp "$here"/ca/*.crt /usr/local/share/ca-certificates/ 2>/dev/null || true
update-ca-certificates
bundle=/etc/ssl/certs/ca-certificates.crt
printf '[global]\ncert = %s\n' "$bundle" >/etc/pip.conf
# sudo drops the environment, so uv is told in a file. Newer versions call it system-certs; all know this name.
mkdir -p /etc/uv
echo 'system-certs = true' >/etc/uv/uv.toml
printf 'SSL_CERT_FILE=%s\nPIP_CERT=%s\n' "$bundle" "$bundle" >>/etc/environment

useradd --create-home --shell /bin/bash deploy
useradd --create-home --shell /bin/bash asker
echo 'asker:asker-password' | chpasswd
echo 'deploy ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy
echo 'asker ALL=(ALL:ALL) ALL' >/etc/sudoers.d/asker
chmod 440 /etc/sudoers.d/deploy /etc/sudoers.d/asker
for home in /root /home/deploy /home/asker; do
    mkdir -p "$home/.ssh"
    cp "$here/id_ed25519.pub" "$home/.ssh/authorized_keys"
    chmod 700 "$home/.ssh"
    chmod 600 "$home/.ssh/authorized_keys"
    chown -R --reference="$home" "$home/.ssh"
done

# A key a container: the name of the host is the container's, so a key that was
# made under another name came with an image that was committed from there.
rm -f /etc/ssh/ssh_host_*
printf 'HostKey /etc/ssh/ssh_host_ed25519_key\n' >/etc/ssh/sshd_config.d/host-key.conf
cat >/usr/local/sbin/own-host-key <<'SCRIPT'
#!/bin/sh
set -eu
key=/etc/ssh/ssh_host_ed25519_key
if ! grep -qs " $(hostname)\$" "$key.pub"; then
    rm -f "$key" "$key.pub"
    ssh-keygen -q -t ed25519 -N '' -C "$(hostname)" -f "$key"
fi
SCRIPT
chmod 755 /usr/local/sbin/own-host-key
mkdir -p /etc/systemd/system/ssh.service.d
cat >/etc/systemd/system/ssh.service.d/own-host-key.conf <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/usr/local/sbin/own-host-key
ExecStartPre=/usr/sbin/sshd -t
UNIT

# A container has no hardware, no console and no kernel of its own to look after,
# and apt's own timers would hold its lock at moments no test can foresee.
systemctl mask \
    systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
    systemd-modules-load.service systemd-sysctl.service systemd-remount-fs.service \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount \
    getty.target console-getty.service getty-static.service systemd-firstboot.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
systemctl enable ssh.service
systemctl set-default multi-user.target

: >/etc/machine-id
rm -f /usr/sbin/policy-rc.d
apt-get clean
