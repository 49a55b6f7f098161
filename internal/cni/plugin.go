package cni

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// stateDir is in the plane's /run, which is memory.
const stateDir = "/run/cni/cyvive"

// Main is the plugin: it reads its command from the environment and standard
// input, and prints a result or an error as the CNI specification says
// (SPEC.md, section 2). The error is returned as well, for the exit status.
func Main() error {
	p := plugin{dir: stateDir, forwarding: forwardingFile}
	failure := skel.PluginMainFuncsWithError(skel.CNIFuncs{
		Add: p.add, Del: p.del, Check: p.check, GC: p.gc, Status: p.status,
	}, version.PluginSupports("0.4.0", "1.0.0", "1.1.0"), "cyvive: connects a pod to its node")
	if failure == nil {
		return nil
	}
	return errors.Join(failure, failure.Print())
}

// plugin holds where the plugin keeps its state.
type plugin struct{ dir, forwarding string }

func attachmentOf(args *skel.CmdArgs) attachment {
	return attachment{ContainerID: args.ContainerID, IfName: args.IfName}
}

// add connects a pod and prints its address.
func (p plugin) add(args *skel.CmdArgs) (err error) {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return types.NewError(types.ErrInvalidNetworkConfig, err.Error(), "")
	}
	if err := enableForwarding(p.forwarding); err != nil {
		return err
	}
	a := attachmentOf(args)
	state, err := openAddresses(p.dir)
	if err != nil {
		return err
	}
	defer state.Close()
	address, err := state.take(a, conf.pods)
	if err != nil {
		return err
	}
	pair, err := connect(a, args.Netns, address, conf.MTU)
	if err != nil {
		return errors.Join(err, state.release(a))
	}
	return types.PrintResult(result(pair, args.Netns, address, conf.MTU), conf.CNIVersion)
}

// result is what containerd, and the plugins after this one, learn.
func result(pair ends, path string, address netip.Addr, mtu int) *current.Result {
	podEnd := 1
	return &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{
			{Name: pair.host, Mac: pair.hostMAC.String(), Mtu: mtu},
			{Name: pair.pod, Mac: pair.podMAC.String(), Mtu: mtu, Sandbox: path},
		},
		IPs: []*current.IPConfig{{
			Interface: &podEnd, Address: *single(address), Gateway: net.ParseIP(gateway),
		}},
		Routes: []*types.Route{{
			Dst: net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, GW: net.ParseIP(gateway),
		}},
	}
}

// del disconnects a pod. It succeeds when there is nothing to disconnect: the
// caller may have lost the answer of an earlier call, and the namespace may be
// gone.
func (p plugin) del(args *skel.CmdArgs) error {
	a := attachmentOf(args)
	state, err := openAddresses(p.dir)
	if err != nil {
		return err
	}
	defer state.Close()
	if err := remove(hostName(a)); err != nil {
		return err
	}
	return state.release(a)
}

// check reports whether a pod is connected as add left it.
func (p plugin) check(args *skel.CmdArgs) error {
	a := attachmentOf(args)
	state, err := openAddresses(p.dir)
	if err != nil {
		return err
	}
	defer state.Close()
	address, ok, err := state.of(a)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("check pod: container %s has no address", a.ContainerID)
	}
	return verify(a, args.Netns, address)
}

// gc disconnects every pod that containerd no longer knows.
func (p plugin) gc(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return types.NewError(types.ErrInvalidNetworkConfig, err.Error(), "")
	}
	valid := map[string]bool{}
	for _, v := range conf.ValidAttachments {
		valid[attachment{ContainerID: v.ContainerID, IfName: v.IfName}.String()] = true
	}
	state, err := openAddresses(p.dir)
	if err != nil {
		return err
	}
	defer state.Close()
	owners, err := state.all()
	if err != nil {
		return err
	}
	var failures []error
	for _, owner := range owners {
		var a attachment
		if _, err := fmt.Sscan(owner, &a.ContainerID, &a.IfName); err == nil && !valid[a.String()] {
			failures = append(failures, remove(hostName(a)))
		}
	}
	failures = append(failures, state.releaseIf(func(owner string) bool { return !valid[owner] }))
	return errors.Join(failures...)
}

// status reports whether add could work now.
func (p plugin) status(args *skel.CmdArgs) error {
	if _, err := parseConfig(args.StdinData); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
	}
	state, err := openAddresses(p.dir)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
	}
	return state.Close()
}
