package confine

import "github.com/opencontainers/runtime-spec/specs-go"

// forbidden are system calls that no pod may ever make, by what they would
// reach. Most need a capability that the plane lacks as well: the filter is the
// second wall. It cannot be taken off: filters only add up (seccomp(2)).
func forbidden() [][]string {
	return [][]string{
		// The kernel's code.
		{"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"},
		// The machine.
		{"reboot", "iopl", "ioperm", "swapon", "swapoff", "acct"},
		// The clock.
		{"settimeofday", "stime", "clock_settime", "clock_settime64"},
		// Handles lead to any file of a file system of which one folder is
		// visible, with CAP_DAC_READ_SEARCH: from a volume to etcd's data.
		{"open_by_handle_at"},
		// Quotas of the disk that both planes share.
		{"quotactl", "quotactl_fd"},
		// An event brings a descriptor of the file as whoever opened it has it
		// (create_fd in fs/notify/fanotify): of a folder of the plane that the agent
		// looks into, one in the node's own mounts, of which ".." is the node's root.
		// A mark on a file system tells of etcd's files too, and may keep etcd waiting.
		{"fanotify_init", "fanotify_mark"},
		// A uprobe is set on a file, and so hits every process that runs it, of
		// whichever plane; counters of a processor count all planes' work.
		{"perf_event_open", "lookup_dcookie"},
		// Stops a thread in the kernel for as long as a pod likes.
		{"userfaultfd"},
	}
}

// forbiddenArgs are calls that are forbidden with one value of one argument.
// The kernel reads 32 bits of each of these, so the filter does too.
func forbiddenArgs() []specs.LinuxSyscall {
	var rules []specs.LinuxSyscall
	// The plane's data is a folder of the node's data partition: freezing, shutting
	// down or resizing the file system would hit etcd. Numbers: linux/fs.h,
	// fs/ext4/ext4.h.
	for _, request := range []uint64{
		0xc0045877, // FIFREEZE
		0xc0045878, // FITHAW
		0x8004587d, // EXT4_IOC_SHUTDOWN, also of XFS
		0x40086610, // EXT4_IOC_RESIZE_FS
		0x40086607, // EXT4_IOC_GROUP_EXTEND
		0x40286608, // EXT4_IOC_GROUP_ADD
		0x40046607, // EXT4_IOC32_GROUP_EXTEND: these two of a 32-bit program
		0x40246608, // EXT4_IOC32_GROUP_ADD
		0x4004662b, // EXT4_IOC_CHECKPOINT
		0x4008662c, // EXT4_IOC_SETFSUUID
		0x41009432, // FS_IOC_SETFSLABEL
	} {
		rules = append(rules, refuse("ioctl", 1, request))
	}
	// A device that is a pod's volume is for reading and writing: the kernel looks for no
	// partitions on it, takes no commands for a disk below it, and keeps no log of it, whose buffers are
	// memory of no pod's. Numbers: linux/fs.h, scsi/sg.h, linux/blktrace_api.h.
	for _, request := range []uint64{
		0x125f,     // BLKRRPART
		0x1269,     // BLKPG
		0x2285,     // SG_IO
		0xc0481273, // BLKTRACESETUP
		0xc0401273, // BLKTRACESETUP32, of a 32-bit program of amd64
	} {
		rules = append(rules, refuse("ioctl", 1, request))
	}
	// syslog(2): reading is kubelet's; clearing and silencing are not.
	for _, action := range []uint64{4, 5, 6, 7, 8} {
		rules = append(rules, refuse("syslog", 0, action))
	}
	return rules
}

// absent are system calls of which the kernel says that it has none: those of keys. The
// keyrings of user 0 are one for both planes, and so is their quota
// (kernel.keys.root_maxbytes). A session keyring is made by joining it: with names of
// 4 KiB there are some 6000 of them, and each lasts for as long as a file that was opened
// by whoever had it. Without one to be had no container of the control plane starts, and
// no encrypted volume is opened.
//
// What runs in pods goes on without keys where the kernel has none, and not all of it at
// another refusal: runc and crun of a pod, which join a session keyring, mount.ceph and
// rbd, which hand their secret over as an option then, and cryptsetup, which asks by
// request_key(2) whether there are keyrings.
func absent() []string { return []string{"add_key", "request_key", "keyctl"} }

func refuse(call string, argument uint, value uint64) specs.LinuxSyscall {
	const low32 = 0xffffffff
	return specs.LinuxSyscall{Names: []string{call}, Action: specs.ActErrno, ErrnoRet: eperm(), Args: []specs.LinuxSeccompArg{
		{Index: argument, Value: low32, ValueTwo: value, Op: specs.OpMaskedEqual},
	}}
}

func eperm() *uint { e := uint(1); return &e }

func enosys() *uint { e := uint(38); return &e }

// Seccomp is the filter of the workload plane: all but what is forbidden, for
// every calling convention that the processor has. Pods come with further
// filters of their own.
func Seccomp(arch string) *specs.LinuxSeccomp {
	filter := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: conventions(arch)}
	for _, names := range forbidden() {
		filter.Syscalls = append(filter.Syscalls, specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: eperm()})
	}
	filter.Syscalls = append(filter.Syscalls, specs.LinuxSyscall{Names: absent(), Action: specs.ActErrno, ErrnoRet: enosys()})
	filter.Syscalls = append(filter.Syscalls, forbiddenArgs()...)
	return filter
}

// conventions are the ways to enter the kernel: a filter for one alone would be
// passed by through another.
func conventions(arch string) []specs.Arch {
	if arch == "arm64" {
		return []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	}
	return []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
}
