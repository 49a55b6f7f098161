// Package preflight says, before anything is started, what a machine lacks for
// a local cluster, and which package brings it.
package preflight

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Needs is what a cluster takes.
type Needs struct {
	// Arch of the nodes: amd64 or arm64.
	Arch string
	// MemoryBytes of all nodes together; QEMU's own use is added.
	MemoryBytes int64
	// DiskBytes that the nodes' images may grow to, below Dir.
	DiskBytes int64
	Dir       string
	// Ports of 127.0.0.1 that must be free. Others are picked at will.
	Ports []uint16
}

// Host is the machine asked. Its functions may be replaced in tests; ThisHost
// has the real ones.
type Host struct {
	// FindTool tells whether a program, or a file by its whole path, is there.
	FindTool func(name string) error
	// Release is the codename of Debian's release, by os-release(5), or empty.
	Release func() string
	// FindFirmware tells whether UEFI firmware for an architecture is there.
	FindFirmware func(arch string) error
	// AvailableMemory is what may be used without swapping, in bytes.
	AvailableMemory func() (int64, error)
	// FreeSpace is what this user may write below a folder, in bytes.
	FreeSpace func(dir string) (int64, error)
	// CheckPort tells whether a port of 127.0.0.1 is free.
	CheckPort func(port uint16) error
}

// Missing is one thing that the machine lacks.
type Missing struct {
	// What, in words for a person.
	What string
	// Package of Debian that brings it; empty where none does.
	Package string
}

// String returns What, and the package that helps.
func (m Missing) String() string {
	if m.Package == "" {
		return m.What
	}
	return fmt.Sprintf("%s (package %s; make setup installs it)", m.What, m.Package)
}

// processBytes is what QEMU takes beside the guest's memory: measured 250 MiB
// with TCG's translation buffer at its default.
const processBytes = 256 << 20

// Check returns all that is missing, tools first. An error of the host's own is
// reported as a missing thing too.
func Check(needs Needs, host Host) []Missing {
	missing := CheckTools(needs.Arch, host)
	want := needs.MemoryBytes + processBytes
	if have, err := host.AvailableMemory(); err != nil {
		missing = append(missing, Missing{What: err.Error()})
	} else if have < want {
		missing = append(missing, Missing{What: fmt.Sprintf(
			"memory: the nodes take %s, %s is available", size(want), size(have))})
	}
	if have, err := host.FreeSpace(needs.Dir); err != nil {
		missing = append(missing, Missing{What: err.Error()})
	} else if have < needs.DiskBytes {
		missing = append(missing, Missing{What: fmt.Sprintf(
			"disk: the nodes may write %s, %s is free below %s", size(needs.DiskBytes), size(have), needs.Dir)})
	}
	for _, port := range needs.Ports {
		if err := host.CheckPort(port); err != nil {
			missing = append(missing, Missing{What: "port: " + err.Error()})
		}
	}
	return missing
}

// CheckTools returns the programs and firmware that are missing. More are further
// programs, each in the package of its own name.
func CheckTools(arch string, host Host, more ...string) []Missing {
	var missing []Missing
	all := tools(arch)
	for _, name := range more {
		all = append(all, tool{name, name})
	}
	for _, tool := range all {
		if host.FindTool(tool.name) != nil {
			missing = append(missing, Missing{What: "program " + tool.name, Package: tool.pkg})
		}
	}
	if err := host.FindFirmware(arch); err != nil {
		missing = append(missing, Missing{What: "UEFI firmware for " + arch, Package: firmwarePackage(arch)})
	}
	return missing
}

// Packages returns the packages that bring what is missing, sorted, each once.
func Packages(missing []Missing) []string {
	var names []string
	for _, m := range missing {
		if m.Package != "" {
			names = append(names, m.Package)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Print writes the list for a person.
func Print(w io.Writer, missing []Missing) {
	for _, m := range missing {
		fmt.Fprintf(w, "missing  %s\n", m)
	}
}

// size prints bytes as GiB, with one digit.
func size(bytes int64) string {
	text := fmt.Sprintf("%.1f", float64(bytes)/(1<<30))
	return strings.TrimSuffix(text, ".0") + " GiB"
}
