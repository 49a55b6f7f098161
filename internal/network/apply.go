package network

import (
	"context"
	"fmt"
)

// Apply carries out one operation.
func (r *Reconciler) Apply(ctx context.Context, _ Spec, op Op) error {
	switch op.Verb {
	case SetHostname:
		return r.host.SetHostname(op.Hostname)
	case SetUp:
		return r.host.SetUp(ctx, op.Link)
	case SetDown:
		return r.host.SetDown(ctx, op.Link)
	case StartDHCP:
		r.dhcp.Start(op.Link)
		return nil
	case StopDHCP:
		r.dhcp.Stop(op.Link)
		return nil
	case RefuseLease:
		r.dhcp.Refuse(op.Link, op.Address)
		return nil
	case AddAddress:
		return r.host.AddAddress(ctx, op.Link, op.Address)
	case DeleteAddress:
		return r.host.DeleteAddress(ctx, op.Link, op.Address)
	case AddGateway:
		return r.host.AddGateway(ctx, op.Link, op.Gateway)
	case DeleteGateway:
		return r.host.DeleteGateway(ctx, op.Link, op.Gateway)
	case SetNameservers:
		return r.host.SetNameservers(op.Nameservers)
	case AddUnreachable:
		return r.host.AddUnreachable(ctx, op.Address)
	case DeleteUnreachable:
		return r.host.DeleteUnreachable(ctx, op.Address)
	case SetServices:
		return r.services.Set(ctx, op.Services)
	case AttachServices:
		return r.services.Attach(ctx)
	}
	panic(fmt.Sprintf("network: unknown operation %q", op.Verb))
}
