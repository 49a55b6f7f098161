package lsm

import "github.com/cilium/ebpf/asm"

const (
	magicProc, magicSysfs = 0x9fa0, 0x62656572 // include/uapi/linux/magic.h
	typeMask, typeBlock   = 0xf000, 0x6000     // S_IFMT, S_IFBLK
	modeWrite             = 2                  // FMODE_WRITE, include/linux/fs.h
	// procDepth is how deep a file below /proc may be: /proc/PID/task/TID/attr/x
	// has five names.
	procDepth = 8
)

// openFile falls through to a refusal. Refused are block devices that are not on the
// list ([Volumes]), and writing
//
//	/sys        all of it is the machine's: drivers, power, module parameters
//	/proc/NAME  likewise (sysrq-trigger, irq, mtrr, bus, scsi, acpi), save
//	            /proc/PID and, of /proc/sys, what belongs to a namespace
//
// cgroups are another file system, and not meant.
func openFile(t Target, l *layout) asm.Instructions {
	parent := l.offset("dentry", "d_parent")
	code := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R6, 0, asm.DWord),
		asm.LoadMem(asm.R8, asm.R7, l.offset("file", "f_inode"), asm.DWord),
		asm.LoadMem(asm.R1, asm.R8, l.offset("inode", "i_mode"), asm.Half),
		asm.And.Imm(asm.R1, typeMask),
		asm.JNE.Imm(asm.R1, typeBlock, "no block device"),
		asm.LoadMem(asm.R1, asm.R8, l.offset("inode", "i_rdev"), asm.Word),
		asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, t.Volumes),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, allow),
		asm.Ja.Label(deny),
		asm.LoadMem(asm.R1, asm.R7, l.offset("file", "f_mode"), asm.Word).WithSymbol("no block device"),
		asm.And.Imm(asm.R1, modeWrite),
		asm.JEq.Imm(asm.R1, 0, allow),
		asm.LoadMem(asm.R8, asm.R8, l.offset("inode", "i_sb"), asm.DWord),
		asm.LoadMem(asm.R1, asm.R8, l.offset("super_block", "s_magic"), asm.DWord),
		asm.JEq.Imm(asm.R1, magicSysfs, deny),
		asm.JNE.Imm(asm.R1, magicProc, allow),
		// R1, R2, R3: the topmost name so far, the one below it, and the next.
		asm.LoadMem(asm.R9, asm.R8, l.offset("super_block", "s_root"), asm.DWord),
		asm.LoadMem(asm.R7, asm.R7, l.offset("file", "f_path", "dentry"), asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R7), asm.Mov.Reg(asm.R2, asm.R7), asm.Mov.Reg(asm.R3, asm.R7),
	}
	for range procDepth {
		code = append(code,
			asm.LoadMem(asm.R4, asm.R1, parent, asm.DWord),
			asm.JEq.Reg(asm.R4, asm.R9, "top"),
			asm.Mov.Reg(asm.R3, asm.R2), asm.Mov.Reg(asm.R2, asm.R1), asm.Mov.Reg(asm.R1, asm.R4),
		)
	}
	code = append(code, asm.Ja.Label(deny))
	return append(code, procName(l.offset("dentry", "d_iname"))...)
}

// procName decides by the names in R1 to R3, and that of the file itself in R7.
// Names in /proc are short enough to be in the dentry, and nobody can make new
// ones.
func procName(name int16) asm.Instructions {
	code := asm.Instructions{
		asm.LoadMem(asm.R4, asm.R1, name, asm.Byte).WithSymbol("top"),
		asm.JLT.Imm(asm.R4, '0', "named"),
		asm.JLE.Imm(asm.R4, '9', allow), // a process
	}
	add := func(more asm.Instructions) { code = append(code, more...) }
	add(match("named", asm.R1, name, "sys\x00", deny))
	// Of the network namespace, which may be the node's with hostNetwork. The
	// compiler of eBPF is the machine's in any case.
	add(match("", asm.R2, name, "net\x00", "kernel"))
	add(match("", asm.R7, name, "bpf_jit", allow))
	code = append(code, asm.Ja.Label(deny))
	// Of the IPC and UTS namespaces.
	add(match("kernel", asm.R2, name, "kernel\x00", "fs"))
	ways := []string{"shm", "msg", "sem\x00", "hostname\x00", "domainname\x00"}
	for i, text := range ways {
		next := deny
		if i+1 < len(ways) {
			next = "kernel " + ways[i+1]
		}
		symbol := ""
		if i > 0 {
			symbol = "kernel " + text
		}
		add(match(symbol, asm.R3, name, text, next))
		code = append(code, asm.Ja.Label(allow))
	}
	add(match("fs", asm.R2, name, "fs\x00", deny))
	add(match("", asm.R3, name, "mqueue\x00", deny))
	return append(code, asm.Ja.Label(allow))
}

// match goes to miss unless the dentry's name begins with text; with a zero at
// its end, it is the whole name.
func match(symbol string, dentry asm.Register, name int16, text, miss string) asm.Instructions {
	var code asm.Instructions
	for i := range len(text) {
		code = append(code,
			asm.LoadMem(asm.R4, dentry, name+int16(i), asm.Byte),
			asm.JNE.Imm(asm.R4, int32(text[i]), miss))
	}
	if symbol != "" {
		code[0] = code[0].WithSymbol(symbol)
	}
	return code
}
