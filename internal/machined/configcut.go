package machined

import (
	"context"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/network"
)

func callerOf(r server.ConfigRequest) network.Caller {
	return network.Caller{Local: r.Local, Peer: r.Peer}
}

// keepsCaller refuses a draft that would cut its caller off at once and for good, force being what of it would hold. Who tries it is brought back, and who
// stages it is not cut off yet; who goes back to an older revision has had the node under that, and is told by the notes.
func (a *Agent) keepsCaller(ctx context.Context, d draft, force *config.Config) (notes []string, err error) {
	if d.by == server.ConfigStaged || d.by == server.ConfigTry {
		return nil, nil
	}
	back := d.as.Mode == configstore.Rollback
	cut, err := a.cutOff(ctx, force, d.caller)
	switch {
	case err != nil && back:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: it cannot be told whether the node could be reached with this network: %w; apply it again, or use the mode try", server.ErrUnavailable, err)
	case cut == "":
		return nil, nil
	case back:
		return []string{cut}, nil
	case d.leaves:
		return nil, fmt.Errorf("%w: %s; name links that the node has, and ranges that its address is not in, or use the mode staged", server.ErrPrecondition, cut)
	}
	return nil, fmt.Errorf("%w: %s; use the mode try, which takes it back unless it is confirmed, or staged", server.ErrPrecondition, cut)
}

// cutOff says in words how a caller would lose the node with a configuration in force, or nothing if he would not, as far as can be told. A node that has none
// yet is given its addresses by the first, so only one without any is asked about.
func (a *Agent) cutOff(ctx context.Context, cfg *config.Config, caller network.Caller) (string, error) {
	if !caller.Local.IsValid() || caller.Local.IsLoopback() {
		return "", nil
	}
	input, err := inputOf(cfg)
	if err != nil {
		return "", err
	}
	before := a.snapshot()
	after := before.having(input, a.now())
	from, to := before.desired.Network, after.desired.Network
	if from == nil || to == nil || !before.desired.Differs(after.desired, plan.Network) {
		return "", nil
	}
	obs, err := inLoop(ctx, a.asks[plan.Network], previewTimeout, func(ctx context.Context) (network.Observed, error) { return a.cfg.Network.Observe(ctx, *to) })
	switch {
	case err != nil:
		return "", err
	case before.input.Config == nil:
		return network.Unlinked(*to, obs, caller), nil
	}
	return network.Cut(*from, *to, obs, caller), nil
}
