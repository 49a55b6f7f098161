package variant

import (
	"context"
	"regexp"
)

// Versions of releases that a node is taken to. Which of them is no good is in the root or the command line, not in the number, so that the reason that
// the node finds is looked for in the boots of this version only.
const (
	GoodVersion  = "0.2.0"
	InitVersion  = "0.2.1"
	ReadyVersion = "0.2.2"
	FullVersion  = "0.2.3"
)

// Files of the root.
const (
	initPath    = "/usr/bin/init"
	agentPath   = "/usr/bin/machined"
	etcdPath    = "/usr/lib/cyvive/rootfs/etcd/usr/bin/etcd"
	kubeletPath = "/usr/lib/cyvive/plane/usr/bin/kubelet"
)

// Bad is a release that no node can stay on.
type Bad struct {
	Name, Version string
	// Reason is what the boots have to say.
	Reason *regexp.Regexp
	// Decides says that the release takes itself back, at its deadline; the others are started as often as the boot loader tries.
	Decides bool
	// flags are those of mkimage that make it bad.
	flags func(context.Context, *Builder) ([]string, error)
}

// Make builds and signs it, changed by further flags of mkimage.
func (bad Bad) Make(ctx context.Context, b *Builder, more ...string) (string, error) {
	flags, err := bad.flags(ctx, b)
	if err != nil {
		return "", err
	}
	path, _, err := b.Make(ctx, bad.Name, bad.Version, append(flags, more...)...)
	return path, err
}

// AloneBad are releases that no node can stay on, of whatever cluster.
func AloneBad() []Bad {
	return []Bad{
		// Init loads OpenZFS, which is built out of the kernel's tree; with this the kernel panics then (kernel/panic.c, add_taint).
		{"panic", GoodVersion, regexp.MustCompile(`kernel panic: panic_on_taint set`), false, appended("panic_on_taint=0x1000")},
		{"init-exits", InitVersion, regexp.MustCompile(`kernel panic: Attempted to kill init!`), false, withInit("badinit=exit")},
		// Nothing feeds the watchdog that stage 1 has started.
		{"hang", InitVersion, regexp.MustCompile(`watchdog started the machine again`), false, withInit("badinit=hang")},
		// The kernel refuses the driver of the only network card.
		{"no-network", GoodVersion, regexp.MustCompile(`(?s)not well .*network: `), true, appended("module_blacklist=virtio_net")},
	}
}

// SilentAgent is a release whose agent does nothing at all, for a node of whatever cluster: init ends its trials.
func SilentAgent() Bad {
	return Bad{"silent-agent", InitVersion, regexp.MustCompile(`its agent has given no sign of life`), false, func(ctx context.Context, b *Builder) ([]string, error) {
		program, err := b.Program(ctx, "hack/release/badinit")
		return []string{"--put", agentPath + "=" + program, "--append", "badinit=agent"}, err
	}}
}

// NeverReady is a release without a kubelet, for a node of a cluster.
func NeverReady() Bad {
	return Bad{"never-ready", ReadyVersion, regexp.MustCompile(`(?s)not well .*node: `), true, func(context.Context, *Builder) ([]string, error) {
		return []string{"--drop", kubeletPath}, nil
	}}
}

// FullDisk is a release for a node of a cluster, on which the data volume is full as soon as etcd runs: a program in its place takes all that is left, and
// gives it back when it ends.
func FullDisk() Bad {
	return Bad{"full-disk", FullVersion, regexp.MustCompile(`(?s)not well .*etcd: `), true, func(ctx context.Context, b *Builder) ([]string, error) {
		program, err := b.Program(ctx, "hack/release/badetcd")
		return []string{"--put", etcdPath + "=" + program}, err
	}}
}

// appended adds to the kernel's command line of the good release.
func appended(text string) func(context.Context, *Builder) ([]string, error) {
	return func(context.Context, *Builder) ([]string, error) { return []string{"--append", text}, nil }
}

// withInit is a release whose init does what a word of the command line says, and not what it is there for.
func withInit(word string) func(context.Context, *Builder) ([]string, error) {
	return func(ctx context.Context, b *Builder) ([]string, error) {
		program, err := b.Program(ctx, "hack/release/badinit")
		return []string{"--put", initPath + "=" + program, "--append", word}, err
	}
}

// Light are the flags of mkimage for a release that is a third of the usual one in size, without Kubernetes: for a node without a cluster, which needs
// nothing of it.
func Light() []string {
	const lib = "/usr/lib/cyvive"
	var flags []string
	for _, name := range []string{
		"/rootfs/kubernetes/usr/bin/kube-controller-manager", "/rootfs/kubernetes/usr/bin/kube-scheduler",
		"/rootfs/kubernetes/usr/bin/csi-controllers", "/plane/usr/bin/kubelet",
		// The other names of the file first.
		"/rootfs/kubernetes/usr/bin/kube-apiserver",
		"/rootfs/etcd/usr/bin/etcd", "/images/coredns.tar", "/images/demo.tar", "/images/pause.tar",
	} {
		flags = append(flags, "--drop", lib+name)
	}
	return flags
}
