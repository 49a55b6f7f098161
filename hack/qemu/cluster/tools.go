package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/cmd/nodectl/kubeconfig"
)

// Tools runs nodectl and kubectl as a user of the cluster would.
type Tools struct {
	binDir string
	env    []string
	// Contexts and Kubeconfig are the files that the two programs use.
	Contexts, Kubeconfig string
}

func newTools(o Options) Tools {
	t := Tools{binDir: o.BinDir, env: os.Environ()}
	if home := o.Home; home != "" {
		t.Contexts = filepath.Join(home, "nodectl.yaml")
		t.Kubeconfig = filepath.Join(home, "kubeconfig")
		t.env = append(t.env, "HOME="+home)
	} else {
		// An error leaves the path empty, which the programs then explain.
		t.Contexts, _ = contexts.Path(os.Getenv)
		t.Kubeconfig, _ = kubeconfig.Path(os.Getenv)
	}
	t.env = append(t.env, "NODECTL_CONFIG="+t.Contexts, "KUBECONFIG="+t.Kubeconfig,
		"KUBECACHEDIR="+filepath.Join(o.Dir, "kubecache"))
	return t
}

// With returns the tools with one more variable in their environment.
func (t Tools) With(name, value string) Tools {
	t.env = append(t.env[:len(t.env):len(t.env)], name+"="+value)
	return t
}

// Nodectl runs nodectl and returns its standard output. The error carries what
// it wrote to standard error; errors.As finds the *exec.ExitError.
func (t Tools) Nodectl(ctx context.Context, args ...string) (string, error) {
	return t.run(ctx, nil, "nodectl", args...)
}

// NodectlInput is Nodectl with something on standard input.
func (t Tools) NodectlInput(ctx context.Context, input string, args ...string) (string, error) {
	return t.run(ctx, []byte(input), "nodectl", args...)
}

// Kubectl runs kubectl likewise.
func (t Tools) Kubectl(ctx context.Context, args ...string) (string, error) {
	return t.run(ctx, nil, "kubectl", args...)
}

// Apply hands a manifest to kubectl apply.
func (t Tools) Apply(ctx context.Context, manifest []byte) error {
	_, err := t.run(ctx, manifest, "kubectl", "apply", "--filename", "-")
	return err
}

func (t Tools) run(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(t.binDir, name), args...)
	cmd.Env = t.env
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		words := strings.TrimSpace(stderr.String())
		return stdout.String(), fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, words)
	}
	return stdout.String(), nil
}
