# Profiles that spoc installs into the kernel of this guest, and processes under them.
mkdir -p /etc/apparmor.d /etc/apparmor /data/out /opt /usr/sbin /var/log/nginx /var/cache/nginx /etc/nginx
cp -a /host/etc/apparmor.d/. /etc/apparmor.d/ 2>/dev/null
cp -a /host/etc/apparmor/. /etc/apparmor/
cp /bin/busybox /opt/busybox
echo public > /data/public
echo secret > /data/secret
echo conf > /etc/nginx/nginx.conf
echo secret > /etc/shadow
check 0 "AppArmor is enabled" grep -q Y /sys/module/apparmor/parameters/enabled

# under PROFILE PROGRAM APPLET ARGUMENT…: the program confined by a profile, as a container runtime starts it.
under() {
  profile=$1 program=$2 applet=$3
  shift 3
  (echo -n "exec $profile" > /proc/self/attr/exec && exec -a "$applet" "$program" "$@")
}

# The guide's profile is for nginx; a busybox in its place makes the same accesses.
mkdir -p /tmp/sbin
cp /bin/busybox /tmp/sbin/nginx
cp /usr/sbin/apparmor_parser /tmp/sbin/
mount --bind /tmp/sbin /usr/sbin
check 0 "spoc installs the guide's profile" SPOC install /share/guide.yaml
check 0 "the kernel lists it in enforce mode" grep -qx 'nginx-apparmor (enforce)' /sys/kernel/security/apparmor/profiles
check 0 "its file is beside the others" test -f /etc/apparmor.d/spo.production.nginx-apparmor
nginx=/usr/sbin/nginx
check 0 "nginx reads its configuration" under nginx-apparmor $nginx cat /etc/nginx/nginx.conf
check 0 "nginx writes its log" under nginx-apparmor $nginx tee /var/log/nginx/access.log
check 1 "nginx does not read /etc/shadow" under nginx-apparmor $nginx cat /etc/shadow
check 1 "nginx does not write its configuration" under nginx-apparmor $nginx tee /etc/nginx/new.conf
check 0 "the denial is in the kernel's log" sh -c "dmesg | grep -q 'apparmor=\"DENIED\".*profile=\"nginx-apparmor\" name=\"/etc/shadow\"'"

check 0 "spoc installs an abstract profile" SPOC install /share/abstract.yaml
check 0 "it reads what it may read" under abstract /opt/busybox cat /data/public
check 0 "it writes what it may write" under abstract /opt/busybox tee /data/out/file
check 1 "it does not read the rest" under abstract /opt/busybox cat /data/secret
check 1 "it does not write what it may only read" under abstract /opt/busybox tee /data/public
check 0 "spoc run confines by it" SPOC run -p /share/abstract.yaml -- /opt/busybox cat /data/public
check 1 "spoc run denies by it" SPOC run -p /share/abstract.yaml -- /opt/busybox cat /data/secret

check 0 "spoc installs a complain-mode profile" SPOC install /share/complain.yaml
check 0 "the kernel lists it in complain mode" grep -qx 'complain (complain)' /sys/kernel/security/apparmor/profiles
check 0 "what it does not allow succeeds" under complain /opt/busybox cat /data/secret
check 0 "and is in the kernel's log" sh -c "dmesg | grep -q 'apparmor=\"ALLOWED\".*profile=\"complain\" name=\"/data/secret\"'"

# A profile that something else loaded is left alone.
printf 'profile abstract2 { /data/** r, }\n' | apparmor_parser -a -K
sed 's/name: abstract/name: abstract2/' /share/abstract.yaml > /tmp/foreign.yaml
check 1 "a profile of somebody else is not replaced" SPOC install /tmp/foreign.yaml

check 0 "spoc removes the profiles" SPOC remove /share/guide.yaml /share/abstract.yaml /share/complain.yaml
check 1 "the kernel has forgotten them" grep -qE '^(nginx-apparmor|abstract|complain) ' /sys/kernel/security/apparmor/profiles
check 1 "their files are gone" sh -c 'ls /etc/apparmor.d/spo.* 2>/dev/null | grep -q .'
true
