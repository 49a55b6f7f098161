package lsm

import (
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Target is what the programs are made for.
type Target struct {
	// RootDevice is the device of the verified root, as the kernel writes it:
	// major<<20 | minor. DevDevice is that of the node's /dev, RunDevice of its /run.
	RootDevice, DevDevice, RunDevice uint32
	// Trusted are the IDs of the node's own cgroups, which are not confined.
	// They are on the first level of the tree.
	Trusted []uint64
	// Admitted is a descriptor of the map of further devices that modules may come
	// from; see Admit. Volumes is one of the map of block devices that pods may open;
	// see Volumes.
	Admitted, Volumes int
}

// program is one hook and what it does.
type program struct {
	hook string
	code asm.Instructions
	// strict is set for what is in force in the strict profile only.
	strict bool
}

// pin is the name of its pin.
func (p program) pin() string {
	if p.strict {
		return "strict_" + p.hook
	}
	return p.hook
}

// programs returns all of them; the kernel's names of hooks and arguments are in
// include/linux/lsm_hook_defs.h.
func programs(t Target, l *layout) []program {
	return []program{
		{hook: "kernel_read_file", code: readFile(t, l)},
		{hook: "kernel_load_data", code: asm.Instructions{asm.Mov.Imm(asm.R0, eperm), asm.Return()}},
		{hook: "bpf", code: t.confined(append(asm.Instructions{
			asm.LoadMem(asm.R1, asm.R6, 0, asm.Word),
		}, denyValues(bpfCommands)...), permit)},
		{hook: "bpf_prog_load", code: t.confined(append(asm.Instructions{
			asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, l.offset("bpf_prog", "type"), asm.Word),
		}, denyValues(programTypes)...), permit)},
		// Before sb_kern_mount is asked, the kernel has read what is on the device, and may have
		// mended it. A list of options begins with the device's name; without one, nothing is read.
		// Of an option that is let through the hook itself says that it is the file system's
		// (-ENOPARAM): it is called when no program has an error (BPF_TRAMP_MODIFY_RETURN in
		// kernel/bpf/trampoline.c).
		{hook: "fs_context_parse_param", code: t.confined(asm.Instructions{
			asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, l.offset("fs_context", "fs_type"), asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, l.offset("file_system_type", "fs_flags"), asm.Word),
			asm.And.Imm(asm.R1, requiresDevice),
			asm.JNE.Imm(asm.R1, 0, deny),
		}, permit)},
		{hook: "sb_kern_mount", code: t.confined(append(asm.Instructions{
			asm.LoadMem(asm.R7, asm.R6, 0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R7, l.offset("super_block", "s_bdev"), asm.DWord),
			asm.JNE.Imm(asm.R1, 0, deny),
			asm.LoadMem(asm.R1, asm.R7, l.offset("super_block", "s_dev"), asm.Word),
			asm.LoadImm(asm.R2, int64(t.DevDevice), asm.DWord),
			asm.JEq.Reg(asm.R1, asm.R2, deny),
			asm.LoadMem(asm.R1, asm.R7, l.offset("super_block", "s_magic"), asm.DWord),
		}, denyValues(fileSystems)...), permit)},
		{hook: "sb_remount", code: t.confined(append(asm.Instructions{
			asm.LoadMem(asm.R7, asm.R6, 0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R7, l.offset("super_block", "s_bdev"), asm.DWord),
			asm.JNE.Imm(asm.R1, 0, deny),
			asm.LoadMem(asm.R1, asm.R7, l.offset("super_block", "s_dev"), asm.Word),
			asm.LoadImm(asm.R2, int64(t.RunDevice), asm.DWord),
			asm.JEq.Reg(asm.R1, asm.R2, deny),
			// Single files of it are bound in the plane: the devices of volumes.
			asm.LoadImm(asm.R2, int64(t.DevDevice), asm.DWord),
			asm.JEq.Reg(asm.R1, asm.R2, deny),
			asm.LoadMem(asm.R1, asm.R7, l.offset("super_block", "s_magic"), asm.DWord),
		}, denyValues(sharedFileSystems)...), permit)},
		{hook: "file_open", code: t.confined(openFile(t, l), refuse)},
		{hook: "ptrace_access_check", code: t.confined(asm.Instructions{
			asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, l.offset("task_struct", "thread_pid"), asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, l.offset("pid", "level"), asm.Word),
			// In the machine's own PID namespace there are only the node's. That it has no
			// number in the plane's is not enough: whoever answers at a socket gets a
			// descriptor of the process that connects (SO_PEERPIDFD, Linux 6.5), of
			// whichever namespace, and by it files (pidfd_getfd(2)) and namespaces (setns(2)).
			asm.JEq.Imm(asm.R1, 0, deny),
		}, permit)},
		{hook: "capable", code: t.confined(readsKernel(l), permit)},
		{hook: "userns_create", strict: true, code: t.confined(nil, refuse)},
		{hook: "bpf_prog_load", strict: true, code: t.confined(asm.Instructions{
			asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, l.offset("bpf_prog", "type"), asm.Word),
			asm.JNE.Imm(asm.R1, cgroupDevice, deny),
		}, permit)},
	}
}

const (
	eperm       = -1
	allow, deny = "allow", "deny"
)

// requiresDevice is FS_REQUIRES_DEV (include/linux/fs.h): a file system that lies on a block
// device.
const requiresDevice = 1

// cgroupDevice is BPF_PROG_TYPE_CGROUP_DEVICE: the runtime needs one of these for
// each container, and it decides about the devices of one group only.
const cgroupDevice = 15

// Capabilities that let a program of any type read the kernel's memory (bpf_token_capable
// in kernel/bpf/token.c takes the second for the first).
const capPerfmon, capSysAdmin = 38, 21

// readsKernel refuses, within bpf(2), what lets a program read the kernel's memory: by
// bpf_probe_read_kernel and its like, by a pointer that is cast to a type of the kernel's,
// or by following the pointers of one (allow_ptr_leaks in kernel/bpf/verifier.c). The
// lockdown's level integrity leaves all of these. The runtime's programs need none.
func readsKernel(l *layout) asm.Instructions {
	member, size, calls := "orig_ax", asm.DWord, []int32{321, 357, 0x40000141} // of bpf(2) in amd64, i386 and x32
	if runtime.GOARCH == "arm64" {
		member, size, calls = "syscallno", asm.Word, []int32{280, 386} // in arm64 and arm
	}
	code := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R6, 16, asm.Word),
		asm.JEq.Imm(asm.R7, capPerfmon, "call"),
		asm.JNE.Imm(asm.R7, capSysAdmin, allow),
		asm.FnGetCurrentTaskBtf.Call().WithSymbol("call"),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.FnTaskPtRegs.Call(),
		asm.LoadMem(asm.R1, asm.R0, l.offset("pt_regs", member), size),
	}
	for _, n := range calls {
		code = append(code, asm.JEq.Imm(asm.R1, n, deny))
	}
	return code
}

// bpfCommands are those of bpf(2) that lead to programs, maps and links of
// others, or to tracing (enum bpf_cmd). Without PROG_GET_FD_BY_ID nobody can
// take the device rules off the plane's cgroup.
var bpfCommands = []int64{
	13, 14, 30, // PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID, LINK_GET_FD_BY_ID
	17, 20, 32, // RAW_TRACEPOINT_OPEN, TASK_FD_QUERY, ENABLE_STATS
}

// programTypes are those whose programs see more than one network device,
// cgroup or socket (enum bpf_prog_type): tracing of all kinds, which is also what
// may call bpf_probe_write_user and bpf_override_return, and what changes how the
// kernel works.
var programTypes = []int64{
	2, 5, 7, 17, 24, // KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, RAW_TRACEPOINT_WRITABLE
	26, 27, 28, 29, 31, // TRACING, STRUCT_OPS, EXT, LSM, SYSCALL
}

// fileSystems are those that show or change the whole machine (s_magic;
// include/uapi/linux/magic.h). A binary format applies in every plane; a dataset
// of ZFS is mounted by its name. Besides them, two kinds are refused that the number
// does not tell. One is what lies on a block device: where the node has mounted it
// already, the kernel opens no device to mount it again, so that no device rule
// stands between a pod and the node's partitions; and the rules let volumes of ZFS
// through, of which only those on a list may be opened. The other is devtmpfs, of which
// there is one in the machine, and which has tmpfs's number.
var fileSystems = []int64{
	0x64626720, 0x74726163, 0x73636673, // debugfs, tracefs, securityfs
	0xde5e81e4, 0x6165676c, 0x62656570, // efivarfs, pstore, configfs
	0x42494e4d, 0x0027e0eb, 0x07655821, // binfmt_misc, cgroup version 1, resctrl
	0xf97cff8c, 0x43415d53, 0x2fc12fc1, // selinuxfs, smackfs, zfs
}

// sharedFileSystems are those of which there is one for every mount in the machine, or
// in a network namespace: what one mount of it is made, read-only for instance, all are, in the
// plane and for the node. So is the node's /run, should ever a folder of it be bound in
// the plane again; and so are datasets of ZFS, as the one that /var is in, which no device
// tells apart.
var sharedFileSystems = []int64{0x63677270, magicSysfs, 0x2fc12fc1} // cgroup version 2, sysfs, zfs

// readFile refuses every file that the kernel reads for itself (modules,
// firmware, kexec images, policies) and that is not of the verified root; save
// modules of a device that was admitted.
func readFile(t Target, l *layout) asm.Instructions {
	return finish(asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 8, asm.Word), // enum kernel_read_file_id
		asm.LoadMem(asm.R1, asm.R1, 0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, l.offset("file", "f_inode"), asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, l.offset("inode", "i_sb"), asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, l.offset("super_block", "s_dev"), asm.Word),
		asm.LoadImm(asm.R2, int64(t.RootDevice), asm.DWord),
		asm.JEq.Reg(asm.R1, asm.R2, allow),
		asm.JNE.Imm(asm.R6, l.value("kernel_read_file_id", "READING_MODULE"), deny),
		asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, t.Admitted),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, allow),
	}, refuse)
}

// confined puts the question who is asking before the code, which finds the
// hook's arguments at R6. A process in no group of the first level is the kernel's.
func (t Target) confined(code asm.Instructions, otherwise verdict) asm.Instructions {
	all := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R1, 1),
		asm.FnGetCurrentAncestorCgroupId.Call(),
		asm.JEq.Imm(asm.R0, 0, allow),
	}
	for _, id := range t.Trusted {
		all = append(all, asm.LoadImm(asm.R1, int64(id), asm.DWord), asm.JEq.Reg(asm.R0, asm.R1, allow))
	}
	return finish(append(all, code...), otherwise)
}

// verdict is what a program comes to when its last instruction did not jump.
type verdict bool

const (
	refuse verdict = false
	permit verdict = true
)

// finish ends a program with both verdicts, which it may also jump to.
func finish(code asm.Instructions, otherwise verdict) asm.Instructions {
	no := asm.Instructions{asm.Mov.Imm(asm.R0, eperm).WithSymbol(deny), asm.Return()}
	yes := asm.Instructions{asm.Mov.Imm(asm.R0, 0).WithSymbol(allow), asm.Return()}
	if otherwise == permit {
		return append(append(code, yes...), no...)
	}
	return append(append(code, no...), yes...)
}

// denyValues refuses when R1 is one of values.
func denyValues(values []int64) asm.Instructions {
	var code asm.Instructions
	for _, v := range values {
		code = append(code, asm.LoadImm(asm.R2, v, asm.DWord), asm.JEq.Reg(asm.R1, asm.R2, deny))
	}
	return code
}

// spec makes a program loadable. The kernel takes only programs under a licence
// compatible with its own for these hooks.
func (p program) spec() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: p.hook, Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: p.hook,
		Instructions: p.code, License: "Dual MIT/GPL",
	}
}
