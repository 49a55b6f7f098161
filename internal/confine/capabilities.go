package confine

// Capabilities is the bounding set of the workload plane. Left out of
// capabilities(7) are
//
//	CAP_SYS_MODULE                     modules are the node's
//	CAP_SYS_BOOT                       so are reboot(2) and kexec
//	CAP_SYS_RAWIO                      ports, /dev/mem, raw commands to disks
//	CAP_SYS_TIME, CAP_WAKE_ALARM       the clock is the node's
//	CAP_MAC_ADMIN, CAP_MAC_OVERRIDE    so is mandatory access control
//	CAP_AUDIT_CONTROL, CAP_AUDIT_READ  and the kernel's audit
//	CAP_SYS_PACCT, CAP_SYS_TTY_CONFIG, CAP_BLOCK_SUSPEND,
//	CAP_CHECKPOINT_RESTORE             nothing here uses them
func Capabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_BPF", "CAP_CHOWN", "CAP_DAC_OVERRIDE",
		"CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL",
		"CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE",
		"CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
		"CAP_SETUID", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_NICE", "CAP_SYS_PTRACE",
		"CAP_SYS_RESOURCE",
	}
}
