package machined

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storagetest"
)

const networkDocument = "apiVersion: cyvive.dev/v1alpha1\nkind: Network\nlinks: "

// callBy is a request of a caller who reaches the node by an address.
func callBy(local string, mode server.ConfigMode) server.ConfigRequest {
	return server.ConfigRequest{By: "alice", Mode: mode, Local: netip.MustParseAddr(local), Peer: netip.MustParseAddr("10.5.0.2")}
}

// TestConfigKeepsItsCaller: what would cut the caller off is refused, and nothing is stored of it, unless it is tried or staged; an older revision may do it.
func TestConfigKeepsItsCaller(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	o.await("the address", func(s snapshot) bool { return slices.Contains(s.network.Status.Addresses, prefix("10.5.0.7/24")) })
	api := configsAPI{o.Agent}
	apply := func(r server.ConfigRequest, links string) (server.ConfigResult, error) {
		r.Patch = networkDocument + links + "\n"
		return api.ApplyConfig(t.Context(), r)
	}
	dry := callBy("10.5.0.7", server.ConfigAuto)
	dry.DryRun = true
	for name, r := range map[string]server.ConfigRequest{"auto": callBy("10.5.0.7", server.ConfigAuto), "no-reboot": callBy("10.5.0.7", server.ConfigNoReboot), "dry run": dry} {
		_, err := apply(r, "[{name: eht0, dhcp: true}]")
		if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "give up 10.5.0.7, by which it is reached; it has no link eht0, its links are "+
			"eth0 (52:54:00:00:00:01); use the mode try") {
			t.Errorf("%s, a link that is not there: %v", name, err)
		}
	}
	if now, err := api.GetConfig(t.Context(), 0); err != nil || now.Revision.Number != 1 {
		t.Errorf("revision %d after what was refused, %v", now.Revision.Number, err)
	}
	if r, err := apply(callBy("10.5.0.7", server.ConfigStaged), "[{name: eht0, dhcp: true}]"); err != nil || r.Revision != 2 {
		t.Errorf("staged: %+v, %v", r, err)
	}
	if r, err := apply(callBy("10.5.0.7", server.ConfigAuto), "[{name: eth0, dhcp: true}, {name: eth7, dhcp: true}]"); err != nil || r.Revision != 3 {
		t.Errorf("the link by its name, and one that may come: %+v, %v", r, err)
	}
	o.await("the links by name", func(s snapshot) bool { return len(s.desired.Network.Links) == 2 })
	// Who calls by another way is not asked about.
	if r, err := apply(callBy("127.0.0.1", server.ConfigAuto), "[{name: eth0, dhcp: false, addresses: [10.5.0.9/24]}]"); err != nil || r.Revision != 4 {
		t.Errorf("another address: %+v, %v", r, err)
	}
	o.await("the other address", func(s snapshot) bool { return slices.Contains(s.network.Status.Addresses, prefix("10.5.0.9/24")) })
	back := callBy("10.5.0.9", server.ConfigAuto)
	back.DryRun = true
	if r, err := api.RollbackConfig(t.Context(), 3, back); err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "give up 10.5.0.9") {
		t.Errorf("back to DHCP: %+v, %v", r, err)
	}
	if r, err := apply(callBy("10.5.0.9", server.ConfigTry), "[{name: eth0, $patch: delete}]"); err != nil || r.Trial == nil {
		t.Errorf("tried: %+v, %v", r, err)
	}
}

// TestFirstConfigNamesLinks: the first configuration may give the node other addresses, and is refused if it leaves it without any.
func TestFirstConfigNamesLinks(t *testing.T) {
	t.Parallel()
	b := startBare(t, t.TempDir(), storagetest.New(1<<30), 0, maintenance.Claim{From: "the image"})
	api := configsAPI{b.Agent}
	b.awaitOther("the store", api.stores)
	b.await("the address", func(s snapshot) bool { return slices.Contains(s.network.Status.Addresses, prefix("10.5.0.7/24")) })
	apply := func(mode server.ConfigMode, links string) error {
		r := callBy("10.5.0.7", mode)
		r.Document, r.DryRun = string(standalone(t))+"---\n"+networkDocument+links+"\n", true
		_, err := api.ApplyConfig(t.Context(), r)
		return err
	}
	if err := apply(server.ConfigAuto, "[{name: eht0}]"); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "would be without a network; it has no link eht0") {
		t.Errorf("a link that is not there: %v", err)
	}
	for mode, links := range map[server.ConfigMode]string{server.ConfigAuto: "[{name: eth0, addresses: [10.5.0.9/24]}]", server.ConfigStaged: "[{name: eht0}]"} {
		if err := apply(mode, links); err != nil {
			t.Errorf("mode %d, links %s: %v", mode, links, err)
		}
	}
	cluster, err := config.Merge(documents(t), []byte("kind: Cluster\npodCIDR: 10.5.0.0/16\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := callBy("10.5.0.7", server.ConfigAuto)
	r.Document, r.DryRun = string(cluster), true
	_, err = api.ApplyConfig(t.Context(), r)
	if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "would give up 10.5.0.7, by which it is reached: it is in 10.5.0.0/16") {
		t.Errorf("a cluster whose pods have the node's address: %v", err)
	}
}
