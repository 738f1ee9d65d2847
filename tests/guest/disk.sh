# Installing onto file systems that are full, read-only, or gone: what is there stays, and the error says why.
mkdir -p /small
mount -t tmpfs -o size=64k,mode=755 tmpfs /small
profile=var/lib/kubelet/seccomp/operator/production/restricted-workload.json
check 0 "a small file system takes a small profile" SPOC install --root /small /share/guide.yaml
cp /small/$profile /tmp/before
dd if=/dev/zero of=/small/fill bs=1k 2>/dev/null
sed 's/    - read$/    - readv/' /share/guide.yaml > /tmp/changed.yaml
check 1 "a full one takes no other" SPOC install --root /small /tmp/changed.yaml
check 0 "and says so" sh -c "SPOC install --root /small /tmp/changed.yaml 2>&1 | grep -q 'No space left'"
check 0 "the profile before is whole" cmp /small/$profile /tmp/before
check 1 "nothing half-written is left" sh -c 'find /small -name ".spo-*" | grep -q .'
rm /small/fill
check 0 "with space again it is changed" SPOC install --root /small /tmp/changed.yaml
check 1 "to the new one" cmp /small/$profile /tmp/before
mount -o remount,ro /small
check 0 "a read-only one says so" sh -c "SPOC install --root /small /share/guide.yaml 2>&1 | grep -q 'Read-only file system'"
check 0 "and nothing to do is no error there" SPOC install --root /small /tmp/changed.yaml
mount -o remount,rw /small
rm -r /small/var/lib/kubelet
check 0 "a removed directory is made anew" SPOC install --root /small /share/guide.yaml
check 0 "with the profile" cmp /small/$profile /tmp/before
true
