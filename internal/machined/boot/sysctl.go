package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sysctl is one kernel setting; an absent one is passed over, as kernels are
// built with different parts.
type sysctl struct{ key, value string }

// hardening follows the Kernel Self-Protection Project's recommended
// settings (kernel.org "KSPP Recommended Settings"). ptrace_scope=3 would
// break pods with user namespaces; unprivileged_bpf_disabled=1 cannot be undone
// until the next boot, and nor can kexec_load_disabled (kernel/kexec_core.c): a node never
// loads another kernel, for the reasons in docs/upgrades.md.
var hardening = []sysctl{
	{"dev.tty.ldisc_autoload", "0"},
	{"dev.tty.legacy_tiocsti", "0"},
	{"fs.protected_symlinks", "1"},
	{"fs.protected_hardlinks", "1"},
	{"fs.protected_fifos", "2"},
	{"fs.protected_regular", "2"},
	{"fs.suid_dumpable", "0"},
	{"kernel.core_pattern", "|/bin/false"},
	{"kernel.dmesg_restrict", "1"},
	{"kernel.kexec_load_disabled", "1"},
	{"kernel.kptr_restrict", "2"},
	{"kernel.perf_event_paranoid", "3"},
	{"kernel.randomize_va_space", "2"},
	{"kernel.sysrq", "0"},
	{"kernel.unprivileged_bpf_disabled", "1"},
	{"kernel.yama.ptrace_scope", "2"},
	{"net.core.bpf_jit_harden", "2"},
	{"net.ipv4.conf.all.accept_redirects", "0"},
	{"net.ipv4.conf.default.accept_redirects", "0"},
	{"net.ipv4.conf.all.accept_source_route", "0"},
	{"net.ipv4.conf.default.accept_source_route", "0"},
	{"net.ipv4.conf.all.send_redirects", "0"},
	{"net.ipv4.conf.default.send_redirects", "0"},
	{"net.ipv4.icmp_echo_ignore_broadcasts", "1"},
	{"net.ipv4.icmp_ignore_bogus_error_responses", "1"},
	{"net.ipv4.tcp_rfc1337", "1"},
	{"net.ipv4.tcp_syncookies", "1"},
	{"net.ipv6.conf.all.accept_redirects", "0"},
	{"net.ipv6.conf.all.accept_source_route", "0"},
	{"net.ipv6.conf.default.accept_redirects", "0"},
	{"net.ipv6.conf.default.accept_source_route", "0"},
	{"vm.mmap_min_addr", "65536"},
	{"vm.unprivileged_userfaultfd", "0"},
}

// cluster is what Kubernetes expects of a node: forwarding, the kubelet's own
// wishes (protectKernelDefaults), and room for many pods. accept_ra=2 follows
// forwarding, which else turns router advertisements off.
//
// file-max is no limit (LONG_MAX, the most that fs/file_table.c takes). An open file
// is memory of the cgroup that opened it (SLAB_ACCOUNT of filp_cachep, since Linux
// 4.15), and so pods are bounded by theirs. By the kernel's own limit, a tenth of the
// memory, they could open all there are, and etcd not one more. So it is with what is
// watched by epoll_wait(2), which the kernel counts for each user: that of init and the
// agent is root, of whom the plane's root is no other (fs/eventpoll.c, whose caches
// are SLAB_ACCOUNT too).
var cluster = []sysctl{
	{"fs.aio-max-nr", "1048576"},
	{"fs.epoll.max_user_watches", "9223372036854775807"},
	{"fs.file-max", "9223372036854775807"},
	{"fs.inotify.max_user_instances", "8192"},
	{"fs.inotify.max_user_watches", "524288"},
	{"kernel.keys.root_maxbytes", "25000000"},
	{"kernel.keys.root_maxkeys", "1000000"},
	{"kernel.panic_on_oops", "1"},
	{"kernel.pid_max", "4194304"},
	{"net.ipv4.ip_forward", "1"},
	{"net.ipv4.ip_local_reserved_ports", "50000"},
	{"net.ipv4.neigh.default.gc_thresh2", "15360"},
	{"net.ipv4.neigh.default.gc_thresh3", "16384"},
	{"net.ipv4.tcp_keepalive_intvl", "60"},
	{"net.ipv4.tcp_keepalive_time", "600"},
	{"net.ipv6.conf.all.forwarding", "1"},
	{"net.ipv6.conf.all.accept_ra", "2"},
	{"net.ipv6.conf.default.accept_ra", "2"},
	{"net.ipv6.neigh.default.gc_thresh2", "15360"},
	{"net.ipv6.neigh.default.gc_thresh3", "16384"},
	{"vm.max_map_count", "524288"},
	{"vm.overcommit_memory", "1"},
	{"vm.panic_on_oom", "0"},
}

// settings is the whole list, in the order to write it.
func settings() []sysctl { return slices.Concat(hardening, cluster) }

// applySysctls writes settings below root (/proc/sys).
func applySysctls(root string, list []sysctl) error {
	var errs []error
	for _, s := range list {
		path := filepath.Join(root, strings.ReplaceAll(s.key, ".", "/"))
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			_, err = f.WriteString(s.value)
			f.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set %s to %s: %w", s.key, s.value, err))
		}
	}
	return errors.Join(errs...)
}
