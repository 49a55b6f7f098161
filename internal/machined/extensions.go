package machined

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/extension/keeper"
	extservice "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storage"
)

// Extensions has the node's extensions. *keeper.Keeper implements it.
type Extensions interface {
	Push(ctx context.Context, r io.Reader) (extension.Manifest, error)
	List() ([]keeper.Stored, error)
	Remove(name extension.Name, kernel string) error
	SBOM(m extension.Manifest) (io.ReadCloser, error)
	Activate(ctx context.Context, wanted []extension.Name) ([]keeper.State, error)
	Suits(wanted []extension.Name, node extension.Node) error
}

// extensionsInUse is what became of the extensions of the configuration. A stored one is never changed.
type extensionsInUse struct {
	wanted []extension.Name
	states []keeper.State
	// services are what is to run of them.
	services *extservice.Spec
	// pushes is how many extensions had been pushed by then.
	pushes int
}

// keepExtensions puts the extensions of the configuration to use, and looks for those that are missing again after each push. Each boot does so once even
// without any: that closes the list of where modules may come from, before there is a pod.
func (a *Agent) keepExtensions(ctx context.Context) error {
	return a.whenever(ctx, snapshot.canUseExtensions, func(s snapshot) {
		wanted := wantedExtensions(s.input.Config)
		states, err := a.cfg.Extensions.Activate(ctx, wanted)
		if err != nil {
			a.log.Error("put extensions to use", "error", err)
			sleep(ctx, a.cfg.Pace.Retry)
			a.update(func(s *snapshot) { s.extensionsProblem = err.Error() })
			return
		}
		used := &extensionsInUse{wanted: wanted, states: states, services: servicesOf(states), pushes: s.pushes}
		for _, state := range states {
			a.log.Info("extension", "name", state.Name.Name, "version", state.Name.Version, "mounted", state.Dir, "problem", state.Reason)
		}
		a.update(func(s *snapshot) { s.extensions, s.extensionsProblem = used, "" })
	})
}

// canUseExtensions: it is known which are wanted, the walls by which modules are admitted stand, and the volume is there on which extensions lie; and
// it was not done yet, or something was pushed since, or a configuration that came late wants others.
func (s snapshot) canUseExtensions() bool {
	switch {
	case !s.extensible || s.input.Config == nil || !s.isConfined():
		return false
	case s.provisional():
		return false // another configuration may want others, and the list of modules is closed once in a boot
	case len(s.input.Config.Machine.Extensions) > 0 && !mounted(s, storage.Data):
		return false
	}
	return s.extensions == nil || s.extensions.pushes != s.pushes || !slices.Equal(s.extensions.wanted, wantedExtensions(s.input.Config))
}

// wantedExtensions are those of a configuration, which may be nil.
func wantedExtensions(cfg *config.Config) []extension.Name {
	if cfg == nil {
		return nil
	}
	var out []extension.Name
	for _, e := range cfg.Machine.Extensions {
		out = append(out, extension.Name(e))
	}
	return out
}

func servicesOf(states []keeper.State) *extservice.Spec {
	spec := &extservice.Spec{}
	for _, s := range states {
		if s.Service != nil {
			spec.Services = append(spec.Services, extservice.Service{
				Extension: s.Name.Name, Version: s.Name.Version, Dir: s.Dir, RootHash: s.RootHash, Service: *s.Service,
			})
		}
	}
	return spec
}

// extensionSpec is what the plan is told: nil until extensions were put to use. A node that keeps none has nothing to wait for.
func (s snapshot) extensionSpec() *extservice.Spec {
	switch {
	case !s.extensible:
		return &extservice.Spec{}
	case s.extensions == nil:
		return nil
	}
	return s.extensions.services
}

// wantsContainers: there is something for the system containerd to run, or will be: it lives in memory as a whole, and on a node of a cluster it starts
// while volumes are checked and addresses leased.
func (s snapshot) wantsContainers() bool {
	cluster := s.input.Config != nil && s.input.Config.Cluster != nil && !s.input.Medium
	return cluster || s.desired.Extensions != nil && len(s.desired.Extensions.Services) > 0
}

// extensionsCheck is the name of the health check of extensions.
const extensionsCheck = upgrade.ExtensionsGate

// extensionsHealth is in order when all extensions of the configuration are in use, and their services run. There is no such check where none is
// configured, unless the list of modules cannot be closed.
func extensionsHealth(s snapshot) []server.Check {
	if s.input.Config == nil || len(s.input.Config.Machine.Extensions) == 0 && s.extensionsProblem == "" {
		return nil
	}
	var reasons []string
	switch {
	case !s.extensible:
		reasons = append(reasons, "this node keeps no extensions")
	case s.extensionsProblem != "":
		reasons = append(reasons, s.extensionsProblem)
	case s.extensions == nil && !s.isConfined():
		reasons = append(reasons, "waiting for the confinement")
	case s.extensions == nil:
		reasons = append(reasons, "waiting for the data volume")
	default:
		for _, e := range s.extensions.states {
			if e.Reason != "" {
				reasons = append(reasons, fmt.Sprintf("extension %s: %s", e.Name, e.Reason))
			}
		}
		services := domainCheck("", s.extensionServices, s.extensionServices.Status.Ready, s.extensionServices.Status.Reason)
		if len(s.extensions.services.Services) > 0 && !services.Healthy {
			reasons = append(reasons, services.Reason)
		}
	}
	return []server.Check{check(extensionsCheck, len(reasons) == 0, strings.Join(reasons, "; "))}
}
