#!/bin/sh
# What `vagrant up` runs as root in each node: makes podwire in /opt/podwire ready and starts it as a service.
# Assumes Debian or Ubuntu with systemd. Skips what is there, so it may run again, and on a box with everything needs no network.
# provision.sh server|agent [FLAG …]: the flags are podwired's. An agent is started when it has joined a cluster.
set -eu
role=$1
shift
export DEBIAN_FRONTEND=noninteractive
cd /opt/podwire

node_is_new_enough() {
  command -v node >/dev/null && [ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ]
}
if ! node_is_new_enough; then
  apt-get update -q
  # Debian 12's Node is too old for setup, but its npm can fetch a newer one, which is linked against libatomic.
  apt-get install -y -q --no-install-recommends ca-certificates npm libatomic1
  npm install --global --no-fund --no-audit node@26
  hash -r
fi
echo "podwire: $(node --version), looking at what is installed and built"
node scripts/setup.mjs

for program in podwire podwired cnitool; do ln -sf "/opt/podwire/bin/$program" /usr/local/bin/; done

mkdir -p /etc/systemd/system/podwired.service.d
cp examples/podwired.service /etc/systemd/system/
cat >/etc/systemd/system/podwired.service.d/vagrant.conf <<EOF
[Service]
ExecStart=
ExecStart=/opt/podwire/bin/podwired $*
EOF
systemctl daemon-reload
systemctl enable --quiet podwired
if [ "$role" = agent ] && [ ! -e /var/lib/podwire/pki/membership.json ]; then
  echo "podwire: installed; it has not joined a cluster yet"
  exit
fi
systemctl restart podwired
echo "podwire: started"

tries=0
until podwire get nodes >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 60 ] || { journalctl --no-pager --unit podwired --lines 30; exit 1; }
  sleep 1
done
echo "podwire: ready"
