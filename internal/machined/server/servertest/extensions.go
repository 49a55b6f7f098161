package servertest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// Extensions are a node's. What comes is Next, whatever was sent; only what begins with "bad" is refused.
type Extensions struct {
	List []server.Extension
	Next server.Extension
	// SBOM is the bill of materials of each.
	SBOM string
}

// ExtensionsOf is a node as server.Extensions.
type ExtensionsOf struct{ *Node }

var _ server.Extensions = ExtensionsOf{}

// Push implements server.Extensions. It reads all there is.
func (e ExtensionsOf) Push(_ context.Context, r io.Reader) (server.Extension, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return server.Extension{}, fmt.Errorf("push: %w", err)
	}
	if err := e.called(fmt.Sprintf("push extension of %d bytes", len(data))); err != nil {
		return server.Extension{}, err
	}
	if strings.HasPrefix(string(data), "bad") || len(data) == 0 {
		return server.Extension{}, fmt.Errorf("push: %w: not a whole extension", server.ErrInvalid)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Node.Extensions.List = append(e.Node.Extensions.List, e.Node.Extensions.Next)
	return e.Node.Extensions.Next, nil
}

// Extensions implements server.Extensions.
func (e ExtensionsOf) Extensions(context.Context) ([]server.Extension, error) {
	err := e.called("extensions")
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.Node.Extensions.List), err
}

func (e ExtensionsOf) find(name server.ExtensionName) (int, error) {
	for i, x := range e.Node.Extensions.List {
		if x.Name == name.Name && (name.Version == "" || x.Version == name.Version) && (name.Kernel == "" || x.Kernel == name.Kernel) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("extension %s %s: %w", name.Name, name.Version, server.ErrNotFound)
}

// Remove implements server.Extensions.
func (e ExtensionsOf) Remove(_ context.Context, name server.ExtensionName) (string, error) {
	if err := e.called(fmt.Sprintf("remove extension %s %s %s", name.Name, name.Version, name.Kernel)); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i, err := e.find(name)
	if err != nil {
		return "", err
	}
	x := e.Node.Extensions.List[i]
	if x.State != server.ExtensionStored {
		return "", fmt.Errorf("remove %s: %w: the configuration names it", x.Name, server.ErrPrecondition)
	}
	e.Node.Extensions.List = slices.Delete(e.Node.Extensions.List, i, i+1)
	return x.RootHash, nil
}

// SBOM implements server.Extensions.
func (e ExtensionsOf) SBOM(_ context.Context, name server.ExtensionName) (io.ReadCloser, error) {
	if err := e.called("bill of materials of extension " + name.Name); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.find(name); err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader(e.Node.Extensions.SBOM)), nil
}
