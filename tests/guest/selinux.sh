# A module that spoc installs into the policy of this guest, and processes in its domain.
mkdir -p /etc/selinux/mini/contexts/files /var/lib/selinux/mini
printf 'SELINUX=enforcing\nSELINUXTYPE=mini\n' > /etc/selinux/config
cp /host/etc/selinux/semanage.conf /etc/selinux/
printf 'root:x:0:0:root:/:/bin/sh\n' > /etc/passwd
mount -t selinuxfs selinuxfs /sys/fs/selinux
dd if=/share/first.bin of=/sys/fs/selinux/load bs=8M 2>/dev/null
check 0 "SELinux enforces" grep -q 1 /sys/fs/selinux/enforce
check 0 "the store takes the base" semodule -X 100 -i /share/base.cil -i /share/guest.cil

# within DOMAIN COMMAND…
within() {
  (echo -n "system_u:system_r:$1:s0" > /proc/self/attr/exec && shift && exec "$@")
}
# A port that can be bound is listened on until the time is over.
binds() { within nginx-selinux.process /bin/busybox timeout 1 /bin/busybox nc -l -p "$1"; test $? = 143; }

check 1 "the domain does not exist yet" within nginx-selinux.process /bin/busybox true
check 0 "spoc installs the guide's profile" SPOC install /share/guide.yaml
check 0 "the module is in the store" sh -c "semodule -lfull | grep -q '350 spo_nginx-selinux '"
check 0 "processes run in its domain" within nginx-selinux.process /bin/busybox true
check 0 "http_port_t is bound" binds 80
check 1 "redis_port_t is not bound" binds 6379
check 0 "the denial is in the kernel's log" sh -c "dmesg | grep -q 'denied  { name_bind }.*redis_port_t'"
check 0 "spoc removes the profile" SPOC remove /share/guide.yaml
true
