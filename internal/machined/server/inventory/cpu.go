package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// features are those that decide what can run and how fast, by the kernel's names
// (arch/x86/include/asm/cpufeatures.h, arch/arm64/kernel/cpuinfo.c).
var features = []string{
	// Virtualisation, and memory that the host cannot read.
	"vmx", "svm", "ept", "npt", "sev", "sev_es", "sev_snp", "sme", "tdx_guest", "hypervisor",
	// Encryption, hashes, random numbers.
	"aes", "vaes", "pclmulqdq", "pmull", "sha_ni", "sha1", "sha2", "sha3", "sha512", "rdrand", "rdseed", "rng", "crc32",
	// Vectors.
	"sse4_2", "avx", "avx2", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve", "sve2",
	// Protection of memory and of the flow of control.
	"nx", "smep", "smap", "umip", "pku", "ibt", "user_shstk", "bti", "paca", "mte",
	// Time, large pages and addresses, atomics.
	"constant_tsc", "nonstop_tsc", "pdpe1gb", "la57", "pcid", "atomics",
}

// thread is one processor as the kernel counts them.
type thread struct {
	number                             uint32
	vendor, model, identity, microcode string
	features                           []string
	socket                             uint32
	core                               string
}

// parseCPUInfo reads /proc/cpuinfo, of amd64 and of arm64: blocks of lines with a
// key, a colon and a value.
func parseCPUInfo(text string) []thread {
	var out []thread
	for block := range strings.SplitSeq(text, "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(block) {
			if key, value, ok := strings.Cut(line, ":"); ok {
				fields[strings.TrimSpace(key)] = valid(strings.TrimSpace(value))
			}
		}
		n, err := strconv.ParseUint(fields["processor"], 10, 32)
		if err != nil {
			continue
		}
		socket, _ := strconv.ParseUint(fields["physical id"], 10, 32) // 0 where there is none
		t := thread{
			number: uint32(n), vendor: fields["vendor_id"], model: fields["model name"], microcode: fields["microcode"],
			socket: uint32(socket), core: fields["core id"],
		}
		if part, ok := fields["CPU part"]; ok {
			t.identity = joined(fields["CPU implementer"], part, fields["CPU variant"], fields["CPU revision"])
		} else if _, ok := fields["cpu family"]; ok {
			t.identity = joined(fields["cpu family"], fields["model"], fields["stepping"])
		}
		for _, f := range strings.Fields(cmp.Or(fields["flags"], fields["Features"])) {
			if slices.Contains(features, f) {
				t.features = append(t.features, f)
			}
		}
		slices.Sort(t.features)
		t.features = slices.Compact(t.features)
		out = append(out, t)
	}
	return out
}

// joined writes numbers in hexadecimal.
func joined(numbers ...string) string {
	var out []string
	for _, text := range numbers {
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return ""
		}
		out = append(out, fmt.Sprintf("%02x", n))
	}
	return strings.Join(out, "-")
}

// underHypervisor tells what the first processor says.
func underHypervisor(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		if flags, ok := strings.CutPrefix(line, "flags"); ok {
			return slices.Contains(strings.Fields(flags), "hypervisor")
		}
	}
	return false
}

// processors puts the threads of each socket together.
func (l *look) processors(table []structure) []*inventoryv1.Processor {
	info, err := l.read(maxTableBytes, "proc/cpuinfo")
	l.problem("read /proc/cpuinfo", err)
	var out []*inventoryv1.Processor
	cores := map[uint32]map[string]bool{}
	for _, t := range parseCPUInfo(string(info)) {
		t = l.placed(t)
		i := slices.IndexFunc(out, func(p *inventoryv1.Processor) bool { return p.GetSocket() == t.socket })
		if i < 0 {
			i = len(out)
			cores[t.socket] = map[string]bool{}
			out = append(out, &inventoryv1.Processor{
				Socket: t.socket, Vendor: t.vendor, Model: t.model, Identity: t.identity, Microcode: t.microcode, Features: t.features,
				MaxMegahertz:    uint32(min(l.number(cpuDir(t.number), "cpufreq/cpuinfo_max_freq")/1000, 1<<31)),
				Vulnerabilities: l.vulnerabilities(),
			})
		}
		cores[t.socket][t.core] = true
		out[i].Threads++
	}
	slices.SortFunc(out, func(a, b *inventoryv1.Processor) int { return cmp.Compare(a.GetSocket(), b.GetSocket()) })
	described := processorWords(table)
	for i, p := range out {
		p.Cores = uint32(len(cores[p.GetSocket()]))
		// arm64 has neither name in /proc/cpuinfo.
		if i < len(described) {
			p.Vendor, p.Model = cmp.Or(p.GetVendor(), described[i].vendor), cmp.Or(p.GetModel(), described[i].model)
		}
	}
	return out
}

func cpuDir(number uint32) string { return fmt.Sprintf("sys/devices/system/cpu/cpu%d", number) }

// placed is a thread with its socket and core as sysfs has them: arm64 has them nowhere
// else (Documentation/ABI/stable/sysfs-devices-system-cpu).
func (l *look) placed(t thread) thread {
	topology := cpuDir(t.number) + "/topology"
	if id := l.text(topology, "physical_package_id"); id != "" {
		n, err := strconv.ParseUint(id, 10, 32) // -1 where unknown
		if err != nil {
			n = 0
		}
		t.socket = uint32(n)
	}
	if core := l.text(topology, "core_id"); core != "" {
		t.core = l.text(topology, "die_id") + "/" + l.text(topology, "cluster_id") + "/" + core
	}
	if t.core == "" {
		t.core = fmt.Sprint(t.number)
	}
	return t
}

func (l *look) vulnerabilities() []*inventoryv1.Vulnerability {
	const dir = "sys/devices/system/cpu/vulnerabilities"
	var out []*inventoryv1.Vulnerability
	for _, name := range l.names(dir) {
		out = append(out, &inventoryv1.Vulnerability{Name: valid(name), State: l.text(dir, name)})
	}
	return out
}
