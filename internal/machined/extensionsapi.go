package machined

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/extension/keeper"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/storage"
)

// extensionsAPI implements server.Extensions.
type extensionsAPI struct{ a *Agent }

// keeper returns what has the extensions, or says why nothing can have any.
func (v extensionsAPI) keeper() (Extensions, error) {
	switch {
	case v.a.cfg.Extensions == nil:
		return nil, fmt.Errorf("%w: this node keeps no extensions", server.ErrPrecondition)
	case !mounted(v.a.snapshot(), storage.Data):
		return nil, fmt.Errorf("%w: extensions lie on the data volume, which is not mounted: %s", server.ErrUnavailable,
			first(v.a.snapshot().storage.Status.Reason, "not looked at yet"))
	}
	return v.a.cfg.Extensions, nil
}

// changing is keeper for what changes the node, which must not be going down.
func (v extensionsAPI) changing() (Extensions, error) {
	v.a.ending.mu.Lock()
	defer v.a.ending.mu.Unlock()
	if v.a.ending.asked {
		return nil, fmt.Errorf("%w: the machine is going down (%s)", server.ErrPrecondition, v.a.ending.reason)
	}
	return v.keeper()
}

// Push implements server.Extensions.
func (v extensionsAPI) Push(ctx context.Context, r io.Reader) (server.Extension, error) {
	k, err := v.changing()
	if err != nil {
		return server.Extension{}, err
	}
	m, err := k.Push(ctx, r)
	if err != nil {
		return server.Extension{}, extensionClassed(err)
	}
	v.a.log.Info("extension pushed", "extension", m.String(), "rootHash", m.RootHash)
	v.a.update(func(s *snapshot) { s.pushes++ })
	return described(m, v.a.snapshot()), nil
}

// Extensions implements server.Extensions.
func (v extensionsAPI) Extensions(context.Context) ([]server.Extension, error) {
	k, err := v.keeper()
	if err != nil {
		return nil, err
	}
	stored, err := k.List()
	if err != nil {
		return nil, err
	}
	s := v.a.snapshot()
	var out []server.Extension
	for _, e := range stored {
		if e.Problem != "" {
			out = append(out, server.Extension{ExtensionName: server.ExtensionName{Name: e.Dir}, State: server.ExtensionStored, Reason: e.Problem})
			continue
		}
		d := described(e.Manifest, s)
		if e.Fits != nil && d.State == server.ExtensionStored {
			d.Reason = e.Fits.Error()
		}
		out = append(out, d)
	}
	return append(out, missing(out, s)...), nil
}

// described is a build with what became of it.
func described(m extension.Manifest, s snapshot) server.Extension {
	e := server.Extension{
		ExtensionName: server.ExtensionName{Name: m.Name, Version: m.Version, Kernel: m.Kernel}, Modules: m.Modules, OSFrom: m.OS.From, OSBefore: m.OS.Before,
		RootHash: m.RootHash, SizeBytes: m.PartsBytes(), State: server.ExtensionStored,
	}
	if m.Service != nil {
		e.Service = extension.ServiceName(m.Name)
	}
	if s.extensions == nil {
		return e
	}
	for _, state := range s.extensions.states {
		if state.Name == m.ID() && state.RootHash == m.RootHash { // another version may have the same image
			e.State, e.Reason = server.ExtensionActive, state.Reason
			if state.Reason != "" {
				e.State = server.ExtensionFailed
			}
		}
	}
	return e
}

// missing are those that the configuration names and of which no build was chosen.
func missing(there []server.Extension, s snapshot) []server.Extension {
	var out []server.Extension
	for _, name := range wantedExtensions(s.input.Config) {
		if slices.ContainsFunc(there, func(e server.Extension) bool {
			return e.Name == name.Name && e.Version == name.Version && e.State != server.ExtensionStored
		}) {
			continue
		}
		reason := first(s.extensionsProblem, "it is about to be put to use")
		if s.extensions != nil {
			for _, state := range s.extensions.states {
				if state.Name == name {
					reason = first(state.Reason, reason)
				}
			}
		}
		out = append(out, server.Extension{
			ExtensionName: server.ExtensionName{Name: name.Name, Version: name.Version}, State: server.ExtensionFailed, Reason: reason,
		})
	}
	return out
}

// find returns the one build that is meant. Of several versions, that is the one in use.
func (v extensionsAPI) find(k Extensions, name server.ExtensionName) (extension.Manifest, error) {
	stored, err := k.List()
	if err != nil {
		return extension.Manifest{}, err
	}
	var found []extension.Manifest
	for _, e := range stored {
		m := e.Manifest
		if e.Problem == "" && m.Name == name.Name && cmp.Or(name.Version, m.Version) == m.Version && cmp.Or(name.Kernel, m.Kernel) == m.Kernel {
			found = append(found, m)
		}
	}
	if len(found) > 1 && name.Version == "" {
		s := v.a.snapshot()
		used := slices.DeleteFunc(slices.Clone(found), func(m extension.Manifest) bool { return described(m, s).State == server.ExtensionStored })
		if len(used) > 0 {
			found = used
		}
	}
	switch len(found) {
	case 0:
		return extension.Manifest{}, fmt.Errorf("extension %s %s %w on this node", name.Name, name.Version, server.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return extension.Manifest{}, fmt.Errorf("%w: there are %d builds of it; say which, by version and kernel: %v", server.ErrInvalid, len(found), found)
}

// Remove implements server.Extensions.
func (v extensionsAPI) Remove(_ context.Context, name server.ExtensionName) (string, error) {
	k, err := v.changing()
	if err != nil {
		return "", err
	}
	m, err := v.find(k, name)
	if errors.Is(err, server.ErrNotFound) {
		// One that cannot be used has no manifest: it goes by the name of its directory.
		if err := k.Remove(extension.Name{Name: name.Name, Version: name.Version}, name.Kernel); err != nil {
			return "", extensionClassed(err)
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	configs, err := v.a.extensionConfigs()
	if err != nil {
		return "", err
	}
	for _, cfg := range configs {
		if slices.Contains(wantedExtensions(cfg), m.ID()) {
			return "", fmt.Errorf("remove extension %s: %w: the configuration names it; take it out there first", m, server.ErrPrecondition)
		}
	}
	if err := k.Remove(m.ID(), m.Kernel); err != nil {
		return "", extensionClassed(err)
	}
	v.a.log.Info("extension removed", "extension", m.String(), "rootHash", m.RootHash)
	return m.RootHash, nil
}

// SBOM implements server.Extensions.
func (v extensionsAPI) SBOM(_ context.Context, name server.ExtensionName) (io.ReadCloser, error) {
	k, err := v.keeper()
	if err != nil {
		return nil, err
	}
	m, err := v.find(k, name)
	if err != nil {
		return nil, err
	}
	file, err := k.SBOM(m)
	return file, extensionClassed(err)
}

// extensionConfigs are the configurations by which extensions are used: in this boot, from what was applied in it, and in the next one.
func (a *Agent) extensionConfigs() ([]*config.Config, error) {
	out := []*config.Config{a.snapshot().input.Config}
	next, err := a.nextConfig()
	if err != nil {
		return nil, err
	}
	return append(out, next), nil
}

// extensionClassed gives an error of the keeper the class that clients are told.
func extensionClassed(err error) error {
	for class, errs := range map[error][]error{
		server.ErrInvalid:      {extension.ErrMalformed, release.ErrAltered},
		server.ErrDenied:       {release.ErrUntrusted},
		server.ErrNotFound:     {keeper.ErrNotFound},
		server.ErrPrecondition: {extension.ErrUnfit, keeper.ErrNoRoom, keeper.ErrBusy, keeper.ErrThere, keeper.ErrInUse},
	} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return fmt.Errorf("%w: %w", class, err)
			}
		}
	}
	return err
}
