package programs

// Program is one program to build.
type Program struct {
	// Name is the file name in the image.
	Name string
	// Module is the directory of the module it is built in, relative to the
	// images directory.
	Module string
	// Package is the import path or ./directory of its main package.
	Package string
	// Component is the module path whose version is the program's version;
	// empty for the project's own programs.
	Component string
	// Tags are build tags.
	Tags string
	// Stamps are variables that the linker sets to the program's version.
	Stamps []string
	// Cgo builds with the C compiler and libraries of the throw-away tree,
	// still linked statically.
	Cgo bool
	// Host is set for a program that runs on the build machine.
	Host bool
}

const (
	ownModule  = ".."
	imgModule  = "."
	kubeModule = "kubernetes"
)

// noTrace leaves golang.org/x/net/trace out of gRPC. Its pages are made by
// html/template, which calls methods by name, so that the linker must keep every
// exported method of every type: kubernetes takes 127 MB with it and 110 MB
// without, machined 24 and 19, the shim 14 and 10. In containerd, etcd and runc
// other packages do the same, and nothing is gained.
const noTrace = "grpcnotrace"

// kubeStamps are where Kubernetes keeps its version, once for the programs and
// once for the client library's user agent.
var kubeStamps = []string{
	"k8s.io/component-base/version.gitVersion",
	"k8s.io/client-go/pkg/version.gitVersion",
}

// Table returns all programs.
func Table() []Program {
	return []Program{
		{Name: "init", Module: ownModule, Package: "./cmd/init", Stamps: []string{"main.version"}},
		{Name: "machined", Module: ownModule, Package: "./cmd/machined", Stamps: []string{"main.version"}, Tags: noTrace},
		{Name: "pause", Module: imgModule, Package: "./programs/pause"},
		{Name: "demo", Module: imgModule, Package: "./programs/demo", Stamps: []string{"main.version"}},
		{Name: "coredns", Module: imgModule, Package: "./programs/coredns", Component: "github.com/coredns/coredns", Tags: noTrace},
		{
			Name: "containerd", Module: imgModule, Package: "./programs/containerd",
			Component: "github.com/containerd/containerd/v2",
			Stamps:    []string{"github.com/containerd/containerd/v2/version.Version"},
		},
		{
			Name: "containerd-shim-runc-v2", Module: imgModule,
			Package:   "./programs/shim",
			Component: "github.com/containerd/containerd/v2",
			Stamps:    []string{"github.com/containerd/containerd/v2/version.Version"},
			Tags:      noTrace,
		},
		{
			Name: "runc", Module: imgModule, Package: "github.com/opencontainers/runc",
			Component: "github.com/opencontainers/runc", Stamps: []string{"main.version"},
			Tags: "seccomp osusergo netgo", Cgo: true,
		},
		{Name: "etcd", Module: imgModule, Package: "go.etcd.io/etcd/server/v3", Component: "go.etcd.io/etcd/server/v3"},
		{
			Name: "kubernetes", Module: kubeModule, Package: ".",
			Component: "k8s.io/kubernetes", Stamps: kubeStamps, Tags: noTrace,
		},
		{
			Name: "kubectl", Module: kubeModule, Package: "k8s.io/kubernetes/cmd/kubectl",
			Component: "k8s.io/kubernetes", Stamps: kubeStamps, Host: true,
		},
	}
}
