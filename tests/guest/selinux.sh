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
listens() { within "$1" /bin/busybox timeout 1 /bin/busybox nc -l -p "$2"; test $? = 143; }
binds() { listens nginx-selinux.process "$1"; }

check 1 "the domain does not exist yet" within nginx-selinux.process /bin/busybox true
check 0 "spoc installs the guide's profile" SPOC install /share/guide.yaml
check 0 "the module is in the store" sh -c "semodule -lfull | grep -q '350 spo_nginx-selinux '"
check 0 "processes run in its domain" within nginx-selinux.process /bin/busybox true
check 0 "http_port_t is bound" binds 80
check 1 "redis_port_t is not bound" binds 6379
check 0 "the denial is in the kernel's log" sh -c "dmesg | grep -q 'denied  { name_bind }.*redis_port_t'"
check 0 "spoc removes the profile" SPOC remove /share/guide.yaml

check 0 "spoc installs three more" SPOC install /share/more.yaml
check 0 "raw policy is in the block that its name says" listens raw.process 80
check 1 "raw policy allows what it says and no more" listens raw.process 6379
check 0 "another template can be inherited" listens networked.process 6379
check 0 "a permissive domain is not held back" listens lenient.process 6379
check 0 "but it is told on" sh -c "dmesg | grep 'lenient.process' | grep -q 'name_bind.*permissive=1'"
check 1 "a profile that is switched off is not installed" SPOC install /share/resting.yaml
check 1 "a profile that is switched off has no domain" within resting.process /bin/busybox true
check 0 "spoc removes them" SPOC remove /share/more.yaml
check 1 "nothing of ours is left in the store" sh -c "semodule -lfull | grep -q '^350 '"
true
