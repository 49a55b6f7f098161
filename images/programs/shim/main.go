// Command shim is containerd's shim for runc with one difference: a container
// that belongs to a group joins the shim that serves the group, however busy the
// machine is.
//
// containerd's own asks whether that shim still listens, and takes more than
// 100 ms for no: it then removes the socket and starts a second shim. Nothing is
// wrong until containerd starts anew and finds, at the one address it noted for
// all of them, a shim that knows only some of the containers; it kills the others.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/shim"
)

func main() {
	shim.RunShim(context.Background(), joining{manager.NewShimManager("io.containerd.runc.v2")})
}

// joining is a shim manager that joins the shim of a group where there is one.
type joining struct{ shim.Shim }

// Start implements shim.Shim. The working directory is the container's bundle.
func (j joining) Start(ctx context.Context, opts *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	group, err := groupOf("config.json")
	if err != nil || group == "" {
		return j.Shim.Start(ctx, opts)
	}
	root := opts.GetSocketDir()
	if root == "" {
		root = filepath.Join(defaults.DefaultStateDir, "s")
	}
	address, err := shim.CreateSocketAddress(ctx, root, opts.GetContainerdGrpcAddress(), group, false)
	if err != nil {
		return nil, err
	}
	alive, err := listens(ctx, strings.TrimPrefix(address, "unix://"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("join the shim of group %s: %w", group, err)
	case alive:
		// As the manager answers when it joins one (manager_linux.go, containerd 2.4).
		return &bootapi.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: address}, nil
	}
	return j.Shim.Start(ctx, opts)
}

// groupOf returns the group of a container by the annotations of its
// specification, in the order in which the manager looks for them; empty if it
// has none.
func groupOf(specification string) (string, error) {
	data, err := os.ReadFile(specification)
	if err != nil {
		return "", err
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return "", err
	}
	for _, label := range []string{"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"} {
		if group, ok := spec.Annotations[label]; ok {
			return group, nil
		}
	}
	return "", nil
}

// listens reports whether a process listens at the path of a unix socket. The
// kernel answers that at once (unix(7)), so no time is too long for it; what is
// neither yes nor no is an error.
func listens(ctx context.Context, path string) (bool, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return true, conn.Close()
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return false, nil
	}
	return false, err
}
