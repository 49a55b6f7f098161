package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func programs() []attempt {
	list := []attempt{
		{name: "open an eBPF program of the node", do: byNumber(ebpf.ProgramGetNextID, func(id ebpf.ProgramID) error {
			p, err := ebpf.NewProgramFromID(id)
			return closed(p, err)
		})},
		{name: "open an eBPF map of the node", do: byNumber(ebpf.MapGetNextID, func(id ebpf.MapID) error {
			m, err := ebpf.NewMapFromID(id)
			return closed(m, err)
		})},
		{name: "take an eBPF program of the node off its hook", do: takeOff},
		{name: "see the node's pinned eBPF programs", do: pins},
	}
	for _, kind := range []ebpf.ProgramType{
		ebpf.Kprobe, ebpf.TracePoint, ebpf.RawTracepoint, ebpf.PerfEvent, ebpf.RawTracepointWritable,
	} {
		list = append(list, call(fmt.Sprintf("trace the kernel with a program of type %s", kind), load(kind)))
	}
	return append(list,
		call("make a security module of one's own", loadLSM),
		attempt{name: "read the kernel's memory by an eBPF program for traffic", do: readKernel},
	)
}

// closed closes what was opened against the rules.
func closed[T interface{ Close() error }](opened T, err error) error {
	if err != nil {
		return err
	}
	return opened.Close()
}

// byNumber opens all that the kernel has, by number. Those are listed for whoever
// has CAP_BPF: the list of numbers alone tells nothing.
func byNumber[ID ~uint32](next func(ID) (ID, error), open func(ID) error) func() (string, error) {
	return func() (string, error) {
		last := errNothing
		for id, err := next(0); err == nil; id, err = next(id) {
			if last = open(id); last == nil {
				return fmt.Sprintf("number %d", id), nil
			}
		}
		return "", last
	}
}

// takeOff opens links by number; a link that can be opened can be detached.
func takeOff() (string, error) {
	it := new(link.Iterator)
	defer it.Close()
	if it.Next() {
		return fmt.Sprintf("link %d", it.ID), nil
	}
	if err := it.Err(); err != nil {
		return "", err
	}
	return "", errNothing
}

func load(kind ebpf.ProgramType) func() error {
	return func() error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: kind, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		return closed(p, err)
	}
}

// readKernel has a program that no packet ever meets read what the kernel keeps of the
// process that runs it, by way of the kernel's own test of programs.
func readKernel() (string, error) {
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return "", err
	}
	defer seen.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.FnGetCurrentTask.Call(),
			asm.Mov.Reg(asm.R6, asm.R0),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, seen.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "end"),
			asm.Mov.Reg(asm.R1, asm.R0), asm.Mov.Imm(asm.R2, 8), asm.Mov.Reg(asm.R3, asm.R6),
			asm.FnProbeReadKernel.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return(),
		},
	})
	if err != nil {
		return "", err
	}
	defer p.Close()
	if _, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
		return "", err
	}
	var first uint64
	if err := seen.Lookup(uint32(0), &first); err != nil {
		return "", err
	}
	return fmt.Sprintf("%#x, the beginning of a task", first), nil
}

func loadLSM() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	return closed(p, err)
}

// pins looks for the node's folder on a BPF file system: the one that the plane
// has, and one mounted anew.
func pins() (string, error) {
	for _, dir := range []string{"/sys/fs/bpf", host + "/sys/fs/bpf", "/proc/1/root/sys/fs/bpf"} {
		for _, name := range []string{"confine", "network"} {
			if _, err := os.Stat(dir + "/" + name); err == nil {
				return dir + "/" + name, nil
			}
		}
	}
	dir, err := os.MkdirTemp("/dev", "attack")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err := errors.Join(err, unix.Unmount(dir, 0)); err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return fmt.Sprint(entries), nil
	}
	return "", errNothing
}
