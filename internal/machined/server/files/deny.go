package files

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// secretFolders hold keys, memory, devices, or data of pods. What is below them
// is refused, save openFolders.
var secretFolders = []string{
	"/dev",                 // devices: opening some acts on the machine
	"/state",               // machine configuration with all authorities' keys
	"/boot",                // the boot partition: the loader's random seed
	"/run",                 // sockets, secrets of containers, states of runtimes
	"/var/etcd",            // the cluster's Secrets
	"/var/plane",           // volumes and credentials of pods and the kubelet
	"/var/lib",             // the same, by another name
	"/var/extensions/data", // what services of extensions keep
	"/root", "/home",
	"/sys/firmware", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security", "/sys/fs/bpf", "/sys/fs/pstore",
	"/proc", // memory, environments and open files of processes; see openProc
}

// openFolders lie in secret ones and hold none.
var openFolders = []string{"/run/cyvive/log", "/run/cyvive/plane/log"}

// openFiles are single files in secret folders that hold none.
var openFiles = []string{"/run/cyvive/timeline.jsonl", "/run/cyvive/resolv.conf", "/run/cyvive/machine-id"}

// openProc are the files of /proc that can be read, and openProcess those of each
// process.
var (
	openProc = []string{
		"buddyinfo", "cgroups", "cmdline", "consoles", "cpuinfo", "crypto", "devices", "diskstats", "filesystems", "interrupts", "loadavg",
		"meminfo", "misc", "modules", "pagetypeinfo", "partitions", "pressure/cpu", "pressure/io", "pressure/memory", "schedstat", "slabinfo",
		"softirqs", "stat", "swaps", "uptime", "version", "vmstat", "zoneinfo",
	}
	openProcess = []string{"cgroup", "comm", "io", "limits", "mountinfo", "oom_score", "oom_score_adj", "schedstat", "stat", "statm", "status"}
)

// denied says why nobody may read a path; empty is that it may be read. The path
// is clean and absolute. Folder is for a folder that is listed.
func denied(p string, folder bool) string {
	if folder && slices.Contains([]string{"/run", "/run/cyvive", "/run/cyvive/plane", "/proc", "/boot", "/var/lib"}, p) {
		return "" // names alone
	}
	if within(p, "/proc") {
		return deniedProc(strings.TrimPrefix(p, "/proc/"), folder)
	}
	for _, secret := range secretFolders {
		open := slices.ContainsFunc(openFolders, func(f string) bool { return within(p, f) }) || slices.Contains(openFiles, p)
		if within(p, secret) && !open {
			return "what is below " + secret + " holds secrets or devices"
		}
	}
	if within(p, "/sys") && slices.Contains([]string{"config", "rom", "vpd", "eeprom", "nvmem"}, path.Base(p)) {
		return "reading it acts on a device"
	}
	return deniedName(strings.ToLower(path.Base(p)))
}

// deniedProc is for paths below /proc, relative to it.
func deniedProc(p string, folder bool) string {
	const reason = "this file of /proc may hold memory, keys or environments"
	first, rest, nested := strings.Cut(p, "/")
	switch {
	case first == "sys":
		if slices.ContainsFunc([]string{"secret", "key"}, func(word string) bool { return strings.Contains(rest, word) }) {
			return reason
		}
		return ""
	case slices.Contains(openProc, p), folder && p == "pressure":
		return ""
	case first != "" && strings.Trim(first, "0123456789") == "" && (nested && slices.Contains(openProcess, rest) || !nested && folder):
		return ""
	}
	return reason
}

// deniedName is for names that keys go by, wherever they are.
func deniedName(name string) string {
	for _, suffix := range []string{".key", ".p12", ".pfx", ".kubeconfig", "-key.pem", "_rsa", "_ed25519", "_ecdsa"} {
		if strings.HasSuffix(name, suffix) {
			return "a file of this name holds a key"
		}
	}
	if slices.Contains([]string{"kubeconfig", "shadow", "gshadow", "token", "random-seed", "user-data"}, name) {
		return "a file of this name holds a secret"
	}
	return ""
}

// within tells whether a path is a folder, or in it.
func within(p, folder string) bool {
	return p == folder || strings.HasPrefix(p, folder+"/")
}

// marks are what private keys and kubeconfigs cannot be without.
var marks = [][]byte{
	[]byte("PRIVATE KEY-----"), []byte("client-key-data:"), []byte(`"client-key-data"`), []byte("AGE-SECRET-KEY-"),
}

// markBytes is the length of the longest mark.
const markBytes = 20

// marked tells whether data holds a mark.
func marked(data []byte) bool {
	return slices.ContainsFunc(marks, func(mark []byte) bool { return bytes.Contains(data, mark) })
}
