package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNodes(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    []string
		err     error
	}{
		{Options{}, []string{"node1"}, nil},
		{Options{Nodes: 1}, []string{"node1"}, nil},
		{Options{Nodes: 3}, []string{"node1", "node2", "node3"}, nil},
		{Options{Nodes: 2, Cabled: true}, []string{"node1", "node2"}, nil},
		{Options{Cabled: true}, nil, errCable},
		{Options{Nodes: 3, Cabled: true}, nil, errCable},
	} {
		nodes, err := c.options.nodes()
		var names []string
		ports := map[uint16]bool{0: true}
		for _, n := range nodes {
			names = append(names, n.Name)
			for _, port := range []uint16{n.APIPort, n.KubernetesPort} {
				if ports[port] {
					t.Errorf("%+v: port %d is there twice, or 0", nodes, port)
				}
				ports[port] = true
			}
		}
		if d := cmp.Diff(c.want, names); d != "" || !errors.Is(err, c.err) {
			t.Errorf("%+v (-want +got), %v:\n%s", c.options, err, d)
		}
	}
	if got := (Options{Nodes: 2, MemoryBytes: 1 << 30, DiskBytes: 12 << 30}).Needs(); got.MemoryBytes != 2<<30 || got.DiskBytes != 6<<30 {
		t.Errorf("two nodes need %+v", got)
	}
}

func TestCable(t *testing.T) {
	two := record{Nodes: []Node{{Name: "node1"}, {Name: "node2"}}}
	c := newCluster(Options{Cabled: true}, two)
	for index, want := range []string{
		"local.path=cable.sock,remote.type=unix,remote.path=../node2/cable.sock", "local.path=cable.sock,remote.type=unix,remote.path=../node1/cable.sock",
	} {
		if line := strings.Join(c.cable(index), " "); !strings.Contains(line, want) {
			t.Errorf("machine %d: %s\nlacks %s", index, line, want)
		}
	}
	if got := newCluster(Options{}, two).cable(0); got != nil {
		t.Errorf("without a cable: %q", got)
	}
}
