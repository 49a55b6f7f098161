package vm

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strings"
)

// Accel is how QEMU runs the guest's instructions.
type Accel string

// Accelerators of qemu-system(1), option -accel.
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg"
)

// DetectAccel returns KVM where the CPU has hardware virtualisation and
// /dev/kvm opens for writing, and TCG elsewhere. The CPU flag is asked for since
// some hosts offer a /dev/kvm, without the flag, on which a stock kernel does
// not boot.
func DetectAccel() Accel {
	cpuinfo, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return TCG
	}
	defer cpuinfo.Close()
	if !hasVirtualisation(cpuinfo) {
		return TCG
	}
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG
	}
	_ = device.Close()
	return KVM
}

// hasVirtualisation reads /proc/cpuinfo (proc_cpuinfo(5)) for Intel's vmx or
// AMD's svm.
func hasVirtualisation(cpuinfo io.Reader) bool {
	lines := bufio.NewScanner(cpuinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, flags, ok := strings.Cut(lines.Text(), ":")
		if !ok || strings.TrimSpace(name) != "flags" {
			continue
		}
		fields := strings.Fields(flags)
		return slices.Contains(fields, "vmx") || slices.Contains(fields, "svm")
	}
	return false
}

// arguments returns the accelerator and processor options for an architecture. "host" offers
// all that the processor has, "max" all that TCG can emulate, but for what it says to be fast and
// is not: TCG goes through a repeated string instruction element by element (gen_repz in
// target/i386/tcg/translate.c of QEMU 7.2), and a kernel that is told of fast ones clears and
// copies memory by single bytes (arch/x86/lib of Linux 6.12). Without, a page fault takes a
// quarter of the time.
func (a Accel) arguments(arch string) []string {
	switch {
	case a == KVM:
		return []string{"-accel", "kvm", "-cpu", "host"}
	case arch == "amd64":
		return []string{"-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
}
