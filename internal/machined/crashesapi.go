package machined

import (
	"context"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
)

// crashesAPI implements server.Crashes: what is kept, once this boot has looked for more.
type crashesAPI struct{ a *Agent }

// ready is an error as long as a list of crashes would not be whole. A state volume that cannot be set up still shows what earlier boots have kept.
func (v crashesAPI) ready() error {
	s := v.a.snapshot()
	if mounted(s, storage.State) && (v.a.crashTaken.Load() || s.identityProblem != "") {
		return nil
	}
	return fmt.Errorf("%w: the node has not looked yet for what dead kernels left: %s", server.ErrUnavailable, first(stateProblem(s), "waiting for the state volume"))
}

// Crashes implements server.Crashes.
func (v crashesAPI) Crashes(ctx context.Context) ([]server.Crash, error) {
	if err := v.ready(); err != nil {
		return nil, err
	}
	return v.a.cfg.Crashes.Crashes(ctx)
}

// CrashLog implements server.Crashes.
func (v crashesAPI) CrashLog(ctx context.Context, foundBy string, tail int, send func(server.CrashLine) error) error {
	if err := v.ready(); err != nil {
		return err
	}
	return v.a.cfg.Crashes.CrashLog(ctx, foundBy, tail, send)
}
